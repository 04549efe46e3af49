//! The limits of kinds, and what of them is in use.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_jobs::LimitView;

use super::{Api, READ, failed};
use crate::page::List;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/jobs/v1/limits", get(list))
}

async fn list(principal: Principal, State(api): State<Api>) -> Result<axum::Json<List<LimitView>>, Problem> {
    principal.require(READ)?;
    let data = quintet_jobs::limits(&api.store, &api.remote.policies).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}
