//! Numbers as Go writes them: `%g`, `%e` and Prometheus' humanised forms.

use quintet_types::Timestamp;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

/// Go's exponents have at least two digits and a sign.
fn exponential(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Mantissa and exponent of `{:e}`.
fn parts(text: &str) -> (&str, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa, exponent.parse().unwrap_or(0))
}

/// `%v`: the shortest digits that are the number, with an exponent below 1e-4 and from 1e6 on.
pub(super) fn general_go(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = parts(&shortest);
    if (-4..6).contains(&exponent) { value.to_string() } else { exponential(mantissa, exponent) }
}

/// `%.Ng`: so many significant digits, zeros at the end left out.
pub(super) fn general(value: f64, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let precision = precision.clamp(1, 30);
    let rounded = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = parts(&rounded);
    let digits = i32::try_from(precision).unwrap_or(30);
    if exponent < -4 || exponent >= digits {
        return exponential(without_zeros(mantissa), exponent);
    }
    let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// `%.Ne`.
pub(super) fn scientific(value: f64, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = parts(&text);
    exponential(mantissa, exponent)
}

/// `%.Nf`.
pub(super) fn fixed(value: f64, precision: usize) -> String {
    special(value).map_or_else(|| format!("{value:.precision$}"), str::to_owned)
}

pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return general(value, 4);
    }
    if value.abs() >= 1.0 { larger(value, 1000.0, &LARGE) } else { smaller(value, "") }
}

pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return general(value, 4);
    }
    larger(value, 1024.0, &LARGE_BINARY)
}

fn larger(mut value: f64, by: f64, prefixes: &[&str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < by {
            break;
        }
        prefix = next;
        value /= by;
    }
    format!("{}{prefix}", general(value, 4))
}

fn smaller(mut value: f64, unit: &str) -> String {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}{unit}", general(value, 4))
}

pub(super) fn humanize_percentage(ratio: f64) -> String {
    format!("{}%", general(ratio * 100.0, 4))
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and no duration is that long")]
pub(super) fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return general(seconds, 4);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        return smaller(seconds, "s");
    }
    let (sign, length) = if seconds < 0.0 { ("-", -seconds) } else { ("", seconds) };
    let whole = length as i64;
    let (days, hours, minutes, rest) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {rest}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {rest}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {rest}s")
    } else {
        format!("{sign}{}s", general(length, 4))
    }
}

/// Unix seconds as Go writes a time in UTC.
#[expect(clippy::cast_possible_truncation, reason = "what is out of range is shown as the number that it is")]
pub(super) fn humanize_timestamp(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round();
    let time = (millis.abs() < 1e15).then(|| Timestamp::from_millisecond(millis as i64).ok()).flatten();
    time.map_or_else(
        || general(seconds, 4),
        |time| {
            let shown = time.to_string().replace('T', " ");
            format!("{} +0000 UTC", shown.trim_end_matches('Z'))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_humanised_as_prometheus_does() {
        for (value, text) in
            [(0.0, "0"), (1.0, "1"), (1_234_567.0, "1.235M"), (0.12, "120m"), (f64::INFINITY, "+Inf")]
        {
            assert_eq!(humanize(value), text);
        }
        for (value, text) in [(0.0, "0"), (1.0, "1"), (1_048_576.0, "1Mi"), (0.12, "0.12")] {
            assert_eq!(humanize_1024(value), text);
        }
        for (value, text) in [
            (0.0, "0s"),
            (1.0, "1s"),
            (1_234_567.0, "14d 6h 56m 7s"),
            (0.12, "120ms"),
            (60.0, "1m 0s"),
            (3661.0, "1h 1m 1s"),
            (1.2345, "1.234s"),
            (-90.0, "-1m 30s"),
        ] {
            assert_eq!(humanize_duration(value), text);
        }
        assert_eq!(humanize_percentage(0.123_456_7), "12.35%");
        assert_eq!(humanize_timestamp(1_435_065_584.128), "2015-06-23 13:19:44.128 +0000 UTC");
    }

    #[test]
    fn plain_numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (1.0, "1"),
            (0.00001, "1e-05"),
            (1e21, "1e+21"),
            (0.5, "0.5"),
            (1_505_738_000.0, "1.505738e+09"),
            (123_456.0, "123456"),
        ] {
            assert_eq!(general_go(value), text);
        }
        assert_eq!(general(123_456.0, 4), "1.235e+05");
        assert_eq!(scientific(1500.0, 2), "1.50e+03");
    }
}
