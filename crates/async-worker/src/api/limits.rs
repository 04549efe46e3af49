//! The limits of kinds and queues, and what of them is in use.

use axum::extract::State;
use quintet_http::Problem;
use quintet_jobs::{LimitView, QueueLimitView};
use quintet_module::Allowed;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, failed};
use crate::permissions::Read;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Those of kinds, and beside them those of queues.
#[derive(Debug, Serialize, ToSchema)]
struct Limits {
    data: Vec<LimitView>,
    queues: Vec<QueueLimitView>,
}

/// List the limits of kinds and queues, and what of them is in use.
#[utoipa::path(
    get, path = "/jobs/v1/limits", tag = "queues", operation_id = "list_limits",
    responses(
        (status = 200, description = "The limits in force on this node", body = Limits),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn list(_: Allowed<Read>, State(api): State<Api>) -> Result<axum::Json<Limits>, Problem> {
    let data = quintet_jobs::limits(&api.store, &api.remote.policies).await.map_err(failed)?;
    let queues = quintet_jobs::queue_limits(&api.store, &api.remote.policies).await.map_err(failed)?;
    Ok(axum::Json(Limits { data, queues }))
}
