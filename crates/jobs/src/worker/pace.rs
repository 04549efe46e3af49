//! Work that comes bit by bit is done in groups: a transaction for each job costs the database more than the job.

use std::time::{Duration, Instant};

/// Keeps turns a gap apart on average. What comes after a pause has its turn at once, and so have the next few with a burst.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    /// How much earlier than a gap after the one before a turn may be.
    slack: Duration,
    /// When the next turn is, were all a gap apart.
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(gap: Duration) -> Self {
        Self { gap, slack: Duration::ZERO, next: None }
    }

    /// So many turns after a pause come at once.
    pub(super) fn burst(self, turns: u32) -> Self {
        Self { slack: self.gap * turns.saturating_sub(1), ..self }
    }

    /// Waits until it is time for the next turn.
    pub(super) async fn turn(&mut self) {
        let wait = self.wait(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&mut self, now: Instant) -> Duration {
        let next = self.next.map_or(now, |next| next.max(now));
        self.next = Some(next + self.gap);
        next.saturating_duration_since(now).saturating_sub(self.slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_a_gap_apart_and_the_first_after_a_pause_comes_at_once() {
        check(Pace::new(GAP), &[(0, 0), (0, 10), (12, 8), (50, 0), (57, 3), (70, 0)]);
    }

    #[test]
    fn a_burst_comes_at_once_and_what_goes_on_is_a_gap_apart() {
        check(
            Pace::new(GAP).burst(3),
            &[(0, 0), (1, 0), (2, 0), (3, 7), (10, 10), (20, 10), (90, 0), (90, 0)],
        );
    }

    const GAP: Duration = Duration::from_millis(10);

    /// At which millisecond a turn is asked for, and how long it waits.
    #[track_caller]
    fn check(mut pace: Pace, turns: &[(u64, u64)]) {
        let begun = Instant::now();
        for (at, wait) in turns {
            let waited = pace.wait(begun + Duration::from_millis(*at));
            assert_eq!(waited, Duration::from_millis(*wait), "at {at} ms");
        }
    }
}
