//! Batches over HTTP: opening one with its callbacks and first jobs, sealing it, looking at it.

use axum::extract::State;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_jobs::{BatchCancelled, BatchId, BatchView, NewBatch};
use quintet_module::Allowed;
use quintet_module::idempotency::{self, Key, Outcome};
use quintet_types::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::creation::{self, Begun, KeyHeader};
use super::enqueue::{Described, MAX_NAME_BYTES, MOST_JOBS};
use super::{Api, audit, failed};
use crate::page::{Listing, Page};
use crate::permissions::{Enqueue, Read, Write};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, open))
        .routes(routes!(one))
        .routes(routes!(seal))
        .routes(routes!(cancel))
}

/// A batch as a client describes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBatch)]
struct Opened {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    on_success: Option<Described>,
    on_failure: Option<Described>,
    on_end: Option<Described>,
    #[serde(default)]
    #[schema(max_items = 1000)]
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

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenedBatch)]
struct Answered {
    #[schema(value_type = String)]
    id: BatchId,
    /// In the order of `jobs`.
    #[schema(value_type = Vec<String>)]
    jobs: Vec<JobId>,
}

/// Open a batch with its callbacks and first jobs, all or none.
#[utoipa::path(
    post, path = "/jobs/v1/batches", tag = "batches", operation_id = "open_batch",
    params(KeyHeader),
    request_body = Opened,
    responses(
        (status = 201, description = "The batch and its jobs", body = Answered, headers(
            ("Location" = String, description = "Where it is"),
            ("Idempotent-Replayed" = bool, description = "`true` when this answer was given before"))),
        (status = 403, description = "`kind_not_allowed` or `scope_missing`"),
        (status = 422, description = "`invalid_batch`, `invalid_job` or `invalid_body`; `idempotency_key_reused`"),
    ),
    security(("oauth2" = ["jobs:enqueue"])),
)]
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

/// Let no more jobs into a batch.
///
/// The same again changes nothing.
#[utoipa::path(
    post, path = "/jobs/v1/batches/{id}/seal", tag = "batches", operation_id = "seal_batch",
    params(("id" = String, Path, description = "The batch's id", pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The batch", body = BatchView),
        (status = 404, description = "There is no such batch"),
    ),
    security(("oauth2" = ["jobs:enqueue"])),
)]
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

/// Cancel a whole batch.
#[utoipa::path(
    post, path = "/jobs/v1/batches/{id}/cancel", tag = "batches", operation_id = "cancel_batch",
    params(("id" = String, Path, description = "The batch's id", pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "How many", body = BatchCancelled),
        (status = 404, description = "There is no such batch"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn cancel(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<BatchId>,
) -> Result<axum::Json<BatchCancelled>, Problem> {
    let done = quintet_jobs::cancel_batch(&api.store, api.clock.as_ref(), id).await.map_err(failed)?;
    let done = done.ok_or_else(|| Problem::not_found("batch"))?;
    audit(&allowed.principal, "jobs.cancel_batch", &id.to_string());
    Ok(axum::Json(done))
}

/// Read one batch.
#[utoipa::path(
    get, path = "/jobs/v1/batches/{id}", tag = "batches", operation_id = "read_batch",
    params(("id" = String, Path, description = "The batch's id", pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The batch", body = BatchView),
        (status = 404, description = "There is no such batch, or no longer"),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn one(
    _: Allowed<Read>,
    State(api): State<Api>,
    Path(id): Path<BatchId>,
) -> Result<axum::Json<BatchView>, Problem> {
    shown(&api, id).await
}

async fn shown(api: &Api, id: BatchId) -> Result<axum::Json<BatchView>, Problem> {
    let view = quintet_jobs::batch(&api.store, id).await.map_err(failed)?;
    view.map(axum::Json).ok_or_else(|| Problem::not_found("batch"))
}

/// List batches, newest first.
#[utoipa::path(
    get, path = "/jobs/v1/batches", tag = "batches", operation_id = "list_batches",
    params(Listing),
    responses(
        (status = 200, description = "A page of batches", body = Page<BatchView>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn list(
    _: Allowed<Read>,
    State(api): State<Api>,
    Query(query): Query<Listing>,
) -> Result<axum::Json<Page<BatchView>>, Problem> {
    let (cursor, limit) = query.window()?;
    let page = quintet_jobs::batches(&api.store, cursor, limit).await.map_err(failed)?;
    Ok(axum::Json(Page::new(page.batches, page.next)))
}
