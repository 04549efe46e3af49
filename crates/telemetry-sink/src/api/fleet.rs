//! `GET /telemetry/v1/fleet`: one row of figures for each scraped service, from its own metrics.
//!
//! Rates look at the last 30 seconds, sparklines at the last ten minutes in steps of 20 seconds. A
//! figure that a service does not report, or that is too young to have a rate, is `null`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use quintet_http::Problem;
use serde::Serialize;

use super::Api;
use crate::promql::{self, Query, Value};

const SPARK_SPAN_MILLIS: i64 = 600_000;
const SPARK_STEP_MILLIS: i64 = 20_000;

const VERSION: &str = "quintet_build_info";
const STARTED: &str = "max by (job) (process_start_time_seconds)";
const MEMORY: &str = "max by (job) (process_resident_memory_bytes)";
const CPU: &str = "sum by (job) (rate(process_cpu_seconds_total[30s]))";
// The gateway proxies with a server of its own and names its metrics after itself.
const REQUESTS: &str = "sum by (job) (rate(http_server_requests_total[30s])) \
                        or sum by (job) (rate(quintet_gateway_requests_total[30s]))";
const ERRORS: &str = "sum by (job) (rate(http_server_requests_total{status=~\"5..\"}[30s])) \
                      or sum by (job) (rate(quintet_gateway_requests_total{status_class=\"5xx\"}[30s]))";
const MEDIAN: &str = "histogram_quantile(0.5, \
                      sum by (job, le) (rate(http_server_request_duration_seconds_bucket[30s])) \
                      or sum by (job, le) (rate(quintet_gateway_request_duration_seconds_bucket[30s])))";
const TAIL: &str = "histogram_quantile(0.99, \
                    sum by (job, le) (rate(http_server_request_duration_seconds_bucket[30s])) \
                    or sum by (job, le) (rate(quintet_gateway_request_duration_seconds_bucket[30s])))";

/// The answer.
#[derive(Debug, Serialize)]
pub(crate) struct Fleet {
    time: String,
    ready: bool,
    services: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct Service {
    name: String,
    up: bool,
    ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    version: Option<String>,
    uptime_seconds: Option<f64>,
    resident_memory_bytes: Option<f64>,
    /// The same in the console's word.
    rss_bytes: Option<f64>,
    /// Of one core.
    cpu_percent: Option<f64>,
    cpu_cores: Option<f64>,
    requests_per_second: Option<f64>,
    errors_per_second: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    sparklines: Sparklines,
}

#[derive(Debug, Serialize)]
struct Sparklines {
    step_seconds: i64,
    requests_per_second: Vec<Option<f64>>,
    cpu_percent: Vec<Option<f64>>,
    resident_memory_bytes: Vec<Option<f64>>,
    p99_ms: Vec<Option<f64>>,
}

pub(super) async fn show(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let body = api.run(snapshot).await?;
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// The fleet as it is now, as JSON.
pub(crate) fn snapshot(api: &Api) -> String {
    // The answer is made of numbers and text, which always serialise.
    serde_json::to_string(&fleet(api)).unwrap_or_default()
}

type ByJob = HashMap<String, Vec<Option<f64>>>;

fn fleet(api: &Api) -> Fleet {
    let now = api.now_millis();
    let instant = |expr| evaluate(api, expr, Query::instant(now));
    let spark = |expr| {
        let end = now - now.rem_euclid(SPARK_STEP_MILLIS);
        evaluate(api, expr, Query { start: end - SPARK_SPAN_MILLIS, end, step: SPARK_STEP_MILLIS })
    };
    let [started, memory, cpu, requests, errors, median, tail] =
        [STARTED, MEMORY, CPU, REQUESTS, ERRORS, MEDIAN, TAIL].map(instant);
    let [requests_line, cpu_line, memory_line, tail_line] = [REQUESTS, CPU, MEMORY, TAIL].map(spark);
    let versions = versions(api, now);
    let services: Vec<Service> = api
        .targets
        .fixed()
        .iter()
        .map(|target| {
            let name = target.settings.name.clone();
            let health = target.health();
            let one = |from: &ByJob| {
                from.get(&name)
                    .and_then(|values| values.first().copied().flatten())
                    .filter(|value| value.is_finite())
            };
            let line = |from: &ByJob, scale: f64| scaled(from.get(&name), scale);
            // A service that answers no request fails none.
            let errors = one(&errors).or_else(|| one(&requests).map(|_| 0.0));
            Service {
                up: health.up,
                ready: health.ready,
                reason: health.reason,
                version: versions.get(&name).cloned(),
                uptime_seconds: one(&started)
                    .filter(|_| health.up)
                    .map(|started| (seconds(now) - started).max(0.0)),
                resident_memory_bytes: one(&memory),
                rss_bytes: one(&memory),
                cpu_percent: one(&cpu).map(|cores| cores * 100.0),
                cpu_cores: one(&cpu),
                requests_per_second: one(&requests),
                errors_per_second: errors,
                p50_ms: one(&median).map(|seconds| seconds * 1000.0),
                p99_ms: one(&tail).map(|seconds| seconds * 1000.0),
                p50_seconds: one(&median),
                p99_seconds: one(&tail),
                sparklines: Sparklines {
                    step_seconds: SPARK_STEP_MILLIS / 1000,
                    requests_per_second: line(&requests_line, 1.0),
                    cpu_percent: line(&cpu_line, 100.0),
                    resident_memory_bytes: line(&memory_line, 1.0),
                    p99_ms: line(&tail_line, 1000.0),
                },
                name,
            }
        })
        .collect();
    Fleet {
        time: api.storage.clock().now().to_string(),
        ready: services.iter().all(|service| service.ready),
        services,
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are far below 2^53")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn scaled(values: Option<&Vec<Option<f64>>>, scale: f64) -> Vec<Option<f64>> {
    let values = values.map(Vec::as_slice).unwrap_or_default();
    values.iter().map(|value| value.filter(|value| value.is_finite()).map(|value| value * scale)).collect()
}

/// Evaluates an expression that yields one series for each job. The expressions are constants of
/// this module and covered by its test, so a failure can only be a limit, and then figures are missing.
fn evaluate(api: &Api, expr: &str, query: Query) -> ByJob {
    let value = promql::parse(expr)
        .and_then(|expr| promql::evaluate(&expr, query, api.storage.as_ref(), api.limits()))
        .map(|answer| answer.value);
    match value {
        Ok(Value::Vector(series)) => series
            .into_iter()
            .map(|series| (series.labels.get("job").unwrap_or("").to_owned(), series.values))
            .collect(),
        Ok(_) => ByJob::new(),
        Err(error) => {
            tracing::warn!(%error, "a figure of the fleet overview is missing");
            ByJob::new()
        }
    }
}

fn versions(api: &Api, now: i64) -> HashMap<String, String> {
    let value = promql::parse(VERSION)
        .and_then(|expr| promql::evaluate(&expr, Query::instant(now), api.storage.as_ref(), api.limits()))
        .map(|answer| answer.value);
    let Ok(Value::Vector(series)) = value else { return HashMap::new() };
    series
        .iter()
        .filter_map(|series| {
            Some((series.labels.get("job")?.to_owned(), series.labels.get("version")?.to_owned()))
        })
        .collect()
}
