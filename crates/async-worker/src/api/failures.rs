//! The failed runs of a job.

use axum::extract::State;
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::Failure;
use quintet_module::Allowed;
use quintet_types::JobId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, failed};
use crate::page::List;
use crate::permissions::Read;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// List a job's failed runs, oldest first.
///
/// A job without failures and one that is not known answer alike.
#[utoipa::path(
    get, path = "/jobs/v1/jobs/{id}/failures", tag = "jobs", operation_id = "list_failures",
    params(("id" = String, Path, description = "The job's id", pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The newest hundred", body = List<Failure>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn list(
    _: Allowed<Read>,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<List<Failure>>, Problem> {
    let data = quintet_jobs::failures(&api.store, id).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}
