//! The least rate at which a client has to send a body.
//!
//! Counted is only the time in which the gateway waits for the client: an upstream that does not read is not the client's
//! fault. A client that has sent `n` bytes may have kept the gateway waiting for the grace and `n / rate` seconds, as
//! `MinRate` of Apache's `RequestReadTimeout` has it. It holds until the answer begins: from there on a body may be one
//! direction of a conversation.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// What a client must keep up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinRate {
    /// Bytes a second; at least 1.
    pub(crate) rate: u64,
    /// Before anything must have come.
    pub(crate) grace: Duration,
}

impl MinRate {
    /// How long a client may have kept the gateway waiting for so many bytes.
    fn allows(self, received: u64) -> Duration {
        let millis = received.saturating_mul(1_000) / self.rate.max(1);
        self.grace.saturating_add(Duration::from_millis(millis))
    }
}

/// How one body keeps up.
#[derive(Debug)]
pub(super) struct Pace {
    min: MinRate,
    /// The answer has begun.
    over: Cell<bool>,
    /// Before the present wait.
    waited: Cell<Duration>,
    /// When the present wait began.
    since: Cell<Option<Instant>>,
    /// Made by the first wait: bodies that come with their head need none.
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Pace {
    pub(super) fn new(min: MinRate) -> Self {
        Self {
            min,
            over: Cell::new(false),
            waited: Cell::default(),
            since: Cell::default(),
            timer: RefCell::default(),
        }
    }

    pub(super) fn end(&self) {
        self.over.set(true);
    }

    /// Something came.
    pub(super) fn arrived(&self) {
        if let Some(since) = self.since.take() {
            self.waited.set(self.waited.get() + since.elapsed());
        }
    }

    /// Nothing is there. Whether the client is too slow; where it is not, the task is woken when it may have become so.
    pub(super) fn is_missed(&self, received: u64, cx: &mut Context<'_>) -> bool {
        if self.over.get() {
            return false;
        }
        loop {
            let now = Instant::now();
            let since = self.since.get().unwrap_or(now);
            self.since.set(Some(since));
            let waited = self.waited.get() + now.saturating_duration_since(since);
            let left = self.min.allows(received).saturating_sub(waited);
            if left.is_zero() {
                return true;
            }
            let mut timer = self.timer.borrow_mut();
            // An armed timer may fire early, never late: what arrives only moves the moment away.
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            timer.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_earned_by_bytes() {
        let min = MinRate { rate: 500, grace: Duration::from_secs(20) };
        assert_eq!(min.allows(0), Duration::from_secs(20));
        assert_eq!(min.allows(250), Duration::from_millis(20_500));
        assert!(min.allows(u64::MAX) > Duration::from_hours(1), "no overflow makes a client slow");
    }
}
