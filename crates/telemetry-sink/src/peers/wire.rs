//! What sinks answer one another: in the log's own encoding, packed with zstd.
//!
//! ```text
//! answer    4 bytes plain length (LE) | zstd of the plain
//! samples   version 1 | count of series | each: labels, count of samples, each: change of time, eight bytes of value
//! series    version 1 | count | labels of each
//! traces    version 1 | count | each: 16 bytes of id, start of its newest span that was meant
//! exemplars version 1 | count of series | each: labels, count, each: labels, time, eight bytes of value
//! spans, log records: as a batch in the log (see `model::codec`)
//! ```
//!
//! Unpacking and decoding never panic. What is unpacked is at most [`MAX_PLAIN`] bytes, and series, which may be small there and not in
//! memory, are at most [`MAX_SERIES`](super::MAX_SERIES).

use std::collections::BTreeMap;

use crate::head::metrics::Selected;
use crate::model::codec::{Damaged, Reader, put_f64, put_i64, put_len, put_text};
use crate::model::{Exemplar, Labels, TraceId};

/// Bytes of an answer as it is sent, and as it is read.
pub(crate) const MAX_PACKED: usize = 32 * 1024 * 1024;
pub(crate) const MAX_PLAIN: usize = 64 * 1024 * 1024;
const VERSION: u8 = 1;

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_len(out, labels.len());
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

pub(crate) fn labels(reader: &mut Reader<'_>) -> Result<Labels, Damaged> {
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

pub(crate) fn put_traces(traces: &[(TraceId, i64)]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_len(&mut out, traces.len());
    for (id, newest) in traces {
        out.extend_from_slice(id);
        put_i64(&mut out, *newest);
    }
    out
}

pub(crate) fn traces(bytes: &[u8]) -> Result<Vec<(TraceId, i64)>, Damaged> {
    let mut reader = begin(bytes)?;
    let count = series_count(&mut reader)?;
    let traces = (0..count).map(|_| Ok((reader.array()?, reader.i64()?))).collect::<Result<_, _>>()?;
    if reader.is_empty() { Ok(traces) } else { Err(Damaged) }
}

pub(crate) fn put_exemplars(series: &BTreeMap<Labels, Vec<Exemplar>>) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_len(&mut out, series.len());
    for (labels, exemplars) in series {
        put_labels(&mut out, labels);
        put_len(&mut out, exemplars.len());
        for exemplar in exemplars {
            put_labels(&mut out, &exemplar.labels);
            put_i64(&mut out, exemplar.time);
            put_f64(&mut out, exemplar.value);
        }
    }
    out
}

pub(crate) fn exemplars(bytes: &[u8]) -> Result<Vec<Exemplar>, Damaged> {
    let mut reader = begin(bytes)?;
    let mut found = Vec::new();
    for _ in 0..series_count(&mut reader)? {
        let series = labels(&mut reader)?;
        for _ in 0..series_count(&mut reader)? {
            let labels = labels(&mut reader)?;
            let (time, value) = (reader.i64()?, reader.f64()?);
            found.push(Exemplar { series: series.clone(), labels, value, time, timed: true });
        }
        if found.len() > super::MAX_SERIES {
            return Err(Damaged);
        }
    }
    if reader.is_empty() { Ok(found) } else { Err(Damaged) }
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
            let _ = (selected(&bytes), label_sets(&bytes), traces(&bytes), exemplars(&bytes));
        }
    }

    #[test]
    fn traces_and_exemplars_survive() {
        let sent = [([7; 16], i64::MAX), ([0; 16], i64::MIN)];
        assert_eq!(traces(&put_traces(&sent)).unwrap(), sent);
        let labels = |name: &str| -> Labels { [(name, "1")].into_iter().collect() };
        let exemplar =
            Exemplar { series: labels("a"), labels: labels("trace_id"), value: 0.5, time: -3, timed: true };
        let sent = BTreeMap::from([(labels("a"), vec![exemplar.clone()]), (labels("b"), vec![])]);
        assert_eq!(exemplars(&put_exemplars(&sent)).unwrap(), [exemplar]);
    }
}
