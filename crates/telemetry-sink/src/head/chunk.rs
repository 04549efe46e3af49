//! Compressed runs of samples, after Gorilla (Pelkonen et al., VLDB 2015) in Prometheus' variant:
//! times as delta of delta, values as XOR with the one before.
//!
//! A regular, unchanging series costs two bits a sample. A chunk is append-only, its times strictly
//! ascending; reading needs the count because the last byte is padded.

use std::sync::Arc;

/// Samples in a full chunk: large enough to amortise the header, small enough that a query of a few
/// minutes decodes little it does not need.
pub(crate) const SAMPLES_PER_CHUNK: u32 = 240;

/// A finished chunk.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) first: i64,
    pub(crate) last: i64,
    count: u32,
    /// Shared with those who read it while the head goes on.
    bits: Arc<[u8]>,
}

impl Chunk {
    pub(crate) fn iter(&self) -> Samples<'_> {
        Samples::new(&self.bits, self.count)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bits.len() + size_of::<Self>()
    }
}

/// The chunk a series is being appended to.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenChunk {
    bits: BitWriter,
    count: u32,
    first: i64,
    last: i64,
    delta: i64,
    value: u64,
    window: Option<Window>,
}

/// The meaningful bits of the last XOR that was written out in full.
#[derive(Debug, Clone, Copy)]
struct Window {
    leading: u32,
    trailing: u32,
}

impl OpenChunk {
    pub(crate) fn is_full(&self) -> bool {
        self.count >= SAMPLES_PER_CHUNK
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn first(&self) -> i64 {
        self.first
    }

    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bits.bytes.capacity()
    }

    pub(crate) fn iter(&self) -> Samples<'_> {
        Samples::new(&self.bits.bytes, self.count)
    }

    /// Appends a sample later than all before it.
    pub(crate) fn push(&mut self, time: i64, value: f64) {
        let raw = value.to_bits();
        match self.count {
            0 => {
                self.first = time;
                self.bits.put(time.cast_unsigned(), 64);
                self.bits.put(raw, 64);
            }
            count => {
                let delta = time.wrapping_sub(self.last);
                if count == 1 {
                    self.bits.put(delta.cast_unsigned(), 64);
                } else {
                    self.put_delta_of_delta(delta.wrapping_sub(self.delta));
                }
                self.delta = delta;
                self.put_xor(raw ^ self.value);
            }
        }
        self.last = time;
        self.value = raw;
        self.count += 1;
    }

    fn put_delta_of_delta(&mut self, change: i64) {
        for (prefix, prefix_bits, bits) in [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)] {
            if change == 0 {
                break;
            }
            if fits(change, bits) {
                self.bits.put(prefix, prefix_bits);
                self.bits.put(change.cast_unsigned(), bits);
                return;
            }
        }
        if change == 0 {
            self.bits.put(0, 1);
        } else {
            self.bits.put(0b1111, 4);
            self.bits.put(change.cast_unsigned(), 64);
        }
    }

    fn put_xor(&mut self, xor: u64) {
        if xor == 0 {
            self.bits.put(0, 1);
            return;
        }
        self.bits.put(1, 1);
        // Five bits hold the leading zeros, so at most 31 of them count.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if let Some(window) = self.window
            && leading >= window.leading
            && trailing >= window.trailing
        {
            self.bits.put(0, 1);
            self.bits.put(xor >> window.trailing, 64 - window.leading - window.trailing);
            return;
        }
        let significant = 64 - leading - trailing;
        self.bits.put(1, 1);
        self.bits.put(leading.into(), 5);
        // 64 does not fit six bits and 0 cannot occur, so 0 stands for 64.
        self.bits.put((significant & 63).into(), 6);
        self.bits.put(xor >> trailing, significant);
        self.window = Some(Window { leading, trailing });
    }

    /// Ends the chunk and leaves an empty one.
    pub(crate) fn seal(&mut self) -> Chunk {
        let ended = std::mem::take(self);
        Chunk { first: ended.first, last: ended.last, count: ended.count, bits: ended.bits.bytes.into() }
    }
}

fn fits(value: i64, bits: u32) -> bool {
    let half = 1i64 << (bits - 1);
    (-half..half).contains(&value)
}

#[derive(Debug, Clone, Default)]
struct BitWriter {
    bytes: Vec<u8>,
    /// Unused low bits of the last byte.
    free: u32,
}

impl BitWriter {
    /// Appends the low `count` bits of `value`, most significant first.
    fn put(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let piece = (value >> (left - take)) & ((1u64 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::try_from(piece << (self.free - take)).unwrap_or(0);
            }
            self.free -= take;
            left -= take;
        }
    }
}

