//! Samples as columns: rows of one series stand together, in the order of time.
//!
//! Only a series' first row names it (`metric`, `labels`); all its rows carry `series`, the XXH64 of the
//! labels' text, by which other engines join. A series whose values all are integers, or have at most six decimals, keeps
//! them in `integer`, where they pack into a few bits: value = `integer` / 10^`decimals`, which is exact, because
//! both are exact as doubles and a division rounds correctly. Any other, and markers of staleness, are in `value`.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::columns::{ColumnsOut, Group, Rows, string};
use super::part::{Facts, Layout, Part};
use super::records::TIME;
use super::rows::DELTA;
use super::shelf::Shelf;
use crate::head::metrics::Selected;
use crate::model::matcher::all_accept;
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, is_stale};

type Result<T> = std::result::Result<T, ParquetError>;

const SCHEMA: &str = "message sample {
    required int64 time (TIMESTAMP(MILLIS,true));
    required int64 series;
    optional binary metric (STRING);
    optional binary labels (STRING);
    optional double value;
    optional int64 integer;
    optional int32 decimals;
}";
const METRIC: usize = 2;
const LABELS: usize = 3;
const VALUE: usize = 4;
const INTEGER: usize = 5;
/// Absent where it would be 0, and from parts that were written before there was such a column.
const DECIMALS: usize = 6;

const LAYOUT: Layout = Layout {
    schema: SCHEMA,
    encodings: &[("time", DELTA), ("integer", DELTA), ("value", Encoding::BYTE_STREAM_SPLIT)],
    plain: &["labels"],
    filters: &[],
    rows_per_group: ROWS_PER_GROUP,
};
/// A row group ends with the series that reaches this.
const ROWS_PER_GROUP: usize = 128 * 1024;

/// A series with its samples, ascending.
pub(crate) type Run = (Labels, Vec<(i64, f64)>);

/// Writes series, which come in the order of [`Labels::by_metric`], as one part; nothing where there are none.
pub(crate) fn write(
    shelf: &Shelf,
    series: impl Iterator<Item = Result<Run>>,
    facts: Facts,
) -> Result<Option<Part>> {
    let mut series =
        series.filter(|run| run.as_ref().map_or(true, |(_, samples)| !samples.is_empty())).peekable();
    if series.peek().is_none() {
        return Ok(None);
    }
    let (id, mut writer) = shelf.create(&LAYOUT)?;
    let mut runs: Vec<Run> = Vec::new();
    let mut rows = 0;
    while let Some(run) = series.next().transpose()? {
        rows += run.1.len();
        runs.push(run);
        if rows >= ROWS_PER_GROUP || series.peek().is_none() {
            let firsts = runs.iter().filter_map(|(_, samples)| samples.first()).map(|(time, _)| *time);
            let lasts = runs.iter().filter_map(|(_, samples)| samples.last()).map(|(time, _)| *time);
            let times = (firsts.min().unwrap_or(0), lasts.max().unwrap_or(0));
            writer.group(times, |out| write_group(&runs, out))?;
            runs.clear();
            rows = 0;
        }
    }
    writer.publish(Facts { id, ..facts }, |first| shelf.directory(first)).map(Some)
}

fn write_group(runs: &[Run], mut out: ColumnsOut<'_>) -> Result<()> {
    let texts: Vec<String> = runs.iter().map(|(labels, _)| labels_json(labels)).collect();
    let samples = || runs.iter().flat_map(|(_, samples)| samples.iter());
    out.i64s(samples().map(|(time, _)| *time))?;
    let ids = runs.iter().zip(&texts).flat_map(|((_, samples), text)| {
        let id = twox_hash::XxHash64::oneshot(0, text.as_bytes()).cast_signed();
        std::iter::repeat_n(id, samples.len())
    });
    out.i64s(ids)?;
    out.optional::<ByteArrayType>(named(
        runs,
        runs.iter().map(|(labels, _)| ByteArray::from(labels.name())),
    ))?;
    out.optional::<ByteArrayType>(named(runs, texts.iter().map(|text| ByteArray::from(text.as_str()))))?;
    let decimals: Vec<Option<usize>> = runs.iter().map(|(_, samples)| decimals(samples)).collect();
    let scaled = || {
        runs.iter().zip(&decimals).flat_map(|((_, samples), decimals)| {
            let integer = |value| decimals.and_then(|decimals| exact_integer(value, decimals));
            samples.iter().map(move |(_, value)| (*value, integer(*value), *decimals))
        })
    };
    out.optional::<DoubleType>(scaled().map(|(value, integer, _)| integer.is_none().then_some(value)))?;
    out.optional::<Int64Type>(scaled().map(|(_, integer, _)| integer))?;
    let decimals = |(_, integer, decimals): (f64, Option<i64>, Option<usize>)| {
        let decimals = decimals.filter(|decimals| *decimals > 0 && integer.is_some())?;
        i32::try_from(decimals).ok()
    };
    out.optional::<Int32Type>(scaled().map(decimals))?;
    out.close()
}

