//! Runs log queries over the storage.
//!
//! Streams are chosen before anything is read, texts that every line must hold are looked for in the encoded records, ids
//! lead straight to their lines. The newest or oldest lines of a long range are looked for in slices that grow, so that a
//! query for a hundred lines does not read a week.
//!
//! Invariants: no more than the limit is held, in lines and in bytes; a search ends at its deadline, with an error and not
//! with half an answer. The clock is read after every line that more happens to than a filter, and otherwise after so many
//! lines or bytes.

use std::collections::{BinaryHeap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::Error;
use super::ast::{LogQuery, Stage};
use super::line::{Changes, Line, Stream};
use super::pipeline::{Context, REQUEST_ID, run};
use crate::head::{Found, Sieve};
use crate::model::codec::{Key, request_id};
use crate::model::{LogRecord, Matcher, Resource, Span, TraceId, parse_hex};
use crate::storage::Storage;

/// The first slice of a search for the newest or oldest lines.
const FIRST_SLICE_NANOS: i64 = 60_000_000_000;
/// Bytes between two looks at the clock; a line counts as some by itself.
const BYTES_PER_LOOK: usize = 64 * 1024;
const BYTES_PER_LINE: usize = 256;
/// Bytes of the lines that are kept for an answer.
const MAX_HELD: usize = 128 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// Inclusive.
    pub(crate) from: i64,
    /// Exclusive.
    pub(crate) to: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Backward,
    Forward,
}

/// What a search read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

/// A line that passed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Passed {
    pub(crate) found: Found<LogRecord>,
    changes: Changes,
}

impl Passed {
    pub(crate) fn line(&self) -> Line<'_> {
        Line::with(&self.found, self.changes.clone())
    }
}

/// Whether a stream is meant.
pub(crate) fn selects(matchers: &[Matcher], stream: Stream<'_>) -> bool {
    matchers.iter().all(|matcher| matcher.accepts(&stream.get(&matcher.name).unwrap_or_default()))
}

