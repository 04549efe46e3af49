//! When a failed job is tried again.

use std::time::Duration;

use quintet_types::Entropy;

/// The time until a failed job's next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backoff {
    /// Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): evenly drawn from zero to
    /// `base * 2^(attempt - 1)`, capped, so that jobs that failed together do not return together.
    FullJitter {
        /// The first retry comes within this.
        base: Duration,
        /// No retry waits longer.
        cap: Duration,
    },
    /// These in turn, the last one for every further attempt; a list of one is a fixed delay.
    Delays(Vec<Duration>),
}

impl Default for Backoff {
    fn default() -> Self {
        Self::FullJitter { base: Duration::from_secs(2), cap: Duration::from_hours(6) }
    }
}

impl Backoff {
    /// How long to wait after `attempt`, counted from 1, has failed.
    pub(crate) fn delay(&self, attempt: i64, entropy: &dyn Entropy) -> Duration {
        let failed_before = attempt.saturating_sub(1).max(0);
        match self {
            Self::FullJitter { base, cap } => jittered(*base, *cap, failed_before, entropy),
            Self::Delays(delays) => {
                let place = usize::try_from(failed_before).unwrap_or(usize::MAX);
                delays.get(place).or(delays.last()).copied().unwrap_or(Duration::ZERO)
            }
        }
    }
}

fn jittered(base: Duration, cap: Duration, failed_before: i64, entropy: &dyn Entropy) -> Duration {
    let doublings = u32::try_from(failed_before.min(31)).unwrap_or(31);
    let ceiling = base.saturating_mul(2u32.saturating_pow(doublings)).min(cap);
    let mut random = [0u8; 8];
    entropy.fill(&mut random);
    let ceiling_micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(u64::from_be_bytes(random) % ceiling_micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    proptest! {
        #[test]
        fn a_delay_stays_under_its_ceiling(attempt: i64, byte: u8, base in 1u64..100, cap in 1u64..10_000) {
            let (base, cap) = (Duration::from_secs(base), Duration::from_secs(cap));
            let delay = Backoff::FullJitter { base, cap }.delay(attempt, &Fixed(byte));
            prop_assert!(delay < cap);
            if attempt <= 1 {
                prop_assert!(delay < base);
            }
        }
    }

    #[test]
    fn listed_delays_are_taken_in_turn_and_the_last_stays() {
        let listed = Backoff::Delays([1, 5, 60].map(Duration::from_secs).to_vec());
        let delays = [1, 2, 3, 4, i64::MAX].map(|attempt| listed.delay(attempt, &Fixed(0)).as_secs());
        assert_eq!(delays, [1, 5, 60, 60, 60]);
    }
}