/// How many decimals the values of a series need, up to six; nothing where more or other ones.
fn decimals(samples: &[(i64, f64)]) -> Option<usize> {
    let values = || samples.iter().map(|(_, value)| *value).filter(|value| !is_stale(*value));
    let mut needed = 0;
    for value in values() {
        needed += (needed..POWERS.len()).position(|decimals| exact_integer(value, decimals).is_some())?;
    }
    // What was an integer with fewer decimals may be too large with more.
    values().all(|value| exact_integer(value, needed).is_some()).then_some(needed)
}

/// The powers of ten by their exponent; doubles hold them exactly.
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// A value for the first row of each series.
fn named<T>(runs: &[Run], names: impl Iterator<Item = T>) -> impl Iterator<Item = Option<T>> {
    runs.iter().zip(names).flat_map(|((_, samples), name)| {
        std::iter::once(Some(name)).chain(std::iter::repeat_with(|| None).take(samples.len() - 1))
    })
}

/// The float as so many units of its last decimal, where nothing, not even the sign of a zero, is lost by that.
#[expect(clippy::cast_possible_truncation, reason = "the result is compared")]
fn exact_integer(value: f64, decimals: usize) -> Option<i64> {
    let scaled = (value * POWERS.get(decimals)?).round();
    if scaled.is_nan() || scaled.abs() >= 9_007_199_254_740_992.0 {
        return None;
    }
    let integer = scaled as i64;
    (float(integer, decimals).to_bits() == value.to_bits()).then_some(integer)
}

#[expect(clippy::cast_precision_loss, reason = "only integers below 2^53 are written")]
fn float(integer: i64, decimals: usize) -> f64 {
    integer as f64 / POWERS.get(decimals).copied().unwrap_or(1.0)
}

fn labels_json(labels: &Labels) -> String {
    let mut text = String::with_capacity(labels.len() * 24);
    for (name, value) in labels.iter() {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&pair_json(name, value));
    }
    if text.is_empty() {
        text.push('{');
    }
    text.push('}');
    text
}

fn pair_json(name: &str, value: &str) -> String {
    // Writing a text to memory does not fail.
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    format!("{}:{}", quoted(name), quoted(value))
}

struct JsonLabels(Labels);

impl<'de> Deserialize<'de> for JsonLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = JsonLabels;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<JsonLabels, A::Error> {
                let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    pairs.push((name.into(), value.into()));
                }
                Ok(JsonLabels(Labels::from_sorted(pairs)))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// One series of a part and where its rows are.
struct Entry {
    group: usize,
    rows: Range<usize>,
    metric: Arc<str>,
    labels: Box<str>,
}

impl Entry {
    fn labels(&self) -> Option<Labels> {
        serde_json::from_str::<JsonLabels>(&self.labels).ok().map(|labels| labels.0)
    }
}

/// The series of a part in their order, read on first use.
pub(crate) struct SeriesIndex {
    entries: Vec<Entry>,
}

impl SeriesIndex {
    fn read(part: &Part) -> Result<Self> {
        let mut entries = Vec::new();
        let mut metric: Arc<str> = Arc::from("");
        for index in 0..part.group_count() {
            let group = part.group(index)?;
            let names = group.sparse::<ByteArrayType>(METRIC)?;
            let labels = group.sparse::<ByteArrayType>(LABELS)?;
            let starts: Vec<usize> = labels.iter().map(|(row, _)| *row).collect();
            let ends = starts.iter().copied().skip(1).chain([group.rows]);
            for (((start, labels), end), (_, name)) in labels.iter().zip(ends).zip(&names) {
                if metric.as_bytes() != name.data() {
                    metric = Arc::from(name.as_utf8()?);
                }
                let labels = string(labels)?.into_boxed_str();
                entries.push(Entry { group: index, rows: *start..end, metric: Arc::clone(&metric), labels });
            }
        }
        Ok(Self { entries })
    }

