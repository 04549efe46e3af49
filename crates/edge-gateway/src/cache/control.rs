//! `Cache-Control` of requests and answers (RFC 9111 section 5.2).
//!
//! Whatever is written wrongly or twice counts in its strictest reading: an age that cannot be read is 0, of two
//! ages the smaller one counts.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, PRAGMA};

/// The directives of an answer that a shared cache obeys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
pub(crate) struct AnswerControl {
    pub(crate) no_store: bool,
    /// With or without a list of fields: a shared cache that leaves out fields would have to be trusted with it.
    pub(crate) private: bool,
    pub(crate) no_cache: bool,
    /// Says that it may be stored, even without a lifetime.
    pub(crate) public: bool,
    /// `must-revalidate` or `proxy-revalidate`: never served stale (section 4.2.4).
    pub(crate) strict: bool,
    /// `s-maxage`: served stale only where the answer itself says so (RFC 5861), not because the route does.
    pub(crate) shared_lifetime: bool,
    /// `public`, `must-revalidate` or `s-maxage`: an answer to an authorized request may be stored (section 3.5).
    pub(crate) for_all: bool,
    /// Seconds, from `s-maxage` or else `max-age`.
    pub(crate) lifetime: Option<u64>,
    /// Seconds (RFC 5861).
    pub(crate) stale_while_revalidate: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
}

/// The directives of a request.
///
/// `only-if-cached` is for a user's own cache: here its 504 would count as an error of the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) max_age: Option<u64>,
    pub(crate) min_fresh: Option<u64>,
}

impl AnswerControl {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        let mut shared = None;
        let readable = each(headers, &CACHE_CONTROL, |name, value| match name {
            "no-store" => control.no_store = true,
            "private" => control.private = true,
            "no-cache" => control.no_cache = true,
            "public" => (control.public, control.for_all) = (true, true),
            "must-revalidate" => (control.strict, control.for_all) = (true, true),
            "proxy-revalidate" => control.strict = true,
            "s-maxage" => {
                (control.shared_lifetime, control.for_all) = (true, true);
                least(&mut shared, value);
            }
            "max-age" => least(&mut control.lifetime, value),
            "stale-while-revalidate" => least(&mut control.stale_while_revalidate, value),
            "stale-if-error" => least(&mut control.stale_if_error, value),
            _ => {}
        });
        control.lifetime = shared.or(control.lifetime);
        // What cannot be read may well have been a prohibition.
        control.no_store |= !readable;
        control
    }
}

impl RequestControl {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        each(headers, &CACHE_CONTROL, |name, value| match name {
            "no-store" => control.no_store = true,
            "no-cache" => control.no_cache = true,
            "max-age" => least(&mut control.max_age, value),
            "min-fresh" => {
                let more = seconds(value).max(control.min_fresh.unwrap_or(0));
                control.min_fresh = Some(more);
            }
            _ => {}
        });
        if !headers.contains_key(CACHE_CONTROL) {
            each(headers, &PRAGMA, |name, _| control.no_cache |= name == "no-cache");
        }
        control
    }
}

fn least(slot: &mut Option<u64>, value: Option<&str>) {
    let new = seconds(value);
    *slot = Some(slot.map_or(new, |old| old.min(new)));
}

/// Seconds; 0 for what is none, and the greatest number for what is too large (section 1.2.2).
fn seconds(value: Option<&str>) -> u64 {
    match value.map(|value| value.trim_matches('"')) {
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().unwrap_or(u64::from(u32::MAX)).min(u64::from(u32::MAX))
        }
        _ => 0,
    }
}

/// Gives each directive with its value, the name in lower case. False where a header is no text.
fn each(headers: &HeaderMap, name: &HeaderName, mut take: impl FnMut(&str, Option<&str>)) -> bool {
    let mut readable = true;
    for value in headers.get_all(name) {
        let Ok(text) = value.to_str() else {
            readable = false;
            continue;
        };
        for directive in split_outside_quotes(text) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (directive.trim(), None),
            };
            if !name.is_empty() {
                take(&name.to_ascii_lowercase(), value);
            }
        }
    }
    readable
}

/// The members of a list; a comma within quotes parts nothing.
fn split_outside_quotes(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let parts = character == ',' && !quoted;
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        }
        parts
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answer(values: &[&'static str]) -> AnswerControl {
        let pairs = values.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)));
        AnswerControl::read(&pairs.collect())
    }

    #[test]
    fn the_strictest_reading_counts() {
        assert_eq!(answer(&["max-age=60, max-age=10"]).lifetime, Some(10));
        assert_eq!(answer(&["max-age=60", "s-maxage=5"]).lifetime, Some(5));
        assert_eq!(answer(&["max-age=\"60\""]).lifetime, Some(60));
        for bad in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=+1", "max-age=x"] {
            assert_eq!(answer(&[bad]).lifetime, Some(0), "{bad}");
        }
        assert_eq!(answer(&["max-age=99999999999999999999"]).lifetime, Some(u64::from(u32::MAX)));
        assert_eq!(answer(&["public"]).lifetime, None);
    }

    #[test]
    fn directives_are_found_in_any_case_and_beside_quotes() {
        assert!(answer(&["Max-Age=1, No-Store"]).no_store);
        assert!(answer(&["private=\"set-cookie, x\", max-age=1"]).private);
        // Within the quotes stands no directive.
        let quoted = answer(&["ext=\"no-store, max-age=9\", max-age=7"]);
        assert_eq!((quoted.no_store, quoted.lifetime), (false, Some(7)));
        let escaped = answer(&["ext=\"a\\\", no-store\", max-age=7"]);
        assert_eq!((escaped.no_store, escaped.lifetime), (false, Some(7)));
        // A quote that never ends hides the rest: nothing tells how long the answer lives.
        assert_eq!(answer(&["ext=\"a, max-age=7"]).lifetime, None);
    }

    #[test]
    fn bytes_that_are_no_text_forbid_storing() {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        headers.append(CACHE_CONTROL, HeaderValue::from_bytes(b"no-st\xf6re").unwrap());
        assert!(AnswerControl::read(&headers).no_store);
    }

    #[test]
    fn pragma_counts_only_alone() {
        let mut headers = HeaderMap::from_iter([(PRAGMA, HeaderValue::from_static("no-cache"))]);
        assert!(RequestControl::read(&headers).no_cache);
        headers.append(CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert_eq!(RequestControl::read(&headers), RequestControl { max_age: Some(5), ..Default::default() });
    }
}
