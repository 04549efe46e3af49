//! Jobs: finding them, cancelling them, and what is done to dead letters.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_jobs::{Cancelled, Changed, Filter, JobView, MOST_CHANGED, MOST_IDS};
use quintet_module::Allowed;
use quintet_types::{JobId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Api, READ, WRITE, Write, audit, failed};
use crate::page::{self, Page};

const DEFAULT_BULK_LIMIT: u32 = 1_000;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/jobs/v1/jobs", get(search))
        .route("/jobs/v1/jobs/redrive", post(redrive_many))
        .route("/jobs/v1/jobs/delete", post(delete_many))
        .route("/jobs/v1/jobs/cancel", post(cancel_many))
        .route("/jobs/v1/jobs/{id}", get(job))
        .route("/jobs/v1/jobs/{id}/redrive", post(redrive))
        .route("/jobs/v1/jobs/{id}/cancel", post(cancel))
}

/// The query of a search.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    state: Option<quintet_jobs::State>,
    kind: Option<String>,
    queue: Option<String>,
    error: Option<String>,
    enqueued_from: Option<Timestamp>,
    enqueued_before: Option<Timestamp>,
    member_of: Option<String>,
    cursor: Option<JobId>,
    limit: Option<u32>,
}

/// A search looks at a bounded number of jobs, so a page may be short and still have a next one.
async fn search(
    principal: Principal,
    State(api): State<Api>,
    Query(query): Query<Search>,
) -> Result<axum::Json<Page<JobView>>, Problem> {
    principal.require(READ)?;
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

async fn job(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<JobView>, Problem> {
    principal.require(READ)?;
    let view = quintet_jobs::lookup(&api.store, id).await.map_err(failed)?;
    view.map(axum::Json).ok_or_else(|| Problem::not_found("job"))
}

#[derive(Debug, Serialize)]
struct Redriven {
    id: JobId,
}

async fn redrive(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<Redriven>, Problem> {
    principal.require(WRITE)?;
    if !quintet_jobs::redrive(&api.store, api.clock.as_ref(), id).await.map_err(failed)? {
        return Err(Problem::conflict(
            "not_a_dead_letter",
            format!("{id} is neither a dead letter nor cancelled; only those can be redriven"),
        ));
    }
    audit(&principal, "jobs.redrive", &id.to_string());
    Ok(axum::Json(Redriven { id }))
}

#[derive(Debug, Serialize)]
struct CancelAnswer {
    id: JobId,
    /// `cancelled`, or `cancelling` while its worker has been asked to stop it.
    state: &'static str,
}

async fn cancel(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<JobId>,
) -> Result<axum::Json<CancelAnswer>, Problem> {
    principal.require(WRITE)?;
    let state = match quintet_jobs::cancel(&api.store, api.clock.as_ref(), id).await.map_err(failed)? {
        Cancelled::Done | Cancelled::Ended(quintet_jobs::State::Cancelled) => "cancelled",
        Cancelled::Asked => "cancelling",
        Cancelled::Ended(state) => {
            let detail = format!("{id} has ended already: it is {}", state.name());
            return Err(Problem::conflict("already_ended", detail));
        }
        Cancelled::Unknown => return Err(Problem::not_found("job")),
    };
    audit(&principal, "jobs.cancel", &id.to_string());
    Ok(axum::Json(CancelAnswer { id, state }))
}

/// Which jobs a bulk action is done to; what is left out is not asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    state: Option<quintet_jobs::State>,
    kind: Option<String>,
    queue: Option<String>,
    error: Option<String>,
    enqueued_from: Option<Timestamp>,
    enqueued_before: Option<Timestamp>,
    member_of: Option<String>,
    #[serde(default)]
    ids: Vec<JobId>,
    /// Jobs changed at most by this call.
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

async fn redrive_many(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Json(selection): Json<Selection>,
) -> Result<axum::Json<Changed>, Problem> {
    let (filter, limit) = selection.check()?;
    let done = quintet_jobs::redrive_dead(&api.store, api.clock.as_ref(), &filter, limit).await;
    answer_bulk(&allowed.principal, "jobs.redrive", &filter, done)
}

async fn delete_many(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Json(selection): Json<Selection>,
) -> Result<axum::Json<Changed>, Problem> {
    let (filter, limit) = selection.check()?;
    let done = quintet_jobs::delete_dead(&api.store, api.clock.as_ref(), &filter, limit).await;
    answer_bulk(&allowed.principal, "jobs.delete", &filter, done)
}

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