    /// Bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        self.entries.iter().map(|entry| entry.labels.len() + size_of::<Entry>() + 8).sum()
    }

    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (&'a Entry, Labels)> {
        let exact = |matcher: &&Matcher| matcher.op == MatchOp::Equal && !matcher.value.is_empty();
        let name = matchers.iter().filter(exact).find(|matcher| matcher.name == METRIC_NAME);
        let (from, to) = name.map_or((0, self.entries.len()), |name| {
            let wanted = name.value.as_str();
            let from = self.entries.partition_point(|entry| &*entry.metric < wanted);
            (from, self.entries.partition_point(|entry| &*entry.metric <= wanted))
        });
        let pairs: Vec<String> =
            matchers.iter().filter(exact).map(|matcher| pair_json(&matcher.name, &matcher.value)).collect();
        self.entries
            .iter()
            .take(to)
            .skip(from)
            .filter(move |entry| pairs.iter().all(|pair| entry.labels.contains(pair.as_str())))
            .filter_map(|entry| Some((entry, entry.labels()?)))
            .filter(move |(_, labels)| all_accept(matchers, labels))
    }
}

/// The label sets of a part that meet the matchers. The part's time range stands for each series'.
pub(crate) fn label_sets(part: &Part, matchers: &[Matcher], found: &mut impl Extend<Labels>) {
    match index(part) {
        Ok(index) => found.extend(index.matching(matchers).map(|(_, labels)| labels)),
        Err(error) => part.note_damage(&error),
    }
}

fn index(part: &Part) -> Result<Arc<SeriesIndex>> {
    part.series_index(SeriesIndex::read)
}

/// The series of a part that meet some matchers, with their samples of a time range, in the part's order. A row group is read when the
/// first of its series is asked for.
pub(crate) struct Stream {
    part: Arc<Part>,
    /// What is still to be read: the row group, the series and its rows.
    wanted: Peekable<std::vec::IntoIter<(usize, Labels, Range<usize>)>>,
    /// What was read of the last row group.
    ready: std::vec::IntoIter<Selected>,
    times: (i64, i64),
}

impl Stream {
    /// Of the samples with `from < time ≤ to`.
    pub(crate) fn open(part: &Arc<Part>, matchers: &[Matcher], (from, to): (i64, i64)) -> Self {
        let overlaps = |group: usize| {
            let (first, last) = part.group_times(group);
            last > from && first <= to
        };
        let mut wanted = Vec::new();
        match index(part) {
            Ok(index) => {
                let matching = index.matching(matchers).filter(|(entry, _)| overlaps(entry.group));
                wanted.extend(matching.map(|(entry, labels)| (entry.group, labels, entry.rows.clone())));
            }
            Err(error) => part.note_damage(&error),
        }
        let wanted = wanted.into_iter().peekable();
        Self { part: Arc::clone(part), wanted, ready: Vec::new().into_iter(), times: (from, to) }
    }
}

impl Iterator for Stream {
    type Item = Selected;

    fn next(&mut self) -> Option<Selected> {
        loop {
            if let Some(found) = self.ready.next() {
                return Some(found);
            }
            let group = self.wanted.peek()?.0;
            let mut wanted = Vec::new();
            while let Some((_, labels, rows)) = self.wanted.next_if(|(of, _, _)| *of == group) {
                wanted.push((labels, rows));
            }
            match self.part.group(group).and_then(|group| read(&group, wanted, self.times)) {
                Ok(read) => self.ready = read.into_iter(),
                Err(error) => self.part.note_damage(&error),
            }
        }
    }
}

