//! How much a client may ask for that brings nothing: PING, SETTINGS, PRIORITY, empty DATA and the like.
//!
//! Each such frame costs a little of an allowance. What brings something gives some back, and time restores all of it.
//! Honest clients send a few; a flood uses it up, and the connection is ended with ENHANCE_YOUR_CALM.

use std::time::{Duration, Instant};

/// Costs that may be run up at once.
const ALLOWANCE: u32 = 1_000;
/// After this time it is whole again.
const RESTORED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Patience {
    left: u32,
    /// When it was whole last.
    since: Instant,
    now: fn() -> Instant,
}

/// The allowance is used up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Patience {
    pub(crate) fn new(now: fn() -> Instant) -> Self {
        Self { left: ALLOWANCE, since: now(), now }
    }

    pub(crate) fn spend(&mut self, cost: u32) -> Result<(), Exhausted> {
        if let Some(left) = self.left.checked_sub(cost) {
            self.left = left;
            return Ok(());
        }
        let now = (self.now)();
        if now.saturating_duration_since(self.since) < RESTORED {
            return Err(Exhausted);
        }
        (self.left, self.since) = (ALLOWANCE.saturating_sub(cost), now);
        Ok(())
    }

    /// Something useful happened, in the course of which a client sends so many small frames.
    pub(crate) fn earn(&mut self, frames: u32) {
        self.left = (self.left + frames).min(ALLOWANCE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    fn now() -> Instant {
        NOW.get().unwrap()
    }

    #[test]
    fn a_flood_exhausts_it_and_time_or_use_restores_it() {
        let start = Instant::now();
        NOW.set(Some(start));
        let mut patience = Patience::new(now);
        assert!((0..ALLOWANCE).all(|_| patience.spend(1).is_ok()));
        assert_eq!(patience.spend(1), Err(Exhausted));
        patience.earn(2);
        assert_eq!((patience.spend(2), patience.spend(1)), (Ok(()), Err(Exhausted)));
        NOW.set(Some(start + RESTORED));
        assert!((0..ALLOWANCE).all(|_| patience.spend(1).is_ok()));
        assert_eq!(patience.spend(1), Err(Exhausted));
    }
}
