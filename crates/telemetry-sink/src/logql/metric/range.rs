//! A range aggregation's value at each step.
//!
//! Invariants: the number of series and of values that are held is bounded, over all range aggregations of a query;
//! beyond it the query fails and says so. The deadline holds while windows are computed, too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::cells::{Cell, Edges, Measured};
use super::measures::Measures;
use super::{RangeAggregation, RangeOp};
use crate::head::metrics::Selected;
use crate::logql::line::Line;
use crate::logql::pipeline::{Context, run};
use crate::logql::search::{Range, Read, Search};
use crate::logql::{Error, units};
use crate::model::{Labels, LabelsBuilder, MatchOp, Resource, is_stale, stale};
use crate::promql::ast::Grouping;
use crate::promql::{Limits, Query, quantile};
use crate::storage::Storage;

pub(super) const MAX_SERIES: usize = 5000;
const MAX_HELD: usize = 1024;
/// A cell weighs as much as this many samples.
const CELL_WEIGHT: usize = 6;
/// Windows of cells between two looks at the clock.
const WINDOWS_PER_LOOK: usize = 64;

pub(super) fn too_many() -> Error {
    Error::Refused(
        "the query holds too many values; ask for a shorter time, a longer step or fewer series".to_owned(),
    )
}

impl RangeAggregation {
    /// The window that a step looks at, in nanoseconds: its start is outside, its end inside.
    fn window(&self, step: i64) -> (i64, i64) {
        let end = step.saturating_mul(1_000_000).saturating_sub(self.offset);
        (end.saturating_sub(self.range), end)
    }

    fn needs_values(&self) -> bool {
        matches!(self.op, RangeOp::Quantile | RangeOp::RateCounter)
    }

    fn edges(&self, query: Query) -> Edges {
        Edges::new(query.steps().map(|step| self.window(step)))
    }

    /// What this sink's lines say.
    pub(super) fn measure(
        &self,
        storage: &Storage,
        query: Query,
        limits: Limits,
    ) -> Result<(Measures, Read), Error> {
        let windows = || query.steps().map(|step| self.window(step));
        let Some(first) = windows().next() else { return Ok(Default::default()) };
        let last = windows().last().unwrap_or(first);
        let range = Range { from: first.0.saturating_add(1), to: last.1.saturating_add(1) };
        let edges = self.edges(query);
        let mut collector = Collector {
            aggregation: self,
            edges: &edges,
            series: Vec::new(),
            numbers: HashMap::new(),
            streams: HashMap::new(),
            left: limits.max_samples,
            failed: None,
            key: String::new(),
        };
        let search = Search::new(storage, &self.query, limits.deadline).followed_by(&self.after);
        let read = search.each(range, |line| collector.take(line))?;
        match collector.failed {
            Some(error) => Err(error),
            None => Ok((Measures(collector.series), read)),
        }
    }

    /// The values of all that was measured.
    pub(super) fn values(
        &self,
        all: Measures,
        query: Query,
        limits: Limits,
        left: &mut usize,
    ) -> Result<Vec<Selected>, Error> {
        let edges = self.edges(query);
        let mut held = limits.max_samples;
        let mut found = Vec::with_capacity(all.0.len());
        for (labels, mut measured) in all.0 {
            let weight = if matches!(measured, Measured::Cells(_)) { CELL_WEIGHT } else { 1 };
            held = held.checked_sub(measured.len().saturating_mul(weight)).ok_or_else(too_many)?;
            if let Measured::Values(values) = &mut measured {
                values.sort_by_key(|(time, _)| *time);
            }
            let samples = self.samples(query, &measured, &edges, limits.deadline, left)?;
            found.push(Selected { labels, samples });
        }
        if self.op == RangeOp::Absent {
            found = vec![self.absent(query, &found)];
        }
        found.sort_unstable_by(|left, right| left.labels.cmp(&right.labels));
        Ok(found)
    }

