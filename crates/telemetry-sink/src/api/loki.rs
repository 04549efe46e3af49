//! Loki's HTTP API: query_range, query, labels, label values.
//!
//! Streams have two index labels, `service_name` and `level`. Everything else a record carries (ids,
//! scope, attributes) is structured metadata, which Loki, and so this API, merges into the labels of
//! the answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value as JsonValue, json};

use super::logql::{LogQuery, Stage, parse};
use super::params::{Params, duration_millis, time_nanos};
use super::{Api, NotRun};
use crate::head::Found;
use crate::head::metrics::{Selected, TooManySamples};
use crate::ingest::naming::label_name;
use crate::model::codec::{Key, request_id};
use crate::model::{Labels, LogRecord, Matcher, Resource, Span, TraceId, hex, parse_hex};
use crate::promql::{self, Query, Source, Value};

const SERVICE: &str = "service_name";
const LEVEL: &str = "level";
const REQUEST_ID: &str = "request_id";
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 5000;
const HOUR_NANOS: i64 = 3_600_000_000_000;

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/query_range", get(query_range).post(query_range))
        .route("/query", get(query).post(query))
        .route("/labels", get(labels).post(labels))
        .route("/label", get(labels))
        .route("/label/{name}/values", get(label_values))
}

/// An error in Loki's shape, which is plain text.
struct Failure(StatusCode, String);

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
        (self.0, [(CONTENT_TYPE, "text/plain; charset=utf-8")], self.1 + "\n").into_response()
    }
}

type Answer = Result<Json<JsonValue>, Failure>;

fn success(data: impl serde::Serialize) -> Json<JsonValue> {
    Json(json!({ "status": "success", "data": data }))
}

#[derive(Debug, Clone, Copy)]
struct Range {
    /// Inclusive.
    from: i64,
    /// Exclusive.
    to: i64,
}

impl Range {
    fn of(params: &Params, now: i64, default: i64) -> Result<Self, Failure> {
        let to = params.parsed("end", time_nanos).map_err(Failure::bad)?.unwrap_or(now.saturating_add(1));
        let since = params.parsed("since", duration_millis).map_err(Failure::bad)?;
        let span = since.map_or(default, |millis| millis.saturating_mul(1_000_000));
        let from = params.parsed("start", time_nanos).map_err(Failure::bad)?;
        let from = from.unwrap_or_else(|| to.saturating_sub(span));
        if to < from {
            return Err(Failure::bad("end timestamp must not be before or equal to start time"));
        }
        Ok(Self { from, to })
    }
}

fn now_nanos(api: &Api) -> i64 {
    i64::try_from(api.storage.clock().now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Backward,
    Forward,
}

async fn query_range(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let query = parse(params.get("query").unwrap_or("")).map_err(Failure::bad)?;
    let range = Range::of(&params, now_nanos(&api), HOUR_NANOS)?;
    streams(&api, &params, query, range).await
}

/// An instant query: the lines of the hour before, or the constant expression with which clients
/// check that the server answers.
async fn query(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let text = params.get("query").unwrap_or("");
    let now = now_nanos(&api);
    let time = params.parsed("time", time_nanos).map_err(Failure::bad)?.unwrap_or(now);
    if !text.contains(['{', '[']) {
        return constant(text, time / 1_000_000, api.limits());
    }
    let query = parse(text).map_err(Failure::bad)?;
    let range = Range { from: time.saturating_sub(HOUR_NANOS), to: time.saturating_add(1) };
    streams(&api, &params, query, range).await
}

struct NoSeries;

impl Source for NoSeries {
    fn select(&self, _: &[Matcher], _: i64, _: i64, _: usize) -> Result<Vec<Selected>, TooManySamples> {
        Ok(Vec::new())
    }
}

fn constant(text: &str, millis: i64, limits: promql::Limits) -> Answer {
    let expr = promql::parse(text).map_err(|error| Failure::bad(error.to_string()))?;
    let answer = promql::evaluate(&expr, Query::instant(millis), &NoSeries, limits)
        .map_err(|error| Failure::bad(error.to_string()))?;
    let point = |value: f64| json!([millis / 1000, promql::format_float(value)]);
    Ok(success(match answer.value {
        Value::Scalar(values) => {
            json!({ "resultType": "scalar", "result": point(values.first().copied().unwrap_or(f64::NAN)) })
        }
        Value::Vector(series) => {
            let result: Vec<_> = series
                .iter()
                .filter_map(|series| series.values.first().copied().flatten())
                .map(|value| json!({ "metric": {}, "value": point(value) }))
                .collect();
            json!({ "resultType": "vector", "result": result })
        }
        Value::Matrix(_) | Value::Text(_) => return Err(Failure::bad("parse error: not a log query")),
    }))
}

async fn streams(api: &Arc<Api>, params: &Params, query: LogQuery, range: Range) -> Answer {
    let limit = params.parsed("limit", |text| text.parse::<usize>().ok()).map_err(Failure::bad)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        return Err(Failure::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit ({limit} > {MAX_LIMIT})"
        )));
    }
    let direction = match params.get("direction") {
        Some("forward") => Direction::Forward,
        None | Some("backward" | "") => Direction::Backward,
        Some(other) => return Err(Failure::bad(format!("invalid direction {other:?}"))),
    };
    let started = Instant::now();
    let data = api
        .run(move |api| {
            let found = Search::new(api, &query, range).run(limit, direction);
            let took = started.elapsed().as_secs_f64();
            let stats = json!({ "summary": { "execTime": took, "totalEntriesReturned": found.len() } });
            json!({ "resultType": "streams", "result": group(found), "stats": stats })
        })
        .await?;
    Ok(success(data))
}

