//! What was heard since the start, or since the last interval, by key.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::StatsdSection;
use super::line::{Kind, Line, parse};
use crate::ingest::naming::label_name;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MetricBatch, MetricKind, MetricMeta, Sample, stale};

/// Members of one set that are told apart in an interval.
const MAX_MEMBERS: usize = 10_000;
/// Members of all sets together that are told apart in an interval: about 4 MiB.
const MAX_MEMBERS_TOGETHER: usize = 200_000;
const MAX_TAGS: usize = 32;
/// Intervals without a word after which a key is forgotten: an hour, at ten seconds each.
const FORGET: u32 = 360;
const JOB: &str = "statsd";

#[derive(Debug)]
enum Value {
    Counter(f64),
    Gauge(f64),
    Histogram { counts: Vec<f64>, sum: f64, count: f64 },
    Set(HashSet<u64>),
}

#[derive(Debug)]
struct Entry {
    base: LabelsBuilder,
    value: Value,
    silent: u32,
}

/// The values of all keys.
#[derive(Debug)]
pub(crate) struct Aggregate {
    entries: HashMap<Labels, Entry>,
    max_keys: usize,
    buckets: Vec<f64>,
    /// Members of all sets since the last interval.
    members: usize,
}

impl Aggregate {
    pub(crate) fn new(section: &StatsdSection) -> Self {
        let mut buckets = section.buckets.clone();
        buckets.sort_by(f64::total_cmp);
        buckets.dedup();
        Self { entries: HashMap::new(), max_keys: section.max_keys, buckets, members: 0 }
    }

    /// Takes in the lines of a datagram.
    pub(crate) fn take(&mut self, datagram: &[u8]) {
        let text = String::from_utf8_lossy(datagram);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // Events and service checks of DogStatsD are no metrics.
            let taken = line.starts_with("_e{") || line.starts_with("_sc|") || self.line(line);
            if !taken {
                metrics::counter!("quintet_sink_statsd_dropped_total").increment(1);
            }
        }
    }

    fn line(&mut self, line: &str) -> bool {
        let Some(line) = parse(line).filter(|_| line.len() <= MAX_LINE) else { return false };
        let base = labels(&line);
        let key = base.build();
        if !self.entries.contains_key(&key) && self.entries.len() >= self.max_keys {
            return false;
        }
        let buckets = &self.buckets;
        let fresh = || Entry { base, value: start(line.kind, buckets.len()), silent: 0 };
        let entry = self.entries.entry(key).or_insert_with(fresh);
        entry.silent = 0;
        let members = &mut self.members;
        line.values.split(':').all(|value| add(&mut entry.value, &line, value, buckets, members))
    }

    /// This interval's samples.
    pub(crate) fn flush(&mut self, now: Timestamp) -> MetricBatch {
        let mut writer = Writer { batch: MetricBatch::default(), time: now.as_millisecond(), ended: false };
        let buckets = &self.buckets;
        self.entries.retain(|_, entry| {
            entry.silent += 1;
            writer.ended = entry.silent > FORGET;
            writer.entry(entry, buckets);
            if let Value::Set(members) = &mut entry.value {
                *members = HashSet::default();
            }
            !writer.ended
        });
        self.members = 0;
        writer.batch
    }
}

/// A longer line is dropped: names and tags are kept for as long as their key is.
const MAX_LINE: usize = 2048;

fn labels(line: &Line<'_>) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    for (name, value) in line.tags().take(MAX_TAGS) {
        labels.set(&label_name(name), value);
    }
    let name = label_name(line.name);
    let name = match line.kind {
        Kind::Counter if !name.ends_with("_total") => format!("{name}_total"),
        Kind::Timer if !name.ends_with("_seconds") => format!("{name}_seconds"),
        _ => name,
    };
    labels.set(METRIC_NAME, &name);
    labels.set("job", JOB);
    labels
}

fn start(kind: Kind, buckets: usize) -> Value {
    match kind {
        Kind::Counter => Value::Counter(0.0),
        Kind::Gauge => Value::Gauge(0.0),
        Kind::Timer | Kind::Histogram => {
            Value::Histogram { counts: vec![0.0; buckets], sum: 0.0, count: 0.0 }
        }
        Kind::Set => Value::Set(HashSet::new()),
    }
}

