//! Schedules: when they run next, and running one now.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::ScheduleView;
use quintet_types::JobId;
use serde::Serialize;

use super::{Api, READ, WRITE, audit, failed};
use crate::page::List;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/jobs/v1/schedules", get(list)).route("/jobs/v1/schedules/{name}/run", post(run))
}

async fn list(
    principal: Principal,
    State(api): State<Api>,
) -> Result<axum::Json<List<ScheduleView>>, Problem> {
    principal.require(READ)?;
    let data =
        quintet_jobs::schedules(&api.store, api.clock.as_ref(), &api.schedules).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}

#[derive(Debug, Serialize)]
struct Started {
    id: JobId,
}

async fn run(
    principal: Principal,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<axum::Json<Started>, Problem> {
    principal.require(WRITE)?;
    let schedule = api.schedules.iter().find(|schedule| schedule.name() == name);
    let schedule = schedule.ok_or_else(|| Problem::not_found("schedule"))?;
    let id = quintet_jobs::run_now(&api.store, api.clock.as_ref(), schedule).await.map_err(failed)?;
    audit(&principal, "schedules.run", &name);
    Ok(axum::Json(Started { id }))
}
