//! Finds the newest traces that a query chooses.
//!
//! Invariants: at most [`MAX_CANDIDATES`] traces are remembered and the newest of them judged first; one trace is held at a
//! time; a search that runs into its deadline says so.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::time::Instant;

use super::ast::Query;
use super::eval::{chosen, meets};
use super::trace::Trace;
use crate::head::Found;
use crate::model::{Resource, Span, TraceId};
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

/// The newest chosen traces, those first; `show` keeps of each what is to be said of it.
pub(crate) fn search<T>(
    storage: &Storage,
    query: &Query,
    limits: Limits,
    show: impl Fn(&Hit) -> T,
) -> Outcome<T> {
    let snapshot = storage.spans();
    let filters = query.spans.filters();
    let mut newest: HashMap<TraceId, i64> = HashMap::new();
    let mut outcome = Outcome { hits: Vec::new(), inspected: 0, timed_out: false };
    snapshot.scan(
        limits.from,
        limits.to,
        |_: &Resource, _| true,
        |span: Found<Span>| {
            if filters.iter().any(|filter| meets(filter, &span, None))
                && (newest.len() < MAX_CANDIDATES || newest.contains_key(&span.record.trace_id))
            {
                let start = newest.entry(span.record.trace_id).or_insert(i64::MIN);
                *start = (*start).max(span.record.start);
            }
            outcome.timed_out = Instant::now() > limits.deadline;
            if outcome.timed_out { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    let mut candidates: Vec<_> = newest.into_iter().collect();
    candidates.sort_unstable_by_key(|(id, start)| (std::cmp::Reverse(*start), *id));
    for (id, _) in candidates {
        if outcome.hits.len() >= limits.traces {
            break;
        }
        if Instant::now() > limits.deadline {
            outcome.timed_out = true;
            break;
        }
        let Some(trace) = Trace::load(&snapshot, id) else { continue };
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
