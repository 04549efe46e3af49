//! How many jobs a bulk action would change.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::Query;
use quintet_jobs::{Count, Filter};
use quintet_types::Timestamp;
use serde::Deserialize;

use super::{Api, READ, failed};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/jobs/v1/jobs/count", get(count))
}

/// The selection of a bulk action, as a query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    state: quintet_jobs::State,
    kind: Option<String>,
    queue: Option<String>,
    error: Option<String>,
    enqueued_from: Option<Timestamp>,
    enqueued_before: Option<Timestamp>,
    member_of: Option<String>,
}

async fn count(
    principal: Principal,
    State(api): State<Api>,
    Query(query): Query<Counted>,
) -> Result<axum::Json<Count>, Problem> {
    principal.require(READ)?;
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
