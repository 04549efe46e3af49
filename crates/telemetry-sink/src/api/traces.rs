//! `GET /telemetry/v1/traces/{id}`: a trace by its id, or by the request id that a caller was given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use quintet_http::Problem;
use serde::Serialize;
use serde_json::{Value as JsonValue, json};

use super::{Api, catalog};
use crate::head::Found;
use crate::model::codec::{Key, request_id};
use crate::model::{LogRecord, Span, TraceId, Value, hex, parse_hex};
use crate::storage::Storage;

/// Traces that one request id may lead to; retries of a client share the id.
const MAX_TRACES: usize = 16;
const MAX_SPANS: usize = 20_000;
/// Lines of a trace that are counted.
const MAX_LOGS: usize = 20_000;

/// Everything recorded of a trace or a request.
#[derive(Serialize)]
pub(super) struct Answer {
    id: String,
    trace_ids: Vec<String>,
    request_ids: BTreeSet<String>,
    services: BTreeSet<String>,
    spans: Vec<JsonValue>,
    logs: usize,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<Answer>, Problem> {
    let answer = api.run(move |api| find(api, id)).await?;
    answer.map(Json).ok_or_else(|| Problem::not_found("trace"))
}

fn find(api: &Api, id: String) -> Option<Answer> {
    let traces = trace_ids(api, &id);
    let (own, deadline) = (api.storage.spans(), api.limits().deadline);
    let mut spans: Vec<Found<Span>> =
        read_up_to(&traces, MAX_SPANS, |trace, most| api.peers.spans_of(&own, trace, most, deadline));
    spans.sort_by_key(|found| (found.record.start, found.record.span_id));
    spans.dedup_by_key(|found| (found.record.trace_id, found.record.span_id));
    if spans.is_empty() {
        return None;
    }
    let logs = api.storage.logs();
    Some(Answer {
        id,
        trace_ids: traces.iter().map(|trace| hex(trace)).collect(),
        request_ids: spans
            .iter()
            .filter_map(|found| request_id(&found.record.attributes).map(str::to_owned))
            .collect(),
        services: spans.iter().map(|found| found.resource.service.clone()).collect(),
        spans: spans.iter().map(span).collect(),
        logs: read_up_to(&traces, MAX_LOGS, |trace, most| {
            logs.lookup_up_to::<LogRecord>(Key::Trace(trace), most)
        })
        .len(),
    })
}

/// What is found of all traces, at most so much together.
fn read_up_to<T>(traces: &[TraceId], most: usize, lookup: impl Fn(TraceId, usize) -> Vec<T>) -> Vec<T> {
    let mut found = Vec::new();
    for trace in traces {
        found.extend(lookup(*trace, most - found.len()));
    }
    found
}

/// An id of 32 digits is tried as a trace id first: request ids may look like one.
fn trace_ids(api: &Api, id: &str) -> Vec<TraceId> {
    let snapshot = api.storage.spans();
    if id.len() == 32
        && let Some(trace) = parse_hex(id)
        && !snapshot.lookup_up_to::<Span>(Key::Trace(trace), 1).is_empty()
    {
        return vec![trace];
    }
    let known = catalog::joined(api, &catalog::Asked::Request { id: id.to_owned() });
    let mut found: BTreeSet<TraceId> =
        catalog::values(&known, "trace_id").iter().filter_map(|id| parse_hex(id)).collect();
    if found.is_empty()
        && id.len() == 32
        && let Some(trace) = parse_hex(id)
    {
        // Nothing of it is here, but a peer may have it.
        found.insert(trace);
    }
    found.into_iter().take(MAX_TRACES).collect()
}

/// The traces that this sink knows of a request.
pub(super) fn of_request(storage: &Storage, id: &str) -> BTreeSet<TraceId> {
    let spans = storage.spans().lookup_up_to::<Span>(Key::Request(id), MAX_SPANS);
    let logs = storage.logs().lookup_up_to::<LogRecord>(Key::Request(id), MAX_LOGS);
    let of_spans = spans.iter().map(|found| found.record.trace_id);
    of_spans.chain(logs.iter().filter_map(|found| found.record.trace_id)).collect()
}

fn object(attributes: &[(String, Value)]) -> BTreeMap<&str, JsonValue> {
    attributes
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Text(text) => json!(text),
                Value::Bool(value) => json!(value),
                Value::Int(value) => json!(value),
                Value::Double(value) => json!(value),
            };
            (name.as_str(), value)
        })
        .collect()
}

fn span(found: &Found<Span>) -> JsonValue {
    let span = &found.record;
    let events: Vec<_> = span
        .events
        .iter()
        .map(|event| {
            json!({ "time_unix_us": event.time / 1000, "name": event.name, "attributes": object(&event.attributes) })
        })
        .collect();
    json!({
        "trace_id": hex(&span.trace_id),
        "span_id": hex(&span.span_id),
        "parent_span_id": span.parent.map(|parent| hex(&parent)),
        "service": found.resource.service,
        "name": span.name,
        "kind": span.kind.as_str(),
        "start_time_unix_us": span.start / 1000,
        "duration_us": span.duration_nanos() / 1000,
        "status": span.status.as_str(),
        "status_message": span.status_message,
        "scope": span.scope,
        "attributes": object(&span.attributes),
        "resource": object(&found.resource.attributes),
        "events": events,
    })
}
