//! How many jobs a bulk action would change.

use axum::extract::State;
use quintet_http::Problem;
use quintet_http::extract::Query;
use quintet_jobs::{Count, Filter};
use quintet_module::Allowed;
use quintet_types::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, failed};
use crate::permissions::Read;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(count))
}

/// The selection of a bulk action, as a query.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Counted {
    state: quintet_jobs::State,
    kind: Option<String>,
    queue: Option<String>,
    error: Option<String>,
    enqueued_from: Option<Timestamp>,
    enqueued_before: Option<Timestamp>,
    member_of: Option<String>,
}

/// Count the jobs that a bulk action would change.
#[utoipa::path(
    get, path = "/jobs/v1/jobs/count", tag = "jobs", operation_id = "count_jobs",
    params(Counted),
    responses(
        (status = 200, description = "How many, up to 10,000, and whether there are more", body = Count),
        (status = 422, description = "`state_not_counted`: no bulk action changes jobs in this state"),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn count(
    _: Allowed<Read>,
    State(api): State<Api>,
    Query(query): Query<Counted>,
) -> Result<axum::Json<Count>, Problem> {
    let filter = Filter {
        state: Some(query.state),
        kind: query.kind,
        queue: query.queue,
        error: query.error,
        enqueued_from: query.enqueued_from,
        enqueued_before: query.enqueued_before,
        ids: Vec::new(),
        member_of: query.member_of,
    };
    let counted = quintet_jobs::count(&api.store, &filter, query.state).await.map_err(failed)?;
    counted.map(axum::Json).ok_or_else(|| {
        let detail = "jobs are counted that wait (ready), are dead letters (discarded) or were cancelled";
        Problem::unprocessable("state_not_counted", detail)
    })
}
