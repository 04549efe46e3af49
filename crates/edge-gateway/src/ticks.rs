//! A coarse clock, one per worker: cheap enough to read on every I/O operation.
//!
//! Deadlines of seconds (idle connections, slow clients) need no better; the worker's sweep advances it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Length of one tick.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// A point in time in ticks since the worker started, at least 1. Wraps after 34 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick(u32);

/// The clock; clones show the same time.
#[derive(Debug, Clone)]
pub(crate) struct Ticks(Arc<AtomicU32>);

impl Ticks {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    /// Moves on by one tick.
    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Time from `earlier` until now.
    pub(crate) fn since(&self, earlier: Tick) -> Duration {
        TICK.saturating_mul(self.now().0.saturating_sub(earlier.0))
    }
}
