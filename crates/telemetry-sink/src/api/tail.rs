//! `GET /telemetry/v1/logs/tail`: the lines that a log query selects, as they arrive, as server-sent events in the shape of
//! Loki's tail.
//!
//! The storage gives each batch to all tails at once ([`crate::storage::Storage::watch_logs`]); each tail filters for itself.
//! A tail that reads slowly misses batches and is told so in `dropped`; nothing piles up for it. Tails end with the drain.
//!
//! Invariants: stages run off the runtime's threads, for a few tails at once, and for a batch no longer than [`PATIENCE`]
//! and up to [`MAX_BYTES`]; what was not looked at by then counts as dropped. A tail that finds nothing still says something every [`HEARTBEAT`].

use std::convert::Infallible;
use std::future::ready;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use quintet_http::Problem;
use serde_json::{Value as JsonValue, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::params::Params;
use super::{Api, loki};
use crate::head::Found;
use crate::logql::{self, Context, Line, LogQuery, Stream};
use crate::storage::TailedLogs;

/// Tails at once.
const MAX_TAILS: usize = 64;
/// How often a silent tail shows that it lives, so that proxies keep it.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Tails whose stages run at once; the others wait, and miss batches when they wait too long.
const MAX_RUNNING: usize = 2;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a tail looks at one batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the lines of one event.
const MAX_BYTES: usize = 16 * 1024 * 1024;

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

/// What of a batch a query selects, in Loki's shape; nothing where it selects nothing.
fn selected(query: &LogQuery, tailed: &TailedLogs, missed: u64, deadline: Instant) -> Option<JsonValue> {
    let mut streams = Vec::new();
    let (mut late, mut held) = (0, 0);
    for (resource, records) in &tailed.batch.groups {
        for record in records {
            if held > MAX_BYTES || Instant::now() > deadline {
                late += 1;
                continue;
            }
            if !logql::search::selects(&query.streams, Stream { resource, severity: record.severity }) {
                continue;
            }
            let found = Found { resource: Arc::clone(resource), record: record.clone() };
            let mut line = Line::new(&found);
            if logql::run(&query.stages, &mut line, &Context::default()) {
                held += line.bytes();
                let (labels, value) = loki::entry(&line, false);
                streams.push(json!({ "stream": labels, "values": [value] }));
            }
        }
    }
    let left_out = late + u64::try_from(tailed.left_out).unwrap_or(0);
    if streams.is_empty() && missed + left_out == 0 {
        return None;
    }
    // Loki lists the lines that were dropped; how many they were is all that is known here.
    Some(json!({ "streams": streams, "dropped_entries": null, "dropped": missed + left_out }))
}

fn event(body: &JsonValue) -> Bytes {
    Bytes::from(format!("event: lines\ndata: {body}\n\n"))
}

/// It goes on whether batches come or not: a busy storage in which nothing matches is silent, too.
fn heartbeat(period: Duration) -> Interval {
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

struct Tail {
    batches: Receiver<Arc<TailedLogs>>,
    query: Arc<LogQuery>,
    shutdown: CancellationToken,
    running: Arc<Semaphore>,
    heartbeat: Interval,
    missed: u64,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// The next event, until the drain.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let next = tokio::select! {
                () = self.shutdown.cancelled() => return None,
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": still here\n\n")),
                next = self.batches.recv() => next,
            };
            match next {
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(count)) => self.missed += count,
                Ok(tailed) => match self.selected(tailed).await {
                    ControlFlow::Break(()) => return None,
                    ControlFlow::Continue(None) => {}
                    ControlFlow::Continue(Some(body)) => {
                        self.missed = 0;
                        self.heartbeat.reset();
                        return Some(event(&body));
                    }
                },
            }
        }
    }

    /// What the query selects of a batch, when it is this tail's turn; a break ends the tail.
    async fn selected(&mut self, tailed: Arc<TailedLogs>) -> ControlFlow<(), Option<JsonValue>> {
        let turn = tokio::select! {
            () = self.shutdown.cancelled() => return ControlFlow::Break(()),
            turn = tokio::time::timeout(QUEUE_TIMEOUT, Arc::clone(&self.running).acquire_owned()) => turn,
        };
        let Ok(turn) = turn else {
            self.missed += 1;
            return ControlFlow::Continue(None);
        };
        let (query, missed) = (Arc::clone(&self.query), self.missed);
        let run = move || {
            let found = selected(&query, &tailed, missed, Instant::now() + PATIENCE);
            drop(turn);
            found
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(found) => ControlFlow::Continue(found),
            Err(error) => {
                tracing::error!(%error, "a tail stopped");
                ControlFlow::Break(())
            }
        }
    }
}

