//! When a certificate is renewed, and when a failure is tried again. Times are milliseconds since the Unix epoch.

use std::time::Duration;

use instant_acme::RenewalInfo;

use crate::tls::Details;

/// Bounds on how often an authority is asked for its suggestion (RFC 9773 section 4.3).
const POLL_MIN: Duration = Duration::from_mins(1);
const POLL_MAX: Duration = Duration::from_hours(24);
/// An authority that is away may be back soon, and asking costs it nothing.
const OUTAGE_MAX: Duration = Duration::from_mins(10);
/// An authority that asks for more would leave a certificate to expire.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(7 * 24);

/// What an authority suggests (RFC 9773 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suggestion {
    start: i64,
    end: i64,
    /// Chosen at random in the window.
    at: i64,
}

impl Suggestion {
    /// Chooses a time in the window, by a number from 0 to 1. The choice for the same window stays, so that asking often
    /// does not make it earlier. None where the window ends before it begins.
    pub(super) fn new(info: &RenewalInfo, previous: Option<Self>, random: f64) -> Option<Self> {
        let window = &info.suggested_window;
        let start = window.start.unix_timestamp().saturating_mul(1_000);
        let end = window.end.unix_timestamp().saturating_mul(1_000);
        if end < start {
            return None;
        }
        match previous {
            Some(previous) if (previous.start, previous.end) == (start, end) => Some(previous),
            _ => Some(Self { start, end, at: start.saturating_add(part(end - start, random)) }),
        }
    }
}

/// How long until an authority is asked for its suggestion again.
pub(super) fn poll_after(asked: Duration) -> Duration {
    asked.clamp(POLL_MIN, POLL_MAX)
}

/// When a certificate is to be renewed. A suggestion in the last tenth of the lifetime comes too late to be followed:
/// nothing would be left for an outage.
pub(super) fn due(details: &Details, share: f64, suggestion: Option<Suggestion>) -> i64 {
    let (from, until) = (details.not_before.saturating_mul(1_000), details.not_after.saturating_mul(1_000));
    let lifetime = until.saturating_sub(from).max(0);
    match suggestion {
        Some(suggestion) => suggestion.at.min(until.saturating_sub(lifetime / 10)),
        None => from.saturating_add(part(lifetime, share)),
    }
}

/// A failure, as far as it matters for when to try again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// Failures in a row, this one included.
    pub(super) count: u32,
    pub(super) outage: bool,
    pub(super) retry_after: Option<Duration>,
}

/// How long to wait after a failure; `random` is from 0 to 1.
pub(super) fn back_off(failure: Failure, min: Duration, max: Duration, random: f64) -> Duration {
    let max = if failure.outage { max.min(OUTAGE_MAX.max(min)) } else { max };
    let doubled = min.saturating_mul(1 << failure.count.saturating_sub(1).min(20));
    // From three quarters to all of it, so that gateways that failed together do not come back together.
    let wait = doubled.min(max).mul_f64(0.75 + random / 4.0);
    wait.max(failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a time need not be exact to the millisecond"
)]
fn part(of: i64, share: f64) -> i64 {
    (of as f64 * share) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn ninety_days() -> Details {
        Details { names: Vec::new(), not_before: 0, not_after: 90 * DAY }
    }

    fn info(start: &str, end: &str) -> RenewalInfo {
        let text = format!("{{\"suggestedWindow\":{{\"start\":\"{start}\",\"end\":\"{end}\"}}}}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn without_a_suggestion_a_share_of_the_lifetime_decides() {
        assert_eq!(due(&ninety_days(), 0.5, None), 45 * DAY * 1_000);
    }

    #[test]
    fn a_suggestion_decides_but_not_in_the_last_tenth() {
        let within = info("1970-01-21T00:00:00Z", "1970-01-31T00:00:00Z");
        let chosen = Suggestion::new(&within, None, 0.5).unwrap();
        assert_eq!(due(&ninety_days(), 0.9, Some(chosen)), 25 * DAY * 1_000);
        let late = info("1970-03-31T00:00:00Z", "1970-03-31T00:00:00Z");
        let chosen = Suggestion::new(&late, None, 0.5).unwrap();
        assert_eq!(due(&ninety_days(), 0.5, Some(chosen)), 81 * DAY * 1_000);
    }

    #[test]
    fn a_choice_stays_as_long_as_its_window() {
        let window = info("1970-01-21T00:00:00Z", "1970-01-31T00:00:00Z");
        let first = Suggestion::new(&window, None, 0.9);
        assert_eq!(Suggestion::new(&window, first, 0.1), first);
        let moved = info("1970-01-11T00:00:00Z", "1970-01-12T00:00:00Z");
        assert_ne!(Suggestion::new(&moved, first, 0.1), first);
        assert_eq!(Suggestion::new(&info("1970-01-31T00:00:00Z", "1970-01-21T00:00:00Z"), first, 0.1), None);
    }

    #[test]
    fn waits_double_up_to_their_bound_and_respect_the_authority() {
        let (min, max) = (Duration::from_mins(1), Duration::from_hours(6));
        let wait = |count, outage, asked: Option<u64>, random| {
            let failure = Failure { count, outage, retry_after: asked.map(Duration::from_secs) };
            back_off(failure, min, max, random).as_secs()
        };
        assert_eq!(wait(1, false, None, 1.0), 60);
        assert_eq!(wait(1, false, None, 0.0), 45);
        assert_eq!(wait(4, false, None, 1.0), 480);
        assert_eq!(wait(u32::MAX, false, None, 1.0), 6 * 3_600);
        assert_eq!(wait(40, true, None, 1.0), 600, "an authority that is away is tried more often");
        assert_eq!(wait(1, false, Some(7_200), 0.5), 7_200);
        assert_eq!(wait(1, false, Some(u64::MAX), 0.5), 7 * 86_400);
        assert_eq!(poll_after(Duration::ZERO), POLL_MIN);
        assert_eq!(poll_after(Duration::MAX), POLL_MAX);
    }
}
