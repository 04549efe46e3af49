//! Conversions between durations and the two units of time in play: databases count
//! microseconds, tokens count seconds (RFC 7519 NumericDate).

use std::time::Duration;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A duration in microseconds.
pub(crate) fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// An instant in microseconds as whole seconds since the Unix epoch.
pub(crate) const fn seconds(micros: i64) -> i64 {
    micros.div_euclid(MICROS_PER_SECOND)
}

/// Whole seconds, at least one, that a caller should wait; for `Retry-After`.
pub(crate) fn retry_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}
