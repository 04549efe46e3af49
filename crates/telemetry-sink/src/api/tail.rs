//! The lines that a log query selects, as they arrive: as server-sent events ([`events`]) and as Loki's WebSocket ([`socket`]).
//!
//! The storage gives each batch to all tails at once ([`crate::storage::Storage::watch_logs`]); each tail filters for itself.
//! A tail that reads slowly misses batches and is told how much; nothing piles up for it. Tails end with the drain.
//!
//! Invariants: stages run off the runtime's threads, for a few tails at once, and for a batch no longer than [`PATIENCE`]
//! and up to [`MAX_BYTES`]; what was not looked at by then counts as dropped. A tail that finds nothing still says something every [`HEARTBEAT`].

pub(super) mod events;
mod handshake;
mod held;
pub(super) mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as JsonValue, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Api, loki};
use crate::head::Found;
use crate::logql::{self, Context, Line, LogQuery, Stream};
use crate::storage::TailedLogs;

/// Tails at once, of both kinds together.
const MAX_TAILS: usize = 64;
/// How often a silent tail shows that it lives, so that proxies keep it.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Tails whose stages run at once; the others wait, and miss batches when they wait too long.
const MAX_RUNNING: usize = 2;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a tail looks at one batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the lines of one message.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Dropped lines that are listed; as many as Loki lists. All of them are counted.
const MAX_LISTED: usize = 1000;

/// Places for tails.
pub(crate) struct Places {
    open: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self { open: Arc::new(Semaphore::new(MAX_TAILS)), running: Arc::new(Semaphore::new(MAX_RUNNING)) }
    }
}

/// A line that was selected.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    time: i64,
    labels: BTreeMap<String, String>,
    /// Time, text and, where they were asked for apart, what is known of the line.
    value: JsonValue,
    bytes: usize,
}

impl Entry {
    fn of(line: &Line<'_>, apart: bool) -> Self {
        let (labels, value) = loki::entry(line, apart);
        Self { time: line.found.record.time, labels, value, bytes: line.bytes() }
    }
}

/// What a client does not get.
#[derive(Debug, Clone, Default, PartialEq)]
struct Dropped {
    /// Lines and whole batches.
    count: u64,
    /// Times and labels of the lines that are known.
    listed: Vec<(i64, BTreeMap<String, String>)>,
}

impl Dropped {
    fn line(&mut self, time: i64, labels: impl FnOnce() -> BTreeMap<String, String>) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push((time, labels()));
        }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        let room = MAX_LISTED.saturating_sub(self.listed.len());
        self.listed.extend(other.listed.into_iter().take(room));
    }

    /// What Loki's clients read of it; `now` stands for the time of what is not known.
    fn entries(&self, now: i64) -> JsonValue {
        if self.count == 0 {
            return JsonValue::Null;
        }
        if self.listed.is_empty() {
            return json!([{ "timestamp": now.to_string(), "labels": {} }]);
        }
        let one = |(time, labels): &(i64, BTreeMap<String, String>)| json!({ "timestamp": time.to_string(), "labels": labels });
        self.listed.iter().map(one).collect()
    }
}

/// What a query selects of a batch.
#[derive(Debug, Default, PartialEq)]
struct Selection {
    entries: Vec<Entry>,
    dropped: Dropped,
}

impl Selection {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped.count == 0
    }
}

/// How a tail selects.
#[derive(Debug)]
struct Wish {
    query: LogQuery,
    /// Whether structured metadata is given apart from the labels.
    apart: bool,
}

impl Wish {
    fn selection(&self, tailed: &TailedLogs, missed: u64, deadline: Instant) -> Selection {
        let mut selection = Selection::default();
        let mut held = 0;
        for (resource, records) in &tailed.batch.groups {
            for record in records {
                let stream = Stream { resource, severity: record.severity };
                if !logql::search::selects(&self.query.streams, stream) {
                    continue;
                }
                let found = Found { resource: Arc::clone(resource), record: record.clone() };
                let mut line = Line::new(&found);
                if held > MAX_BYTES || Instant::now() > deadline {
                    selection.dropped.line(record.time, || line.stream_labels());
                } else if logql::run(&self.query.stages, &mut line, &Context::default()) {
                    held += line.bytes();
                    selection.entries.push(Entry::of(&line, self.apart));
                }
            }
        }
        selection.dropped.count += missed + u64::try_from(tailed.left_out).unwrap_or(0);
        selection
    }
}

/// It goes on whether batches come or not: a busy storage in which nothing matches is silent, too.
fn heartbeat(period: Duration) -> Interval {
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

struct Tail {
    batches: Receiver<Arc<TailedLogs>>,
    wish: Arc<Wish>,
    shutdown: CancellationToken,
    running: Arc<Semaphore>,
    heartbeat: Interval,
    missed: u64,
    _place: OwnedSemaphorePermit,
}

/// What a tail was woken by.
enum Wake {
    End,
    Heartbeat,
    Batch(Arc<TailedLogs>),
}

/// The drain came, or the stages of a tail stopped.
struct Ended;

impl Tail {
    /// Nothing where all places are taken.
    fn open(api: &Api, query: LogQuery, apart: bool) -> Option<Self> {
        let place = Arc::clone(&api.tails.open).try_acquire_owned().ok()?;
        Some(Self {
            batches: api.storage.watch_logs(),
            wish: Arc::new(Wish { query, apart }),
            shutdown: api.events.shutdown(),
            running: Arc::clone(&api.tails.running),
            heartbeat: heartbeat(HEARTBEAT),
            missed: 0,
            _place: place,
        })
    }

    /// Waits; nothing is lost when the wait is given up.
    async fn wake(&mut self) -> Wake {
        loop {
            let next = tokio::select! {
                () = self.shutdown.cancelled() => return Wake::End,
                _ = self.heartbeat.tick() => return Wake::Heartbeat,
                next = self.batches.recv() => next,
            };
            match next {
                Err(RecvError::Closed) => return Wake::End,
                Err(RecvError::Lagged(count)) => self.missed += count,
                Ok(tailed) => return Wake::Batch(tailed),
            }
        }
    }

    /// What the query selects of a batch, when it is this tail's turn; an empty selection where that did not come.
    async fn selection(&mut self, tailed: Arc<TailedLogs>) -> Result<Selection, Ended> {
        let turn = tokio::select! {
            () = self.shutdown.cancelled() => return Err(Ended),
            turn = tokio::time::timeout(QUEUE_TIMEOUT, Arc::clone(&self.running).acquire_owned()) => turn,
        };
        let Ok(turn) = turn else {
            self.missed += 1;
            return Ok(Selection::default());
        };
        let (wish, missed) = (Arc::clone(&self.wish), self.missed);
        let run = move || {
            let selection = wish.selection(&tailed, missed, Instant::now() + PATIENCE);
            drop(turn);
            selection
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(selection) => {
                // What was missed is told together with the next that there is to tell.
                if !selection.is_empty() {
                    self.missed = 0;
                    self.heartbeat.reset();
                }
                Ok(selection)
            }
            Err(error) => {
                tracing::error!(%error, "a tail stopped");
                Err(Ended)
            }
        }
    }
}
