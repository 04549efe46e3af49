//! Jaeger's query API: services, operations, one trace, search, dependencies.

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

use super::params::Params;
use super::service_graph;
use super::{Api, NotRun};
use crate::head::Found;
use crate::model::codec::{Key, REQUEST_ID_NAMES};
use crate::model::{Span, SpanKind, SpanStatus, TraceId, Value, attribute, hex, parse_hex};
use crate::promql::parse_duration;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;
const MAX_SPANS_PER_TRACE: usize = 20_000;
const HOUR_MICROS: i64 = 3_600_000_000;

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
    let names = api
        .run(|api| {
            let mut names = BTreeSet::new();
            api.storage.spans().streams::<Span>(i64::MIN, i64::MAX, |resource, _| {
                if !names.contains(&resource.service) {
                    names.insert(resource.service.clone());
                }
            });
            names
        })
        .await?;
    Ok(success(names.into_iter().map(JsonValue::from).collect()))
}

fn operations_of(api: &Api, service: &str) -> BTreeSet<(String, &'static str)> {
    let deadline = api.limits().deadline;
    let mut found = BTreeSet::new();
    let of_service = |resource: &crate::model::Resource, _| resource.service == service;
    api.storage.spans().scan(i64::MIN, i64::MAX, of_service, |one: Found<Span>| {
        found.insert((one.record.name, one.record.kind.as_str()));
        if Instant::now() > deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

async fn service_operations(State(api): State<Arc<Api>>, Path(service): Path<String>) -> Answer {
    let found = api.run(move |api| operations_of(api, &service)).await?;
    let names: BTreeSet<String> = found.into_iter().map(|(name, _)| name).collect();
    Ok(success(names.into_iter().map(JsonValue::from).collect()))
}

async fn operations(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let service = params.get("service").ok_or_else(|| bad("parameter 'service' is required"))?.to_owned();
    let kind = params.get("spanKind").unwrap_or("").to_owned();
    let found = api.run(move |api| operations_of(api, &service)).await?;
    let found = found.into_iter().filter(|(_, found)| kind.is_empty() || kind == *found);
    Ok(success(found.map(|(name, kind)| json!({ "name": name, "spanKind": kind })).collect()))
}

async fn trace(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let id: TraceId = parse_hex(&id).ok_or_else(|| bad("the trace id is no number in base 16"))?;
    let spans = api
        .run(move |api| api.peers.spans_of(&api.storage, id, MAX_SPANS_PER_TRACE, api.limits().deadline))
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

/// What spans a trace must have one of.
struct Search {
    service: Option<String>,
    operation: Option<String>,
    tags: BTreeMap<String, String>,
    /// Nanoseconds.
    from: i64,
    to: i64,
    min_duration: i64,
    max_duration: i64,
    limit: usize,
}

impl Search {
    fn of(params: &Params, now_micros: i64) -> Result<Self, Failure> {
        let micros = |name: &str| params.parsed(name, |text| text.parse::<i64>().ok()).map_err(bad);
        let nanos = |micros: i64| micros.saturating_mul(1000);
        let lookback = params.parsed("lookback", lookback_micros).map_err(bad)?.unwrap_or(HOUR_MICROS);
        let end = micros("end")?.unwrap_or(now_micros);
        let start = micros("start")?.unwrap_or_else(|| end.saturating_sub(lookback));
        let limit = params.parsed("limit", |text| text.parse::<usize>().ok()).map_err(bad)?;
        let filled = |name: &str| params.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let search = Self {
            service: filled("service"),
            operation: filled("operation").filter(|name| name != "all"),
            tags: tags(params)?,
            from: nanos(start),
            to: nanos(end).saturating_add(1000),
            min_duration: params.parsed("minDuration", duration_nanos).map_err(bad)?.unwrap_or(0),
            max_duration: params.parsed("maxDuration", duration_nanos).map_err(bad)?.unwrap_or(i64::MAX),
            limit: limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
        };
        if search.service.is_none() && search.request_id().is_none() && search.tags.is_empty() {
            return Err(bad("parameter 'service' is required, unless tags are given"));
        }
        Ok(search)
    }

    fn request_id(&self) -> Option<&str> {
        REQUEST_ID_NAMES.iter().find_map(|name| self.tags.get(*name)).map(String::as_str)
    }

    fn accepts(&self, found: &Found<Span>) -> bool {
        let span = &found.record;
        self.service.as_ref().is_none_or(|service| *service == found.resource.service)
            && self.operation.as_ref().is_none_or(|name| *name == span.name)
            && span.start >= self.from
            && span.start < self.to
            && (self.min_duration..=self.max_duration).contains(&span.duration_nanos())
            && self.tags.iter().all(|(name, value)| tag_matches(found, name, value))
    }
}

/// `1h`, `2d`; `custom` goes with explicit times.
fn lookback_micros(text: &str) -> Option<i64> {
    if text == "custom" {
        return Some(HOUR_MICROS);
    }
    parse_duration(text)?.checked_mul(1000)
}

/// `100ms`, `1.5s`, `50us`: Go's durations of one unit.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn duration_nanos(text: &str) -> Option<i64> {
    let split = text.find(|letter: char| letter.is_alphabetic() || letter == 'µ')?;
    let (number, unit) = text.split_at_checked(split)?;
    let scale = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 6e10,
        "h" => 3.6e12,
        _ => return None,
    };
    let nanos = number.parse::<f64>().ok()? * scale;
    (nanos.is_finite() && (0.0..9e18).contains(&nanos)).then_some(nanos as i64)
}

/// `tags={"a":"b"}` and `tag=a:b`.
fn tags(params: &Params) -> Result<BTreeMap<String, String>, Failure> {
    let mut tags = BTreeMap::new();
    for text in params.all("tags").filter(|text| !text.is_empty()) {
        let object: BTreeMap<String, JsonValue> = serde_json::from_str(text)
            .map_err(|error| bad(format!("malformed 'tags' parameter, cannot unmarshal JSON: {error}")))?;
        tags.extend(object.into_iter().map(|(name, value)| match value {
            JsonValue::String(text) => (name, text),
            other => (name, other.to_string()),
        }));
    }
    for text in params.all("tag") {
        let (name, value) =
            text.split_once(':').ok_or_else(|| bad("malformed 'tag' parameter, expecting key:value"))?;
        tags.insert(name.to_owned(), value.to_owned());
    }
    Ok(tags)
}

fn tag_matches(found: &Found<Span>, name: &str, value: &str) -> bool {
    let span = &found.record;
    match name {
        "error" => (span.status == SpanStatus::Error) == (value == "true"),
        "span.kind" => span.kind.as_str() == value,
        "otel.status_code" => span.status.as_str().eq_ignore_ascii_case(value),
        _ => [&span.attributes, &found.resource.attributes]
            .into_iter()
            .any(|attributes| attribute(attributes, name).is_some_and(|found| found.to_text() == value)),
    }
}

async fn search(State(api): State<Arc<Api>>, params: Params) -> Answer {
    // `traceID` parameters name traces outright.
    let named: Vec<TraceId> = params.all("traceID").filter_map(parse_hex).take(MAX_LIMIT).collect();
    let search = if named.is_empty() { Some(Search::of(&params, api.now_millis() * 1000)?) } else { None };
    let traces = api
        .run(move |api| {
            let ids = search.map_or(named, |search| matching_traces(api, &search));
            let spans = api.storage.spans();
            ids.into_iter()
                .map(|id| (id, spans.lookup::<Span>(Key::Trace(id))))
                .filter(|(_, spans)| !spans.is_empty())
                .map(|(id, spans)| trace_json(id, spans))
                .collect()
        })
        .await?;
    Ok(success(traces))
}

/// Ids of the newest traces that have a matching span, newest first.
fn matching_traces(api: &Api, search: &Search) -> Vec<TraceId> {
    let deadline = api.limits().deadline;
    let snapshot = api.storage.spans();
    let mut newest: BTreeMap<TraceId, i64> = BTreeMap::new();
    let mut take = |found: &Found<Span>| {
        let start = newest.entry(found.record.trace_id).or_insert(i64::MIN);
        *start = (*start).max(found.record.start);
    };
    if let Some(id) = search.request_id() {
        let found = snapshot.lookup::<Span>(Key::Request(id));
        found.iter().filter(|found| search.accepts(found)).for_each(&mut take);
    } else {
        let of_service = |resource: &crate::model::Resource, _| {
            search.service.as_ref().is_none_or(|name| *name == resource.service)
        };
        snapshot.scan(search.from, search.to, of_service, |found: Found<Span>| {
            if search.accepts(&found) {
                take(&found);
            }
            if Instant::now() > deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    let mut ids: Vec<_> = newest.into_iter().collect();
    ids.sort_by_key(|(_, start)| std::cmp::Reverse(*start));
    ids.into_iter().take(search.limit).map(|(id, _)| id).collect()
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
