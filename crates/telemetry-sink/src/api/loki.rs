//! Loki's HTTP API, as Grafana asks it: queries here; labels, volumes, detected fields, patterns and tails beside.
//!
//! Streams are named by a resource and a level; everything else a record carries (ids, scope, attributes) is structured
//! metadata, which Loki, and so this API, merges into the labels of the answer, or keeps apart where the client asks for it.

mod detected;
mod labels;
mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Value as JsonValue, json};

pub(super) use self::labels::streams_of;
use super::params::{Params, duration_millis, time_nanos};
use super::{Api, NotRun, tail};
use crate::logql::search::{Passed, Read};
use crate::logql::{self, Direction, LogQl, LogQuery, MetricQuery, Range, Search};
use crate::model::Labels;
use crate::offload::missed;
use crate::peers::questions::MeasuresAsked;
use crate::promql::{Query, Series, Value, format_float};

pub(super) const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 5000;
pub(crate) const MAX_STEPS: i64 = 11_000;
pub(super) const HOUR_NANOS: i64 = 3_600_000_000_000;
/// The header with which Grafana asks for structured metadata apart from the stream's labels.
const ENCODING_FLAGS: &str = "x-loki-response-encoding-flags";
pub(super) const CATEGORIZE: &str = "categorize-labels";

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/query_range", get(query_range).post(query_range))
        .route("/query", get(query).post(query))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values).post(labels::values))
        .route("/series", get(labels::series).post(labels::series))
        .route("/index/stats", get(volume::stats).post(volume::stats))
        .route("/index/volume", get(volume::volume).post(volume::volume))
        .route("/index/volume_range", get(volume::volume_range).post(volume::volume_range))
        .route("/detected_labels", get(detected::labels).post(detected::labels))
        .route("/detected_fields", get(detected::fields).post(detected::fields))
        .route("/detected_field/{name}/values", get(detected::values).post(detected::values))
        .route("/tail", get(tail::socket::tail))
        .route("/patterns", get(detected::patterns).post(detected::patterns))
        .route("/format_query", get(format_query).post(format_query))
        .route("/status/buildinfo", get(build_info))
}

/// An error in Loki's shape, which is plain text.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, String);

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
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

impl From<logql::Error> for Failure {
    fn from(error: logql::Error) -> Self {
        match error {
            logql::Error::Timeout => Self(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            _ => Self::bad(error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, [(CONTENT_TYPE, "text/plain; charset=utf-8")], self.1 + "\n").into_response()
    }
}

type Answer = Result<Json<JsonValue>, Failure>;

fn success(data: impl serde::Serialize) -> Json<JsonValue> {
    let mut body = json!({ "status": "success", "data": data });
    if let Some(warning) = missed::warning()
        && let Some(body) = body.as_object_mut()
    {
        body.insert("warnings".to_owned(), json!([warning]));
    }
    Json(body)
}

/// The range that the parameters name.
fn range_of(params: &Params, now: i64, default: i64) -> Result<Range, Failure> {
    let to = params.parsed("end", time_nanos).map_err(Failure::bad)?.unwrap_or(now.saturating_add(1));
    let since = params.parsed("since", duration_millis).map_err(Failure::bad)?;
    let span = since.map_or(default, |millis| millis.saturating_mul(1_000_000));
    let from = params.parsed("start", time_nanos).map_err(Failure::bad)?;
    let from = from.unwrap_or_else(|| to.saturating_sub(span));
    if to < from {
        return Err(Failure::bad("end timestamp must not be before or equal to start time"));
    }
    Ok(Range { from, to })
}

pub(super) fn now_nanos(api: &Api) -> i64 {
    i64::try_from(api.storage.clock().now().as_nanosecond()).unwrap_or(i64::MAX)
}

pub(super) fn limit_of(params: &Params, default: usize) -> Result<usize, Failure> {
    let limit = params.parsed("limit", |text| text.parse::<usize>().ok()).map_err(Failure::bad)?;
    let limit = limit.unwrap_or(default);
    if limit > MAX_LIMIT {
        return Err(Failure::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {MAX_LIMIT})"
        )));
    }
    Ok(limit)
}

async fn query_range(State(api): State<Arc<Api>>, headers: HeaderMap, params: Params) -> Answer {
    let query = logql::parse(params.get("query").unwrap_or(""))?;
    let range = range_of(&params, now_nanos(&api), HOUR_NANOS)?;
    match query {
        LogQl::Log(query) => streams(&api, &headers, &params, query, range).await,
        LogQl::Metric(query) => {
            let steps = steps_of(&params, range)?;
            numbers(&api, &params, query, steps, false).await
        }
    }
}

