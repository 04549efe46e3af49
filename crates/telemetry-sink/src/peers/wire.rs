//! What sinks say to one another: questions as JSON, answers in the log's own encoding, packed with zstd.
//!
//! ```text
//! answer    4 bytes plain length (LE) | zstd of the plain
//! samples   version 1 | count of series | each: labels, count of samples, each: change of time, eight bytes of value
//! series    version 1 | count | labels of each
//! spans, log records: as a batch in the log (see `model::codec`)
//! ```
//!
//! Unpacking and decoding never panic. What is unpacked is at most [`MAX_PLAIN`] bytes, and series, which may be small there and not in
//! memory, are at most [`MAX_SERIES`](super::MAX_SERIES).

use serde::{Deserialize, Serialize};

use crate::head::metrics::Selected;
use crate::model::codec::{Damaged, Reader, put_f64, put_i64, put_len, put_text};
use crate::model::{Labels, MatchOp, Matcher, TraceId, hex, parse_hex};

/// Bytes of an answer as it is sent, and as it is read.
pub(crate) const MAX_PACKED: usize = 32 * 1024 * 1024;
pub(crate) const MAX_PLAIN: usize = 64 * 1024 * 1024;
const VERSION: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MatcherAsked {
    name: String,
    op: String,
    value: String,
}

/// Which series, and of which time: samples with `from < time ≤ to`, milliseconds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamplesAsked {
    matchers: Vec<MatcherAsked>,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) max_samples: usize,
}

impl SamplesAsked {
    pub(crate) fn new(matchers: &[Matcher], from: i64, to: i64, max_samples: usize) -> Self {
        let asked = |matcher: &Matcher| MatcherAsked {
            name: matcher.name.clone(),
            op: op(matcher.op).to_owned(),
            value: matcher.value.clone(),
        };
        Self { matchers: matchers.iter().map(asked).collect(), from, to, max_samples }
    }

    pub(crate) fn matchers(&self) -> Result<Vec<Matcher>, String> {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let parse = |asked: &MatcherAsked| {
            let of = ops.into_iter().find(|known| op(*known) == asked.op);
            let of = of.ok_or_else(|| format!("there is no comparison {:?}", asked.op))?;
            Matcher::new(&asked.name, of, &asked.value)
        };
        self.matchers.iter().map(parse).collect()
    }
}

fn op(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

/// Which trace.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceAsked {
    trace_id: String,
}

impl TraceAsked {
    pub(crate) fn new(id: TraceId) -> Self {
        Self { trace_id: hex(&id) }
    }

    pub(crate) fn id(&self) -> Option<TraceId> {
        parse_hex(&self.trace_id)
    }
}

/// Which lines: those of a LogQL query with `from ≤ time < to`, nanoseconds, the newest or the oldest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogsAsked {
    pub(crate) query: String,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) limit: usize,
    pub(crate) forward: bool,
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_len(out, labels.len());
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

fn labels(reader: &mut Reader<'_>) -> Result<Labels, Damaged> {
    let count = reader.count()?;
    let pairs =
        (0..count).map(|_| Ok((reader.str()?, reader.str()?))).collect::<Result<Vec<_>, Damaged>>()?;
    Ok(pairs.into_iter().collect())
}

fn begin(bytes: &[u8]) -> Result<Reader<'_>, Damaged> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? == VERSION { Ok(reader) } else { Err(Damaged) }
}

fn series_count(reader: &mut Reader<'_>) -> Result<usize, Damaged> {
    reader.count().and_then(|count| if count <= super::MAX_SERIES { Ok(count) } else { Err(Damaged) })
}

pub(crate) fn put_selected(series: &[Selected]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_len(&mut out, series.len());
    for one in series {
        put_labels(&mut out, &one.labels);
        put_len(&mut out, one.samples.len());
        let mut last = 0i64;
        for (time, value) in &one.samples {
            put_i64(&mut out, time.wrapping_sub(last));
            last = *time;
            put_f64(&mut out, *value);
        }
    }
    out
}

pub(crate) fn selected(bytes: &[u8]) -> Result<Vec<Selected>, Damaged> {
    let mut reader = begin(bytes)?;
    let count = series_count(&mut reader)?;
    let mut series = Vec::new();
    for _ in 0..count {
        let labels = labels(&mut reader)?;
        let mut last = 0i64;
        let count = reader.count()?;
        let mut samples = Vec::new();
        for _ in 0..count {
            last = last.wrapping_add(reader.i64()?);
            samples.push((last, reader.f64()?));
        }
        series.push(Selected { labels, samples });
    }
    if reader.is_empty() { Ok(series) } else { Err(Damaged) }
}

pub(crate) fn put_label_sets<'a>(sets: impl ExactSizeIterator<Item = &'a Labels>) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_len(&mut out, sets.len());
    sets.for_each(|labels| put_labels(&mut out, labels));
    out
}

pub(crate) fn label_sets(bytes: &[u8]) -> Result<Vec<Labels>, Damaged> {
    let mut reader = begin(bytes)?;
    let count = series_count(&mut reader)?;
    let sets = (0..count).map(|_| labels(&mut reader)).collect::<Result<_, _>>()?;
    if reader.is_empty() { Ok(sets) } else { Err(Damaged) }
}

/// Packs an answer; nothing where it is larger than an answer may be.
pub(crate) fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(plain.len()).ok().filter(|_| plain.len() <= MAX_PLAIN)?;
    let packed = zstd::bulk::compress(plain, 1).ok()?;
    let packed = [&length.to_le_bytes(), packed.as_slice()].concat();
    (packed.len() <= MAX_PACKED).then_some(packed)
}

pub(crate) fn unpack(packed: &[u8]) -> Result<Vec<u8>, Damaged> {
    let (length, packed) = packed.split_first_chunk::<4>().ok_or(Damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Damaged)?;
    if length > MAX_PLAIN {
        return Err(Damaged);
    }
    let plain = zstd::bulk::decompress(packed, length).map_err(|_| Damaged)?;
    if plain.len() == length { Ok(plain) } else { Err(Damaged) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn samples_survive(series in prop::collection::vec((0u8..9, prop::collection::vec((any::<i64>(), any::<u64>()), 0..20)), 0..5)) {
            let sent: Vec<Selected> = series
                .into_iter()
                .map(|(n, samples)| Selected {
                    labels: [("n", n.to_string().as_str())].into_iter().collect(),
                    samples: samples.into_iter().map(|(time, bits)| (time, f64::from_bits(bits))).collect(),
                })
                .collect();
            let packed = pack(&put_selected(&sent)).unwrap();
            let back = selected(&unpack(&packed).unwrap()).unwrap();
            prop_assert_eq!(put_selected(&back), put_selected(&sent));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = unpack(&bytes);
            bytes.insert(0, VERSION);
            let _ = (selected(&bytes), label_sets(&bytes));
        }
    }

    #[test]
    fn questions_keep_their_conditions() {
        let all = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let sent: Vec<_> = all.into_iter().map(|op| Matcher::new("a", op, "b").unwrap()).collect();
        let asked = SamplesAsked::new(&sent, 1, 2, 3);
        let back: SamplesAsked = serde_json::from_slice(&serde_json::to_vec(&asked).unwrap()).unwrap();
        assert_eq!(back.matchers().unwrap(), sent);
    }
}
