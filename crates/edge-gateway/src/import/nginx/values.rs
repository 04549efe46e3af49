//! nginx's times, sizes and variables.

/// Ten years, in milliseconds: longer than any wait, and within every number.
const MOST: u64 = 315_360_000_000;

/// `30`, `30s`, `1m`, `500ms`, `1h30m` in milliseconds.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let number: u64 = digits.parse().ok()?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "M" => 2_592_000_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(scale)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total.min(MOST))
}

/// `1024`, `8k`, `1m`, `2g` in bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (digits, scale) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (text.get(..at)?, 1 << 10),
        (at, 'm' | 'M') => (text.get(..at)?, 1 << 20),
        (at, 'g' | 'G') => (text.get(..at)?, 1 << 30),
        _ => (text, 1),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

/// A text with nginx's variables as one with the gateway's; the error is a variable that it has none for.
pub(super) fn text(nginx: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = nginx;
    while let Some(at) = rest.find(['$', '{', '}']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        if let Some(after) = from.strip_prefix(['{', '}']) {
            text.push_str(if from.starts_with('{') { "{{" } else { "}}" });
            rest = after;
            continue;
        }
        let name_on = from.get(1..).unwrap_or_default();
        let braced = name_on.strip_prefix('{').and_then(|braced| braced.split_once('}'));
        let (name, after) = braced.unwrap_or_else(|| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            name_on.split_at(name_on.find(|c| !is_name(c)).unwrap_or(name_on.len()))
        });
        text.push_str(variable(name).ok_or_else(|| format!("${name}"))?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn variable(name: &str) -> Option<&'static str> {
    Some(match name {
        "host" | "http_host" => "{host}",
        "remote_addr" | "realip_remote_addr" => "{client_ip}",
        "uri" | "document_uri" => "{path}",
        "args" | "query_string" => "{query}",
        "request_id" => "{request_id}",
        "scheme" => "https",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_their_units() {
        assert_eq!(milliseconds("60"), Some(60_000));
        assert_eq!(milliseconds("1h30m"), Some(5_400_000));
        assert_eq!(milliseconds("500ms"), Some(500));
        assert_eq!(["", "x", "1q", "-1"].map(milliseconds), [None; 4]);
        assert_eq!(bytes("8k"), Some(8_192));
        assert_eq!(bytes("20M"), Some(20_971_520));
        assert_eq!(["", "m", "1t", "+1", "999999999999999g"].map(bytes), [None; 5]);
    }

    #[test]
    fn variables_are_translated_or_named() {
        assert_eq!(text("https://$host$uri?a"), Ok("https://{host}{path}?a".to_owned()));
        assert_eq!(text("${remote_addr}x{}"), Ok("{client_ip}x{{}}".to_owned()));
        assert_eq!(text("$ssl_cipher"), Err("$ssl_cipher".to_owned()));
    }
}
