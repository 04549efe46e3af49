//! Queues: their figures, and pausing them.

use axum::extract::State;
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::QueueView;
use quintet_module::Allowed;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, audit, failed};
use crate::page::List;
use crate::permissions::{Read, Write};

/// A name longer than this is no queue's.
const MAX_NAME_BYTES: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(pause)).routes(routes!(resume))
}

/// List the queues with their figures.
#[utoipa::path(
    get, path = "/jobs/v1/queues", tag = "queues", operation_id = "list_queues",
    responses(
        (status = 200, description = "The queues by name", body = List<QueueView>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn list(_: Allowed<Read>, State(api): State<Api>) -> Result<axum::Json<List<QueueView>>, Problem> {
    let data = quintet_jobs::queues(&api.store, &api.queues, api.clock.as_ref()).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueuePause)]
struct Paused {
    name: String,
    paused: bool,
}

fn check(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Problem::not_found("queue"));
    }
    Ok(())
}

/// Pause a queue: nothing more is claimed from it.
///
/// Pausing what is paused is no error: what was asked for holds.
#[utoipa::path(
    post, path = "/jobs/v1/queues/{name}/pause", tag = "queues", operation_id = "pause_queue",
    params(("name" = String, Path, description = "The queue's name", min_length = 1, max_length = 200)),
    responses(
        (status = 200, description = "It is paused", body = Paused),
        (status = 404, description = "This is no name of a queue"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn pause(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<axum::Json<Paused>, Problem> {
    check(&name)?;
    let by = &allowed.principal.claims.sub;
    if quintet_jobs::pause(&api.store, api.clock.as_ref(), &name, by).await.map_err(failed)? {
        audit(&allowed.principal, "queues.pause", &name);
    }
    Ok(axum::Json(Paused { name, paused: true }))
}

/// Resume a queue.
#[utoipa::path(
    post, path = "/jobs/v1/queues/{name}/resume", tag = "queues", operation_id = "resume_queue",
    params(("name" = String, Path, description = "The queue's name", min_length = 1, max_length = 200)),
    responses(
        (status = 200, description = "It is not paused", body = Paused),
        (status = 404, description = "This is no name of a queue"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn resume(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<axum::Json<Paused>, Problem> {
    check(&name)?;
    if quintet_jobs::resume(&api.store, &name).await.map_err(failed)? {
        audit(&allowed.principal, "queues.resume", &name);
    }
    Ok(axum::Json(Paused { name, paused: false }))
}
