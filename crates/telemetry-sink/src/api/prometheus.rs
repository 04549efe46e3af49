//! Prometheus' HTTP API: query, query_range, series, labels, values, metadata, buildinfo.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value as JsonValue, json};

use super::params::{Params, duration_millis, time_millis};
use super::query_stats::{Timings, stats, with_stats};
use super::{Api, NotRun, catalog, expressions, rules, server};
use crate::head::metrics::{Selected, TooManySamples};
use crate::model::{Labels, Matcher};
use crate::offload::missed;
use crate::promql::{self, Error, Query, Series, Source, Value, format_float, format_sample as number};
use crate::storage::Storage;

/// Prometheus refuses more points per series; dashboards rely on the message.
const MAX_POINTS: i64 = 11_000;

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/query", get(query).post(query))
        .route("/query_range", get(query_range).post(query_range))
        .route("/series", get(series).post(series))
        .route("/labels", get(labels).post(labels))
        .route("/label/{name}/values", get(label_values))
        .route("/metadata", get(metadata))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(server::alertmanagers))
        .route("/targets", get(server::targets))
        .route("/targets/metadata", get(server::target_metadata))
        .route("/scrape_pools", get(server::scrape_pools))
        .route("/format_query", get(expressions::format_query).post(expressions::format_query))
        .route("/parse_query", get(expressions::parse_query).post(expressions::parse_query))
        .route("/status/walreplay", get(server::wal_replay))
        .route("/status/config", get(server::config))
        .route("/status/flags", get(server::flags))
        .route("/status/runtimeinfo", get(server::runtime_info))
        .route("/status/buildinfo", get(build_info))
}

/// An error in Prometheus' shape.
pub(super) struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, kind) = match &error {
            Error::Parse { .. } | Error::Unsupported(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            Error::Execution(_) | Error::TooManySamples => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            Error::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        };
        Self { status, kind, message: error.to_string() }
    }
}

impl From<NotRun> for Failure {
    fn from(not_run: NotRun) -> Self {
        let (status, message) = match not_run {
            NotRun::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many queries are running"),
            NotRun::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "the query could not be run"),
        };
        Self { status, kind: "unavailable", message: message.to_owned() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({ "status": "error", "errorType": self.kind, "error": self.message });
        (self.status, Json(body)).into_response()
    }
}

pub(super) type Answer = Result<Json<JsonValue>, Failure>;

/// Messages of each kind that an answer shows; Prometheus shows as many.
const MOST_MESSAGES: usize = 10;

/// What Prometheus says of an answer that its `limit` cut.
const TRUNCATED: &str = "results truncated due to limit";

pub(super) fn success(data: impl serde::Serialize) -> Json<JsonValue> {
    warned(data, false)
}

fn warned(data: impl serde::Serialize, truncated: bool) -> Json<JsonValue> {
    let mut body = json!({ "status": "success", "data": data });
    let warnings: Vec<&str> = missed::warning().into_iter().chain(truncated.then_some(TRUNCATED)).collect();
    if !warnings.is_empty()
        && let Some(body) = body.as_object_mut()
    {
        body.insert("warnings".to_owned(), json!(warnings));
    }
    Json(body)
}

/// At most as many as were asked for, of which one more was looked for.
fn limited(mut found: Vec<impl serde::Serialize>, limit: usize) -> Json<JsonValue> {
    let truncated = found.len() > limit;
    found.truncate(limit);
    warned(found, truncated)
}

/// A successful answer with the warnings and hints that the query caused.
fn annotated(
    annotations: &promql::Annotations,
    query: &str,
    truncated: bool,
    data: JsonValue,
) -> Json<JsonValue> {
    let mut body = json!({ "status": "success", "data": data });
    let mut warnings: Vec<String> = missed::warning().into_iter().map(str::to_owned).collect();
    warnings.extend(annotations.warnings(query));
    warnings.extend(truncated.then(|| TRUNCATED.to_owned()));
    for (kind, mut messages) in [("warnings", warnings), ("infos", annotations.infos(query))] {
        let more = messages.len().saturating_sub(MOST_MESSAGES);
        if more > 0 {
            messages.truncate(MOST_MESSAGES);
            messages.push(format!("{more} more {kind} omitted"));
        }
        if !messages.is_empty()
            && let Some(body) = body.as_object_mut()
        {
            body.insert(kind.to_owned(), json!(messages));
        }
    }
    Json(body)
}

impl Source for Storage {
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        self.select_samples(matchers, from, to, max_samples)
    }

    fn each(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        _max_samples: usize,
        visit: &mut dyn FnMut(Selected) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.each_series(matchers, from, to, visit)
    }
}

