//! Schedules: when they run next, and running one now.

use axum::extract::State;
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::ScheduleView;
use quintet_module::Allowed;
use quintet_types::JobId;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, audit, failed};
use crate::page::List;
use crate::permissions::{Read, Write};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(run))
}

/// List the schedules with their next and last runs.
#[utoipa::path(
    get, path = "/jobs/v1/schedules", tag = "schedules", operation_id = "list_schedules",
    responses(
        (status = 200, description = "The schedules", body = List<ScheduleView>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn list(_: Allowed<Read>, State(api): State<Api>) -> Result<axum::Json<List<ScheduleView>>, Problem> {
    let data =
        quintet_jobs::schedules(&api.store, api.clock.as_ref(), &api.schedules).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}

#[derive(Debug, Serialize, ToSchema)]
struct Started {
    #[schema(value_type = String)]
    id: JobId,
}

/// Enqueue a schedule's job now, besides its regular runs.
#[utoipa::path(
    post, path = "/jobs/v1/schedules/{name}/run", tag = "schedules", operation_id = "run_schedule",
    params(("name" = String, Path, description = "The schedule's name")),
    responses(
        (status = 200, description = "The job", body = Started),
        (status = 404, description = "There is no such schedule"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn run(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<axum::Json<Started>, Problem> {
    let schedule = api.schedules.iter().find(|schedule| schedule.name() == name);
    let schedule = schedule.ok_or_else(|| Problem::not_found("schedule"))?;
    let id = quintet_jobs::run_now(&api.store, api.clock.as_ref(), schedule).await.map_err(failed)?;
    audit(&allowed.principal, "schedules.run", &name);
    Ok(axum::Json(Started { id }))
}
