//! The limits of kinds and queues, and what of them is in use.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_jobs::{LimitView, QueueLimitView};
use serde::Serialize;

use super::{Api, READ, failed};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/jobs/v1/limits", get(list))
}

/// Those of kinds, and beside them those of queues.
#[derive(Debug, Serialize)]
struct Limits {
    data: Vec<LimitView>,
    queues: Vec<QueueLimitView>,
}

async fn list(principal: Principal, State(api): State<Api>) -> Result<axum::Json<Limits>, Problem> {
    principal.require(READ)?;
    let data = quintet_jobs::limits(&api.store, &api.remote.policies).await.map_err(failed)?;
    let queues = quintet_jobs::queue_limits(&api.store, &api.remote.policies).await.map_err(failed)?;
    Ok(axum::Json(Limits { data, queues }))
}
