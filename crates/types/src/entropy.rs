//! Randomness as a trait, so that a test can make ids and tokens repeatable.

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes fit for keys and tokens.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator (`getrandom(2)`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // Version 4 UUIDs carry 122 random bits from getrandom(2); taking only the 8 bytes that
        // hold no version or variant bits keeps this free of a second randomness dependency.
        for chunk in buffer.chunks_mut(7) {
            let random = uuid::Uuid::new_v4().into_bytes();
            for (to, from) in chunk.iter_mut().zip(random.iter().skip(9)) {
                *to = *from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_entropy_fills_every_byte_position_with_varied_bits() {
        let mut seen = [0u8; 32];
        for _ in 0..64 {
            let mut buffer = [0u8; 32];
            SystemEntropy.fill(&mut buffer);
            for (all, byte) in seen.iter_mut().zip(buffer) {
                *all |= byte;
            }
        }
        assert_eq!(seen, [0xff; 32]);
    }
}
