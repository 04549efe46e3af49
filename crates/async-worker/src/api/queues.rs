//! Queues: their figures, and pausing them.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::QueueView;
use serde::Serialize;

use super::{Api, READ, WRITE, audit, failed};
use crate::page::List;

/// A name longer than this is no queue's.
const MAX_NAME_BYTES: usize = 200;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/jobs/v1/queues", get(list))
        .route("/jobs/v1/queues/{name}/pause", post(pause))
        .route("/jobs/v1/queues/{name}/resume", post(resume))
}

async fn list(principal: Principal, State(api): State<Api>) -> Result<axum::Json<List<QueueView>>, Problem> {
    principal.require(READ)?;
    let data = quintet_jobs::queues(&api.store, &api.queues, api.clock.as_ref()).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}

#[derive(Debug, Serialize)]
struct Paused {
    name: String,
    paused: bool,
}

/// Pausing what is paused is no error: what was asked for holds.
async fn pause(
    principal: Principal,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<axum::Json<Paused>, Problem> {
    principal.require(WRITE)?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Problem::not_found("queue"));
    }
    let by = &principal.claims.sub;
    if quintet_jobs::pause(&api.store, api.clock.as_ref(), &name, by).await.map_err(failed)? {
        audit(&principal, "queues.pause", &name);
    }
    Ok(axum::Json(Paused { name, paused: true }))
}

async fn resume(
    principal: Principal,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<axum::Json<Paused>, Problem> {
    principal.require(WRITE)?;
    if quintet_jobs::resume(&api.store, &name).await.map_err(failed)? {
        audit(&principal, "queues.resume", &name);
    }
    Ok(axum::Json(Paused { name, paused: false }))
}
