//! How much there is: `/index/stats`, `/index/volume`, `/index/volume_range`.
//!
//! Loki answers from its index, in bytes of chunks. Here the lines are counted, and the bytes are those of their texts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value as JsonValue, json};

use super::{Answer, Failure, HOUR_NANOS, label_map, now_nanos, point, range_of, steps_of, success};
use crate::api::Api;
use crate::api::params::Params;
use crate::logql::{self, LogQuery, Range, Search, Stream};
use crate::model::Labels;

const DEFAULT_LIMIT: usize = 100;
const MAX_CELLS: usize = 200_000;
/// Stands for a group that is a label; no label can be called so.
const NAME: &str = "";

/// A selector, whatever follows it.
fn query_of(params: &Params) -> Result<LogQuery, Failure> {
    let streams = logql::parse_selector(params.get("query").unwrap_or(""))?;
    Ok(LogQuery { streams, stages: Vec::new() })
}

pub(super) async fn stats(State(api): State<Arc<Api>>, params: Params) -> Result<Json<JsonValue>, Failure> {
    let range = range_of(&params, now_nanos(&api), 6 * HOUR_NANOS)?;
    let query = query_of(&params)?;
    let stats = api
        .run(move |api| {
            let streams = super::streams_of(&api.storage, range, &query.streams).len();
            let (mut entries, mut bytes) = (0u64, 0usize);
            Search::new(&api.storage, &query, api.limits().deadline).each(range, |line| {
                entries += 1;
                bytes += line.text().len();
                ControlFlow::Continue(())
            })?;
            Ok::<_, logql::Error>(
                json!({ "streams": streams, "chunks": streams, "entries": entries, "bytes": bytes }),
            )
        })
        .await??;
    Ok(Json(stats))
}

/// By which labels volumes are told apart.
struct Grouping {
    names: Vec<String>,
    /// Each label of its own instead of all together.
    by_label: bool,
}

impl Grouping {
    /// Without `targetLabels`, the labels that the selector names.
    fn of(params: &Params, query: &LogQuery) -> Self {
        let given = params.get("targetLabels").unwrap_or("");
        let mut names: Vec<String> =
            given.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.is_empty() {
            names = query.streams.iter().map(|matcher| matcher.name.clone()).collect();
        }
        Self { names, by_label: params.get("aggregateBy") == Some("labels") }
    }

    fn groups(&self, stream: Stream<'_>) -> Vec<Labels> {
        let labels = stream.labels();
        if self.by_label {
            return labels.iter().map(|(name, _)| [(NAME, name)].into_iter().collect::<Labels>()).collect();
        }
        let kept = self.names.iter().filter_map(|name| Some((name.as_str(), labels.get(name)?)));
        vec![kept.collect()]
    }
}

/// Bytes by group and by the number of the step.
type Volumes = BTreeMap<Labels, BTreeMap<i64, usize>>;

fn measure(
    api: &Api,
    query: &LogQuery,
    range: Range,
    grouping: &Grouping,
    step_nanos: i64,
) -> Result<Volumes, logql::Error> {
    let mut volumes = Volumes::new();
    let mut cells = 0;
    Search::new(&api.storage, query, api.limits().deadline).each(range, |line| {
        let step = line.found.record.time.saturating_sub(range.from) / step_nanos;
        for group in grouping.groups(line.stream()) {
            let of_group = volumes.entry(group).or_default();
            cells += usize::from(!of_group.contains_key(&step));
            *of_group.entry(step).or_insert(0) += line.text().len();
        }
        if cells > MAX_CELLS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if cells > MAX_CELLS {
        return Err(logql::Error::Refused(
            "the volumes have too many groups; name fewer targetLabels".to_owned(),
        ));
    }
    Ok(volumes)
}

/// As Loki shows a group that is a label: its name with an empty value.
fn shown(labels: &Labels) -> JsonValue {
    match labels.get(NAME) {
        Some(name) => json!({ name: "" }),
        None => json!(label_map(labels)),
    }
}

fn limit_of(params: &Params) -> Result<usize, Failure> {
    let limit = params.parsed("limit", |text| text.parse::<usize>().ok()).map_err(Failure::bad)?;
    Ok(limit.unwrap_or(DEFAULT_LIMIT))
}

/// The groups with most bytes, those first.
fn largest(volumes: Volumes, limit: usize) -> Vec<(Labels, BTreeMap<i64, usize>)> {
    let mut all: Vec<_> = volumes.into_iter().collect();
    all.sort_by_key(|(_, steps)| std::cmp::Reverse(steps.values().sum::<usize>()));
    all.truncate(limit);
    all
}

#[expect(clippy::cast_precision_loss, reason = "bytes as Loki's floats")]
pub(super) async fn volume(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let range = range_of(&params, now_nanos(&api), 6 * HOUR_NANOS)?;
    let query = query_of(&params)?;
    let grouping = Grouping::of(&params, &query);
    let limit = limit_of(&params)?;
    let volumes = api.run(move |api| measure(api, &query, range, &grouping, i64::MAX)).await??;
    let result: Vec<JsonValue> = largest(volumes, limit)
        .iter()
        .map(|(labels, steps)| {
            let bytes = steps.values().sum::<usize>() as f64;
            json!({ "metric": shown(labels), "value": point(range.to / 1_000_000, bytes) })
        })
        .collect();
    Ok(success(json!({ "resultType": "vector", "result": result })))
}

#[expect(clippy::cast_precision_loss, reason = "bytes as Loki's floats")]
pub(super) async fn volume_range(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let range = range_of(&params, now_nanos(&api), 6 * HOUR_NANOS)?;
    let query = query_of(&params)?;
    let grouping = Grouping::of(&params, &query);
    let limit = limit_of(&params)?;
    let steps = steps_of(&params, range)?;
    let step_nanos = steps.step.saturating_mul(1_000_000);
    let volumes = api.run(move |api| measure(api, &query, range, &grouping, step_nanos)).await??;
    let result: Vec<JsonValue> = largest(volumes, limit)
        .iter()
        .map(|(labels, of_steps)| {
            let values: Vec<_> = of_steps
                .iter()
                .map(|(step, bytes)| {
                    point(steps.start.saturating_add(step.saturating_mul(steps.step)), *bytes as f64)
                })
                .collect();
            json!({ "metric": shown(labels), "values": values })
        })
        .collect();
    Ok(success(json!({ "resultType": "matrix", "result": result })))
}
