//! Prometheus' `status/tsdb`: what the series in memory are made of.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use quintet_http::Problem;
use serde_json::{Value as JsonValue, json};

use super::Api;
use super::params::Params;
use crate::head::cardinality::Ranked;

/// As many names as Prometheus lists unless asked for another number, and as many as it gives at most.
const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 10_000;

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new().route("/status/tsdb", get(show))
}

async fn show(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Problem> {
    let limit = params.parsed("limit", |text| text.parse::<usize>().ok().filter(|limit| *limit <= MAX_LIMIT));
    let Ok(limit) = limit else {
        let error = format!("invalid parameter \"limit\": it must be a number up to {MAX_LIMIT}");
        let body = json!({ "status": "error", "errorType": "bad_data", "error": error });
        return Ok((http::StatusCode::BAD_REQUEST, Json(body)).into_response());
    };
    let status = api.run(move |api| status(api, limit.unwrap_or(DEFAULT_LIMIT))).await?;
    Ok(Json(json!({ "status": "success", "data": status })).into_response())
}

fn status(api: &Api, limit: usize) -> JsonValue {
    let (found, chunks, times) = api.storage.cardinality(limit);
    let (first, last) = times.unwrap_or_default();
    let rows = |rows: &[Ranked]| {
        rows.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>()
    };
    json!({
        "headStats": {
            "numSeries": found.series,
            "numLabelPairs": found.label_pairs,
            "chunkCount": chunks,
            "minTime": first,
            "maxTime": last,
        },
        "seriesCountByMetricName": rows(&found.series_by_metric),
        "labelValueCountByLabelName": rows(&found.values_by_label),
        "memoryInBytesByLabelName": rows(&found.bytes_by_label),
        "seriesCountByLabelValuePair": rows(&found.series_by_pair),
    })
}