pub(super) fn expression(params: &Params) -> Result<promql::Expr, Failure> {
    let text = params.get("query").unwrap_or("");
    promql::parse(text).map_err(|error| match error {
        Error::Parse { position, message } => {
            let shown = Error::Parse { position, message };
            Failure::bad_data(format!("invalid parameter \"query\": 1:{position}: {shown}"))
        }
        other => Failure::from(other),
    })
}

/// Of this sink and its peers.
fn evaluate(api: &Api, expr: &promql::Expr, query: Query) -> Result<promql::Answer, Error> {
    let limits = api.limits();
    promql::evaluate(expr, query, &api.peers.joined(&api.storage, limits.deadline), limits)
}

async fn query(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let expr = expression(&params)?;
    let time = params.parsed("time", time_millis).map_err(Failure::bad_data)?;
    let time = time.unwrap_or_else(|| api.now_millis());
    let limit = limit(&params)?;
    let clock = Timings::start();
    let (answer, timings) = api
        .run(move |api| {
            let queued = clock.queued();
            let answer = evaluate(api, &expr, Query::instant(time));
            answer.map(|answer| (answer, queued.evaluated()))
        })
        .await??;
    let (text, truncated) = (params.get("query").unwrap_or(""), is_longer(&answer.value, limit));
    let stats = stats(&params, &answer, timings);
    let data = with_stats(instant_result(answer.value, time, limit), stats);
    Ok(annotated(&answer.annotations, text, truncated, data))
}

async fn query_range(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let expr = expression(&params)?;
    let required = |name: &str, parse: fn(&str) -> Option<i64>| {
        let value = params.parsed(name, parse).map_err(Failure::bad_data)?;
        value.ok_or_else(|| Failure::bad_data(format!("invalid parameter {name:?}: it is missing")))
    };
    let start = required("start", time_millis)?;
    let end = required("end", time_millis)?;
    let step = required("step", duration_millis)?;
    if end < start {
        return Err(Failure::bad_data(
            "invalid parameter \"end\": end timestamp must not be before start time",
        ));
    }
    if step <= 0 {
        let message =
            "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Failure::bad_data(format!("invalid parameter \"step\": {message}")));
    }
    if (end - start) / step > MAX_POINTS {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    if !matches!(expr.kind(), promql::Type::Scalar | promql::Type::Vector) {
        let kind = expr.kind().as_str();
        return Err(Failure::bad_data(format!(
            "invalid parameter \"query\": invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector"
        )));
    }
    let limit = limit(&params)?;
    let range = Query { start, end, step };
    let clock = Timings::start();
    let (answer, timings) = api
        .run(move |api| {
            let queued = clock.queued();
            let answer = evaluate(api, &expr, range);
            answer.map(|answer| (answer, queued.evaluated()))
        })
        .await??;
    let (text, truncated) = (params.get("query").unwrap_or(""), is_longer(&answer.value, limit));
    let stats = stats(&params, &answer, timings);
    let data = with_stats(range_result(answer.value, range, limit), stats);
    Ok(annotated(&answer.annotations, text, truncated, data))
}

pub(super) fn limit(params: &Params) -> Result<usize, Failure> {
    let limit = params.parsed("limit", |text| text.parse::<usize>().ok()).map_err(Failure::bad_data)?;
    // Zero means "no limit" in Prometheus.
    Ok(limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX))
}

pub(super) fn label_map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// Seconds with the milliseconds as a fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are far below 2^53")]
pub(super) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// Whether an answer has more series than were asked for.
fn is_longer(value: &Value, limit: usize) -> bool {
    match value {
        Value::Vector(series) => series.len() > limit,
        Value::Matrix(series) => series.len() > limit,
        Value::Scalar(_) | Value::Text(_) => false,
    }
}

fn instant_result(value: Value, time: i64, limit: usize) -> JsonValue {
    let at = |value: f64| json!([seconds(time), number(value)]);
    match value {
        Value::Scalar(values) => json!({
            "resultType": "scalar",
            "result": [seconds(time), format_float(values.first().copied().unwrap_or(f64::NAN))],
        }),
        Value::Text(text) => json!({ "resultType": "string", "result": [seconds(time), text] }),
        Value::Vector(series) => {
            let result: Vec<_> = series
                .iter()
                .filter_map(|series| Some((series, series.values.first().copied().flatten()?)))
                .take(limit)
                .map(|(series, value)| json!({ "metric": label_map(&series.labels), "value": at(value) }))
                .collect();
            json!({ "resultType": "vector", "result": result })
        }
        Value::Matrix(series) => {
            let result: Vec<_> = series
                .iter()
                .take(limit)
                .map(|(labels, samples)| {
                    let values: Vec<_> =
                        samples.iter().map(|(time, value)| json!([seconds(*time), number(*value)])).collect();
                    json!({ "metric": label_map(labels), "values": values })
                })
                .collect();
            json!({ "resultType": "matrix", "result": result })
        }
    }
}

