//! When a failed job is tried again.

use std::time::Duration;

use quintet_types::Entropy;

/// The first retry comes within this.
const BASE: Duration = Duration::from_secs(2);
/// No retry waits longer.
const CAP: Duration = Duration::from_hours(6);

/// Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): evenly drawn from zero to
/// `BASE * 2^(attempt - 1)`, capped, so that jobs that failed together do not return together.
pub(crate) fn delay(attempt: i64, entropy: &dyn Entropy) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1).clamp(0, 31)).unwrap_or(31);
    let ceiling = BASE.saturating_mul(2u32.saturating_pow(doublings)).min(CAP);
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
        fn a_delay_stays_under_its_ceiling(attempt: i64, byte: u8) {
            let delay = delay(attempt, &Fixed(byte));
            prop_assert!(delay < CAP);
            if attempt <= 1 {
                prop_assert!(delay < BASE);
            }
        }
    }
}
