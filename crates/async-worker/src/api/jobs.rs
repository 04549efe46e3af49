//! Jobs: finding them, cancelling them, and what is done to dead letters.

use axum::extract::State;
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_jobs::{Cancelled, Changed, Filter, JobView, MOST_CHANGED, MOST_IDS};
use quintet_module::Allowed;
use quintet_types::{JobId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, audit, failed};
use crate::page::{self, Page};
use crate::permissions::{Read, Write};

const DEFAULT_BULK_LIMIT: u32 = 1_000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(search))
        .routes(routes!(redrive_many))
        .routes(routes!(delete_many))
        .routes(routes!(cancel_many))
        .routes(routes!(job))
        .routes(routes!(redrive))
        .routes(routes!(cancel))
}

/// The query of a search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Search {
    state: Option<quintet_jobs::State>,
    kind: Option<String>,
    queue: Option<String>,
    /// A part of the last error's text.
    error: Option<String>,
    enqueued_from: Option<Timestamp>,
    enqueued_before: Option<Timestamp>,
    /// The id of a batch or a workflow.
    member_of: Option<String>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<JobId>,
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u32>,
}

/// Find jobs, newest first.
///
/// A search looks at a bounded number of jobs, so a page may be short, even empty, and still have a next one.
#[utoipa::path(
    get, path = "/jobs/v1/jobs", tag = "jobs", operation_id = "search_jobs",
    params(Search),
    responses(
        (status = 200, description = "A page of jobs, without their arguments", body = Page<JobView>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn search(
    _: Allowed<Read>,
    State(api): State<Api>,
    Query(query): Query<Search>,
) -> Result<axum::Json<Page<JobView>>, Problem> {
    let filter = Filter {
        state: query.state,
        kind: query.kind,
        queue: query.queue,
        error: query.error,
        enqueued_from: query.enqueued_from,
        enqueued_before: query.enqueued_before,
        ids: Vec::new(),
        member_of: query.member_of,
    };
    let limit = page::limit(query.limit)?;
    let page = quintet_jobs::search(&api.store, &filter, query.cursor, limit).await.map_err(failed)?;
    Ok(axum::Json(Page::new(page.jobs, page.next)))
}

/// Read one job with its arguments.
#[utoipa::path(
    get, path = "/jobs/v1/jobs/{id}", tag = "jobs", operation_id = "read_job",
    params(("id" = String, Path, description = "The job's id", pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "There is no such job, or no longer"),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn job(
    _: Allowed<Read>,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<JobView>, Problem> {
    let view = quintet_jobs::lookup(&api.store, id).await.map_err(failed)?;
    view.map(axum::Json).ok_or_else(|| Problem::not_found("job"))
}

#[derive(Debug, Serialize, ToSchema)]
struct Redriven {
    #[schema(value_type = String)]
    id: JobId,
}

/// Put a dead letter or a cancelled job back into its queue.
#[utoipa::path(
    post, path = "/jobs/v1/jobs/{id}/redrive", tag = "jobs", operation_id = "redrive_job",
    params(("id" = String, Path, description = "The job's id", pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "It waits, with all its attempts", body = Redriven),
        (status = 409, description = "`not_a_dead_letter`: it is neither a dead letter nor cancelled"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn redrive(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<Redriven>, Problem> {
    if !quintet_jobs::redrive(&api.store, api.clock.as_ref(), id).await.map_err(failed)? {
        return Err(Problem::conflict(
            "not_a_dead_letter",
            format!("{id} is neither a dead letter nor cancelled; only those can be redriven"),
        ));
    }
    audit(&allowed.principal, "jobs.redrive", &id.to_string());
    Ok(axum::Json(Redriven { id }))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CancelledJob)]
struct CancelAnswer {
    #[schema(value_type = String)]
    id: JobId,
    /// `cancelled`, or `cancelling` while its worker has been asked to stop it.
    state: &'static str,
}

/// Cancel a job, also one that runs.
#[utoipa::path(
    post, path = "/jobs/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancel_job",
    params(("id" = String, Path, description = "The job's id", pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "It is cancelled, or its worker is being told", body = CancelAnswer),
        (status = 404, description = "There is no such job"),
        (status = 409, description = "`already_ended`"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn cancel(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<CancelAnswer>, Problem> {
    let state = match quintet_jobs::cancel(&api.store, api.clock.as_ref(), id).await.map_err(failed)? {
        Cancelled::Done | Cancelled::Ended(quintet_jobs::State::Cancelled) => "cancelled",
        Cancelled::Asked => "cancelling",
        Cancelled::Ended(state) => {
            let detail = format!("{id} has ended already: it is {}", state.name());
            return Err(Problem::conflict("already_ended", detail));
        }
        Cancelled::Unknown => return Err(Problem::not_found("job")),
    };
    audit(&allowed.principal, "jobs.cancel", &id.to_string());
    Ok(axum::Json(CancelAnswer { id, state }))
}

/// Which jobs a bulk action is done to; what is left out is not asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Selection {
    state: Option<quintet_jobs::State>,
    kind: Option<String>,
    queue: Option<String>,
    /// A part of the last error's text.
    error: Option<String>,
    enqueued_from: Option<Timestamp>,
    enqueued_before: Option<Timestamp>,
    /// The id of a batch or a workflow.
    member_of: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 500)]
    ids: Vec<JobId>,
    /// Jobs changed at most by this call.
    #[schema(minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<u32>,
}

impl Selection {
    fn check(self) -> Result<(Filter, u32), Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_BULK_LIMIT);
        if !(1..=MOST_CHANGED).contains(&limit) || self.ids.len() > MOST_IDS {
            let detail = format!("a call changes 1 to {MOST_CHANGED} jobs and names up to {MOST_IDS} ids");
            return Err(Problem::unprocessable("too_many", detail));
        }
        let filter = Filter {
            state: self.state,
            kind: self.kind,
            queue: self.queue,
            error: self.error,
            enqueued_from: self.enqueued_from,
            enqueued_before: self.enqueued_before,
            ids: self.ids,
            member_of: self.member_of,
        };
        Ok((filter, limit))
    }
}

/// Put the dead letters of a selection back into their queues.
///
/// Without `state`, the selection means `discarded` jobs.
#[utoipa::path(
    post, path = "/jobs/v1/jobs/redrive", tag = "jobs", operation_id = "redrive_jobs",
    request_body = Selection,
    responses(
        (status = 200, description = "How many, and whether there are more", body = Changed),
        (status = 422, description = "`invalid_body` or `too_many`"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn redrive_many(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Json(selection): Json<Selection>,
) -> Result<axum::Json<Changed>, Problem> {
    let (filter, limit) = selection.check()?;
    let done = quintet_jobs::redrive_dead(&api.store, api.clock.as_ref(), &filter, limit).await;
    answer_bulk(&allowed.principal, "jobs.redrive", &filter, done)
}

/// Forget the dead letters of a selection.
///
/// Without `state`, the selection means `discarded` jobs.
#[utoipa::path(
    post, path = "/jobs/v1/jobs/delete", tag = "jobs", operation_id = "delete_jobs",
    request_body = Selection,
    responses(
        (status = 200, description = "How many, and whether there are more", body = Changed),
        (status = 422, description = "`invalid_body` or `too_many`"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn delete_many(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Json(selection): Json<Selection>,
) -> Result<axum::Json<Changed>, Problem> {
    let (filter, limit) = selection.check()?;
    let done = quintet_jobs::delete_dead(&api.store, api.clock.as_ref(), &filter, limit).await;
    answer_bulk(&allowed.principal, "jobs.delete", &filter, done)
}

/// Cancel the waiting jobs of a selection.
#[utoipa::path(
    post, path = "/jobs/v1/jobs/cancel", tag = "jobs", operation_id = "cancel_jobs",
    request_body = Selection,
    responses(
        (status = 200, description = "How many, and whether there are more", body = Changed),
        (status = 422, description = "`invalid_body` or `too_many`"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn cancel_many(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Json(selection): Json<Selection>,
) -> Result<axum::Json<Changed>, Problem> {
    let (filter, limit) = selection.check()?;
    let done = quintet_jobs::cancel_waiting(&api.store, api.clock.as_ref(), &filter, limit).await;
    answer_bulk(&allowed.principal, "jobs.cancel", &filter, done)
}

fn answer_bulk(
    principal: &Principal,
    action: &'static str,
    filter: &Filter,
    done: Result<Changed, quintet_jobs::Error>,
) -> Result<axum::Json<Changed>, Problem> {
    let done = done.map_err(failed)?;
    audit(principal, action, &format!("{} jobs by {filter:?}", done.changed));
    Ok(axum::Json(done))
}
