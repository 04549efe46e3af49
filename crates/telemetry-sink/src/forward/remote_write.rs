//! Remote write requests, versions 1.0 and 2.0: what [`crate::ingest`] reads, written.
//!
//! The series of a request come in the order of their labels and the samples of each in the order of time, as receivers ask
//! for it. Values keep every bit, so that a staleness marker stays one.

use std::collections::{BTreeMap, HashMap};

use crate::model::codec::put_u64;
use crate::model::matcher::all_accept;
use crate::model::{Labels, Matcher, MetricKind, MetricMeta, Sample};
use crate::otlp::{Request, fixed64, message, nested, number};

/// What is passed on of the series, and under which labels.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) external: BTreeMap<String, String>,
    pub(super) keep: Vec<Vec<Matcher>>,
    pub(super) drop: Vec<Vec<Matcher>>,
}

impl Shape {
    fn wants(&self, labels: &Labels) -> bool {
        let meets = |all: &[Vec<Matcher>]| all.iter().any(|matchers| all_accept(matchers, labels));
        (self.keep.is_empty() || meets(&self.keep)) && !meets(&self.drop)
    }

    fn shown(&self, labels: &Labels) -> Labels {
        if self.external.keys().all(|name| labels.get(name).is_some()) {
            return labels.clone();
        }
        let mut builder = labels.to_builder();
        for (name, value) in self.external.iter().filter(|(name, _)| labels.get(name).is_none()) {
            builder.set(name, value);
        }
        builder.build()
    }

    /// The wanted series in order, each with its samples in order.
    fn series(&self, samples: &[Sample]) -> BTreeMap<Labels, Vec<(i64, f64)>> {
        let mut by_labels: BTreeMap<&Labels, Vec<(i64, f64)>> = BTreeMap::new();
        for sample in samples {
            by_labels.entry(&sample.labels).or_default().push((sample.time, sample.value));
        }
        let wanted = by_labels.into_iter().filter(|(labels, _)| self.wants(labels));
        wanted
            .map(|(labels, mut samples)| {
                samples.sort_by_key(|(time, _)| *time);
                (self.shown(labels), samples)
            })
            .collect()
    }
}

/// A sample has the same form in both versions.
fn sample(out: &mut Vec<u8>, (time, value): (i64, f64)) {
    nested(out, 2, |out| {
        fixed64(out, 1, value.to_bits());
        number(out, 2, time.cast_unsigned());
    });
}

/// `prometheus.WriteRequest`s of about `limit` bytes.
pub(super) fn v1(samples: &[Sample], shape: &Shape, limit: usize) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut open = Request::default();
    for (labels, samples) in shape.series(samples) {
        for chunk in samples.chunks(limit.div_ceil(16)) {
            nested(&mut open.body, 1, |out| {
                for (name, value) in labels.iter() {
                    nested(out, 1, |out| {
                        message(out, 1, name.as_bytes());
                        message(out, 2, value.as_bytes());
                    });
                }
                for one in chunk {
                    sample(out, *one);
                }
            });
            open.items += chunk.len();
            if open.body.len() >= limit {
                requests.push(std::mem::take(&mut open));
            }
        }
    }
    requests.extend((open.items > 0).then_some(open));
    requests
}

/// The texts of a request, each once; the first is empty.
#[derive(Default)]
struct Symbols {
    known: HashMap<String, u64>,
    encoded: Vec<u8>,
}

impl Symbols {
    fn new() -> Self {
        let mut symbols = Self::default();
        symbols.number("");
        symbols
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        let number = u64::try_from(self.known.len()).unwrap_or(0);
        self.known.insert(text.to_owned(), number);
        message(&mut self.encoded, 4, text.as_bytes());
        number
    }
}

/// `io.prometheus.write.v2.Request`s of about `limit` bytes.
pub(super) fn v2(samples: &[Sample], metadata: &[MetricMeta], shape: &Shape, limit: usize) -> Vec<Request> {
    let described: HashMap<&str, &MetricMeta> =
        metadata.iter().map(|meta| (meta.name.as_str(), meta)).collect();
    let mut requests = Vec::new();
    let (mut symbols, mut series, mut items) = (Symbols::new(), Vec::new(), 0);
    for (labels, samples) in shape.series(samples) {
        let meta = described.get(labels.name()).or_else(|| described.get(family(labels.name())));
        for chunk in samples.chunks(limit.div_ceil(16)) {
            nested(&mut series, 5, |out| one_series(out, &labels, chunk, meta.copied(), &mut symbols));
            items += chunk.len();
            if symbols.encoded.len() + series.len() >= limit {
                requests.push(close(&mut symbols, &mut series, &mut items));
            }
        }
    }
    if items > 0 {
        requests.push(close(&mut symbols, &mut series, &mut items));
    }
    requests
}

fn close(symbols: &mut Symbols, series: &mut Vec<u8>, items: &mut usize) -> Request {
    let mut body = std::mem::replace(symbols, Symbols::new()).encoded;
    body.append(series);
    Request { body, items: std::mem::take(items) }
}

fn one_series(
    out: &mut Vec<u8>,
    labels: &Labels,
    samples: &[(i64, f64)],
    meta: Option<&MetricMeta>,
    symbols: &mut Symbols,
) {
    let mut references = Vec::new();
    for (name, value) in labels.iter() {
        put_u64(&mut references, symbols.number(name));
        put_u64(&mut references, symbols.number(value));
    }
    message(out, 1, &references);
    for one in samples {
        sample(out, *one);
    }
    if let Some(meta) = meta {
        let (help, unit) = (symbols.number(&meta.help), symbols.number(&meta.unit));
        nested(out, 5, |out| {
            number(out, 1, kind(meta.kind));
            number(out, 3, help);
            number(out, 4, unit);
        });
    }
}

/// The metric that a series of a histogram or a summary belongs to.
fn family(name: &str) -> &str {
    ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

fn kind(kind: MetricKind) -> u64 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::Summary => 5,
    }
}

#[cfg(test)]
mod tests;