/// The steps of a range, in milliseconds.
fn steps_of(params: &Params, range: Range) -> Result<Query, Failure> {
    let step = params.parsed("step", duration_millis).map_err(Failure::bad)?;
    let (start, end) = (range.from / 1_000_000, range.to / 1_000_000);
    // Loki's own default: about 250 steps of whole seconds.
    let step = step.unwrap_or_else(|| ((end - start) / 250_000).max(1) * 1000);
    if step <= 0 {
        return Err(Failure::bad(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end - start) / step > MAX_STEPS {
        return Err(Failure::bad(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    Ok(Query { start, end, step })
}

/// An instant query: numbers at a time, or the lines of the hour before it.
async fn query(State(api): State<Arc<Api>>, headers: HeaderMap, params: Params) -> Answer {
    let now = now_nanos(&api);
    let time = params.parsed("time", time_nanos).map_err(Failure::bad)?.unwrap_or(now);
    match logql::parse(params.get("query").unwrap_or(""))? {
        LogQl::Log(query) => {
            let range = Range { from: time.saturating_sub(HOUR_NANOS), to: time.saturating_add(1) };
            streams(&api, &headers, &params, query, range).await
        }
        LogQl::Metric(query) => {
            // Up to the next millisecond, so that the line of this very nanosecond counts.
            let millis = time.div_euclid(1_000_000) + i64::from(time.rem_euclid(1_000_000) > 0);
            numbers(&api, &params, query, Query::instant(millis), true).await
        }
    }
}

async fn numbers(
    api: &Arc<Api>,
    params: &Params,
    query: MetricQuery,
    steps: Query,
    is_instant: bool,
) -> Answer {
    let text = params.get("query").unwrap_or("").to_owned();
    let started = Instant::now();
    let data = api
        .run(move |api| {
            let limits = api.limits();
            let theirs = |place: usize| {
                let Query { start, end, step } = steps;
                let asked = MeasuresAsked { query: text.clone(), place, start, end, step };
                api.peers.measures(&asked, limits.deadline)
            };
            let (value, read) = query.evaluate(&api.storage, steps, limits, &theirs)?;
            let stats = stats(read, started.elapsed(), 0);
            let (kind, result) = result(&value, steps, is_instant);
            Ok::<_, logql::Error>(json!({ "resultType": kind, "result": result, "stats": stats }))
        })
        .await??;
    Ok(success(data))
}

#[expect(clippy::cast_precision_loss, reason = "Loki's times are seconds with a fraction")]
fn point(millis: i64, value: f64) -> JsonValue {
    let time = if millis % 1000 == 0 { json!(millis / 1000) } else { json!(millis as f64 / 1000.0) };
    json!([time, format_float(value)])
}

fn result(value: &Value, steps: Query, is_instant: bool) -> (&'static str, JsonValue) {
    let points = |values: &mut dyn Iterator<Item = Option<f64>>| -> Vec<JsonValue> {
        steps.steps().zip(values).filter_map(|(time, value)| Some(point(time, value?))).collect()
    };
    match value {
        Value::Scalar(values) if is_instant => {
            ("scalar", point(steps.start, values.first().copied().unwrap_or(f64::NAN)))
        }
        Value::Scalar(values) => {
            let values = points(&mut values.iter().copied().map(Some));
            ("matrix", json!([{ "metric": {}, "values": values }]))
        }
        Value::Vector(series) if is_instant => {
            let result = series.iter().filter_map(|series| {
                let value = series.values.first().copied().flatten()?;
                Some(json!({ "metric": label_map(&series.labels), "value": point(steps.start, value) }))
            });
            ("vector", result.collect())
        }
        Value::Vector(series) => {
            let mut ordered: Vec<&Series> = series.iter().collect();
            ordered.sort_by(|left, right| left.labels.cmp(&right.labels));
            let result = ordered.into_iter().map(|series| {
                let values = points(&mut series.values.iter().copied());
                json!({ "metric": label_map(&series.labels), "values": values })
            });
            ("matrix", result.collect())
        }
        Value::Matrix(_) | Value::Text(_) => ("matrix", json!([])),
    }
}

fn label_map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// What a query read, in the fields that Grafana shows.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
fn stats(read: Read, took: Duration, returned: usize) -> JsonValue {
    let seconds = took.as_secs_f64().max(1e-9);
    json!({
        "summary": {
            "bytesProcessedPerSecond": (read.bytes as f64 / seconds) as u64,
            "linesProcessedPerSecond": (read.lines as f64 / seconds) as u64,
            "totalBytesProcessed": read.bytes,
            "totalLinesProcessed": read.lines,
            "execTime": took.as_secs_f64(),
            "queueTime": 0.0,
            "totalEntriesReturned": returned,
            "splits": 0,
            "shards": 0,
            "subqueries": 0,
        }
    })
}

/// Whether the client asks for structured metadata apart from the labels.
pub(super) fn wants_apart(headers: &HeaderMap) -> bool {
    let flags = headers.get(ENCODING_FLAGS).and_then(|flags| flags.to_str().ok());
    flags.is_some_and(|flags| flags.split(',').any(|flag| flag.trim() == CATEGORIZE))
}

async fn streams(
    api: &Arc<Api>,
    headers: &HeaderMap,
    params: &Params,
    query: LogQuery,
    range: Range,
) -> Answer {
    let limit = limit_of(params, DEFAULT_LIMIT)?;
    let direction = match params.get("direction").map(str::to_ascii_lowercase).as_deref() {
        Some("forward") => Direction::Forward,
        None | Some("backward" | "") => Direction::Backward,
        Some(other) => return Err(Failure::bad(format!("invalid direction {other:?}"))),
    };
    let apart = wants_apart(headers);
    let started = Instant::now();
    let text = params.get("query").unwrap_or("").to_owned();
    let data = api
        .run(move |api| {
            let deadline = api.limits().deadline;
            let theirs = api.peers.lines(&text, range, limit, direction, deadline);
            let (found, read) = Search::new(&api.storage, &query, deadline)
                .joined_by(theirs)
                .best(range, limit, direction)?;
            let stats = stats(read, started.elapsed(), found.len());
            let mut data = json!({ "resultType": "streams", "result": group(&found, apart), "stats": stats });
            if apart && let Some(data) = data.as_object_mut() {
                data.insert("encodingFlags".to_owned(), json!([CATEGORIZE]));
            }
            Ok::<_, logql::Error>(data)
        })
        .await??;
    Ok(success(data))
}

/// Lines by their label set, in the order of each set's first line.
fn group(found: &[Passed], apart: bool) -> Vec<JsonValue> {
    let mut groups: Vec<(BTreeMap<String, String>, Vec<JsonValue>)> = Vec::new();
    let mut known: BTreeMap<BTreeMap<String, String>, usize> = BTreeMap::new();
    for passed in found {
        let line = passed.line();
        let (labels, value) = entry(&line, apart);
        let number = *known.entry(labels.clone()).or_insert_with(|| {
            groups.push((labels, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, values)) = groups.get_mut(number) {
            values.push(value);
        }
    }
    groups.into_iter().map(|(labels, values)| json!({ "stream": labels, "values": values })).collect()
}

/// A line as a stream's labels and a value of it.
pub(super) fn entry(line: &logql::Line<'_>, apart: bool) -> (BTreeMap<String, String>, JsonValue) {
    let time = line.found.record.time.to_string();
    if !apart {
        return (line.labels(), json!([time, line.text()]));
    }
    let (metadata, parsed) = (line.metadata(), line.parsed());
    let mut categories = serde_json::Map::new();
    if !metadata.is_empty() {
        categories.insert("structuredMetadata".to_owned(), json!(metadata));
    }
    if !parsed.is_empty() {
        categories.insert("parsed".to_owned(), json!(parsed));
    }
    (line.stream_labels(), json!([time, line.text(), categories]))
}

async fn format_query(params: Params) -> Result<Json<JsonValue>, (StatusCode, Json<JsonValue>)> {
    match logql::pretty(params.get("query").unwrap_or("")) {
        Ok(text) => Ok(success(text)),
        Err(error) => {
            let body = json!({ "status": "invalid-query", "error": error.to_string() });
            Err((StatusCode::BAD_REQUEST, Json(body)))
        }
    }
}

/// Grafana reads the version to know which features to ask for; this is the API level served.
async fn build_info() -> Json<JsonValue> {
    Json(json!({
        "version": "3.4.0",
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "quintet",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// In Loki's words.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<&'static str, Failure> {
    if api.storage.has_started() {
        Ok("ready\n")
    } else {
        Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the logs are still being read"))
    }
}
