//! A whole trace: its spans once each, in the order of their start, and who is whose parent.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::head::Found;
use crate::model::{Span, SpanStatus, TraceId};

const MAX_SPANS: usize = 20_000;
/// Spans of one trace that are read: batches that were sent again are among them.
pub(crate) const MAX_READ: usize = 3 * MAX_SPANS;

pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) spans: Vec<Found<Span>>,
    /// The place of each span's parent, where the trace has it.
    parents: Vec<Option<usize>>,
}

impl Trace {
    /// Nothing for no spans.
    pub(crate) fn of(id: TraceId, mut spans: Vec<Found<Span>>) -> Option<Self> {
        spans.sort_by_key(|found| found.record.start);
        // A batch that was sent again stores its spans again.
        let mut seen = BTreeSet::new();
        spans.retain(|found| seen.insert(found.record.span_id));
        spans.truncate(MAX_SPANS);
        if spans.is_empty() {
            return None;
        }
        let places: HashMap<_, _> =
            spans.iter().enumerate().map(|(place, found)| (found.record.span_id, place)).collect();
        let parent = |place: usize, found: &Found<Span>| {
            let parent = places.get(&found.record.parent?).copied()?;
            (parent != place).then_some(parent)
        };
        let parents = spans.iter().enumerate().map(|(place, found)| parent(place, found)).collect();
        Some(Self { id, spans, parents })
    }

    pub(crate) fn parent(&self, place: usize) -> Option<usize> {
        self.parents.get(place).copied().flatten()
    }

    /// The spans that are an ancestor of one of these. A span in a loop of parents is above itself.
    pub(super) fn above(&self, places: &BTreeSet<usize>) -> HashSet<usize> {
        let mut above = HashSet::new();
        for place in places {
            let mut next = self.parent(*place);
            // What is above a known one is known.
            while let Some(place) = next.filter(|place| above.insert(*place)) {
                next = self.parent(place);
            }
        }
        above
    }

    /// The spans that have one of these as an ancestor.
    pub(super) fn below(&self, places: &BTreeSet<usize>) -> HashSet<usize> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.spans.len()];
        for (place, parent) in self.parents.iter().enumerate() {
            if let Some(of) = parent.and_then(|parent| children.get_mut(parent)) {
                of.push(place);
            }
        }
        let mut below = HashSet::new();
        let mut left: Vec<usize> = places.iter().copied().collect();
        while let Some(place) = left.pop() {
            let found = children.get_mut(place).map(std::mem::take).unwrap_or_default();
            below.extend(&found);
            left.extend(found);
        }
        below
    }

    /// The first span without a parent, or the first of all.
    pub(crate) fn root(&self) -> Option<&Found<Span>> {
        self.spans.iter().find(|found| found.record.parent.is_none()).or(self.spans.first())
    }

    pub(crate) fn start(&self) -> i64 {
        self.spans.first().map_or(0, |found| found.record.start)
    }

    pub(crate) fn duration_nanos(&self) -> i64 {
        let end = self.spans.iter().map(|found| found.record.end).max().unwrap_or(0);
        end.saturating_sub(self.start()).max(0)
    }

    /// Spans and failed spans of each service.
    pub(crate) fn services(&self) -> std::collections::BTreeMap<&str, (usize, usize)> {
        let mut services = std::collections::BTreeMap::new();
        for found in &self.spans {
            let (spans, errors) = services.entry(found.resource.service.as_str()).or_insert((0, 0));
            *spans += 1;
            *errors += usize::from(found.record.status == SpanStatus::Error);
        }
        services
    }
}
