//! Series in memory: a label index over compressed chunks.
//!
//! Layout: each series has a number that is never reused; `index` maps label name → value → sorted
//! series numbers, and its keys are the interned strings that the series' labels share.
//!
//! [`MetricsHead::freeze`] sets apart all samples to be written out as a part; they stay readable until
//! [`MetricsHead::written`] says that the part is there. A series stays known for a while after that.
//!
//! Invariants: samples of a chunk are strictly ascending in time; those that come out of order are kept
//! beside the chunks within a window, older ones are refused, exact repeats are swallowed; the limits
//! refuse new series and never a sample of an existing one; `series_bytes` and `sample_bytes` follow every
//! allocation of labels, index entries and samples closely.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::chunk::{Chunk, OpenChunk};
use crate::model::matcher::all_accept;
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, MetricMeta, put_in_order};

/// A gone series (a restarted process' old labels, say) may be dropped for a new one after this.
const IDLE_MILLIS: i64 = 15 * 60 * 1000;
/// Samples out of order that a series keeps until they are written out: each has to find its place.
const MAX_LATE: usize = 4096;
const MAX_METADATA: usize = 10_000;
const MAX_METADATA_TEXT: usize = 512;

/// How many series may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeriesLimits {
    pub(crate) total: usize,
    pub(crate) per_metric: usize,
    /// How much older than the newest of its series a sample may be, in milliseconds.
    pub(crate) late_millis: i64,
}

/// Why a new series was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooManySeries,
    TooManyOfMetric,
    /// Labels alone would use up the memory that samples need.
    NoMemory,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    New,
    /// Out of order, but within the window.
    Late,
    /// The same value at the same time is already there.
    Repeat,
    /// Older than the window, or another value is there at this time.
    OutOfOrder,
}

struct Series {
    labels: Labels,
    key: u128,
    /// The first `frozen` of them are being written out.
    chunks: VecDeque<Chunk>,
    frozen: usize,
    open: OpenChunk,
    /// Samples that came out of order, ascending, and how many of them are being written out.
    late: Vec<(i64, f64)>,
    frozen_late: Vec<(i64, f64)>,
    /// The newest sample in order, kept also once it was written out.
    last: Option<(i64, f64)>,
}

impl Series {
    fn new(labels: Labels, key: u128) -> Self {
        Self {
            labels,
            key,
            chunks: VecDeque::new(),
            frozen: 0,
            open: OpenChunk::default(),
            late: Vec::new(),
            frozen_late: Vec::new(),
            last: None,
        }
    }

    fn last_time(&self) -> Option<i64> {
        self.last.map(|(time, _)| time)
    }

    /// Whether memory holds any of its samples.
    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.open.is_empty() && self.late.is_empty() && self.frozen_late.is_empty()
    }

    fn first_time(&self) -> Option<i64> {
        let open = (!self.open.is_empty()).then(|| self.open.first());
        let late = self.late.first().into_iter().chain(self.frozen_late.first()).map(|(time, _)| *time);
        self.chunks.front().map(|chunk| chunk.first).or(open).into_iter().chain(late).min()
    }

    fn late_bytes(&self) -> usize {
        (self.late.capacity() + self.frozen_late.capacity()) * size_of::<(i64, f64)>()
    }

    /// The value at a time, as far as memory holds it.
    fn value_at(&self, time: i64) -> Option<f64> {
        let found = |samples: &[(i64, f64)]| {
            let place = samples.binary_search_by_key(&time, |(known, _)| *known).ok()?;
            samples.get(place).copied()
        };
        let late = found(&self.late).or_else(|| found(&self.frozen_late));
        let in_order = || {
            let chunk = self.chunks.iter().find(|chunk| chunk.first <= time && time <= chunk.last);
            let samples = chunk.map_or_else(|| self.open.iter(), Chunk::iter);
            samples.into_iter().find(|(known, _)| *known == time).map(|(_, value)| value)
        };
        late.map(|(_, value)| value).or_else(in_order)
    }

    fn fixed_bytes(&self) -> usize {
        // The series, its map entries, and per label two shared pointers and a postings entry.
        size_of::<Self>() + 96 + self.labels.len() * (size_of::<(Arc<str>, Arc<str>)>() + 8)
    }
}

/// A series' samples within the asked range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selected {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, f64)>,
}

/// The query would read more samples than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManySamples;

/// The series whose samples were set apart, in the order of a part.
pub(crate) struct Frozen {
    pub(crate) numbers: Vec<(Labels, u32)>,
}

