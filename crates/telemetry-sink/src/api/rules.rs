//! Prometheus' view of rules: `/rules` and `/alerts`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use quintet_types::Timestamp;
use serde_json::{Value as JsonValue, json};

use super::Api;
use super::params::Params;
use super::prometheus::{Answer, Failure, label_map, success};
use crate::model::matcher::all_accept;
use crate::model::{Labels, Matcher};
use crate::promql::{self, format_short};
use crate::rules::group::{Group, Rule};

const MAX_PAGE: usize = 10_000;

/// RFC 3339 in UTC, as Prometheus writes times.
pub(super) fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

fn never_or(millis: Option<i64>) -> String {
    millis.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time)
}

#[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 milliseconds")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// What a request wants to see.
struct Asked {
    kind: Option<&'static str>,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Vec<Matcher>>,
    without_alerts: bool,
    page: Option<usize>,
    after: Option<String>,
}

impl Asked {
    fn of(params: &Params) -> Result<Self, Failure> {
        let kind = match params.get("type") {
            None | Some("") => None,
            Some("alert") => Some("alerting"),
            Some("record") => Some("recording"),
            Some(other) => {
                return Err(Failure::bad_data(format!(
                    "invalid parameter \"type\": not supported value {other:?}"
                )));
            }
        };
        let names = |name: &str| -> Vec<String> { params.all(name).map(str::to_owned).collect() };
        let selectors = params
            .all("match[]")
            .map(|text| {
                promql::parse_selector(text)
                    .map_err(|error| Failure::bad_data(format!("invalid parameter \"match[]\": {error}")))
            })
            .collect::<Result<_, _>>()?;
        let page = params.parsed("group_limit", |text| text.parse().ok()).map_err(Failure::bad_data)?;
        let after = params.get("group_next_token").filter(|token| !token.is_empty()).map(str::to_owned);
        if after.is_some() && page.is_none() {
            return Err(Failure::bad_data(
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
        if page == Some(0) {
            return Err(Failure::bad_data("group_limit needs to be greater than 0"));
        }
        Ok(Self {
            kind,
            names: names("rule_name[]"),
            groups: names("rule_group[]"),
            files: names("file[]"),
            selectors,
            without_alerts: matches!(params.get("exclude_alerts"), Some("true" | "1" | "t")),
            page: page.map(|page: usize| page.min(MAX_PAGE)),
            after,
        })
    }

    fn wants_group(&self, group: &Group) -> bool {
        let within =
            |wanted: &[String], name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
        within(&self.groups, &group.spec.name) && within(&self.files, &group.spec.file)
    }

    fn wants(&self, rule: &Rule) -> bool {
        let labels: Labels = rule.spec.label_texts().into_iter().collect();
        self.kind.is_none_or(|kind| kind == rule.spec.kind())
            && (self.names.is_empty() || self.names.contains(&rule.spec.name))
            && (self.selectors.is_empty() || self.selectors.iter().any(|one| all_accept(one, &labels)))
    }
}

/// Where a page goes on: the group that is its first.
fn token(group: &Group) -> String {
    format!("{};{}", group.spec.file, group.spec.name)
}

pub(super) async fn rules(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let asked = Asked::of(&params)?;
    let mut groups: Vec<Arc<Group>> =
        api.rules.all().into_iter().filter(|group| asked.wants_group(group)).collect();
    groups.sort_by_cached_key(|group| token(group));
    if let Some(after) = &asked.after {
        let Some(start) = groups.iter().position(|group| token(group) == *after) else {
            return Err(Failure::bad_data(format!(
                "invalid group_next_token {after:?}: there is no such group"
            )));
        };
        groups.drain(..start);
    }
    let next = asked.page.and_then(|page| groups.get(page)).map(|group| token(group));
    groups.truncate(asked.page.unwrap_or(usize::MAX));
    let filtered = asked.kind.is_some() || !asked.names.is_empty() || !asked.selectors.is_empty();
    let shown: Vec<JsonValue> = groups
        .iter()
        .filter_map(|group| {
            let rules: Vec<_> =
                group.rules.iter().filter(|rule| asked.wants(rule)).map(|rule| show(rule, &asked)).collect();
            (!rules.is_empty() || !filtered).then(|| {
                json!({
                    "name": group.spec.name,
                    "file": group.spec.file,
                    "rules": rules,
                    "interval": seconds(group.interval),
                    "limit": group.spec.limit,
                    "evaluationTime": group.took.as_secs_f64(),
                    "lastEvaluation": never_or(group.evaluated_at),
                })
            })
        })
        .collect();
    let mut data = json!({ "groups": shown });
    if let (Some(next), Some(data)) = (next, data.as_object_mut()) {
        data.insert("groupNextToken".to_owned(), json!(next));
    }
    Ok(success(data))
}

fn show(rule: &Rule, asked: &Asked) -> JsonValue {
    let health = match (&rule.health.error, rule.health.evaluated_at) {
        (Some(_), _) => "err",
        (None, None) => "unknown",
        (None, Some(_)) => "ok",
    };
    let mut shown = json!({
        "type": rule.spec.kind(),
        "name": rule.spec.name,
        "query": rule.spec.text,
        "labels": rule.spec.label_texts(),
        "health": health,
        "evaluationTime": rule.health.took.as_secs_f64(),
        "lastEvaluation": never_or(rule.health.evaluated_at),
    });
    let Some(fields) = shown.as_object_mut() else { return shown };
    if let Some(error) = &rule.health.error {
        fields.insert("lastError".to_owned(), json!(error));
    }
    let Some(alerting) = &rule.spec.alerting else { return shown };
    let annotations: BTreeMap<&str, &str> =
        alerting.annotations.iter().map(|(name, template)| (name.as_str(), template.text())).collect();
    let alerts = if asked.without_alerts { Vec::new() } else { active(rule) };
    fields.extend([
        ("state".to_owned(), json!(rule.state())),
        ("duration".to_owned(), json!(seconds(alerting.hold))),
        ("keepFiringFor".to_owned(), json!(seconds(alerting.keep_firing))),
        ("annotations".to_owned(), json!(annotations)),
        ("alerts".to_owned(), json!(alerts)),
    ]);
    shown
}

fn active(rule: &Rule) -> Vec<JsonValue> {
    rule.active()
        .map(|alert| {
            let mut shown = json!({
                "labels": label_map(&alert.labels),
                "annotations": alert.annotations,
                "state": alert.state.as_str(),
                "activeAt": time(alert.active_at),
                "value": format_short(alert.value),
            });
            if let (Some(since), Some(fields)) = (alert.keep_firing_since, shown.as_object_mut()) {
                fields.insert("keepFiringSince".to_owned(), json!(time(since)));
            }
            shown
        })
        .collect()
}

pub(super) async fn alerts(State(api): State<Arc<Api>>) -> Answer {
    let groups = api.rules.all();
    let alerts: Vec<_> = groups.iter().flat_map(|group| &group.rules).flat_map(active).collect();
    Ok(success(json!({ "alerts": alerts })))
}
