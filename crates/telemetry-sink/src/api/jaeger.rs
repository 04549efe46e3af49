//! Jaeger's query API: services, operations, one trace, search, dependencies.

mod search;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value as JsonValue, json};

pub(crate) use self::search::Search;
use super::catalog::{self, Asked};
use super::params::Params;
use super::service_graph;
use super::{Api, NotRun};
use crate::head::Found;
use crate::model::{Span, SpanKind, SpanStatus, TraceId, Value, attribute, hex, parse_hex};
use crate::peers::questions::TracesAsked;
use crate::peers::traces::AT_ONCE;
use crate::storage::Storage;
use crate::traceql::MAX_READ;

const MAX_LIMIT: usize = 1000;
const MAX_SPANS_PER_TRACE: usize = 20_000;

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/services", get(services))
        .route("/services/{service}/operations", get(service_operations))
        .route("/operations", get(operations))
        .route("/traces", get(search))
        .route("/traces/{id}", get(trace))
        .route("/dependencies", get(dependencies))
}

struct Failure(StatusCode, String);

impl From<NotRun> for Failure {
    fn from(not_run: NotRun) -> Self {
        match not_run {
            NotRun::Busy => Self(StatusCode::SERVICE_UNAVAILABLE, "too many queries are running".to_owned()),
            NotRun::Failed => {
                Self(StatusCode::INTERNAL_SERVER_ERROR, "the query could not be run".to_owned())
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = json!({ "code": self.0.as_u16(), "msg": self.1 });
        let body = json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": [error] });
        (self.0, Json(body)).into_response()
    }
}

type Answer = Result<Json<JsonValue>, Failure>;

fn success(data: Vec<JsonValue>) -> Json<JsonValue> {
    Json(json!({ "data": data, "total": data.len(), "limit": 0, "offset": 0, "errors": null }))
}

fn bad(message: impl Into<String>) -> Failure {
    Failure(StatusCode::BAD_REQUEST, message.into())
}

async fn services(State(api): State<Arc<Api>>) -> Answer {
    let names = api.run(|api| catalog::values(&catalog::joined(api, &Asked::Services), "service")).await?;
    Ok(success(names.into_iter().map(JsonValue::from).collect()))
}

pub(super) fn services_of(storage: &Storage) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    storage.spans().streams::<Span>(i64::MIN, i64::MAX, |resource, _| {
        if !names.contains(&resource.service) {
            names.insert(resource.service.clone());
        }
    });
    names
}

pub(super) fn operations_of(
    storage: &Storage,
    service: &str,
    deadline: Instant,
) -> BTreeSet<(String, &'static str)> {
    let mut found = BTreeSet::new();
    let of_service = |resource: &crate::model::Resource, _| resource.service == service;
    storage.spans().scan(i64::MIN, i64::MAX, of_service, |one: Found<Span>| {
        found.insert((one.record.name, one.record.kind.as_str()));
        if Instant::now() > deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

async fn service_operations(State(api): State<Arc<Api>>, Path(service): Path<String>) -> Answer {
    let found = api.run(move |api| catalog::joined(api, &Asked::Operations { service })).await?;
    Ok(success(catalog::values(&found, "name").into_iter().map(JsonValue::from).collect()))
}

async fn operations(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let service = params.get("service").ok_or_else(|| bad("parameter 'service' is required"))?.to_owned();
    let asked = params.get("spanKind").unwrap_or("").to_owned();
    let found = api.run(move |api| catalog::joined(api, &Asked::Operations { service })).await?;
    let mut shown: Vec<(&str, &str)> = found
        .iter()
        .map(|labels| (labels.get("name").unwrap_or_default(), labels.get("kind").unwrap_or_default()))
        .filter(|(_, kind)| asked.is_empty() || asked == *kind)
        .collect();
    shown.sort_unstable();
    Ok(success(shown.into_iter().map(|(name, kind)| json!({ "name": name, "spanKind": kind })).collect()))
}

async fn trace(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let id: TraceId = parse_hex(&id).ok_or_else(|| bad("the trace id is no number in base 16"))?;
    let spans = api
        .run(move |api| api.peers.spans_of(&api.storage.spans(), id, MAX_READ, api.limits().deadline))
        .await?;
    if spans.is_empty() {
        return Err(Failure(StatusCode::NOT_FOUND, "trace not found".to_owned()));
    }
    Ok(success(vec![trace_json(id, spans)]))
}

/// Calls between services in a time that ends at `endTs`, both in milliseconds.
async fn dependencies(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let millis = |name: &str| params.parsed(name, |text| text.parse::<i64>().ok()).map_err(bad);
    let end = millis("endTs")?.ok_or_else(|| bad("unable to parse param 'endTs': it is required"))?;
    let lookback = millis("lookback")?.unwrap_or(24 * 3_600_000);
    let nanos = |millis: i64| millis.saturating_mul(1_000_000);
    let graph = api
        .run(move |api| service_graph::graph(api, nanos(end.saturating_sub(lookback)), nanos(end)))
        .await?;
    let calls = graph
        .edges
        .iter()
        .map(|edge| json!({ "parent": edge.client, "child": edge.server, "callCount": edge.calls }));
    Ok(success(calls.collect()))
}

async fn search(State(api): State<Arc<Api>>, params: Params) -> Answer {
    // `traceID` parameters name traces outright.
    let named: Vec<TraceId> = params.all("traceID").filter_map(parse_hex).take(MAX_LIMIT).collect();
    let search = if named.is_empty() { Some(Search::of(&params, api.now_millis() * 1000)?) } else { None };
    let traces = api
        .run(move |api| {
            let (spans, deadline) = (api.storage.spans(), api.limits().deadline);
            let ids = search.map_or(named, |search| matching_traces(api, search, deadline));
            ids.chunks(AT_ONCE)
                .flat_map(|ids| api.peers.whole(&spans, ids, MAX_READ, deadline))
                .filter(|(_, spans)| !spans.is_empty())
                .map(|(id, spans)| trace_json(id, spans))
                .collect()
        })
        .await?;
    Ok(success(traces))
}

/// Ids of the newest traces that have a matching span, newest first, wherever it is.
fn matching_traces(api: &Api, search: Search, deadline: Instant) -> Vec<TraceId> {
    let limit = search.limit();
    let mut found = search.newest(&api.storage, deadline);
    found.extend(api.peers.traces(&TracesAsked::Tags(search), deadline));
    found.sort_by_key(|(_, start)| Reverse(*start));
    let mut known = BTreeSet::new();
    found.into_iter().map(|(id, _)| id).filter(|id| known.insert(*id)).take(limit).collect()
}

fn tag(name: &str, value: &Value) -> JsonValue {
    let (kind, value) = match value {
        Value::Text(text) => ("string", json!(text)),
        Value::Bool(value) => ("bool", json!(value)),
        Value::Int(value) => ("int64", json!(value)),
        Value::Double(value) => ("float64", json!(value)),
    };
    json!({ "key": name, "type": kind, "value": value })
}

fn trace_json(id: TraceId, mut spans: Vec<Found<Span>>) -> JsonValue {
    spans.sort_by_key(|found| found.record.start);
    spans.truncate(MAX_SPANS_PER_TRACE);
    let mut processes: Vec<Arc<crate::model::Resource>> = Vec::new();
    let mut rows = Vec::with_capacity(spans.len());
    let mut seen = BTreeSet::new();
    for found in &spans {
        // A resent batch stores its spans again.
        if !seen.insert(found.record.span_id) {
            continue;
        }
        let process = processes.iter().position(|known| **known == *found.resource).unwrap_or_else(|| {
            processes.push(Arc::clone(&found.resource));
            processes.len() - 1
        });
        rows.push(span_json(&found.record, &format!("p{}", process + 1)));
    }
    let processes: BTreeMap<String, JsonValue> = processes
        .iter()
        .enumerate()
        .map(|(index, resource)| {
            let tags: Vec<_> = resource.attributes.iter().map(|(name, value)| tag(name, value)).collect();
            (format!("p{}", index + 1), json!({ "serviceName": resource.service, "tags": tags }))
        })
        .collect();
    json!({ "traceID": hex(&id), "spans": rows, "processes": processes, "warnings": null })
}

fn span_json(span: &Span, process: &str) -> JsonValue {
    let mut references: Vec<_> = span
        .parent
        .map(
            |parent| json!({ "refType": "CHILD_OF", "traceID": hex(&span.trace_id), "spanID": hex(&parent) }),
        )
        .into_iter()
        .collect();
    references.extend(span.links.iter().map(|link| {
        json!({ "refType": "FOLLOWS_FROM", "traceID": hex(&link.trace_id), "spanID": hex(&link.span_id) })
    }));
    let logs: Vec<_> = span
        .events
        .iter()
        .map(|event| {
            let mut fields = vec![tag("event", &Value::Text(event.name.clone()))];
            fields.extend(event.attributes.iter().map(|(name, value)| tag(name, value)));
            json!({ "timestamp": event.time / 1000, "fields": fields })
        })
        .collect();
    json!({
        "traceID": hex(&span.trace_id),
        "spanID": hex(&span.span_id),
        "flags": 1,
        "operationName": span.name,
        "references": references,
        "startTime": span.start / 1000,
        "duration": span.duration_nanos() / 1000,
        "tags": span_tags(span),
        "logs": logs,
        "processID": process,
        "warnings": null,
    })
}

/// The attributes, and OpenTelemetry's fields under the names Jaeger gives them.
fn span_tags(span: &Span) -> Vec<JsonValue> {
    let mut tags: Vec<_> = span.attributes.iter().map(|(name, value)| tag(name, value)).collect();
    let mut text = |name: &str, value: &str| tags.push(tag(name, &Value::Text(value.to_owned())));
    if span.kind != SpanKind::Unspecified {
        text("span.kind", span.kind.as_str());
    }
    if !span.scope.is_empty() {
        text("otel.scope.name", &span.scope);
    }
    if span.status != SpanStatus::Unset {
        text("otel.status_code", &span.status.as_str().to_ascii_uppercase());
    }
    if !span.status_message.is_empty() {
        text("otel.status_description", &span.status_message);
    }
    if span.status == SpanStatus::Error && attribute(&span.attributes, "error").is_none() {
        tags.push(tag("error", &Value::Bool(true)));
    }
    tags
}