    /// A sample for each step that has one, and the staleness marker where they end, so that none is taken for a later
    /// step's.
    fn samples(
        &self,
        query: Query,
        measured: &Measured,
        edges: &Edges,
        deadline: Instant,
        left: &mut usize,
    ) -> Result<Vec<(i64, f64)>, Error> {
        let per_look = if matches!(measured, Measured::Cells(_)) { WINDOWS_PER_LOOK } else { 1 };
        let mut samples = Vec::new();
        let mut goes_on = false;
        for (place, step) in query.steps().enumerate() {
            if place.is_multiple_of(per_look) && Instant::now() > deadline {
                return Err(Error::Timeout);
            }
            let value = self.value(measured, edges, self.window(step));
            if value.is_some() || goes_on {
                *left = left.checked_sub(1).ok_or_else(too_many)?;
                samples.push((step, value.unwrap_or_else(stale)));
            }
            goes_on = value.is_some();
        }
        Ok(samples)
    }

    #[expect(clippy::cast_precision_loss, reason = "a range in seconds")]
    fn value(&self, measured: &Measured, edges: &Edges, (start, end): (i64, i64)) -> Option<f64> {
        let seconds = self.range as f64 / 1e9;
        match measured {
            Measured::Values(values) => {
                let low = values.partition_point(|(time, _)| *time <= start);
                let high = values.partition_point(|(time, _)| *time <= end);
                let within = values.get(low..high).filter(|within| !within.is_empty())?;
                if self.op == RangeOp::RateCounter {
                    return rate_of_counter(within, seconds);
                }
                let mut numbers: Vec<f64> = within.iter().map(|(_, value)| *value).collect();
                Some(quantile(self.param, &mut numbers))
            }
            Measured::Cells(cells) => {
                let mut of_window = cells.range(edges.window(start, end)).map(|(_, cell)| cell);
                let mut all: Cell = *of_window.next()?;
                of_window.for_each(|cell| all.merge(cell));
                Some(match self.op {
                    RangeOp::Count => all.count,
                    RangeOp::Rate | RangeOp::BytesRate => all.sum / seconds,
                    RangeOp::Avg => all.mean(),
                    RangeOp::Min => all.min,
                    RangeOp::Max => all.max,
                    RangeOp::First => all.first.1,
                    RangeOp::Last => all.last.1,
                    RangeOp::Stddev => all.variance().sqrt(),
                    RangeOp::Stdvar => all.variance(),
                    RangeOp::Absent => 1.0,
                    _ => all.sum,
                })
            }
        }
    }

    /// One where no series has a value, under the labels that the selector says.
    fn absent(&self, query: Query, found: &[Selected]) -> Selected {
        let mut builder = LabelsBuilder::new();
        for matcher in self.query.streams.iter().filter(|matcher| matcher.op == MatchOp::Equal) {
            builder.set(&matcher.name, &matcher.value);
        }
        let samples = found.iter().flat_map(|series| &series.samples);
        let present: HashSet<i64> =
            samples.filter(|(_, value)| !is_stale(*value)).map(|(time, _)| *time).collect();
        let samples =
            query.steps().map(|step| (step, if present.contains(&step) { stale() } else { 1.0 })).collect();
        Selected { labels: builder.build(), samples }
    }
}

/// As Prometheus' `rate` without reaching for the window's edges: the increase per second, a fall being a reset.
fn rate_of_counter(values: &[(i64, f64)], seconds: f64) -> Option<f64> {
    let (first, last) = (values.first()?.1, values.last()?.1);
    if values.len() < 2 {
        return None;
    }
    let mut previous = first;
    let mut increase = last - first;
    for (_, value) in values {
        if *value < previous {
            increase += previous;
        }
        previous = *value;
    }
    Some(increase / seconds)
}

struct Collector<'a> {
    aggregation: &'a RangeAggregation,
    edges: &'a Edges,
    series: Vec<(Labels, Measured)>,
    /// Series by what tells them apart.
    numbers: HashMap<String, usize>,
    /// Series of streams whose lines all belong to one, by the resource's place in memory, which stays taken as long as the
    /// resource is held here.
    streams: HashMap<(usize, u8), (Arc<Resource>, usize)>,
    left: usize,
    failed: Option<Error>,
    key: String,
}