fn add(value: &mut Value, line: &Line<'_>, text: &str, buckets: &[f64], together: &mut usize) -> bool {
    if let Value::Set(members) = value {
        return line.kind == Kind::Set && insert(members, text, together);
    }
    let Some(number) = text.trim().parse::<f64>().ok().filter(|number| number.is_finite()) else {
        return false;
    };
    match (value, line.kind) {
        (Value::Counter(total), Kind::Counter) if number >= 0.0 => *total += number / line.rate,
        (Value::Gauge(gauge), Kind::Gauge) if text.starts_with(['+', '-']) => *gauge += number,
        (Value::Gauge(gauge), Kind::Gauge) => *gauge = number,
        (Value::Histogram { counts, sum, count }, Kind::Timer | Kind::Histogram) => {
            let number = if line.kind == Kind::Timer { number / 1000.0 } else { number };
            let weight = line.rate.recip();
            if let Some(bucket) = counts.get_mut(buckets.partition_point(|bound| *bound < number)) {
                *bucket += weight;
            }
            *sum += number * weight;
            *count += weight;
        }
        // One name used as two kinds: the first stays.
        _ => return false,
    }
    true
}

/// Members are told apart by their hash, so that long ones cost no more.
fn insert(members: &mut HashSet<u64>, text: &str, together: &mut usize) -> bool {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let hash = hasher.finish();
    if members.contains(&hash) {
        return true;
    }
    if members.len() >= MAX_MEMBERS || *together >= MAX_MEMBERS_TOGETHER {
        return false;
    }
    *together += 1;
    members.insert(hash)
}

struct Writer {
    batch: MetricBatch,
    time: i64,
    /// Whether the key is forgotten, so that its series end.
    ended: bool,
}

impl Writer {
    #[expect(clippy::cast_precision_loss, reason = "a set is bounded")]
    fn entry(&mut self, entry: &Entry, buckets: &[f64]) {
        let labels = entry.base.build();
        let name = labels.name().to_owned();
        let kind = match &entry.value {
            Value::Counter(_) => MetricKind::Counter,
            Value::Gauge(_) | Value::Set(_) => MetricKind::Gauge,
            Value::Histogram { .. } => MetricKind::Histogram,
        };
        if self.batch.metadata.last().is_none_or(|last| last.name != name) {
            self.batch.metadata.push(MetricMeta { name: name.clone(), kind, ..MetricMeta::default() });
        }
        match &entry.value {
            Value::Counter(value) | Value::Gauge(value) => self.sample(&entry.base, &name, None, *value),
            Value::Set(members) => self.sample(&entry.base, &name, None, members.len() as f64),
            Value::Histogram { counts, sum, count } => {
                let bucket = format!("{name}_bucket");
                let mut total = 0.0;
                for (bound, count) in buckets.iter().zip(counts) {
                    total += count;
                    self.sample(&entry.base, &bucket, Some(&bound.to_string()), total);
                }
                self.sample(&entry.base, &bucket, Some("+Inf"), *count);
                self.sample(&entry.base, &format!("{name}_sum"), None, *sum);
                self.sample(&entry.base, &format!("{name}_count"), None, *count);
            }
        }
    }

    fn sample(&mut self, base: &LabelsBuilder, name: &str, bound: Option<&str>, value: f64) {
        let mut labels = base.clone();
        labels.set(METRIC_NAME, name);
        if let Some(bound) = bound {
            labels.set("le", bound);
        }
        let value = if self.ended { stale() } else { value };
        self.batch.samples.push(Sample { labels: labels.build(), time: self.time, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_bounded_together_and_each_interval_begins_anew() {
        let mut aggregate = Aggregate::new(&StatsdSection::default());
        for member in 0..MAX_MEMBERS_TOGETHER + 10 {
            aggregate.take(format!("users:{member}|s|#shard:{}", member / 8000).as_bytes());
        }
        let told = |batch: &MetricBatch| batch.samples.iter().map(|sample| sample.value).sum::<f64>();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(told(&aggregate.flush(now)).to_string(), MAX_MEMBERS_TOGETHER.to_string());
        aggregate.take(b"users:1|s|#shard:0");
        assert_eq!(told(&aggregate.flush(now)).to_string(), "1");
    }
}