pub(crate) struct Search<'a> {
    storage: &'a Storage,
    query: &'a LogQuery,
    context: Context,
    sieve: Sieve,
    deadline: Instant,
    /// Whether one line may take long.
    is_costly: bool,
    /// Lines that other sinks found.
    theirs: Vec<Found<LogRecord>>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(storage: &'a Storage, query: &'a LogQuery, deadline: Instant) -> Self {
        let traces = query.equality(REQUEST_ID).map(|id| traces_of(storage, id)).unwrap_or_default();
        let sieve = Sieve::new(query.texts());
        let is_costly = is_costly(&query.stages);
        Self { storage, query, context: Context { traces }, sieve, deadline, is_costly, theirs: Vec::new() }
    }

    /// The search with lines that other sinks found for it.
    pub(crate) fn joined_by(mut self, theirs: Vec<Found<LogRecord>>) -> Self {
        self.theirs = theirs;
        self
    }

    /// The search of who sends each line through further stages.
    pub(crate) fn followed_by(mut self, stages: &[Stage]) -> Self {
        self.is_costly |= is_costly(stages);
        self
    }

    /// Visits every line of the range that passes, in no order.
    pub(crate) fn each(
        &self,
        range: Range,
        mut visit: impl FnMut(Line<'_>) -> ControlFlow<()>,
    ) -> Result<Read, Error> {
        let mut read = Read::default();
        let mut late = false;
        let per_look = if self.is_costly { 0 } else { BYTES_PER_LOOK };
        let mut since_look = 0;
        let mut look = |found: &Found<LogRecord>| -> ControlFlow<()> {
            read.lines += 1;
            read.bytes += u64::try_from(found.record.body.len()).unwrap_or(0);
            since_look += found.record.body.len() + BYTES_PER_LINE;
            if since_look > per_look {
                since_look = 0;
                if Instant::now() > self.deadline {
                    late = true;
                    return ControlFlow::Break(());
                }
            }
            let mut line = Line::new(found);
            if run(&self.query.stages, &mut line, &self.context) {
                visit(line)
            } else {
                ControlFlow::Continue(())
            }
        };
        let meant = |found: &&Found<LogRecord>| {
            (range.from..range.to).contains(&found.record.time)
                && self.is_meant(&found.resource, found.record.severity)
        };
        // A break means that the visitor has enough, which is no error.
        let is_enough = self.theirs.iter().filter(meant).try_for_each(&mut look).is_break();
        if is_enough {
            // Nothing of this sink is needed.
        } else if let Some(candidates) = self.candidates() {
            let _ = candidates.iter().filter(meant).try_for_each(&mut look);
        } else {
            let wanted = |resource: &Resource, severity: u8| self.is_meant(resource, severity);
            let logs = self.storage.logs();
            logs.scan_sieved(range.from, range.to, wanted, &self.sieve, |found: Found<LogRecord>| {
                look(&found)
            });
        }
        if late { Err(Error::Timeout) } else { Ok(read) }
    }

    /// The newest or the oldest `limit` lines, in the order of the direction.
    pub(crate) fn best(
        &self,
        range: Range,
        limit: usize,
        direction: Direction,
    ) -> Result<(Vec<Passed>, Read), Error> {
        // What two sinks have counts once, so that more is needed before that is known.
        let wanted = if limit == 0 { 0 } else { limit.saturating_add(self.theirs.len()) };
        let mut best = Best { limit: wanted, direction, lines: BinaryHeap::new(), seen: 0, held: 0 };
        let mut read = Read::default();
        for slice in slices(range, direction) {
            if limit == 0 {
                break;
            }
            let of_slice = self.each(slice, |line| {
                best.push(line);
                if best.held > MAX_HELD { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if best.held > MAX_HELD {
                let message = format!("the lines are larger than {MAX_HELD} bytes together; ask for fewer");
                return Err(Error::Refused(message));
            }
            read.lines += of_slice.lines;
            read.bytes += of_slice.bytes;
            if best.lines.len() >= wanted {
                break;
            }
        }
        let mut lines = best.finish();
        if !self.theirs.is_empty() {
            once(&mut lines);
            lines.truncate(limit);
        }
        Ok((lines, read))
    }

    /// The lines that the indexes name, where the query pins an id.
    fn candidates(&self) -> Option<Vec<Found<LogRecord>>> {
        let logs = self.storage.logs();
        if let Some(id) = self.query.equality(REQUEST_ID) {
            let mut found = logs.lookup::<LogRecord>(Key::Request(id));
            for trace in &self.context.traces {
                let of_trace = logs.lookup::<LogRecord>(Key::Trace(*trace));
                found.extend(
                    of_trace.into_iter().filter(|found| request_id(&found.record.attributes) != Some(id)),
                );
            }
            return Some(found);
        }
        let trace = parse_hex(self.query.equality("trace_id")?)?;
        Some(logs.lookup(Key::Trace(trace)))
    }

    fn is_meant(&self, resource: &Resource, severity: u8) -> bool {
        selects(&self.query.streams, Stream { resource, severity })
    }
}

/// Takes out lines that another sink has as well; those of one time stand together.
fn once(lines: &mut Vec<Passed>) {
    let mut kept: Vec<Passed> = Vec::with_capacity(lines.len());
    for line in lines.drain(..) {
        let time = line.found.record.time;
        let mut same = kept.iter().rev().take_while(|known| known.found.record.time == time);
        if !same.any(|known| *known == line) {
            kept.push(line);
        }
    }
    *lines = kept;
}

/// Whether there is more than filters.
fn is_costly(stages: &[Stage]) -> bool {
    !stages.iter().all(|stage| matches!(stage, Stage::Line(_) | Stage::Labels(_)))
}

/// The traces whose spans carry a request id.
fn traces_of(storage: &Storage, id: &str) -> HashSet<TraceId> {
    let spans = storage.spans().lookup::<Span>(Key::Request(id));
    spans.into_iter().map(|found| found.record.trace_id).collect()
}

/// The range in parts of which each is twice as long as the one before, from the end that is asked for.
fn slices(range: Range, direction: Direction) -> impl Iterator<Item = Range> {
    let mut left = Some(range);
    let mut length = FIRST_SLICE_NANOS;
    std::iter::from_fn(move || {
        let whole = left.take()?;
        let slice = match direction {
            Direction::Backward => {
                Range { from: whole.from.max(whole.to.saturating_sub(length)), to: whole.to }
            }
            Direction::Forward => {
                Range { from: whole.from, to: whole.to.min(whole.from.saturating_add(length)) }
            }
        };
        length = length.saturating_mul(2);
        left = match direction {
            Direction::Backward => Some(Range { from: whole.from, to: slice.from }),
            Direction::Forward => Some(Range { from: slice.to, to: whole.to }),
        };
        left = left.filter(|left| left.from < left.to);
        Some(slice)
    })
}

/// Keeps the newest or the oldest lines in bounded memory.
struct Best {
    limit: usize,
    direction: Direction,
    /// The one to go first is on top.
    lines: BinaryHeap<Entry>,
    seen: i64,
    /// Bytes of the lines.
    held: usize,
}

/// One line, ordered by time and then by arrival: what is greater is further from the end that is asked for.
struct Entry {
    order: (i64, i64),
    passed: Passed,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.passed.found.record.body.len() + self.passed.changes.bytes()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

impl Best {
    fn push(&mut self, line: Line<'_>) {
        let time = line.found.record.time;
        let order = match self.direction {
            // Negated bit by bit, which the smallest number survives.
            Direction::Backward => (!time, !self.seen),
            Direction::Forward => (time, self.seen),
        };
        self.seen += 1;
        if self.lines.len() >= self.limit && self.lines.peek().is_some_and(|last| last.order <= order) {
            return;
        }
        let found = Found { resource: Arc::clone(&line.found.resource), record: line.found.record.clone() };
        let entry = Entry { order, passed: Passed { found, changes: line.into_changes() } };
        self.held += entry.bytes();
        self.lines.push(entry);
        if self.lines.len() > self.limit
            && let Some(gone) = self.lines.pop()
        {
            self.held -= gone.bytes();
        }
    }

    fn finish(self) -> Vec<Passed> {
        self.lines.into_sorted_vec().into_iter().map(|entry| entry.passed).collect()
    }
}
