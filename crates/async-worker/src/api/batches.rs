//! Batches over HTTP: opening one with its callbacks and first jobs, sealing it, looking at it.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_jobs::{BatchId, BatchView, NewBatch};
use quintet_module::Allowed;
use quintet_module::idempotency::{self, Key, Outcome};
use quintet_types::JobId;
use serde::{Deserialize, Serialize};

use super::creation::{self, Begun};
use super::enqueue::{Described, MAX_NAME_BYTES, MOST_JOBS};
use super::{Api, Enqueue, READ, failed};
use crate::page::{self, Listing, Page};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/jobs/v1/batches", get(list).post(open))
        .route("/jobs/v1/batches/{id}", get(one))
        .route("/jobs/v1/batches/{id}/seal", post(seal))
}

/// A batch as a client describes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    name: String,
    on_success: Option<Described>,
    on_failure: Option<Described>,
    on_end: Option<Described>,
    #[serde(default)]
    jobs: Vec<Described>,
    /// Whether these are all of its jobs.
    #[serde(default)]
    seal: bool,
}

impl Opened {
    fn check(&self, api: &Api) -> Result<(), Problem> {
        let invalid = |detail: &str| Err(Problem::unprocessable("invalid_batch", detail));
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES || self.jobs.len() > MOST_JOBS {
            return invalid("a batch has a name of 1 to 200 bytes, and a request adds up to 1000 jobs");
        }
        let callbacks = [&self.on_success, &self.on_failure, &self.on_end].into_iter().flatten();
        for job in callbacks.clone().chain(&self.jobs) {
            job.check(api)?;
            if job.is_member() {
                return invalid("jobs of a new batch name no other");
            }
        }
        if callbacks.into_iter().any(Described::is_unique) {
            return invalid("a callback is not unique");
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Answered {
    id: BatchId,
    /// In the order of `jobs`.
    jobs: Vec<JobId>,
}

/// Opens a batch with its jobs, all or none, once for each Idempotency-Key.
async fn open(
    allowed: Allowed<Enqueue>,
    State(api): State<Api>,
    key: Key,
    Json(opened): Json<Opened>,
) -> Result<Outcome, Problem> {
    opened.check(&api)?;
    let request = idempotency::Request::new(key, &allowed.principal, "POST /jobs/v1/batches", &opened)?;
    let mut creation = match creation::begin(&api, request).await? {
        Begun::New(creation) => creation,
        Begun::Known(outcome) => return Ok(outcome),
    };
    let (tx, clock) = (&mut creation.tx, api.clock.as_ref());
    let mut batch = NewBatch::new(clock, opened.name);
    let id = batch.id();
    for (callback, with) in [
        (opened.on_success, NewBatch::on_success as fn(NewBatch, quintet_jobs::NewJob) -> NewBatch),
        (opened.on_failure, NewBatch::on_failure),
        (opened.on_end, NewBatch::on_end),
    ] {
        if let Some(callback) = callback {
            batch = with(batch, callback.job());
        }
    }
    quintet_jobs::open_batch(tx, clock, batch).await.map_err(failed)?;
    let jobs = opened.jobs.into_iter().map(|job| job.job().batch(id)).collect();
    let jobs = quintet_jobs::enqueue_many(tx, clock, jobs).await.map_err(failed)?;
    if opened.seal {
        quintet_jobs::seal_batch(tx, clock, id).await.map_err(failed)?;
    }
    let answered = Answered { id, jobs: jobs.iter().map(|job| job.id).collect() };
    creation.finish(&api, Some(format!("/jobs/v1/batches/{id}")), &answered).await
}

/// Lets no more jobs in; the same again changes nothing.
async fn seal(
    _: Allowed<Enqueue>,
    State(api): State<Api>,
    Path(id): Path<BatchId>,
) -> Result<axum::Json<BatchView>, Problem> {
    let stored = |error: quintet_store::Error| failed(error.into());
    let mut tx = api.store.begin().await.map_err(stored)?;
    match quintet_jobs::seal_batch(&mut tx, api.clock.as_ref(), id).await {
        Err(quintet_jobs::Error::BatchNotOpen { .. }) => return Err(Problem::not_found("batch")),
        sealed => sealed.map_err(failed)?,
    };
    tx.commit().await.map_err(stored)?;
    shown(&api, id).await
}

async fn one(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<BatchId>,
) -> Result<axum::Json<BatchView>, Problem> {
    principal.require(READ)?;
    shown(&api, id).await
}

async fn shown(api: &Api, id: BatchId) -> Result<axum::Json<BatchView>, Problem> {
    let view = quintet_jobs::batch(&api.store, id).await.map_err(failed)?;
    view.map(axum::Json).ok_or_else(|| Problem::not_found("batch"))
}

async fn list(
    principal: Principal,
    State(api): State<Api>,
    Query(query): Query<Listing<BatchId>>,
) -> Result<axum::Json<Page<BatchView>>, Problem> {
    principal.require(READ)?;
    let limit = page::limit(query.limit)?;
    let page = quintet_jobs::batches(&api.store, query.cursor, limit).await.map_err(failed)?;
    Ok(axum::Json(Page::new(page.batches, page.next)))
}
