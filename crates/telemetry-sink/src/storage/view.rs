//! What queries read: head and parts of a signal at one moment, each record once.

use std::collections::{BTreeMap, BTreeSet};
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
    /// The series that meet all matchers and have samples with `from < time ≤ to` (milliseconds), in label order.
    pub(crate) fn select_samples(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let (mut found, parts) = {
            let state = read(&self.metrics_state);
            (state.head.select(matchers, from, to, max_samples)?, state.parts_between(from, to))
        };
        if parts.is_empty() {
            return Ok(found);
        }
        let mut left = max_samples - found.iter().map(|series| series.samples.len()).sum::<usize>();
        let mut older = Vec::new();
        let selected = parts
            .iter()
            .try_for_each(|part| samples::select(part, matchers, (from, to), &mut left, &mut older));
        self.trim_indexes();
        selected?;
        let mut by_labels: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        for series in older.into_iter().chain(found.drain(..)) {
            by_labels.entry(series.labels).or_default().extend(series.samples);
        }
        let joined = by_labels.into_iter().map(|(labels, mut samples)| {
            put_in_order(&mut samples);
            Selected { labels, samples }
        });
        Ok(joined.collect())
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

impl super::MetricsState {
    /// The parts that may hold samples with `from < time ≤ to`, oldest first.
    fn parts_between(&self, from: i64, to: i64) -> Vec<Arc<Part>> {
        let overlaps = |part: &&Arc<Part>| part.facts.last > from && part.facts.first <= to;
        self.parts.iter().filter(overlaps).cloned().collect()
    }
}