pub(super) async fn stream(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Problem> {
    let query = logql::parse_log(params.get("query").unwrap_or(""))
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "query_invalid", error.to_string()))?;
    let place = Arc::clone(&api.tails.open);
    let place = place.try_acquire_owned().map_err(|_| Problem::unavailable(Duration::from_secs(5)))?;
    let tail = Tail {
        batches: api.storage.watch_logs(),
        query: Arc::new(query),
        shutdown: api.events.shutdown(),
        running: Arc::clone(&api.tails.running),
        heartbeat: heartbeat(HEARTBEAT),
        missed: 0,
        _place: place,
    };
    let opened = futures_util::stream::once(ready(Ok::<_, Infallible>(Bytes::from_static(b": open\n\n"))));
    let events = opened.chain(futures_util::stream::unfold(tail, |mut tail| async move {
        let event = tail.next().await?;
        Some((Ok(event), tail))
    }));
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Tells buffering proxies to pass each event on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;
    use crate::model::{Batch, LogRecord, Resource};

    fn tailed(lines: usize) -> Arc<TailedLogs> {
        let resource = Arc::new(Resource { service: "api".into(), attributes: Vec::new() });
        let record = LogRecord { body: "line".into(), ..LogRecord::default() };
        let batch = Batch { groups: vec![(resource, vec![record; lines])] };
        Arc::new(TailedLogs { batch, left_out: 0 })
    }

    #[tokio::test]
    async fn a_tail_in_which_nothing_matches_lives_on_a_busy_storage() {
        let (sender, batches) = broadcast::channel(4);
        let query = logql::parse_log(r#"{service_name="api"} |= "never""#).unwrap();
        let mut tail = Tail {
            batches,
            query: Arc::new(query),
            shutdown: CancellationToken::new(),
            running: Arc::new(Semaphore::new(1)),
            heartbeat: heartbeat(Duration::from_millis(50)),
            missed: 0,
            _place: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        };
        let busy = async {
            loop {
                if sender.is_empty() {
                    sender.send(tailed(1)).unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        let event = tokio::select! {
            event = tokio::time::timeout(Duration::from_secs(20), tail.next()) => event.unwrap().unwrap(),
            () = busy => unreachable!("it has no end"),
        };
        assert_eq!(event, ": still here\n\n");
    }

    #[test]
    fn lines_that_a_tail_has_no_time_for_are_counted() {
        let query = logql::parse_log(r#"{service_name="api"}"#).unwrap();
        let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let body = selected(&query, &tailed(3), 2, late).unwrap();
        assert_eq!((&body["streams"], &body["dropped"]), (&json!([]), &json!(5)));
    }

    #[test]
    fn one_event_is_not_larger_than_its_limit() {
        let query =
            logql::parse_log("{service_name=\"api\"} | line_format \"{{repeat 262144 `x`}}\"").unwrap();
        let body = selected(&query, &tailed(100), 0, Instant::now() + Duration::from_mins(1)).unwrap();
        assert_eq!((body["streams"].as_array().unwrap().len(), &body["dropped"]), (64, &json!(36)));
    }
}