#[derive(Debug, Clone)]
struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl BitReader<'_> {
    fn take(&mut self, count: u32) -> Option<u64> {
        let mut value = 0u64;
        let mut left = count;
        while left > 0 {
            let byte = *self.bytes.get(self.position / 8)?;
            let used = u32::try_from(self.position % 8).ok()?;
            let take = left.min(8 - used);
            let piece = (u64::from(byte) >> (8 - used - take)) & ((1u64 << take) - 1);
            value = if take == 64 { piece } else { (value << take) | piece };
            self.position += usize::try_from(take).ok()?;
            left -= take;
        }
        Some(value)
    }

    fn signed(&mut self, count: u32) -> Option<i64> {
        let raw = self.take(count)?;
        let shift = 64 - count;
        Some((raw << shift).cast_signed() >> shift)
    }
}

/// Decodes a chunk's samples in order.
#[derive(Debug, Clone)]
pub(crate) struct Samples<'a> {
    bits: BitReader<'a>,
    left: u32,
    read: u32,
    time: i64,
    delta: i64,
    value: u64,
    window: Window,
}

impl<'a> Samples<'a> {
    fn new(bytes: &'a [u8], count: u32) -> Self {
        Self {
            bits: BitReader { bytes, position: 0 },
            left: count,
            read: 0,
            time: 0,
            delta: 0,
            value: 0,
            window: Window { leading: 0, trailing: 0 },
        }
    }

    fn decode(&mut self) -> Option<()> {
        match self.read {
            0 => {
                self.time = self.bits.take(64)?.cast_signed();
                self.value = self.bits.take(64)?;
                return Some(());
            }
            1 => self.delta = self.bits.take(64)?.cast_signed(),
            _ => self.delta = self.delta.wrapping_add(self.delta_of_delta()?),
        }
        self.time = self.time.wrapping_add(self.delta);
        self.value ^= self.xor()?;
        Some(())
    }

    fn delta_of_delta(&mut self) -> Option<i64> {
        for bits in [0, 14, 17, 20] {
            if self.bits.take(1)? == 0 {
                return if bits == 0 { Some(0) } else { self.bits.signed(bits) };
            }
        }
        self.bits.signed(64)
    }

    fn xor(&mut self) -> Option<u64> {
        if self.bits.take(1)? == 0 {
            return Some(0);
        }
        if self.bits.take(1)? == 1 {
            let leading = u32::try_from(self.bits.take(5)?).ok()?;
            let significant = match u32::try_from(self.bits.take(6)?).ok()? {
                0 => 64,
                bits => bits,
            };
            let trailing = 64u32.checked_sub(leading)?.checked_sub(significant)?;
            self.window = Window { leading, trailing };
        }
        let significant = 64 - self.window.leading - self.window.trailing;
        Some(self.bits.take(significant)? << self.window.trailing)
    }
}

impl Iterator for Samples<'_> {
    type Item = (i64, f64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.decode()?;
        self.left -= 1;
        self.read += 1;
        Some((self.time, f64::from_bits(self.value)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(samples: &[(i64, u64)]) {
        let mut open = OpenChunk::default();
        for (time, bits) in samples {
            open.push(*time, f64::from_bits(*bits));
        }
        let back = |samples: Samples<'_>| samples.map(|(t, v)| (t, v.to_bits())).collect::<Vec<_>>();
        assert_eq!(back(open.iter()), samples);
        assert_eq!(back(open.seal().iter()), samples);
    }

    proptest! {
        #[test]
        fn any_ascending_samples_survive(steps in prop::collection::vec((1i64..5_000_000, any::<u64>()), 0..300),
                                         start in -1_000_000i64..4_000_000_000_000) {
            let mut time = start;
            let samples: Vec<_> = steps.into_iter().map(|(step, bits)| { time += step; (time, bits) }).collect();
            round_trip(&samples);
        }

        #[test]
        fn realistic_counters_survive(increments in prop::collection::vec(0u32..100, 1..300)) {
            let (mut time, mut value) = (1_700_000_000_000i64, 0.0f64);
            let samples: Vec<_> = increments.into_iter().map(|step| {
                time += 15_000 + i64::from(step % 3);
                value += f64::from(step);
                (time, value.to_bits())
            }).collect();
            round_trip(&samples);
        }
    }

    #[test]
    fn extreme_gaps_and_values_survive() {
        round_trip(&[(i64::MIN, 0), (0, u64::MAX), (1, 1), (i64::MAX, 1 << 63)]);
    }

    #[test]
    fn an_unchanging_regular_series_costs_about_two_bits_a_sample() {
        let mut open = OpenChunk::default();
        for step in 0..240 {
            open.push(step * 15_000, 42.0);
        }
        assert!(open.seal().bits.len() < 24 + 240 / 4 + 4);
    }
}
