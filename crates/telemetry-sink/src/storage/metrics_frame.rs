//! The log's form of a metric batch: a dictionary of series per segment, values as changes.
//!
//! ```text
//! version 1 | new series: count, then number and labels | base time | samples: count, then
//! change of series number, change of time against the base, value
//! value: 0 as before | 1 integer change | 2 eight raw bytes
//! ```
//!
//! The dictionary and the previous values belong to one segment. The encoder starts afresh when it
//! meets another segment number, the decoder with each file; so any segment can be read, lost or
//! deleted without the others.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use crate::model::Labels;
use crate::model::codec::{Damaged, Reader, put_f64, put_i64, put_len, put_text, put_u64};

/// Series number, labels, time in milliseconds and value of a sample that goes into the log.
pub(crate) type Admitted<'a> = (u32, &'a Labels, i64, f64);

const VERSION: u8 = 1;
const SAME: u8 = 0;
const INTEGER_CHANGE: u8 = 1;
const RAW: u8 = 2;

#[derive(Default)]
pub(crate) struct MetricsEncoder {
    segment: u64,
    previous: FxHashMap<u32, u64>,
    body: Vec<u8>,
}

impl MetricsEncoder {
    pub(crate) fn encode(&mut self, segment: u64, samples: &[Admitted<'_>]) -> &[u8] {
        if self.segment != segment {
            self.segment = segment;
            self.previous.clear();
        }
        self.body.clear();
        self.body.shrink_to(1024 * 1024);
        self.body.push(VERSION);
        self.define(samples);
        let base = samples.first().map_or(0, |(_, _, time, _)| *time);
        put_i64(&mut self.body, base);
        put_len(&mut self.body, samples.len());
        let mut last_number = 0i64;
        for (number, _, time, value) in samples {
            put_i64(&mut self.body, i64::from(*number) - last_number);
            last_number = i64::from(*number);
            put_i64(&mut self.body, time.wrapping_sub(base));
            let previous = self.previous.insert(*number, value.to_bits()).unwrap_or(0);
            put_value(&mut self.body, previous, value.to_bits());
        }
        &self.body
    }

    fn define(&mut self, samples: &[Admitted<'_>]) {
        let mut new: Vec<(u32, &Labels)> = Vec::new();
        for (number, labels, _, _) in samples {
            if let Entry::Vacant(entry) = self.previous.entry(*number) {
                entry.insert(0);
                new.push((*number, labels));
            }
        }
        put_len(&mut self.body, new.len());
        for (number, labels) in new {
            put_u64(&mut self.body, number.into());
            put_len(&mut self.body, labels.len());
            for (name, value) in labels.iter() {
                put_text(&mut self.body, name);
                put_text(&mut self.body, value);
            }
        }
    }
}

fn put_value(out: &mut Vec<u8>, previous: u64, value: u64) {
    if previous == value {
        out.push(SAME);
        return;
    }
    if let (Some(from), Some(to)) = (exact_integer(previous), exact_integer(value)) {
        out.push(INTEGER_CHANGE);
        put_i64(out, to - from);
        return;
    }
    out.push(RAW);
    put_f64(out, f64::from_bits(value));
}

/// The float as an integer, where nothing (not even the sign of a zero) is lost by that.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before, the result after")]
fn exact_integer(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    if value.is_nan() || value.abs() >= 9_007_199_254_740_992.0 {
        return None;
    }
    let integer = value as i64;
    (float(integer).to_bits() == bits).then_some(integer)
}

#[expect(clippy::cast_precision_loss, reason = "only integers below 2^53 get here")]
fn float(integer: i64) -> f64 {
    integer as f64
}

#[derive(Default)]
pub(crate) struct MetricsDecoder {
    series: FxHashMap<u32, (Labels, u64)>,
}

impl MetricsDecoder {
    pub(crate) fn decode(
        &mut self,
        body: &[u8],
        mut visit: impl FnMut(&Labels, i64, f64),
    ) -> Result<(), Damaged> {
        let mut reader = Reader::new(body);
        if reader.byte()? != VERSION {
            return Err(Damaged);
        }
        self.learn(&mut reader)?;
        let base = reader.i64()?;
        let count = reader.count()?;
        let mut number = 0i64;
        for _ in 0..count {
            number = number.wrapping_add(reader.i64()?);
            let time = base.wrapping_add(reader.i64()?);
            let known = u32::try_from(number).ok().and_then(|number| self.series.get_mut(&number));
            let (labels, previous) = known.ok_or(Damaged)?;
            *previous = value(&mut reader, *previous)?;
            visit(labels, time, f64::from_bits(*previous));
        }
        if reader.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    fn learn(&mut self, reader: &mut Reader<'_>) -> Result<(), Damaged> {
        for _ in 0..reader.count()? {
            let number = u32::try_from(reader.u64()?).map_err(|_| Damaged)?;
            let count = reader.count()?;
            let pairs = (0..count)
                .map(|_| Ok((reader.str()?, reader.str()?)))
                .collect::<Result<Vec<_>, Damaged>>()?;
            self.series.insert(number, (pairs.into_iter().collect(), 0));
        }
        Ok(())
    }
}

fn value(reader: &mut Reader<'_>, previous: u64) -> Result<u64, Damaged> {
    match reader.byte()? {
        SAME => Ok(previous),
        INTEGER_CHANGE => {
            let from = exact_integer(previous).ok_or(Damaged)?;
            Ok(float(from.wrapping_add(reader.i64()?)).to_bits())
        }
        RAW => reader.f64().map(f64::to_bits),
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn samples_survive_across_frames_and_segments(
            frames in prop::collection::vec((1u64..3, prop::collection::vec((0u32..20, any::<i64>(), any_value()), 0..40)), 1..8),
        ) {
            let mut frames = frames;
            frames.sort_by_key(|(segment, _)| *segment);
            let mut encoder = MetricsEncoder::default();
            let mut decoders = HashMap::new();
            let labels: Vec<Labels> =
                (0..20).map(|n| [("n", n.to_string().as_str())].into_iter().collect()).collect();
            for (segment, samples) in frames {
                let admitted: Vec<_> =
                    samples.iter().map(|(n, t, v)| (*n, &labels[*n as usize], *t, f64::from_bits(*v))).collect();
                let body = encoder.encode(segment, &admitted);
                let decoder: &mut MetricsDecoder = decoders.entry(segment).or_default();
                let mut back = Vec::new();
                decoder.decode(body, |labels, t, v| back.push((labels.clone(), t, v.to_bits()))).unwrap();
                let sent: Vec<_> =
                    samples.iter().map(|(n, t, v)| (labels[*n as usize].clone(), *t, *v)).collect();
                prop_assert_eq!(back, sent);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let mut body = body;
            body.insert(0, VERSION);
            let _ = MetricsDecoder::default().decode(&body, |_, _, _| {});
        }
    }

    fn any_value() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (0u32..1000).prop_map(|value| f64::from(value).to_bits()),
            Just((-0.0f64).to_bits()),
            Just(crate::model::STALE_BITS),
        ]
    }
}