impl Collector<'_> {
    fn take(&mut self, line: Line<'_>) -> ControlFlow<()> {
        match self.measure(line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a line's length is far below 2^53")]
    fn measure(&mut self, mut line: Line<'_>) -> Result<(), Error> {
        let time = line.found.record.time;
        let value = match &self.aggregation.unwrap {
            None => match self.aggregation.op {
                RangeOp::Bytes | RangeOp::BytesRate => line.text().len() as f64,
                _ => 1.0,
            },
            Some((name, unit)) => {
                // A line without the label is no error: not every line of a stream has it.
                let Some(text) = line.get(name).filter(|text| !text.is_empty()) else { return Ok(()) };
                let value = units::number(&text, *unit);
                if value.is_none() {
                    let details = format!("label {name:?}: {text:?} is no number of this unit");
                    line.fail("SampleExtractionErr", details);
                }
                line.remove(name);
                value.unwrap_or(0.0)
            }
        };
        if !run(&self.aggregation.after, &mut line, &Context::default()) {
            return Ok(());
        }
        if let Some((kind, details)) = line.error() {
            return Err(Error::Refused(format!(
                "pipeline error: '{kind}' for series: '{:?}'. Use a label filter to intentionally skip this error. \
                 (e.g | __error__!=\"{kind}\"). To skip all potential errors you can match empty errors. \
                 (e.g | __error__=\"\"). Details: {details}",
                line.stream().labels()
            )));
        }
        let number = self.number(&line)?;
        let cell = self.edges.cell(time);
        let Some((_, measured)) = self.series.get_mut(number) else { return Ok(()) };
        let weight = if matches!(measured, Measured::Cells(_)) { CELL_WEIGHT } else { 1 };
        if measured.add(cell, time, value) {
            self.left = self.left.checked_sub(weight).ok_or_else(too_many)?;
        }
        Ok(())
    }

    /// The series that a line belongs to.
    fn number(&mut self, line: &Line<'_>) -> Result<usize, Error> {
        match &self.aggregation.grouping {
            Some(Grouping::By(names)) => {
                let mut key = std::mem::take(&mut self.key);
                key.clear();
                for name in names {
                    key.push_str(&line.get(name).unwrap_or_default());
                    key.push('\u{0}');
                }
                let known = self.numbers.get(key.as_str()).copied();
                let number = if let Some(number) = known {
                    Ok(number)
                } else {
                    let mut builder = LabelsBuilder::new();
                    for name in names {
                        builder.set(name, &line.get(name).unwrap_or_default());
                    }
                    self.insert(key.clone(), builder.build())
                };
                self.key = key;
                number
            }
            Some(Grouping::Without(names)) => {
                let mut labels = line.series_labels(&self.aggregation.mentioned);
                labels.retain(|name, _| !names.contains(name));
                self.of_labels(&labels)
            }
            None if self.aggregation.mentioned.is_empty() && line.has_own_labels() => {
                let resource = &line.found.resource;
                let place = (Arc::as_ptr(resource).addr(), line.found.record.severity);
                if let Some((_, number)) = self.streams.get(&place) {
                    return Ok(*number);
                }
                let number = self.of_labels(&line.series_labels(&[]))?;
                if self.streams.len() >= MAX_HELD {
                    self.streams.clear();
                }
                self.streams.insert(place, (Arc::clone(resource), number));
                Ok(number)
            }
            None => self.of_labels(&line.series_labels(&self.aggregation.mentioned)),
        }
    }

    fn of_labels(&mut self, labels: &BTreeMap<String, String>) -> Result<usize, Error> {
        let mut key = String::new();
        for (name, value) in labels {
            key.push_str(name);
            key.push('\u{0}');
            key.push_str(value);
            key.push('\u{0}');
        }
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.insert(key, labels)
    }

    fn insert(&mut self, key: String, labels: Labels) -> Result<usize, Error> {
        if self.series.len() >= MAX_SERIES {
            return Err(Error::Refused(format!(
                "maximum of series ({MAX_SERIES}) reached for a single query; aggregate with sum by (…)"
            )));
        }
        let measured = if self.aggregation.needs_values() {
            Measured::Values(Vec::new())
        } else {
            Measured::Cells(BTreeMap::new())
        };
        self.series.push((labels, measured));
        self.numbers.insert(key, self.series.len() - 1);
        Ok(self.series.len() - 1)
    }
}
