//! `GET /telemetry/v1/logs/tail`: the lines that a log query selects, as they arrive, as server-sent events in the shape of
//! Loki's tail.
//!
//! The storage gives each batch to all tails at once ([`crate::storage::Storage::watch_logs`]); each tail filters for itself.
//! A tail that reads slowly misses batches and is told so in `dropped_entries`; nothing piles up for it. Tails end with the
//! drain.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use quintet_http::Problem;
use serde_json::{Value as JsonValue, json};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;

use super::params::Params;
use super::{Api, loki};
use crate::head::Found;
use crate::logql::{self, Context, Line, LogQuery, Stream};
use crate::storage::TailedLogs;

/// Tails at once.
const MAX_TAILS: usize = 64;
/// How often a silent tail shows that it lives, so that proxies keep it.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Places for tails.
pub(crate) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_TAILS)))
    }
}

/// What of a batch a query selects, in Loki's shape; nothing where it selects nothing.
fn selected(query: &LogQuery, tailed: &TailedLogs, missed: u64) -> Option<JsonValue> {
    let mut streams = Vec::new();
    for (resource, records) in &tailed.batch.groups {
        for record in records {
            if !logql::search::selects(&query.streams, Stream { resource, severity: record.severity }) {
                continue;
            }
            let found = Found { resource: Arc::clone(resource), record: record.clone() };
            let mut line = Line::new(&found);
            if logql::run(&query.stages, &mut line, &Context::default()) {
                let (labels, value) = loki::entry(&line, false);
                streams.push(json!({ "stream": labels, "values": [value] }));
            }
        }
    }
    let left_out = u64::try_from(tailed.left_out).unwrap_or(0);
    if streams.is_empty() && missed + left_out == 0 {
        return None;
    }
    // Loki lists the lines that were dropped; how many they were is all that is known here.
    Some(json!({ "streams": streams, "dropped_entries": null, "dropped": missed + left_out }))
}

fn event(body: &JsonValue) -> Bytes {
    Bytes::from(format!("event: lines\ndata: {body}\n\n"))
}

pub(super) async fn stream(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Problem> {
    let query = logql::parse_log(params.get("query").unwrap_or(""))
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "query_invalid", error.to_string()))?;
    let place = Arc::clone(&api.tails.0);
    let place = place.try_acquire_owned().map_err(|_| Problem::unavailable(Duration::from_secs(5)))?;
    let state = (
        Some(Bytes::from_static(b": open\n\n")),
        api.storage.watch_logs(),
        query,
        api.events.shutdown(),
        place,
    );
    let events =
        futures_util::stream::unfold(state, |(first, mut batches, query, shutdown, place)| async move {
            if let Some(first) = first {
                return Some((Ok::<_, Infallible>(first), (None, batches, query, shutdown, place)));
            }
            let mut missed = 0;
            loop {
                let next = tokio::select! {
                    () = shutdown.cancelled() => return None,
                    next = tokio::time::timeout(HEARTBEAT, batches.recv()) => next,
                };
                let body = match next {
                    Err(_) => Some(Bytes::from_static(b": still here\n\n")),
                    Ok(Err(RecvError::Closed)) => return None,
                    Ok(Err(RecvError::Lagged(count))) => {
                        missed += count;
                        None
                    }
                    Ok(Ok(tailed)) => selected(&query, &tailed, missed).map(|body| event(&body)),
                };
                if let Some(body) = body {
                    return Some((Ok(body), (None, batches, query, shutdown, place)));
                }
            }
        });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Tells buffering proxies to pass each event on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
