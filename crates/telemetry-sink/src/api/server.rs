//! What Prometheus says of itself: its targets, its Alertmanagers, flags, state. Clients ask it to know whom they talk to.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use super::Api;
use super::params::Params;
use super::prometheus::{Answer, Failure, success};
use super::rules::time;

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

/// The configuration is TOML and may name files with secrets; it is not shown.
pub(super) async fn config() -> Answer {
    Ok(success(json!({ "yaml": "# telemetry-sink is configured by its own file, telemetry-sink.toml\n" })))
}

pub(super) async fn flags(State(api): State<Arc<Api>>) -> Answer {
    Ok(success(json!({
        "query.max-concurrency": api.settings.concurrency.to_string(),
        "query.max-samples": api.settings.max_samples.to_string(),
        "query.timeout": format!("{}ms", api.settings.timeout_ms),
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
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "storageRetention": "",
        "ruleGroups": groups.len(),
    })))
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
