//! Tempo's HTTP API, as Grafana asks it: a trace by its id, search by TraceQL or tags, tags and their values.

mod otlp;
pub(super) mod tags;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value as JsonValue, json};

use super::params::Params;
use super::{Api, NotRun};
use crate::model::{TraceId, Value, hex, parse_hex};
use crate::traceql::search::{Hit, Limits, Outcome, search};
use crate::traceql::{self, Field, MAX_READ, Query, Scope, Trace, field_value};

const DEFAULT_TRACES: usize = 20;
const MAX_TRACES: usize = 1000;
const DEFAULT_SPANS: usize = 3;
const MAX_SPANS: usize = 1000;
const HOUR_NANOS: i64 = 3_600_000_000_000;
const PROTOBUF: &str = "application/protobuf";

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/traces/{id}", get(trace_v1))
        .route("/v2/traces/{id}", get(trace_v2))
        .route("/search", get(find))
        .route("/search/tags", get(tags::names_v1))
        .route("/v2/search/tags", get(tags::names_v2))
        .route("/search/tag/{tag}/values", get(tags::values_v1))
        .route("/v2/search/tag/{tag}/values", get(tags::values_v2))
        .route("/echo", get(|| async { "echo" }))
        .route("/status/buildinfo", get(build_info))
}

/// An error in Tempo's shape, which is plain text.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, String);

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<NotRun> for Failure {
    fn from(not_run: NotRun) -> Self {
        match not_run {
            NotRun::Busy => Self(StatusCode::TOO_MANY_REQUESTS, "too many queries are running".to_owned()),
            NotRun::Failed => {
                Self(StatusCode::INTERNAL_SERVER_ERROR, "the query could not be run".to_owned())
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, [(CONTENT_TYPE, "text/plain; charset=utf-8")], self.1).into_response()
    }
}

async fn load(api: &Arc<Api>, id: &str) -> Result<Trace, Failure> {
    let id: TraceId = parse_hex(id)
        .ok_or_else(|| Failure::bad("trace IDs can only contain hex characters, at most 32 of them"))?;
    let trace = api
        .run(move |api| {
            let spans = api.peers.spans_of(&api.storage.spans(), id, MAX_READ, api.limits().deadline);
            Trace::of(id, spans)
        })
        .await?;
    trace.ok_or_else(|| Failure(StatusCode::NOT_FOUND, "trace not found".to_owned()))
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains(PROTOBUF))
}

async fn trace_v1(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let trace = load(&api, &id).await?;
    if wants_protobuf(&headers) {
        return Ok(([(CONTENT_TYPE, PROTOBUF)], otlp::protobuf(&trace)).into_response());
    }
    Ok(Json(json!({ "batches": otlp::json(&trace) })).into_response())
}

async fn trace_v2(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let trace = load(&api, &id).await?;
    if wants_protobuf(&headers) {
        // `TraceByIDResponse` has the trace as its first field.
        let mut body = Vec::new();
        crate::otlp::message(&mut body, 1, &otlp::protobuf(&trace));
        return Ok(([(CONTENT_TYPE, PROTOBUF)], body).into_response());
    }
    Ok(Json(json!({ "trace": { "resourceSpans": otlp::json(&trace) }, "metrics": {} })).into_response())
}

