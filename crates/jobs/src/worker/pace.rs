//! Work that comes bit by bit is done in groups: a transaction for each job costs the database more than the job.

use std::time::{Duration, Instant};

/// Keeps turns at least a gap apart. What comes after a pause has its turn at once.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(gap: Duration) -> Self {
        Self { gap, next: None }
    }

    /// Waits until it is time for the next turn.
    pub(super) async fn turn(&mut self) {
        let wait = self.wait(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&mut self, now: Instant) -> Duration {
        let turn = self.next.map_or(now, |next| next.max(now));
        self.next = Some(turn + self.gap);
        turn.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_a_gap_apart_and_the_first_after_a_pause_comes_at_once() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(10));
        let begun = Instant::now();
        for (at, wait) in [(0, 0), (0, 10), (12, 8), (50, 0), (57, 3), (70, 0)] {
            assert_eq!(pace.wait(begun + ms(at)), ms(wait), "at {at} ms");
        }
    }
}
