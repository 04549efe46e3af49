//! A clock that moves only when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quintet_types::time::{from_micros, micros};
use quintet_types::{Clock, SharedClock, Timestamp};

/// A clock whose time is set by the test; clones show the same time.
#[derive(Debug, Clone)]
pub struct FakeClock(Arc<AtomicI64>);

impl FakeClock {
    /// A clock that shows `start` (RFC 3339).
    ///
    /// # Panics
    /// When `start` is not an RFC 3339 instant.
    #[expect(clippy::expect_used, reason = "test support: a wrong literal should stop the test")]
    pub fn at(start: &str) -> Self {
        let instant: Timestamp = start.parse().expect("the start is an RFC 3339 instant");
        Self(Arc::new(AtomicI64::new(micros(instant))))
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// The clock as code under test takes it.
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::at("2026-03-01T12:00:00Z")
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        from_micros(self.0.load(Ordering::SeqCst))
    }
}