pub(crate) struct MetricsHead {
    limits: SeriesLimits,
    share: usize,
    hashers: [RandomState; 2],
    // Keys are random already, numbers and addresses are the sink's own: nobody can aim at a slow map.
    by_key: FxHashMap<u128, u32>,
    /// By the address of the labels that the series itself holds, which no others can have meanwhile.
    by_address: FxHashMap<usize, u32>,
    series: FxHashMap<u32, Series>,
    next: u32,
    index: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>>,
    metadata: BTreeMap<String, MetricMeta>,
    /// Memory of labels and index, and of samples.
    series_bytes: usize,
    sample_bytes: usize,
}

impl MetricsHead {
    /// A head that keeps itself within `share` bytes.
    pub(crate) fn new(share: usize, limits: SeriesLimits) -> Self {
        Self {
            limits,
            share,
            hashers: [RandomState::new(), RandomState::new()],
            by_key: FxHashMap::default(),
            by_address: FxHashMap::default(),
            series: FxHashMap::default(),
            next: 0,
            index: BTreeMap::new(),
            metadata: BTreeMap::new(),
            series_bytes: 0,
            sample_bytes: 0,
        }
    }

    /// Memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.series_bytes + self.sample_bytes
    }

    /// Whether samples take so much of the memory that labels leave them that they should be written out.
    pub(crate) fn is_large(&self) -> bool {
        self.sample_bytes > self.share.saturating_sub(self.series_bytes) / 2
    }

    pub(crate) fn series_count(&self) -> usize {
        self.series.len()
    }

    /// The series' number, made if it is new and the limits allow one more.
    pub(crate) fn resolve(&mut self, labels: &Labels, now: i64) -> Result<u32, Refusal> {
        if let Some(number) = self.by_address.get(&labels.address()) {
            return Ok(*number);
        }
        let key = self.key(labels);
        if let Some(number) = self.by_key.get(&key) {
            return Ok(*number);
        }
        if self.series.len() >= self.limits.total {
            self.drop_idle(now - IDLE_MILLIS);
            if self.series.len() >= self.limits.total {
                return Err(Refusal::TooManySeries);
            }
        }
        let of_metric =
            self.index.get(METRIC_NAME).and_then(|names| names.get(labels.name())).map_or(0, Vec::len);
        if of_metric >= self.limits.per_metric {
            return Err(Refusal::TooManyOfMetric);
        }
        // The other half is for samples: else the head would be written out all the time.
        if self.series_bytes >= self.share / 2 {
            return Err(Refusal::NoMemory);
        }
        Ok(self.insert(key, labels))
    }

    /// The number of a series that was acknowledged before, whatever the limits say now.
    pub(crate) fn restore(&mut self, labels: &Labels) -> u32 {
        let key = self.key(labels);
        self.by_key.get(&key).copied().unwrap_or_else(|| self.insert(key, labels))
    }

    /// Both halves are keyed at random per process, so that nobody can aim for a collision.
    fn key(&self, labels: &Labels) -> u128 {
        let [low, high] = &self.hashers;
        (u128::from(high.hash_one(labels.shared())) << 64) | u128::from(low.hash_one(labels.shared()))
    }

    fn insert(&mut self, key: u128, labels: &Labels) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let mut interned = Vec::with_capacity(labels.len());
        for (name, value) in labels.shared() {
            let name = if let Some((known, _)) = self.index.get_key_value(name) {
                Arc::clone(known)
            } else {
                self.series_bytes += name.len() + 64;
                Arc::clone(name)
            };
            let values = self.index.entry(Arc::clone(&name)).or_default();
            let value = if let Some((known, _)) = values.get_key_value(value) {
                Arc::clone(known)
            } else {
                self.series_bytes += value.len() + 80;
                Arc::clone(value)
            };
            values.entry(Arc::clone(&value)).or_default().push(number);
            interned.push((name, value));
        }
        let labels = Labels::from_sorted(interned);
        let series = Series::new(labels, key);
        self.series_bytes += series.fixed_bytes();
        self.by_key.insert(key, number);
        self.by_address.insert(series.labels.address(), number);
        self.series.insert(number, series);
        number
    }

    /// The labels that a series with equal ones shares with whoever asks; [`MetricsHead::resolve`] knows them at once.
    pub(crate) fn shared_labels(&self, labels: &Labels) -> Option<&Labels> {
        self.by_key.get(&self.key(labels)).and_then(|number| self.labels(*number))
    }

    /// Whether a sample of a series would be stored.
    pub(crate) fn admits(&self, number: u32, time: i64, value: f64) -> Admission {
        let Some(series) = self.series.get(&number) else { return Admission::OutOfOrder };
        let Some((newest, newest_value)) = series.last else { return Admission::New };
        if time > newest {
            return Admission::New;
        }
        if time < newest.saturating_sub(self.limits.late_millis) {
            return Admission::OutOfOrder;
        }
        let known = if time == newest { Some(newest_value) } else { series.value_at(time) };
        match known {
            None if series.late.len() < MAX_LATE => Admission::Late,
            Some(known) if known.to_bits() == value.to_bits() => Admission::Repeat,
            _ => Admission::OutOfOrder,
        }
    }

    /// Stores a sample that [`MetricsHead::admits`].
    pub(crate) fn append(&mut self, number: u32, time: i64, value: f64) -> Admission {
        let admission = self.admits(number, time, value);
        let Some(series) = self.series.get_mut(&number) else { return Admission::OutOfOrder };
        let before = series.open.bytes() + series.late_bytes();
        match admission {
            Admission::New => {
                if series.open.is_full() {
                    let chunk = series.open.seal();
                    self.sample_bytes += chunk.bytes();
                    series.chunks.push_back(chunk);
                }
                series.open.push(time, value);
                series.last = Some((time, value));
            }
            Admission::Late => {
                let place = series.late.partition_point(|(known, _)| *known < time);
                series.late.insert(place, (time, value));
            }
            Admission::Repeat | Admission::OutOfOrder => return admission,
        }
        self.sample_bytes =
            (self.sample_bytes + series.open.bytes() + series.late_bytes()).saturating_sub(before);
        admission
    }

    /// Whether there is no room for more samples before some are written out.
    pub(crate) fn is_over_share(&self) -> bool {
        self.bytes() > self.share
    }

    /// Sets apart all samples there are, to be written out. What an earlier call set apart and nobody has
    /// [written](MetricsHead::written) is part of it.
    pub(crate) fn freeze(&mut self) -> Frozen {
        let mut numbers = Vec::new();
        for (number, series) in &mut self.series {
            self.sample_bytes = self.sample_bytes.saturating_sub(series.open.bytes() + series.late_bytes());
            if !series.open.is_empty() {
                let chunk = series.open.seal();
                self.sample_bytes += chunk.bytes();
                series.chunks.push_back(chunk);
            }
            series.frozen = series.chunks.len();
            series.frozen_late.append(&mut series.late);
            series.frozen_late.sort_by_key(|(time, _)| *time);
            series.late = Vec::new();
            self.sample_bytes += series.late_bytes();
            if series.frozen > 0 || !series.frozen_late.is_empty() {
                numbers.push((series.labels.clone(), *number));
            }
        }
        numbers.sort_unstable_by(|(left, _), (right, _)| Labels::by_metric(left, right));
        Frozen { numbers }
    }

    /// The samples of a series that were set apart.
    pub(crate) fn frozen_samples(&self, number: u32) -> Vec<(i64, f64)> {
        let Some(series) = self.series.get(&number) else { return Vec::new() };
        let mut samples: Vec<_> = series.chunks.iter().take(series.frozen).flat_map(Chunk::iter).collect();
        samples.extend_from_slice(&series.frozen_late);
        put_in_order(&mut samples);
        samples
    }

    /// Forgets what was set apart, and the series that have had no sample for a while.
    pub(crate) fn written(&mut self, now: i64) {
        let mut ended = Vec::new();
        for (number, series) in &mut self.series {
            let gone = series.chunks.drain(..series.frozen.min(series.chunks.len()));
            let freed = gone.map(|chunk| chunk.bytes()).sum::<usize>();
            let late = series.late_bytes();
            series.frozen = 0;
            series.frozen_late = Vec::new();
            self.sample_bytes = (self.sample_bytes + series.late_bytes()).saturating_sub(freed + late);
            if series.is_empty() && series.last_time().is_some_and(|last| last < now - IDLE_MILLIS) {
                ended.push(*number);
            }
        }
        self.remove(&ended);
    }

    /// Series without any sample stay: they may belong to the batch that is being resolved. So do those
    /// whose samples were not written out yet.
    fn drop_idle(&mut self, cutoff: i64) {
        let idle: Vec<u32> = self
            .series
            .iter()
            .filter(|(_, series)| series.is_empty() && series.last_time().is_some_and(|last| last < cutoff))
            .map(|(number, _)| *number)
            .collect();
        self.remove(&idle);
    }

    fn remove(&mut self, numbers: &[u32]) {
        if numbers.is_empty() {
            return;
        }
        let gone: std::collections::HashSet<u32> = numbers.iter().copied().collect();
        let (mut freed, mut samples) = (0, 0);
        for number in numbers {
            if let Some(series) = self.series.remove(number) {
                self.by_key.remove(&series.key);
                self.by_address.remove(&series.labels.address());
                freed += series.fixed_bytes();
                samples += series.open.bytes() + series.late_bytes();
                samples += series.chunks.iter().map(Chunk::bytes).sum::<usize>();
            }
        }
        self.index.retain(|name, values| {
            values.retain(|value, numbers| {
                numbers.retain(|number| !gone.contains(number));
                if numbers.is_empty() {
                    freed += value.len() + 80;
                }
                !numbers.is_empty()
            });
            if values.is_empty() {
                freed += name.len() + 64;
            }
            !values.is_empty()
        });
        self.series_bytes = self.series_bytes.saturating_sub(freed);
        self.sample_bytes = self.sample_bytes.saturating_sub(samples);
    }

    /// The series that meet all matchers and have samples with `from < time ≤ to`, in the order of a part. They stay as they are
    /// while the head goes on.
    pub(crate) fn snapshot(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Held> {
        let held = self.matching(matchers).filter_map(|series| Held::of(series, from, to));
        let mut held: Vec<Held> = held.collect();
        held.sort_unstable_by(|left, right| Labels::by_metric(&left.labels, &right.labels));
        held
    }

    /// The series that meet all matchers and have samples with `from < time ≤ to`, in label order.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let mut left = max_samples;
        let mut found = Vec::new();
        for held in self.snapshot(matchers, from, to) {
            let samples = held.samples(from, to);
            left = left.checked_sub(samples.len()).ok_or(TooManySamples)?;
            found.push(Selected { labels: held.labels, samples });
        }
        found.sort_unstable_by(|left, right| left.labels.cmp(&right.labels));
        Ok(found)
    }

    /// The label sets that meet the matchers and overlap the time range, in order.
    pub(crate) fn label_sets(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Labels> {
        let mut found: Vec<Labels> = self
            .matching(matchers)
            .filter(|series| {
                series.last_time().is_some_and(|last| last >= from)
                    && series.first_time().is_some_and(|first| first <= to)
            })
            .map(|series| series.labels.clone())
            .collect();
        found.sort_unstable();
        found
    }

    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = &'a Series> {
        let candidates = self.candidates(matchers);
        let all = candidates.is_none().then(|| self.series.values()).into_iter().flatten();
        candidates
            .unwrap_or_default()
            .into_iter()
            .filter_map(|number| self.series.get(&number))
            .chain(all)
            .filter(move |series| all_accept(matchers, &series.labels))
    }

    /// The shortest list of series any one matcher narrows to; nothing where none narrows.
    fn candidates(&self, matchers: &[Matcher]) -> Option<Vec<u32>> {
        matchers
            .iter()
            .filter(|matcher| matcher.needs_presence())
            .map(|matcher| {
                let Some(values) = self.index.get(matcher.name.as_str()) else { return Vec::new() };
                if matcher.op == MatchOp::Equal {
                    return values.get(matcher.value.as_str()).cloned().unwrap_or_default();
                }
                values
                    .iter()
                    .filter(|(value, _)| matcher.accepts(value))
                    .flat_map(|(_, numbers)| numbers.iter().copied())
                    .collect()
            })
            .min_by_key(Vec::len)
    }

    /// Remembers what a metric is; the newest description wins.
    pub(crate) fn describe(&mut self, meta: &MetricMeta) {
        let known = self.metadata.get(&meta.name);
        if known == Some(meta) || (known.is_none() && self.metadata.len() >= MAX_METADATA) {
            return;
        }
        if meta.help.len() > MAX_METADATA_TEXT || meta.unit.len() > MAX_METADATA_TEXT {
            return;
        }
        self.metadata.insert(meta.name.clone(), meta.clone());
    }

    pub(crate) fn metadata(&self) -> impl Iterator<Item = &MetricMeta> {
        self.metadata.values()
    }

    /// Label name → value → series.
    pub(super) fn index(&self) -> &BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>> {
        &self.index
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.series.values().map(|series| series.chunks.len() + usize::from(!series.open.is_empty())).sum()
    }

    /// The times of the oldest and the newest sample in memory.
    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        let first = self.series.values().filter_map(Series::first_time).min()?;
        let last = self.series.values().filter_map(Series::last_time).max()?;
        Some((first, last))
    }

    /// Whether there is a series with these labels.
    pub(crate) fn knows(&self, labels: &Labels) -> bool {
        self.by_key.contains_key(&self.key(labels))
    }

    /// The labels of a series, for the log's dictionary.
    pub(crate) fn labels(&self, number: u32) -> Option<&Labels> {
        self.series.get(&number).map(|series| &series.labels)
    }
}