fn now_nanos(api: &Api) -> i64 {
    i64::try_from(api.storage.clock().now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Whole seconds, as Tempo takes them, to nanoseconds.
fn bounds(params: &Params, now: i64) -> Result<(i64, i64), Failure> {
    let seconds = |name: &str| params.parsed(name, super::params::time_nanos).map_err(Failure::bad);
    let to = seconds("end")?.map_or(now.saturating_add(1), |end| end.saturating_add(1_000_000_000));
    let from = seconds("start")?.unwrap_or_else(|| to.saturating_sub(HOUR_NANOS));
    if to < from {
        return Err(Failure::bad("invalid start: end must be after start"));
    }
    Ok((from, to))
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn duration_nanos(text: &str) -> Option<i64> {
    let nanos = crate::logql::seconds(text)? * 1e9;
    (0.0..9e18).contains(&nanos).then_some(nanos as i64)
}

async fn find(State(api): State<Arc<Api>>, params: Params) -> Result<Json<JsonValue>, Failure> {
    let text = match params.get("q").filter(|text| !text.trim().is_empty()) {
        Some(text) => text.to_owned(),
        None => of_tags(params.get("tags").unwrap_or("")),
    };
    let query =
        traceql::parse(&text).map_err(|error| Failure::bad(format!("invalid TraceQL query: {error}")))?;
    let (from, to) = bounds(&params, now_nanos(&api))?;
    let count = |name: &str, default: usize, most: usize| {
        let count = params.parsed(name, |text| text.parse::<usize>().ok()).map_err(Failure::bad)?;
        Ok::<_, Failure>(count.unwrap_or(default).min(most))
    };
    let duration = |name: &str| params.parsed(name, duration_nanos).map_err(Failure::bad);
    let limits = Limits {
        from,
        to,
        min_duration: duration("minDuration")?.unwrap_or(0),
        max_duration: duration("maxDuration")?.unwrap_or(i64::MAX),
        traces: count("limit", DEFAULT_TRACES, MAX_TRACES)?,
        deadline: api.limits().deadline,
    };
    let spans = count("spss", DEFAULT_SPANS, MAX_SPANS)?.max(1);
    let answer = api
        .run(move |api| {
            let show = |hit: &Hit| hit_json(hit, &query, spans);
            let Outcome { hits, inspected, timed_out } =
                search(&api.storage, &api.peers, (&text, &query), limits, show);
            let metrics = json!({
                "inspectedTraces": inspected,
                "completedJobs": usize::from(!timed_out),
                "totalJobs": 1,
            });
            json!({ "traces": hits, "metrics": metrics })
        })
        .await?;
    Ok(Json(answer))
}

/// `a=b c="d e"` as TraceQL.
fn of_tags(tags: &str) -> String {
    let mut conditions = Vec::new();
    let mut rest = tags.trim();
    while let Some((name, tail)) = rest.split_once('=') {
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => tail.split_once(' ').unwrap_or((tail, "")),
        };
        let field = match name.trim() {
            intrinsic @ ("name" | "status" | "kind") => intrinsic.to_owned(),
            name => format!(".{name:?}"),
        };
        // A tag's type is not said: it may be a text, a number or a truth.
        let mut either = vec![format!("{field} = {value:?}")];
        if value.parse::<f64>().is_ok() || matches!(value, "true" | "false") {
            either.push(format!("{field} = {value}"));
        }
        conditions.push(format!("({})", either.join(" || ")));
        rest = tail.trim_start();
    }
    if conditions.is_empty() { String::new() } else { format!("{{ {} }}", conditions.join(" && ")) }
}

fn hit_json(hit: &Hit, query: &Query, spans: usize) -> JsonValue {
    let trace = &hit.trace;
    let root = trace.root();
    let chosen: Vec<JsonValue> = hit
        .places
        .iter()
        .filter_map(|place| trace.spans.get(*place))
        .take(spans)
        .map(|span| {
            json!({
                "spanID": hex(&span.record.span_id),
                "name": span.record.name,
                "startTimeUnixNano": span.record.start.to_string(),
                "durationNanos": span.record.duration_nanos().to_string(),
                "attributes": attributes(query, span, trace),
            })
        })
        .collect();
    let set = json!({ "spans": chosen, "matched": hit.places.len() });
    let services: BTreeMap<&str, JsonValue> = trace
        .services()
        .into_iter()
        .map(|(service, (spans, errors))| {
            let mut stats = json!({ "spanCount": spans });
            if errors > 0
                && let Some(stats) = stats.as_object_mut()
            {
                stats.insert("errorCount".to_owned(), json!(errors));
            }
            (service, stats)
        })
        .collect();
    json!({
        "traceID": hex(&trace.id),
        "rootServiceName": root.map_or("", |root| root.resource.service.as_str()),
        "rootTraceName": root.map_or("", |root| root.record.name.as_str()),
        "startTimeUnixNano": trace.start().to_string(),
        "durationMs": trace.duration_nanos() / 1_000_000,
        "spanSet": set,
        "spanSets": [set],
        "serviceStats": services,
    })
}

/// The fields that the query names, under Tempo's names.
fn attributes(query: &Query, span: &crate::head::Found<crate::model::Span>, trace: &Trace) -> Vec<JsonValue> {
    let named = query.spans.filters().into_iter().flat_map(|filter| filter.fields().into_iter().cloned());
    let mut shown: Vec<Field> = Vec::new();
    for field in named.chain(query.selected.iter().cloned()) {
        if !shown.contains(&field) {
            shown.push(field);
        }
    }
    let shown = shown.into_iter().filter_map(|field| {
        let value = field_value(&field, span, Some(trace))?;
        Some(json!({ "key": shown_name(&field)?, "value": otlp::any_value(&value) }))
    });
    shown.collect()
}

fn shown_name(field: &Field) -> Option<String> {
    Some(match field {
        Field::Attribute { scope: Scope::Any | Scope::Span | Scope::Resource | Scope::Event, name } => {
            name.clone()
        }
        Field::Status => "status".to_owned(),
        Field::StatusMessage => "statusMessage".to_owned(),
        Field::Kind => "kind".to_owned(),
        Field::RootName => "rootName".to_owned(),
        Field::RootService => "rootServiceName".to_owned(),
        Field::ScopeName => "instrumentation:name".to_owned(),
        Field::EventName => "event:name".to_owned(),
        // These stand beside the attributes.
        _ => return None,
    })
}

fn text_of(value: &Value) -> (&'static str, String) {
    let kind = match value {
        Value::Text(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Double(_) => "float",
    };
    (kind, value.to_text())
}

/// Grafana reads the version to know which features to ask for; this is the API level served.
async fn build_info() -> Json<JsonValue> {
    Json(json!({
        "version": "2.7.0",
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "quintet",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}
