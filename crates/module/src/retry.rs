//! Running a transaction again after the database asked for it (deadlock, serialization
//! failure, lock timeout), a bounded number of times with full-jitter pauses.
//!
//! Only what is known to have left nothing behind is run again. A lost connection during commit
//! is not: the outcome is unknown, and the client's `Idempotency-Key` is what resolves it.

use std::time::Duration;

use quintet_types::{Entropy, SystemEntropy};

/// An error that can say whether running the whole transaction again may succeed.
pub trait Retryable {
    /// True when the database rolled the transaction back for a reason of the moment.
    fn is_retryable(&self) -> bool;
}

impl Retryable for quintet_store::Error {
    fn is_retryable(&self) -> bool {
        Self::is_retryable(self)
    }
}

/// Tries, the first included. PostgreSQL detects a deadlock after one second, so more would keep
/// a caller waiting longer than its patience.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Runs `attempt` until it succeeds, fails for good, or was tried five times.
pub async fn transaction<T, E, F, Fut>(mut attempt: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Retryable,
{
    for tried in 1..TRIES {
        match attempt().await {
            Err(error) if error.is_retryable() => {
                metrics::counter!("quintet_transaction_retries_total").increment(1);
                tokio::time::sleep(pause(tried, &SystemEntropy)).await;
            }
            done => return done,
        }
    }
    attempt().await
}

/// A pause drawn evenly from zero to a ceiling that doubles with each try, so that rivals that
/// collided once do not meet again.
fn pause(tried: u32, entropy: &dyn Entropy) -> Duration {
    let ceiling = FIRST_PAUSE.saturating_mul(1 << tried.min(6));
    let mut random = [0u8; 2];
    entropy.fill(&mut random);
    ceiling.mul_f64(f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Rolled(bool);

    impl Retryable for Rolled {
        fn is_retryable(&self) -> bool {
            self.0
        }
    }

    #[tokio::test]
    async fn a_rolled_back_transaction_runs_again_until_it_succeeds() {
        let runs = Cell::new(0);
        let answer = transaction(async || {
            runs.set(runs.get() + 1);
            if runs.get() < 3 { Err(Rolled(true)) } else { Ok(runs.get()) }
        })
        .await;
        assert_eq!(answer, Ok(3));
    }

    #[tokio::test]
    async fn a_final_error_is_not_tried_again() {
        let runs = Cell::new(0);
        let answer: Result<(), _> = transaction(async || {
            runs.set(runs.get() + 1);
            Err(Rolled(false))
        })
        .await;
        assert_eq!((answer, runs.get()), (Err(Rolled(false)), 1));
    }

    #[tokio::test]
    async fn tries_are_bounded() {
        let runs = Cell::new(0);
        let answer: Result<(), _> = transaction(async || {
            runs.set(runs.get() + 1);
            Err(Rolled(true))
        })
        .await;
        assert_eq!((answer, runs.get()), (Err(Rolled(true)), TRIES));
    }
}
