//! Prometheus' `query_exemplars`: what leads from the series of an expression to traces.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value as JsonValue, json};

use super::Api;
use super::params::{Params, time_millis};
use super::prometheus::{Failure, expression, label_map, limit, seconds};
use crate::promql::{Error, format_float};
use crate::storage::{FoundExemplars, TookTooLong, Wanted};

/// More dots than a chart can show.
const MOST_EXEMPLARS: usize = 10_000;

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new().route("/query_exemplars", get(show).post(show))
}

async fn show(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Failure> {
    let from = params.parsed("start", time_millis).map_err(Failure::bad_data)?.unwrap_or(i64::MIN);
    let to = params.parsed("end", time_millis).map_err(Failure::bad_data)?.unwrap_or(i64::MAX);
    if to < from {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    let mut selectors = Vec::new();
    expression(&params)?.each_selector(&mut |selector| selectors.push(selector.matchers.clone()));
    let most = limit(&params)?.min(MOST_EXEMPLARS);
    let found = api
        .run(move |api| {
            let deadline = api.limits().deadline;
            api.peers.exemplars(&api.storage, &Wanted { selectors, from, to, most, deadline })
        })
        .await?;
    let found = found.map_err(|TookTooLong| Error::Timeout)?;
    Ok(Json(answer(&found, most)).into_response())
}

fn answer(found: &FoundExemplars, most: usize) -> JsonValue {
    let data: Vec<_> = found
        .series
        .iter()
        .map(|(labels, exemplars)| {
            let exemplars: Vec<_> = exemplars
                .iter()
                .map(|exemplar| {
                    json!({
                        "labels": label_map(&exemplar.labels),
                        "value": format_float(exemplar.value),
                        "timestamp": seconds(exemplar.time),
                    })
                })
                .collect();
            json!({ "seriesLabels": label_map(labels), "exemplars": exemplars })
        })
        .collect();
    let mut body = json!({ "status": "success", "data": data });
    if found.cut
        && let Some(body) = body.as_object_mut()
    {
        let warning = format!("there are more exemplars than {most}; the oldest were left out");
        body.insert("warnings".to_owned(), json!([warning]));
    }
    body
}
