//! The failed runs of a job.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::Failure;
use quintet_types::JobId;

use super::{Api, READ, failed};
use crate::page::List;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/jobs/v1/jobs/{id}/failures", get(list))
}

/// A job without failures and one that is not known answer alike.
async fn list(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<List<Failure>>, Problem> {
    principal.require(READ)?;
    let data = quintet_jobs::failures(&api.store, id).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}
