//! Finds the newest traces that a query chooses.
//!
//! Invariants: at most [`MAX_CANDIDATES`] traces are remembered and the newest of them judged first; one trace, and what peers have of few, is held at a
//! time; a search that runs into its deadline says so.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Instant;

use super::ast::Query;
use super::eval::{chosen, meets};
use super::trace::{MAX_READ, Trace};
use crate::head::Found;
use crate::model::{Resource, Span, TraceId};
use crate::peers::Peers;
use crate::peers::questions::TracesAsked;
use crate::peers::traces::AT_ONCE;
use crate::storage::Storage;

const MAX_CANDIDATES: usize = 50_000;

/// What is asked for beside the query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// When a trace's chosen spans start, nanoseconds: inclusive and exclusive.
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) min_duration: i64,
    pub(crate) max_duration: i64,
    pub(crate) traces: usize,
    pub(crate) deadline: Instant,
}

/// A trace and the places of its chosen spans.
pub(crate) struct Hit {
    pub(crate) trace: Trace,
    pub(crate) places: BTreeSet<usize>,
}

pub(crate) struct Outcome<T> {
    /// What was made of each hit.
    pub(crate) hits: Vec<T>,
    /// Traces that were judged.
    pub(crate) inspected: usize,
    pub(crate) timed_out: bool,
}

/// The newest traces of this sink that have a span which passes one of the query's filters, newest first, and when that began;
/// whether the deadline came first.
pub(crate) fn candidates(
    storage: &Storage,
    query: &Query,
    (from, to): (i64, i64),
    deadline: Instant,
) -> (Vec<(TraceId, i64)>, bool) {
    let filters = query.spans.filters();
    let mut newest: HashMap<TraceId, i64> = HashMap::new();
    let mut timed_out = false;
    storage.spans().scan(
        from,
        to,
        |_: &Resource, _| true,
        |span: Found<Span>| {
            if filters.iter().any(|filter| meets(filter, &span, None))
                && (newest.len() < MAX_CANDIDATES || newest.contains_key(&span.record.trace_id))
            {
                let start = newest.entry(span.record.trace_id).or_insert(i64::MIN);
                *start = (*start).max(span.record.start);
            }
            timed_out = Instant::now() > deadline;
            if timed_out { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    let mut found: Vec<_> = newest.into_iter().collect();
    found.sort_unstable_by_key(|(id, start)| (Reverse(*start), *id));
    (found, timed_out)
}

/// The candidates of this sink and its peers.
fn all_candidates(
    storage: &Storage,
    peers: &Peers,
    (text, query): (&str, &Query),
    limits: &Limits,
) -> (Vec<TraceId>, bool) {
    let (from, to) = (limits.from, limits.to);
    let asked = TracesAsked::Filters { query: text.to_owned(), from, to };
    let (mut found, timed_out) = candidates(storage, query, (from, to), limits.deadline);
    found.extend(peers.traces(&asked, limits.deadline));
    found.sort_unstable_by_key(|(id, start)| (Reverse(*start), *id));
    let mut known = HashSet::new();
    let ids = found.into_iter().map(|(id, _)| id).filter(|id| known.insert(*id));
    (ids.take(MAX_CANDIDATES).collect(), timed_out)
}

/// The newest chosen traces of this sink and its peers, those first; `show` keeps of each what is to be said of it.
pub(crate) fn search<T>(
    storage: &Storage,
    peers: &Peers,
    (text, query): (&str, &Query),
    limits: Limits,
    show: impl Fn(&Hit) -> T,
) -> Outcome<T> {
    let snapshot = storage.spans();
    let (ids, timed_out) = all_candidates(storage, peers, (text, query), &limits);
    let mut outcome = Outcome { hits: Vec::new(), inspected: 0, timed_out };
    let traces = ids.chunks(AT_ONCE).flat_map(|ids| peers.whole(&snapshot, ids, MAX_READ, limits.deadline));
    for trace in traces.filter_map(|(id, spans)| Trace::of(id, spans)) {
        if outcome.hits.len() >= limits.traces {
            break;
        }
        if Instant::now() > limits.deadline {
            outcome.timed_out = true;
            break;
        }
        outcome.inspected += 1;
        if !(limits.min_duration..=limits.max_duration).contains(&trace.duration_nanos()) {
            continue;
        }
        let Ok(places) = chosen(query, &trace, limits.deadline) else {
            outcome.timed_out = true;
            break;
        };
        if !places.is_empty() {
            outcome.hits.push(show(&Hit { trace, places }));
        }
    }
    outcome
}
