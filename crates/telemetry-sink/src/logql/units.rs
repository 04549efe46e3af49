//! Durations and counts of bytes as people write them.

use super::ast::Unit;

/// Longest first.
const DURATIONS: [(&str, f64); 11] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
    ("y", 31_536_000.0),
];

const BYTES: [(&str, f64); 13] = [
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
    ("pib", 1_125_899_906_842_624.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("pb", 1e15),
    ("k", 1e3),
    ("b", 1.0),
    ("", 1.0),
];

/// Seconds of `1h30m`, `1.5s`, `-20ms`; a bare number only when it is zero, as in Go.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    let mut total = 0.0;
    let mut seen = false;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|letter: char| !letter.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let (_, scale) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
        seen = true;
    }
    seen.then_some(sign * total)
}

/// Bytes of `10KiB`, `1.5 MB`, `42`.
pub(crate) fn bytes(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, scale) = BYTES.iter().find(|(name, _)| *name == unit)?;
    Some(number.parse::<f64>().ok()? * scale)
}

/// A label's text as a number of the unit.
pub(crate) fn number(text: &str, unit: Unit) -> Option<f64> {
    match unit {
        Unit::Plain => text.trim().parse().ok(),
        Unit::Duration => seconds(text.trim()),
        Unit::Bytes => bytes(text),
    }
}

/// What a value looks like, in the words of Loki's `detected_fields`.
pub(crate) fn number_like(text: &str) -> &'static str {
    if text.parse::<i64>().is_ok() {
        "int"
    } else if text.parse::<f64>().is_ok() {
        "float"
    } else if matches!(text, "true" | "false") {
        "boolean"
    } else if seconds(text).is_some() {
        "duration"
    } else if text.starts_with(|first: char| first.is_ascii_digit()) && bytes(text).is_some() {
        "bytes"
    } else {
        "string"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_bytes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("1h30m", Some(5400.0)),
            ("1.5s", Some(1.5)),
            ("250ms", Some(0.25)),
            ("-2s", Some(-2.0)),
            ("0", Some(0.0)),
            ("5", None),
            ("s", None),
            ("", None),
            ("3 apples", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for (text, expected) in
            [("42", Some(42.0)), ("1.5 MB", Some(1.5e6)), ("2KiB", Some(2048.0)), ("x", None), ("", None)]
        {
            assert_eq!(bytes(text), expected, "{text}");
        }
        let kinds = ["1", "1.5", "true", "5ms", "5KB", "GET"].map(number_like);
        assert_eq!(kinds, ["int", "float", "boolean", "duration", "bytes", "string"]);
    }
}