/// The samples of some series of a group.
fn read(
    group: &Group<'_>,
    mut wanted: Vec<(Labels, Range<usize>)>,
    (from, to): (i64, i64),
) -> Result<Vec<Selected>> {
    let ranges: Vec<Range<usize>> = wanted.iter().map(|(_, rows)| rows.clone()).collect();
    let times = group.i64s(TIME, Rows::Ranges(&ranges))?;
    let mut times = times.as_slice();
    let mut kept = Vec::new();
    for (_, rows) in &mut wanted {
        let Some((own, rest)) = times.split_at_checked(rows.len()) else { break };
        times = rest;
        let start = own.partition_point(|time| *time <= from);
        let end = own.partition_point(|time| *time <= to);
        kept.extend_from_slice(own.get(start..end).unwrap_or_default());
        *rows = rows.start + start..rows.start + end;
    }
    wanted.retain(|(_, rows)| !rows.is_empty());
    let ranges: Vec<Range<usize>> = wanted.iter().map(|(_, rows)| rows.clone()).collect();
    let values = group.doubles(VALUE, Rows::Ranges(&ranges))?;
    let integers = group.optional::<Int64Type>(INTEGER, Rows::Ranges(&ranges))?;
    let decimals = group
        .has(DECIMALS)
        .then(|| group.optional::<Int32Type>(DECIMALS, Rows::Ranges(&ranges)))
        .transpose()?;
    let decimals = decimals.unwrap_or_default().into_iter().chain(std::iter::repeat(None));
    let values = values.into_iter().zip(integers.into_iter().zip(decimals));
    let value = |(value, (integer, decimals)): (Option<f64>, (Option<i64>, Option<i32>))| {
        let decimals = decimals.and_then(|decimals| usize::try_from(decimals).ok()).unwrap_or(0);
        value.or_else(|| integer.map(|integer| float(integer, decimals)))
    };
    let mut samples = kept.into_iter().zip(values.map(value));
    let selected = wanted.into_iter().map(|(labels, rows)| {
        let own = samples.by_ref().take(rows.len());
        let samples = own.filter_map(|(time, value)| Some((time, value?))).collect();
        Selected { labels, samples }
    });
    Ok(selected.collect())
}

/// Every series of a part in its order, a row group at a time.
pub(super) fn runs(part: &Part) -> impl Iterator<Item = Result<Run>> + '_ {
    let groups = (0..part.group_count()).map(move |index| {
        let group = part.group(index)?;
        let labels = group.sparse::<ByteArrayType>(LABELS)?;
        let starts: Vec<usize> = labels.iter().map(|(row, _)| *row).collect();
        let ends = starts.iter().copied().skip(1).chain([group.rows]);
        let wanted = labels.iter().zip(ends).map(|((start, labels), end)| {
            let parsed = serde_json::from_str::<JsonLabels>(labels.as_utf8()?);
            let parsed = parsed.map_err(|error| ParquetError::General(error.to_string()))?;
            Ok((parsed.0, *start..end))
        });
        let wanted = wanted.collect::<Result<Vec<_>>>()?;
        read(&group, wanted, (i64::MIN, i64::MAX))
    });
    groups.flat_map(|group: Result<Vec<Selected>>| match group {
        Ok(series) => {
            series.into_iter().map(|series| Ok((series.labels, series.samples))).collect::<Vec<_>>()
        }
        Err(error) => vec![Err(error)],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needed(values: &[f64]) -> Option<usize> {
        let samples: Vec<_> = (0..).zip(values.iter().copied()).collect();
        decimals(&samples)
    }

    #[test]
    fn a_series_has_the_fewest_decimals_that_hold_all_its_values() {
        assert_eq!(needed(&[1.0, 2.0]), Some(0));
        assert_eq!(needed(&[1.0, 0.25, 2.5, crate::model::stale()]), Some(2));
        assert_eq!(needed(&[0.000_001]), Some(6));
        assert_eq!(needed(&[0.1 + 0.2]), None, "0.30000000000000004");
        assert_eq!(needed(&[-0.0]), None, "an integer has no sign of zero");
        assert_eq!(needed(&[f64::INFINITY]), None);
        assert_eq!(needed(&[9e15, 0.5]), None, "too large with a decimal");
    }

    proptest! {
        #[test]
        fn values_with_decimals_come_back_bit_by_bit(
            values in prop::collection::vec(prop_oneof![
                (-10_000_000i32..10_000_000, 0usize..7).prop_map(|(units, decimals)| f64::from(units) / POWERS[decimals]),
                any::<f64>(),
            ], 1..20),
        ) {
            for value in &values {
                for decimals in 0..POWERS.len() {
                    if let Some(integer) = exact_integer(*value, decimals) {
                        prop_assert_eq!(float(integer, decimals).to_bits(), value.to_bits());
                    }
                }
            }
            if let Some(decimals) = needed(&values) {
                for value in values.iter().filter(|value| !is_stale(**value)) {
                    prop_assert!(exact_integer(*value, decimals).is_some());
                }
            }
        }
    }
}