/// One line that matched, ordered by time and then by arrival.
struct Entry {
    order: (i64, usize),
    found: Found<LogRecord>,
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

struct Search<'a> {
    api: &'a Api,
    query: &'a LogQuery,
    range: Range,
    /// The traces of the request that is asked for: their lines belong to it, too.
    traces: HashSet<TraceId>,
    deadline: Instant,
}

impl<'a> Search<'a> {
    fn new(api: &'a Api, query: &'a LogQuery, range: Range) -> Self {
        let traces = query.equality(REQUEST_ID).map(|id| traces_of(api, id)).unwrap_or_default();
        Self { api, query, range, traces, deadline: api.limits().deadline }
    }

    fn run(&self, limit: usize, direction: Direction) -> Vec<Found<LogRecord>> {
        let mut best =
            Best { limit, direction, newest: BinaryHeap::new(), oldest: BinaryHeap::new(), seen: 0 };
        if let Some(candidates) = self.candidates() {
            candidates.into_iter().filter(|found| self.accepts(found)).for_each(|found| best.push(found));
            return best.finish();
        }
        let wanted = |resource: &Resource, severity: u8| self.stream_matches(resource, severity);
        self.api.storage.logs().scan(self.range.from, self.range.to, wanted, |found: Found<LogRecord>| {
            if self.accepts(&found) {
                best.push(found);
            }
            if Instant::now() > self.deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        best.finish()
    }

    /// The lines that the indexes name, where the query pins an id.
    fn candidates(&self) -> Option<Vec<Found<LogRecord>>> {
        let logs = self.api.storage.logs();
        if let Some(id) = self.query.equality(REQUEST_ID) {
            let mut found = logs.lookup::<LogRecord>(Key::Request(id));
            for trace in &self.traces {
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

    fn stream_matches(&self, resource: &Resource, severity: u8) -> bool {
        let level = LogRecord { severity, ..LogRecord::default() }.level();
        self.query.streams.iter().all(|matcher| {
            matcher.accepts(match matcher.name.as_str() {
                SERVICE => &resource.service,
                LEVEL => level,
                _ => "",
            })
        })
    }

    fn accepts(&self, found: &Found<LogRecord>) -> bool {
        let record = &found.record;
        record.time >= self.range.from
            && record.time < self.range.to
            && self.stream_matches(&found.resource, record.severity)
            && self.query.stages.iter().all(|stage| match stage {
                Stage::Contains { text, wanted } => record.body.contains(text.as_str()) == *wanted,
                Stage::Matches { regex, wanted } => regex.is_match(&record.body) == *wanted,
                Stage::Label(matcher) => self.label_matches(matcher, found),
            })
    }

    fn label_matches(&self, matcher: &Matcher, found: &Found<LogRecord>) -> bool {
        let record = &found.record;
        if matcher.name == REQUEST_ID && record.trace_id.is_some_and(|trace| self.traces.contains(&trace)) {
            return true;
        }
        match matcher.name.as_str() {
            SERVICE => matcher.accepts(&found.resource.service),
            LEVEL => matcher.accepts(record.level()),
            "trace_id" => matcher.accepts(&record.trace_id.map(|id| hex(&id)).unwrap_or_default()),
            "span_id" => matcher.accepts(&record.span_id.map(|id| hex(&id)).unwrap_or_default()),
            "scope_name" => matcher.accepts(&record.scope),
            name => {
                let own = record.attributes.iter().chain(&found.resource.attributes);
                let value =
                    own.filter(|(key, _)| label_name(key) == name).map(|(_, value)| value.to_text()).next();
                matcher.accepts(&value.unwrap_or_default())
            }
        }
    }
}

/// The traces whose spans carry a request id.
fn traces_of(api: &Api, id: &str) -> HashSet<TraceId> {
    let spans = api.storage.spans().lookup::<Span>(Key::Request(id));
    spans.into_iter().map(|found| found.record.trace_id).collect()
}

/// Keeps the newest or the oldest `limit` lines in bounded memory.
struct Best {
    limit: usize,
    direction: Direction,
    newest: BinaryHeap<Reverse<Entry>>,
    oldest: BinaryHeap<Entry>,
    seen: usize,
}

impl Best {
    fn push(&mut self, found: Found<LogRecord>) {
        let entry = Entry { order: (found.record.time, self.seen), found };
        self.seen += 1;
        match self.direction {
            Direction::Backward => {
                self.newest.push(Reverse(entry));
                if self.newest.len() > self.limit {
                    self.newest.pop();
                }
            }
            Direction::Forward => {
                self.oldest.push(entry);
                if self.oldest.len() > self.limit {
                    self.oldest.pop();
                }
            }
        }
    }

    fn finish(self) -> Vec<Found<LogRecord>> {
        let mut entries: Vec<Entry> =
            self.newest.into_iter().map(|Reverse(entry)| entry).chain(self.oldest).collect();
        entries.sort();
        if self.direction == Direction::Backward {
            entries.reverse();
        }
        entries.into_iter().map(|entry| entry.found).collect()
    }
}

/// Lines by their full label set, in the order of each set's first line.
fn group(found: Vec<Found<LogRecord>>) -> Vec<JsonValue> {
    let mut order: Vec<Labels> = Vec::new();
    let mut groups: BTreeMap<Labels, Vec<JsonValue>> = BTreeMap::new();
    for found in found {
        let labels = metadata(&found);
        let line = json!([found.record.time.to_string(), found.record.body]);
        groups
            .entry(labels.clone())
            .or_insert_with(|| {
                order.push(labels);
                Vec::new()
            })
            .push(line);
    }
    order
        .into_iter()
        .map(|labels| {
            let values = groups.remove(&labels).unwrap_or_default();
            json!({ "stream": labels.iter().collect::<BTreeMap<_, _>>(), "values": values })
        })
        .collect()
}

fn metadata(found: &Found<LogRecord>) -> Labels {
    let record = &found.record;
    let mut builder = Labels::empty().to_builder();
    for (name, value) in found.resource.attributes.iter().chain(&record.attributes) {
        builder.set(&label_name(name), &value.to_text());
    }
    builder.set("scope_name", &record.scope);
    builder.set("trace_id", &record.trace_id.map(|id| hex(&id)).unwrap_or_default());
    builder.set("span_id", &record.span_id.map(|id| hex(&id)).unwrap_or_default());
    builder.set(SERVICE, &found.resource.service);
    builder.set(LEVEL, record.level());
    builder.build()
}

async fn labels(State(_): State<Arc<Api>>) -> Answer {
    Ok(success([LEVEL, SERVICE]))
}

async fn label_values(State(api): State<Arc<Api>>, Path(name): Path<String>, params: Params) -> Answer {
    let range = Range::of(&params, now_nanos(&api), 6 * HOUR_NANOS)?;
    let values = api
        .run(move |api| {
            let mut values = BTreeSet::new();
            api.storage.logs().streams::<LogRecord>(range.from, range.to, |resource, severity| {
                match name.as_str() {
                    SERVICE => values.insert(resource.service.clone()),
                    LEVEL => values.insert(LogRecord { severity, ..LogRecord::default() }.level().to_owned()),
                    _ => false,
                };
            });
            values
        })
        .await?;
    Ok(success(values))
}