/// A series' samples of a time range, still packed.
pub(crate) struct Held {
    pub(crate) labels: Labels,
    chunks: Vec<Chunk>,
    open: Option<OpenChunk>,
    late: Vec<(i64, f64)>,
}

impl Held {
    /// Nothing where no sample is within the range.
    fn of(series: &Series, from: i64, to: i64) -> Option<Self> {
        let within = |time: i64| time > from && time <= to;
        let overlapping = series.chunks.iter().filter(|chunk| chunk.last > from && chunk.first <= to);
        let open = &series.open;
        let is_open_wanted = !open.is_empty() && open.last() > from && open.first() <= to;
        let late = series.late.iter().chain(&series.frozen_late).filter(|(time, _)| within(*time));
        let held = Self {
            labels: series.labels.clone(),
            chunks: overlapping.cloned().collect(),
            open: is_open_wanted.then(|| open.clone()),
            late: late.copied().collect(),
        };
        let mut chunks = held.chunks.iter().map(Chunk::iter).chain(held.open.iter().map(OpenChunk::iter));
        let has_some = !held.late.is_empty() || chunks.any(|mut chunk| chunk.any(|(time, _)| within(time)));
        has_some.then_some(held)
    }

    /// The samples with `from < time ≤ to`, ascending.
    pub(crate) fn samples(&self, from: i64, to: i64) -> Vec<(i64, f64)> {
        let within = |(time, _): &(i64, f64)| *time > from && *time <= to;
        let mut samples = Vec::new();
        for chunk in &self.chunks {
            samples.extend(chunk.iter().filter(within));
        }
        samples.extend(self.open.iter().flat_map(OpenChunk::iter).filter(within));
        if !self.late.is_empty() {
            samples.extend(self.late.iter().filter(|sample| within(sample)));
            put_in_order(&mut samples);
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(metric: &str, instance: &str) -> Labels {
        [(METRIC_NAME, metric), ("instance", instance)].into_iter().collect()
    }

    fn head(share: usize, total: usize, per_metric: usize) -> MetricsHead {
        MetricsHead::new(share, SeriesLimits { total, per_metric, late_millis: 5 })
    }

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    #[test]
    fn matchers_narrow_by_the_index_and_filter_by_the_rest() {
        let mut head = head(1 << 20, 100, 100);
        for (metric, instance) in [("up", "a"), ("up", "b"), ("down", "a")] {
            let number = head.resolve(&labels(metric, instance), 0).unwrap();
            head.append(number, 1000, 1.0);
        }
        let select = |matchers: &[Matcher]| {
            let found = head.select(matchers, 0, 2000, 100).unwrap();
            found.iter().map(|found| format!("{:?}", found.labels)).collect::<Vec<_>>()
        };
        assert_eq!(select(&[Matcher::equal(METRIC_NAME, "up")]).len(), 2);
        assert_eq!(
            select(&[Matcher::equal(METRIC_NAME, "up"), matcher("instance", MatchOp::NotEqual, "a")]),
            [r#"{__name__="up", instance="b"}"#]
        );
        assert_eq!(select(&[matcher("instance", MatchOp::Regex, "a|c")]).len(), 2);
        assert_eq!(select(&[matcher("absent", MatchOp::Equal, "")]).len(), 3);
        assert_eq!(select(&[matcher("absent", MatchOp::Regex, ".+")]).len(), 0);
    }

    #[test]
    fn a_series_explosion_is_refused_and_existing_series_keep_their_samples() {
        let mut head = head(1 << 20, 10, 5);
        let known = head.resolve(&labels("up", "0"), 0).unwrap();
        for instance in 1..5 {
            head.resolve(&labels("up", &instance.to_string()), 0).unwrap();
        }
        assert_eq!(head.resolve(&labels("up", "9"), 0), Err(Refusal::TooManyOfMetric));
        for instance in 0..5 {
            head.resolve(&labels("other", &instance.to_string()), 0).unwrap();
        }
        assert_eq!(head.resolve(&labels("third", "x"), 0), Err(Refusal::TooManySeries));
        assert_eq!(head.append(known, 5, 1.0), Admission::New);
        assert_eq!(head.resolve(&labels("up", "0"), 0), Ok(known));
    }

    #[test]
    fn series_that_ended_long_ago_make_room_once_their_samples_are_written() {
        let mut head = head(1 << 20, 1, 1);
        let old = head.resolve(&labels("up", "old"), 0).unwrap();
        head.append(old, 1000, 1.0);
        assert!(head.resolve(&labels("up", "new"), IDLE_MILLIS).is_err());
        assert!(head.resolve(&labels("up", "new"), IDLE_MILLIS + 1001).is_err());
        head.freeze();
        head.written(1000);
        assert!(head.resolve(&labels("up", "new"), IDLE_MILLIS + 1001).is_ok());
        assert!(!head.index["instance"].contains_key("old"));
    }

    #[test]
    fn labels_that_outlive_their_series_start_a_new_one() {
        let mut head = head(1 << 20, 1, 1);
        let first = labels("up", "a");
        let old = head.resolve(&first, 0).unwrap();
        let shared = head.shared_labels(&first).unwrap().clone();
        assert_eq!(head.resolve(&shared, 0), Ok(old));
        head.append(old, 1000, 1.0);
        head.freeze();
        head.written(IDLE_MILLIS + 1001);
        let new = head.resolve(&shared, IDLE_MILLIS + 1001).unwrap();
        assert_ne!(new, old);
        assert_eq!(head.append(new, IDLE_MILLIS + 1001, 2.0), Admission::New);
    }

    #[test]
    fn samples_out_of_order_are_kept_within_the_window_and_repeats_swallowed() {
        let mut head = head(1 << 20, 10, 10);
        let number = head.resolve(&labels("up", "a"), 0).unwrap();
        assert_eq!(head.append(number, 10, 1.0), Admission::New);
        assert_eq!(head.append(number, 10, 1.0), Admission::Repeat);
        assert_eq!(head.append(number, 10, 2.0), Admission::OutOfOrder);
        assert_eq!(head.append(number, 8, 3.0), Admission::Late);
        assert_eq!(head.append(number, 8, 3.0), Admission::Repeat);
        assert_eq!(head.append(number, 8, 4.0), Admission::OutOfOrder);
        assert_eq!(head.append(number, 4, 1.0), Admission::OutOfOrder, "older than the window of 5 ms");
        assert_eq!(head.append(number, 12, 5.0), Admission::New);
        assert_eq!(head.append(number, 10, 1.0), Admission::Repeat);
        let samples = |head: &MetricsHead| head.select(&[], 0, 20, 10).unwrap()[0].samples.clone();
        assert_eq!(samples(&head), [(8, 3.0), (10, 1.0), (12, 5.0)]);
        let frozen = head.freeze();
        assert_eq!(head.frozen_samples(frozen.numbers[0].1), [(8, 3.0), (10, 1.0), (12, 5.0)]);
        assert_eq!(head.append(number, 9, 9.0), Admission::Late);
        assert_eq!(samples(&head), [(8, 3.0), (9, 9.0), (10, 1.0), (12, 5.0)]);
        head.written(0);
        assert_eq!(samples(&head), [(9, 9.0)]);
        assert_eq!(
            head.append(number, 12, 5.0),
            Admission::Repeat,
            "the newest is known though it is written"
        );
    }

    #[test]
    fn labels_alone_cannot_use_up_the_memory() {
        let mut head = head(64 * 1024, usize::MAX, usize::MAX);
        let known = head.resolve(&labels("up", "0"), 0).unwrap();
        let refused =
            (1..100_000).find_map(|number| head.resolve(&labels("up", &number.to_string()), 0).err());
        assert_eq!(refused, Some(Refusal::NoMemory));
        assert!(head.bytes() < 34 * 1024, "half of the share is kept for samples: {}", head.bytes());
        assert_eq!(head.append(known, 5, 1.0), Admission::New);
    }

    #[test]
    fn accounting_returns_to_zero_when_everything_is_gone() {
        let mut head = head(1 << 20, 100, 100);
        for instance in 0..50 {
            let number = head.resolve(&labels("up", &instance.to_string()), 0).unwrap();
            for step in 0..1000 {
                head.append(number, step, 1.0);
            }
            head.append(number, 998, 2.0);
        }
        head.freeze();
        head.written(IDLE_MILLIS + 5000);
        assert_eq!((head.bytes(), head.series_count()), (0, 0));
    }
}
