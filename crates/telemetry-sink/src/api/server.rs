//! What Prometheus says of itself: its targets, its Alertmanagers, flags, state. Clients ask it to know whom they talk to.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value as JsonValue, json};

use super::params::Params;
use super::prometheus::{Answer, Failure, limit, success};
use super::rules::time;
use super::{Api, configured};
use crate::model::matcher::all_accept;
use crate::model::{Labels, METRIC_NAME, Matcher};
use crate::promql::{self, LOOKBACK_MILLIS};

/// The scraped targets. Those that relabelling drops are not remembered.
pub(super) async fn targets(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let active = match params.get("state") {
        None | Some("" | "any" | "active") => true,
        Some("dropped") => false,
        Some(other) => {
            return Err(Failure::bad_data(format!(
                "invalid parameter \"state\": not supported value {other:?}"
            )));
        }
    };
    let pool = params.get("scrapePool").filter(|pool| !pool.is_empty());
    let all = api.targets.all();
    let shown = all.iter().filter(|target| active && pool.is_none_or(|pool| pool == target.settings.name));
    let shown: Vec<_> = shown
        .map(|target| {
            let (settings, health) = (&target.settings, target.health());
            let url = target.url();
            json!({
                "discoveredLabels": target.discovered,
                "labels": target.labels,
                "scrapePool": settings.name,
                "scrapeUrl": url,
                "globalUrl": url,
                "health": if health.up { "up" } else { "down" },
                "lastError": health.reason,
                "scrapeInterval": format!("{}ms", target.interval.as_millis()),
                "scrapeTimeout": format!("{}ms", target.interval.as_millis().min(10_000)),
            })
        })
        .collect();
    Ok(success(json!({ "activeTargets": shown, "droppedTargets": [], "droppedTargetCounts": {} })))
}

/// The Alertmanagers that alerts are passed on to, and the one inside.
pub(super) async fn alertmanagers(State(api): State<Arc<Api>>) -> Answer {
    let active: Vec<_> = api.notifier.relayed_to().into_iter().map(|url| json!({ "url": url })).collect();
    Ok(success(json!({ "activeAlertmanagers": active, "droppedAlertmanagers": [] })))
}

/// The names of the jobs that have targets.
pub(super) async fn scrape_pools(State(api): State<Arc<Api>>) -> Answer {
    let all = api.targets.all();
    let names: BTreeSet<&str> = all.iter().map(|target| target.settings.name.as_str()).collect();
    Ok(success(json!({ "scrapePools": names })))
}

/// What is known of metrics, for each target that shows them. Descriptions are kept by metric and not by target, so a target
/// has those of which it has series now.
pub(super) async fn target_metadata(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let limit = limit(&params)?;
    let matchers = match params.get("match_target").filter(|text| !text.is_empty()) {
        Some(text) => promql::parse_selector(text)
            .map_err(|error| Failure::bad_data(format!("invalid parameter \"match_target\": {error}")))?,
        None => Vec::new(),
    };
    let wanted = params.get("metric").filter(|name| !name.is_empty()).map(str::to_owned);
    let found = api.run(move |api| of_targets(api, &matchers, wanted.as_deref(), limit)).await?;
    Ok(success(found))
}

fn of_targets(api: &Api, matchers: &[Matcher], wanted: Option<&str>, limit: usize) -> Vec<JsonValue> {
    let metadata = api.storage.metadata();
    let asked: Vec<_> =
        metadata.iter().filter(|meta| wanted.is_none_or(|wanted| wanted == meta.name)).collect();
    let now = api.now_millis();
    let mut found = Vec::new();
    for target in api.targets.all() {
        let labels: Labels =
            target.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if !all_accept(matchers, &labels) {
            continue;
        }
        let own: Vec<Matcher> =
            target.labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let series = api.storage.label_sets(&own, now - LOOKBACK_MILLIS, now);
        let names: BTreeSet<&str> = series.iter().filter_map(|series| series.get(METRIC_NAME)).collect();
        for meta in asked.iter().filter(|meta| shows(&names, &meta.name)) {
            if found.len() >= limit {
                return found;
            }
            let mut one = json!({
                "target": target.labels,
                "type": meta.kind.as_str(),
                "help": meta.help,
                "unit": meta.unit,
            });
            if let (None, Some(one)) = (wanted, one.as_object_mut()) {
                one.insert("metric".to_owned(), json!(meta.name));
            }
            found.push(one);
        }
    }
    found
}

/// Whether a metric is among these series, as itself or in the parts of a histogram or a summary.
fn shows(names: &BTreeSet<&str>, metric: &str) -> bool {
    let is_part = |name: &&str| {
        name.strip_prefix(metric)
            .is_some_and(|rest| ["", "_bucket", "_count", "_sum", "_total"].contains(&rest))
    };
    names.range(metric..).take_while(|name| name.starts_with(metric)).any(is_part)
}

pub(super) async fn config(State(api): State<Arc<Api>>) -> Answer {
    Ok(success(json!({ "yaml": configured::prometheus(&api) })))
}

/// How much of the log is read back after a start, in steps: the log of metrics is one here.
pub(super) async fn wal_replay(State(api): State<Arc<Api>>) -> Answer {
    let read = i32::from(api.storage.has_started());
    Ok(success(json!({ "min": 0, "max": 1, "current": read })))
}

pub(super) async fn flags(State(api): State<Arc<Api>>) -> Answer {
    Ok(success(json!({
        "query.max-concurrency": api.settings.concurrency.to_string(),
        "query.max-samples": api.settings.max_samples.to_string(),
        "query.timeout": promql::duration(i64::try_from(api.settings.timeout_ms).unwrap_or(i64::MAX)),
        "query.lookback-delta": "5m",
    })))
}

pub(super) async fn runtime_info(State(api): State<Arc<Api>>) -> Answer {
    let groups = api.rules.all();
    Ok(success(json!({
        "startTime": time(api.started_at),
        "serverTime": time(api.now_millis()),
        "reloadConfigSuccess": true,
        "lastConfigTime": time(api.started_at),
        "corruptionCount": 0,
        "goroutineCount": threads(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "storageRetention": api.storage.retention_text(),
        "GOGC": "",
        "GODEBUG": "",
        "CWD": std::env::current_dir().unwrap_or_default(),
        "ruleGroups": groups.len(),
    })))
}

/// Threads of this process, which is what comes nearest to what Prometheus counts; 0 where `/proc` is not there.
fn threads() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

pub(super) async fn healthy() -> &'static str {
    "Prometheus Server is Healthy.\n"
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<&'static str, http::StatusCode> {
    if api.storage.has_started() {
        Ok("Prometheus Server is Ready.\n")
    } else {
        Err(http::StatusCode::SERVICE_UNAVAILABLE)
    }
}
