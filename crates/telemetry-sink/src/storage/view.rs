//! What queries read: head and parts of a signal at one moment, each record once.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Storage, read};
use crate::head::blocks::Snapshot;
use crate::head::metrics::{Selected, TooManySamples};
use crate::head::{Found, Sieve};
use crate::model::codec::Key;
use crate::model::{Labels, Matcher, Resource, put_in_order};
use crate::parts::{Columnar, Part, rows, samples};

/// Logs or spans, to be read without a lock.
pub(crate) struct View {
    head: Snapshot,
    /// Oldest first.
    parts: Vec<Arc<Part>>,
}

impl View {
    pub(super) fn new(head: Snapshot, parts: Vec<Arc<Part>>) -> Self {
        Self { head, parts }
    }

    /// Every record found under `key`.
    pub(crate) fn lookup<R: Columnar>(&self, key: Key<'_>) -> Vec<Found<R>> {
        self.lookup_up_to(key, usize::MAX)
    }

    /// At most so many of the records under `key`, the oldest first; what is read at once may be a group or a block more.
    pub(crate) fn lookup_up_to<R: Columnar>(&self, key: Key<'_>, most: usize) -> Vec<Found<R>> {
        let mut found = Vec::new();
        for part in &self.parts {
            rows::lookup(part, key, most, &mut found);
        }
        self.head.lookup_up_to(key, most, &mut found);
        found.truncate(most);
        found
    }

    /// Visits the records with `from ≤ time < to` (nanoseconds) whose resource and class are wanted, the
    /// newer ones roughly first.
    pub(crate) fn scan<R: Columnar>(
        &self,
        from: i64,
        to: i64,
        wanted: impl Fn(&Resource, u8) -> bool,
        visit: impl FnMut(Found<R>) -> ControlFlow<()>,
    ) {
        self.scan_sieved(from, to, wanted, &Sieve::default(), visit);
    }

    /// As [`View::scan`], without most of the records whose bodies lack one of the sieve's texts.
    pub(crate) fn scan_sieved<R: Columnar>(
        &self,
        from: i64,
        to: i64,
        wanted: impl Fn(&Resource, u8) -> bool,
        sieve: &Sieve,
        mut visit: impl FnMut(Found<R>) -> ControlFlow<()>,
    ) {
        let mut stopped = false;
        self.head.scan_sieved(from, to, &wanted, sieve, |found| {
            let flow = visit(found);
            stopped = flow.is_break();
            flow
        });
        if stopped {
            return;
        }
        for part in self.newest_first(from, to) {
            if rows::scan(part, (from, to), &wanted, &|body| sieve.may_pass(body), &mut visit).is_break() {
                return;
            }
        }
    }

    /// Visits each pair of resource and class that occurs between two times, often more than once.
    pub(crate) fn streams<R: Columnar>(&self, from: i64, to: i64, mut visit: impl FnMut(&Arc<Resource>, u8)) {
        self.head.streams(from, to, &mut visit);
        for part in self.newest_first(from, to) {
            rows::streams::<R>(part, (from, to), &mut visit);
        }
    }

    fn newest_first(&self, from: i64, to: i64) -> Vec<&Arc<Part>> {
        let overlaps = |part: &&Arc<Part>| part.facts.last >= from && part.facts.first < to;
        let mut parts: Vec<_> = self.parts.iter().filter(overlaps).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.facts.last));
        parts
    }
}

impl Storage {
    /// Visits the series that meet all matchers and have samples with `from < time ≤ to` (milliseconds), by metric and labels. Of
    /// the parts no more than a row group each is in memory at a time, whatever the time range.
    pub(crate) fn each_series<E>(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        mut visit: impl FnMut(Selected) -> Result<(), E>,
    ) -> Result<(), E> {
        let (held, parts) = {
            let state = read(&self.metrics_state);
            (state.head.snapshot(matchers, from, to), state.parts_between(from, to))
        };
        let held = held.into_iter().map(move |held| {
            let samples = held.samples(from, to);
            Selected { labels: held.labels, samples }
        });
        let older = parts.iter().map(|part| Box::new(samples::Stream::open(part, matchers, (from, to))) as _);
        let mut streams: Vec<Peekable<Box<dyn Iterator<Item = Selected>>>> =
            older.chain(std::iter::once(Box::new(held) as _)).map(Iterator::peekable).collect();
        let mut visited = Ok(());
        while let Some(next) = first_of(&mut streams) {
            // The oldest part comes first: of two samples at one time it was its that was acknowledged first.
            let same = streams.iter_mut().filter_map(|stream| stream.next_if(|one| one.labels == next));
            let joined = same.reduce(|mut joined, one| {
                joined.samples.extend(one.samples);
                joined
            });
            let Some(mut series) = joined else { break };
            put_in_order(&mut series.samples);
            if !series.samples.is_empty() {
                visited = visit(series);
            }
            if visited.is_err() {
                break;
            }
        }
        self.trim_indexes();
        visited
    }

    /// The same, all at once and in label order, at most so many samples.
    pub(crate) fn select_samples(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let (mut found, mut left) = (Vec::new(), max_samples);
        self.each_series(matchers, from, to, |series| {
            left = left.checked_sub(series.samples.len()).ok_or(TooManySamples)?;
            found.push(series);
            Ok(())
        })?;
        found.sort_unstable_by(|left, right| left.labels.cmp(&right.labels));
        Ok(found)
    }

    /// The label sets that meet the matchers and may have samples in the time range, in order.
    pub(crate) fn label_sets(&self, matchers: &[Matcher], from: i64, to: i64) -> BTreeSet<Labels> {
        let (head, parts) = {
            let state = read(&self.metrics_state);
            (state.head.label_sets(matchers, from, to), state.parts_between(from.saturating_sub(1), to))
        };
        let mut found: BTreeSet<Labels> = head.into_iter().collect();
        for part in &parts {
            samples::label_sets(part, matchers, &mut found);
        }
        self.trim_indexes();
        found
    }
}

/// The labels that come next in any of the streams.
fn first_of(streams: &mut [Peekable<Box<dyn Iterator<Item = Selected>>>]) -> Option<Labels> {
    let next = streams.iter_mut().filter_map(|stream| stream.peek().map(|series| &series.labels));
    next.min_by(|left, right| Labels::by_metric(left, right)).cloned()
}

impl super::MetricsState {
    /// The parts that may hold samples with `from < time ≤ to`, oldest first.
    fn parts_between(&self, from: i64, to: i64) -> Vec<Arc<Part>> {
        let overlaps = |part: &&Arc<Part>| part.facts.last > from && part.facts.first <= to;
        self.parts.iter().filter(overlaps).cloned().collect()
    }
}
