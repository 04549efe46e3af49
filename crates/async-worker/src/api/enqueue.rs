//! Enqueuing over HTTP, one job or many, once for each Idempotency-Key.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use quintet_http::Problem;
use quintet_http::extract::Json;
use quintet_jobs::NewJob;
use quintet_module::Allowed;
use quintet_module::idempotency::{self, Answer, Key, Outcome};
use quintet_types::{JobId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Api, Enqueue, failed};

/// Jobs enqueued by one request: one transaction.
const MOST_JOBS: usize = 1_000;
/// Longer names are none.
const MAX_NAME_BYTES: usize = 200;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/jobs/v1/jobs", post(one)).route("/jobs/v1/jobs/bulk", post(many))
}

/// A job as a client describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    kind: String,
    #[serde(default)]
    args: serde_json::Value,
    queue: Option<String>,
    priority: Option<i16>,
    run_at: Option<Timestamp>,
    max_attempts: Option<u16>,
    unique_key: Option<String>,
}

impl Described {
    fn check(&self, api: &Api) -> Result<(), Problem> {
        let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
        let names = [Some(&self.kind), self.queue.as_ref(), self.unique_key.as_ref()];
        if !names.into_iter().flatten().all(|name| named(name)) {
            let detail = format!("kind, queue and unique_key have 1 to {MAX_NAME_BYTES} bytes");
            return Err(Problem::unprocessable("invalid_job", detail));
        }
        if !api.remote.enqueue_kinds.contains(&self.kind) {
            let detail = format!("jobs of kind {} are not enqueued over HTTP here", self.kind);
            return Err(Problem::new(StatusCode::FORBIDDEN, "kind_not_allowed", detail));
        }
        Ok(())
    }

    fn job(self) -> NewJob {
        let mut job = NewJob::new(self.kind, &self.args).priority(self.priority.unwrap_or(0));
        if let Some(queue) = self.queue {
            job = job.queue(queue);
        }
        if let Some(run_at) = self.run_at {
            job = job.run_at(run_at);
        }
        if let Some(max_attempts) = self.max_attempts {
            job = job.max_attempts(max_attempts);
        }
        match self.unique_key {
            Some(key) => job.unique_key(key),
            None => job,
        }
    }
}

#[derive(Debug, Serialize)]
struct Enqueued {
    id: JobId,
    /// Whether a job with the same unique key was there already; `id` is that job's then.
    duplicate: bool,
}

#[derive(Debug, Serialize)]
struct Many {
    data: Vec<Enqueued>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jobs {
    jobs: Vec<Described>,
}

async fn one(
    allowed: Allowed<Enqueue>,
    State(api): State<Api>,
    key: Key,
    Json(job): Json<Described>,
) -> Result<Outcome, Problem> {
    let request = idempotency::Request::new(key, &allowed.principal, "POST /jobs/v1/jobs", &job)?;
    enqueue(&api, &request, vec![job], |mut enqueued| serde_json::to_string(&enqueued.pop())).await
}

async fn many(
    allowed: Allowed<Enqueue>,
    State(api): State<Api>,
    key: Key,
    Json(jobs): Json<Jobs>,
) -> Result<Outcome, Problem> {
    if !(1..=MOST_JOBS).contains(&jobs.jobs.len()) {
        let detail = format!("a request enqueues 1 to {MOST_JOBS} jobs");
        return Err(Problem::unprocessable("too_many", detail));
    }
    let request = idempotency::Request::new(key, &allowed.principal, "POST /jobs/v1/jobs/bulk", &jobs)?;
    enqueue(&api, &request, jobs.jobs, |data| serde_json::to_string(&Many { data })).await
}

/// Enqueues all or none, and keeps the answer under the request's key in the same transaction.
async fn enqueue(
    api: &Api,
    request: &idempotency::Request,
    jobs: Vec<Described>,
    document: impl FnOnce(Vec<Enqueued>) -> serde_json::Result<String>,
) -> Result<Outcome, Problem> {
    for job in &jobs {
        job.check(api)?;
    }
    let stored = |error: quintet_store::Error| failed(error.into());
    let mut tx = api.store.begin().await.map_err(stored)?;
    if let Some(answer) = idempotency::find(&mut tx, request).await.map_err(|error| Problem::from(&error))? {
        return Ok(Outcome::Replayed(answer));
    }
    let mut enqueued = Vec::with_capacity(jobs.len());
    for job in jobs {
        let done = quintet_jobs::enqueue(&mut tx, api.clock.as_ref(), job.job()).await.map_err(failed)?;
        enqueued.push(Enqueued { id: done.id, duplicate: done.duplicate });
    }
    let body = document(enqueued).map_err(|error| Problem::internal(&error))?;
    let answer = Answer { status: StatusCode::CREATED.as_u16(), location: None, body };
    idempotency::keep(&mut tx, request, &answer, api.clock.now())
        .await
        .map_err(|error| Problem::from(&error))?;
    tx.commit().await.map_err(stored)?;
    Ok(Outcome::Done(answer))
}
