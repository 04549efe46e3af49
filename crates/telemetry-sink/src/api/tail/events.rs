//! `GET /telemetry/v1/logs/tail`: a tail as server-sent events, for the console and for `curl`.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use quintet_http::Problem;
use serde_json::json;

use super::{Selection, Tail, Wake};
use crate::api::Api;
use crate::api::params::Params;
use crate::logql;

fn event(selection: &Selection) -> Bytes {
    let streams: Vec<_> = selection
        .entries
        .iter()
        .map(|entry| json!({ "stream": entry.labels, "values": [entry.value] }))
        .collect();
    let body = json!({ "streams": streams, "dropped": selection.dropped.count });
    Bytes::from(format!("event: lines\ndata: {body}\n\n"))
}

/// The next event, until the drain.
pub(super) async fn next(tail: &mut Tail) -> Option<Bytes> {
    loop {
        match tail.wake().await {
            Wake::End => return None,
            Wake::Heartbeat => return Some(Bytes::from_static(b": still here\n\n")),
            Wake::Batch(tailed) => {
                let selection = tail.selection(tailed).await.ok()?;
                if !selection.is_empty() {
                    return Some(event(&selection));
                }
            }
        }
    }
}

pub(in crate::api) async fn stream(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Problem> {
    let query = logql::parse_log(params.get("query").unwrap_or(""))
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "query_invalid", error.to_string()))?;
    let tail = Tail::open(&api, query, false).ok_or_else(|| Problem::unavailable(Duration::from_secs(5)))?;
    let opened = futures_util::stream::once(ready(Ok::<_, Infallible>(Bytes::from_static(b": open\n\n"))));
    let events = opened.chain(futures_util::stream::unfold(tail, |mut tail| async move {
        let event = next(&mut tail).await?;
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
