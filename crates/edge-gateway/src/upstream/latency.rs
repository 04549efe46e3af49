//! How fast an address answers: a peak-sensitive moving average ("peak EWMA", as in Finagle and linkerd).
//!
//! A slow answer counts at once and in full, fast ones bring the average down over seconds. Without answers it
//! fades, so that an address that was slow once is tried again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After this time without answers a third of the average is left.
const FADE: f64 = 10_000.0;

/// The average, in nanoseconds, and when it was last written, in milliseconds. The two are not written
/// together: a torn pair is off by one answer.
#[derive(Debug, Default)]
pub(super) struct Latency {
    nanos: AtomicU64,
    at: AtomicU64,
}

impl Latency {
    /// The average now; 0 without any answer yet.
    pub(super) fn read(&self, now: u64) -> f64 {
        let nanos = f64::from_bits(self.nanos.load(Ordering::Relaxed));
        nanos * self.left(now)
    }

    /// Takes an answer into account.
    pub(super) fn record(&self, took: Duration, now: u64) {
        let sample = took.as_secs_f64() * 1e9;
        let faded = self.read(now);
        let left = self.left(now);
        // What has not faded is what the old average still counts for.
        let next = if sample > faded { sample } else { faded + sample * (1.0 - left) };
        self.nanos.store(next.to_bits(), Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of uptime fit a double")]
    fn left(&self, now: u64) -> f64 {
        let age = now.saturating_sub(self.at.load(Ordering::Relaxed));
        if age == 0 { 1.0 } else { (-(age as f64) / FADE).exp() }
    }

    pub(super) fn inherit(&self, earlier: &Self) {
        self.nanos.store(earlier.nanos.load(Ordering::Relaxed), Ordering::Relaxed);
        self.at.store(earlier.at.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let latency = Latency::default();
        latency.record(Duration::from_millis(1), 1_000);
        latency.record(Duration::from_millis(100), 2_000);
        assert!(latency.read(2_000) >= 100e6);
        latency.record(Duration::from_millis(1), 3_000);
        let after = latency.read(3_000);
        assert!((50e6..100e6).contains(&after), "{after}");
        assert!(latency.read(60_000) < 1e6);
    }

    #[test]
    fn steady_answers_hold_the_average() {
        let latency = Latency::default();
        for second in 1..100 {
            latency.record(Duration::from_millis(10), second * 1_000);
        }
        let held = latency.read(99_000);
        assert!((9e6..=10.1e6).contains(&held), "{held}");
    }
}
