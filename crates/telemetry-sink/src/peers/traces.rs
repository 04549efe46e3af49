//! Traces of all sinks: which there are, their spans, and the calls they show.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::questions::{CallsAsked, SpansAsked, TracesAsked};
use super::{Peers, records, wire};
use crate::head::Found;
use crate::model::codec::Key;
use crate::model::{Span, TraceId};
use crate::offload::missed;
use crate::storage::View;

/// Traces that are asked for at once: as many are held.
pub(crate) const AT_ONCE: usize = 32;

impl Peers {
    /// The spans of a trace, of this sink and its peers, at most so many.
    pub(crate) fn spans_of(
        &self,
        own: &View,
        id: TraceId,
        most: usize,
        deadline: Instant,
    ) -> Vec<Found<Span>> {
        self.whole(own, &[id], most, deadline).flat_map(|(_, spans)| spans).collect()
    }

    /// The spans of these traces, of this sink and its peers, at most so many of each. Peers are asked at once for all; what this
    /// sink has of a trace is read when it is that trace's turn.
    pub(crate) fn whole(
        &self,
        own: &View,
        ids: &[TraceId],
        most: usize,
        deadline: Instant,
    ) -> impl Iterator<Item = (TraceId, Vec<Found<Span>>)> {
        let mut theirs: HashMap<TraceId, Vec<Found<Span>>> = HashMap::new();
        for found in self.spans(ids, deadline) {
            theirs.entry(found.record.trace_id).or_default().push(found);
        }
        let whole = move |id: &TraceId| {
            let mut spans = own.lookup_up_to::<Span>(Key::Trace(*id), most);
            let more = theirs.remove(id).unwrap_or_default();
            let mut known: BTreeSet<_> = spans.iter().map(|found| found.record.span_id).collect();
            spans.extend(more.into_iter().filter(|found| known.insert(found.record.span_id)));
            spans.truncate(most);
            (*id, spans)
        };
        ids.iter().map(whole)
    }

    fn spans(&self, ids: &[TraceId], deadline: Instant) -> Vec<Found<Span>> {
        let gathered = self.ask("spans", &SpansAsked::new(ids), deadline, records::<Span>);
        match ids.split_at_checked(ids.len() / 2) {
            Some((some, others)) if gathered.is_too_much && !some.is_empty() => {
                let mut found = self.spans(some, deadline);
                found.extend(self.spans(others, deadline));
                found
            }
            _ => {
                if gathered.is_too_much {
                    missed::note_peer();
                }
                gathered.found.into_iter().flatten().collect()
            }
        }
    }

    /// The traces with a span that is meant, and when the newest such began.
    pub(crate) fn traces(&self, asked: &TracesAsked, deadline: Instant) -> Vec<(TraceId, i64)> {
        self.gather("traces", asked, deadline, wire::traces).flatten().collect()
    }

    /// What shows the calls, of each peer.
    pub(crate) fn calls(&self, asked: &CallsAsked, deadline: Instant) -> Vec<Vec<Found<Span>>> {
        self.gather("calls", asked, deadline, records::<Span>).collect()
    }
}
