//! How many requests an upstream can do with at once, learnt from how long it takes.
//!
//! "Gradient2" of Netflix' concurrency-limits: while answers take as long as they do in the long run, the bound grows
//! by its square root; when they take longer than `tolerance` allows, requests queue inside of the upstream and the
//! bound shrinks in proportion. A request that failed or timed out shrinks it by a tenth. The bound moves only while
//! at least half of it is used: a quiet time teaches nothing.
//!
//! Workers write without locks: a lost update is one sample of thousands.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Samples that the long-run average covers.
const LONG_RUN: f64 = 600.0;
/// How much of a newly computed bound is taken over at once.
const SMOOTHING: f64 = 0.2;
/// The strongest shrinking of one sample.
const STEEPEST: f64 = 0.5;
const AFTER_FAILURE: f64 = 0.9;
/// A long-run average this many times above a sample is from an overload that is over, and fades faster.
const STALE: f64 = 2.0;
const STALE_FADE: f64 = 0.95;

/// Between what the bound moves, and how much slower than usual an answer may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) tolerance: f64,
}

/// The bound of one upstream.
#[derive(Debug)]
pub(super) struct Adaptive {
    bounds: Bounds,
    limit: AtomicU64,
    /// Seconds; 0 before the first answer.
    long_run: AtomicU64,
}

impl Adaptive {
    /// Begins at the least, so that a start does not flood a cold upstream.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, limit: float(bounds.least), long_run: float(0.0) }
    }

    /// Keeps what `earlier` has learnt, within these bounds.
    pub(super) fn inherit(&self, earlier: &Self) {
        set(&self.limit, get(&earlier.limit).clamp(self.bounds.least, self.bounds.most));
        set(&self.long_run, get(&earlier.long_run));
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between its bounds, both small"
    )]
    pub(super) fn limit(&self) -> usize {
        get(&self.limit) as usize
    }

    /// An answer began after this time, while so many requests were in flight.
    pub(super) fn answered(&self, took: Duration, in_flight: usize) {
        let sample = took.as_secs_f64().max(1e-6);
        let long_run = self.average(sample);
        if !self.is_used(in_flight) {
            return;
        }
        let limit = get(&self.limit);
        let gradient = (self.bounds.tolerance * long_run / sample).clamp(STEEPEST, 1.0);
        let room = limit.sqrt();
        self.move_to(limit * (1.0 - SMOOTHING) + (limit * gradient + room) * SMOOTHING);
    }

    /// A request failed, or was not answered in time.
    pub(super) fn failed(&self, in_flight: usize) {
        if self.is_used(in_flight) {
            self.move_to(get(&self.limit) * AFTER_FAILURE);
        }
    }

    fn average(&self, sample: f64) -> f64 {
        let before = get(&self.long_run);
        let mut next = if before == 0.0 { sample } else { before + (sample - before) / LONG_RUN };
        if next > sample * STALE {
            next *= STALE_FADE;
        }
        set(&self.long_run, next);
        next
    }

    #[expect(clippy::cast_precision_loss, reason = "requests in flight are far below 2^52")]
    fn is_used(&self, in_flight: usize) -> bool {
        in_flight as f64 * 2.0 >= get(&self.limit)
    }

    fn move_to(&self, limit: f64) {
        set(&self.limit, limit.clamp(self.bounds.least, self.bounds.most));
    }
}

fn float(value: f64) -> AtomicU64 {
    AtomicU64::new(value.to_bits())
}

fn get(cell: &AtomicU64) -> f64 {
    f64::from_bits(cell.load(Ordering::Relaxed))
}

fn set(cell: &AtomicU64, value: f64) {
    cell.store(value.to_bits(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { least: 10.0, most: 1_000.0, tolerance: 1.5 };

    fn answers(adaptive: &Adaptive, count: usize, millis: u64) {
        for _ in 0..count {
            adaptive.answered(Duration::from_millis(millis), adaptive.limit());
        }
    }

    #[test]
    fn the_bound_grows_while_answers_stay_as_fast_as_usual() {
        let adaptive = Adaptive::new(BOUNDS);
        answers(&adaptive, 50, 10);
        let early = adaptive.limit();
        answers(&adaptive, 50, 10);
        assert!(adaptive.limit() > early && early > 10, "{early} {}", adaptive.limit());
        answers(&adaptive, 10_000, 10);
        assert_eq!(adaptive.limit(), 1_000);
    }

    #[test]
    fn the_bound_shrinks_when_answers_become_slow_and_recovers() {
        let adaptive = Adaptive::new(BOUNDS);
        answers(&adaptive, 1_000, 10);
        let healthy = adaptive.limit();
        answers(&adaptive, 30, 100);
        let overloaded = adaptive.limit();
        assert!(overloaded * 3 < healthy, "{healthy} {overloaded}");
        answers(&adaptive, 1_000, 10);
        assert!(adaptive.limit() > overloaded * 2, "{overloaded} {}", adaptive.limit());
    }

    #[test]
    fn a_quiet_time_moves_nothing() {
        let adaptive = Adaptive::new(BOUNDS);
        answers(&adaptive, 500, 10);
        let before = adaptive.limit();
        for _ in 0..500 {
            adaptive.answered(Duration::from_millis(10), 1);
            adaptive.failed(1);
        }
        assert_eq!(adaptive.limit(), before);
    }

    #[test]
    fn failures_shrink_the_bound_to_its_least_and_no_further() {
        let adaptive = Adaptive::new(BOUNDS);
        answers(&adaptive, 500, 10);
        for _ in 0..200 {
            adaptive.failed(adaptive.limit());
        }
        assert_eq!(adaptive.limit(), 10);
    }
}