fn range_result(value: Value, range: Query, limit: usize) -> JsonValue {
    let series = match value {
        Value::Vector(series) => series,
        Value::Scalar(values) => {
            vec![Series {
                labels: Labels::empty(),
                drops_name: false,
                values: values.into_iter().map(Some).collect(),
            }]
        }
        Value::Matrix(_) | Value::Text(_) => Vec::new(),
    };
    let mut series = series;
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    let result: Vec<_> = series
        .iter()
        .take(limit)
        .map(|series| {
            let values: Vec<_> = range
                .steps()
                .zip(&series.values)
                .filter_map(|(time, value)| Some(json!([seconds(time), number((*value)?)])))
                .collect();
            json!({ "metric": label_map(&series.labels), "values": values })
        })
        .collect();
    json!({ "resultType": "matrix", "result": result })
}

/// The `match[]` selectors and the time range of a metadata request.
struct Asked {
    selectors: Vec<Vec<Matcher>>,
    start: i64,
    end: i64,
    limit: usize,
}

impl Asked {
    fn of(params: &Params) -> Result<Self, Failure> {
        let selectors = params
            .all("match[]")
            .map(|text| {
                promql::parse_selector(text)
                    .map_err(|error| Failure::bad_data(format!("invalid parameter \"match[]\": {error}")))
            })
            .collect::<Result<_, _>>()?;
        let start = params.parsed("start", time_millis).map_err(Failure::bad_data)?.unwrap_or(i64::MIN);
        let end = params.parsed("end", time_millis).map_err(Failure::bad_data)?.unwrap_or(i64::MAX);
        Ok(Self { selectors, start, end, limit: limit(params)? })
    }

    /// The label sets that were asked for; without a selector all there are.
    fn label_sets(&self, api: &Api) -> BTreeSet<Labels> {
        let all = [Vec::new()];
        let selectors = if self.selectors.is_empty() { &all[..] } else { &self.selectors };
        let (times, deadline) = ((self.start, self.end), api.limits().deadline);
        let found = |matchers: &Vec<Matcher>| api.peers.label_sets(&api.storage, matchers, times, deadline);
        selectors.iter().flat_map(found).collect()
    }
}

async fn series(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let asked = Asked::of(&params)?;
    if asked.selectors.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let (limit, more) = (asked.limit, asked.limit.saturating_add(1));
    let found = api
        .run(move |api| {
            let sets = asked.label_sets(api);
            sets.iter().take(more).map(|labels| json!(label_map(labels))).collect::<Vec<_>>()
        })
        .await?;
    Ok(limited(found, limit))
}

async fn labels(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let asked = Asked::of(&params)?;
    let (limit, more) = (asked.limit, asked.limit.saturating_add(1));
    let found = api
        .run(move |api| {
            let names: BTreeSet<String> = asked
                .label_sets(api)
                .iter()
                .flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
                .collect();
            names.into_iter().take(more).collect::<Vec<_>>()
        })
        .await?;
    Ok(limited(found, limit))
}

async fn label_values(State(api): State<Arc<Api>>, Path(name): Path<String>, params: Params) -> Answer {
    let asked = Asked::of(&params)?;
    let (limit, more) = (asked.limit, asked.limit.saturating_add(1));
    let found = api
        .run(move |api| {
            let values: BTreeSet<String> = asked
                .label_sets(api)
                .iter()
                .filter_map(|labels| labels.get(&name).map(str::to_owned))
                .collect();
            values.into_iter().take(more).collect::<Vec<_>>()
        })
        .await?;
    Ok(limited(found, limit))
}

async fn metadata(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let limit = limit(&params)?;
    let wanted = params.get("metric").map(str::to_owned);
    let known = api.run(|api| catalog::joined(api, &catalog::Asked::Metrics)).await?;
    let mut found: BTreeMap<&str, Vec<JsonValue>> = BTreeMap::new();
    for labels in &known {
        let text = |name: &str| labels.get(name).unwrap_or_default();
        let name = text("name");
        if wanted.as_ref().is_none_or(|wanted| wanted == name)
            && (found.len() < limit || found.contains_key(name))
        {
            // As in Prometheus, what several say of one name stands side by side.
            let said = json!({ "type": text("type"), "help": text("help"), "unit": text("unit") });
            found.entry(name).or_default().push(said);
        }
    }
    Ok(success(found))
}

/// Grafana reads the version to know which features to ask for; this is the API level served.
async fn build_info() -> Json<JsonValue> {
    success(json!({
        "version": "3.0.0",
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "quintet",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}
