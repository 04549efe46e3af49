//! The HTTP API under `/jobs/v1`: what operators see of the queue and, with the maildir
//! transport, of the mail.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use quintet_http::extract::{Path, Query};
use quintet_jobs::{JobView, QueueView};
use quintet_store::Store;
use quintet_types::{JobId, SharedClock};
use serde::{Deserialize, Serialize};

use crate::mail::{Delivered, Maildir};

const READ: &str = "jobs:read";
const WRITE: &str = "jobs:write";
const DEFAULT_LIMIT: u32 = 50;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) queues: Vec<String>,
    pub(crate) maildir: Option<Maildir>,
}

pub(crate) fn router(api: Api, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/jobs/v1/queues", get(queues))
        .route("/jobs/v1/jobs", get(jobs))
        .route("/jobs/v1/jobs/{id}", get(job))
        .route("/jobs/v1/jobs/{id}/redrive", post(redrive))
        .route("/jobs/v1/mail", get(mails))
        .route("/jobs/v1/mail/{id}", get(mail))
        .layer(quintet_auth::layer(verifier))
        .with_state(api)
}

/// A list in an envelope, so that fields can be added.
#[derive(Debug, Serialize)]
struct List<T> {
    data: Vec<T>,
}

async fn queues(
    principal: Principal,
    State(api): State<Api>,
) -> Result<axum::Json<List<QueueView>>, Problem> {
    principal.require(READ)?;
    let data = quintet_jobs::queues(&api.store, &api.queues, api.clock.as_ref()).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    state: Option<StateFilter>,
    limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateFilter {
    Ready,
    Running,
    Completed,
    Discarded,
}

impl From<StateFilter> for quintet_jobs::State {
    fn from(state: StateFilter) -> Self {
        match state {
            StateFilter::Ready => Self::Ready,
            StateFilter::Running => Self::Running,
            StateFilter::Completed => Self::Completed,
            StateFilter::Discarded => Self::Discarded,
        }
    }
}

async fn jobs(
    principal: Principal,
    State(api): State<Api>,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<List<JobView>>, Problem> {
    principal.require(READ)?;
    let limit = filter.limit.unwrap_or(DEFAULT_LIMIT);
    let data = quintet_jobs::list(&api.store, filter.state.map(Into::into), limit).await.map_err(failed)?;
    Ok(axum::Json(List { data }))
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
    if quintet_jobs::redrive(&api.store, api.clock.as_ref(), id).await.map_err(failed)? {
        Ok(axum::Json(Redriven { id }))
    } else {
        Err(Problem::conflict(
            "not_a_dead_letter",
            format!("{id} is not a dead letter; only those can be redriven"),
        ))
    }
}

async fn mails(principal: Principal, State(api): State<Api>) -> Result<axum::Json<List<Delivered>>, Problem> {
    principal.require(READ)?;
    let data = maildir(&api)?.list().await.map_err(|error| Problem::internal(&error))?;
    Ok(axum::Json(List { data }))
}

async fn mail(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<axum::Json<Delivered>, Problem> {
    principal.require(READ)?;
    let message = maildir(&api)?.read(&id).await.map_err(|error| Problem::internal(&error))?;
    message.map(axum::Json).ok_or_else(|| Problem::not_found("message"))
}

fn maildir(api: &Api) -> Result<&Maildir, Problem> {
    let missing = || {
        let detail = "this worker delivers by SMTP; messages can be read here with [mail.maildir] only";
        Problem::new(http::StatusCode::NOT_FOUND, "no_maildir", detail)
    };
    api.maildir.as_ref().ok_or_else(missing)
}

fn failed(error: quintet_jobs::Error) -> Problem {
    match &error {
        quintet_jobs::Error::Store(store) if store.is_transient() => {
            Problem::unavailable(std::time::Duration::from_secs(1))
        }
        _ => Problem::internal(&error),
    }
}

#[cfg(test)]
mod tests;
