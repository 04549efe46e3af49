//! Work by programs elsewhere: claim, extend, acknowledge. `docs/operator/jobs/worker.py` is a whole worker.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use quintet_http::Problem;
use quintet_http::extract::Json;
use quintet_jobs::{Claimed, Dependency, Progress, RemoteNote, RemoteOutcome, RemoteWorker};
use quintet_module::Allowed;
use quintet_types::JobId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, failed};
use crate::page::List;
use crate::permissions::Work;

/// Jobs of one claim or acknowledgement.
const MOST_JOBS: usize = 100;
/// The longest poll: shorter than what proxies wait for an answer.
const MOST_WAIT: Duration = Duration::from_secs(30);
/// Delayed jobs become due without an announcement.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const HOLD: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_mins(15);
const DEFAULT_HOLD: Duration = Duration::from_mins(1);
/// The longest snooze or delay that a worker may ask for.
const MOST_DELAY: Duration = Duration::from_hours(24 * 30);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(claim))
        .routes(routes!(extend))
        .routes(routes!(dependencies))
        .routes(routes!(acknowledge))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Claim)]
struct Wanted {
    kinds: Vec<String>,
    queue: Option<String>,
    #[schema(minimum = 1, maximum = 100, default = 1)]
    limit: Option<usize>,
    /// How long the answer may wait for a job.
    #[schema(maximum = 30_000, default = 0)]
    wait_ms: Option<u64>,
    /// How long the lease lasts without being extended.
    #[schema(minimum = 5_000, maximum = 900_000, default = 60_000)]
    hold_ms: Option<u64>,
}

/// What a claim gives; without jobs there is no lease.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Claimed)]
struct Given {
    lease: Option<String>,
    hold_ms: u64,
    jobs: Vec<ClaimedJob>,
}

/// A job as its worker needs it.
#[derive(Debug, Serialize, ToSchema)]
struct ClaimedJob {
    #[schema(value_type = String)]
    id: JobId,
    kind: String,
    args: serde_json::Value,
    attempt: i64,
    max_attempts: i64,
    partition_key: Option<String>,
    /// The batch or the workflow that it is in.
    member_of: Option<String>,
    /// Where an earlier run of it said that the next one goes on.
    checkpoint: Option<serde_json::Value>,
    /// The trace to continue (W3C Trace Context).
    traceparent: Option<String>,
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::unprocessable("invalid_request", detail)
}

/// Claim jobs, waiting for them if there are none.
#[utoipa::path(
    post, path = "/jobs/v1/work/claim", tag = "work", operation_id = "claim_jobs",
    request_body = Wanted,
    responses(
        (status = 200, description = "The jobs and their lease; without jobs there is none", body = Given),
        (status = 403, description = "`kind_not_allowed`: the configuration does not name this kind in `remote.work_kinds`; `scope_missing`"),
        (status = 422, description = "`invalid_request` or `invalid_body`"),
        (status = 429, description = "Too many claims wait already; see `Retry-After`"),
    ),
    security(("oauth2" = ["jobs:work"])),
)]
async fn claim(
    allowed: Allowed<Work>,
    State(api): State<Api>,
    Json(wanted): Json<Wanted>,
) -> Result<axum::Json<Given>, Problem> {
    if let Some(kind) = wanted.kinds.iter().find(|kind| !api.remote.work_kinds.contains(kind)) {
        let detail = format!("jobs of kind {kind} are not worked over HTTP here");
        return Err(Problem::new(StatusCode::FORBIDDEN, "kind_not_allowed", detail));
    }
    let limit = wanted.limit.unwrap_or(1);
    let hold = wanted.hold_ms.map_or(DEFAULT_HOLD, Duration::from_millis);
    let wait = wanted.wait_ms.map_or(Duration::ZERO, Duration::from_millis);
    if !(1..=MOST_JOBS).contains(&limit) || !HOLD.contains(&hold) || wait > MOST_WAIT {
        return Err(invalid("limit is 1 to 100, hold_ms 5000 to 900000, wait_ms up to 30000"));
    }
    // Bounds what polls cost: each looks at the queue whenever something is enqueued.
    let Ok(_polling) = api.remote.polls.try_acquire() else {
        return Err(Problem::too_many(Duration::from_secs(1)));
    };
    let worker = RemoteWorker::new(&allowed.principal.claims.client_id);
    let queue = wanted.queue.as_deref().unwrap_or("default");
    let wanted = quintet_jobs::Wanted { queue, kinds: &wanted.kinds, limit, hold };
    let claimed = poll(&api, &worker, wanted, wait).await.map_err(failed)?;
    let Some(claimed) = claimed else { return Ok(axum::Json(Given::default())) };
    present(claimed, hold).map(axum::Json)
}

/// Claims at once, or as soon as there is something within `wait`.
async fn poll(
    api: &Api,
    worker: &RemoteWorker,
    wanted: quintet_jobs::Wanted<'_>,
    wait: Duration,
) -> Result<Option<Claimed>, quintet_jobs::Error> {
    let deadline = Instant::now() + wait;
    let mut announced = api.remote.announced.clone();
    loop {
        // Marked as seen before the claim: a job enqueued during it ends the wait.
        announced.borrow_and_update();
        let claimed =
            quintet_jobs::claim(&api.store, api.clock.as_ref(), &api.remote.policies, worker, wanted).await?;
        if claimed.is_some() || Instant::now() >= deadline {
            return Ok(claimed);
        }
        let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
        tokio::select! {
            _ = tokio::time::timeout_at(look_again, announced.changed()) => {}
            // A poll does not hold up the drain.
            () = api.remote.shutdown.cancelled() => return Ok(None),
        }
    }
}

fn present(claimed: Claimed, hold: Duration) -> Result<Given, Problem> {
    let mut notes = claimed.notes;
    let jobs = claimed.jobs.iter().map(|job| {
        Ok(ClaimedJob {
            id: job.id(),
            kind: job.kind().to_owned(),
            args: job.args().map_err(|error| Problem::internal(&error))?,
            attempt: job.attempt(),
            max_attempts: job.max_attempts(),
            partition_key: job.partition_key().map(str::to_owned),
            member_of: job.member_of().map(str::to_owned),
            checkpoint: notes.remove(&job.id()).and_then(|notes| notes.checkpoint),
            traceparent: job.traceparent().map(str::to_owned),
        })
    });
    let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
    Ok(Given { jobs: jobs.collect::<Result<_, Problem>>()?, lease: Some(claimed.lease), hold_ms })
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Extension)]
struct Held {
    lease: String,
    /// What runs under the lease have to say.
    #[serde(default)]
    #[schema(max_items = 100)]
    jobs: Vec<Said>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Note)]
struct Said {
    #[schema(value_type = String, pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    id: JobId,
    checkpoint: Option<serde_json::Value>,
    progress: Option<SaidProgress>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProgress)]
struct SaidProgress {
    done: u64,
    total: Option<u64>,
    message: Option<String>,
}

impl Said {
    fn read(self) -> (JobId, RemoteNote) {
        let progress = self.progress.map(|said| {
            let progress = Progress::new(said.done, said.total);
            said.message.iter().fold(progress, |progress, message| progress.message(message))
        });
        (self.id, RemoteNote { checkpoint: self.checkpoint, progress })
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Extended {
    /// Jobs of the lease that somebody cancelled: stop them and say so.
    #[schema(value_type = Vec<String>)]
    cancelled: Vec<JobId>,
    /// Jobs of which nothing was written down: they have ended or are in other hands.
    #[schema(value_type = Vec<String>)]
    refused: Vec<JobId>,
}

/// Hold a lease for as long again, and say how far its jobs are.
#[utoipa::path(
    post, path = "/jobs/v1/work/extend", tag = "work", operation_id = "extend_lease",
    request_body = Held,
    responses(
        (status = 200, description = "What to stop, and what was not written down", body = Extended),
        (status = 409, description = "`lease_lost`: its jobs have ended or are in other hands; stop working on them"),
        (status = 422, description = "`too_large`: a checkpoint is up to 64 KiB; `invalid_request` or `invalid_body`"),
    ),
    security(("oauth2" = ["jobs:work"])),
)]
async fn extend(
    allowed: Allowed<Work>,
    State(api): State<Api>,
    Json(held): Json<Held>,
) -> Result<axum::Json<Extended>, Problem> {
    let worker = RemoteWorker::new(&allowed.principal.claims.client_id);
    if held.jobs.len() > MOST_JOBS {
        return Err(invalid("an extension is of up to 100 jobs"));
    }
    let cancelled = quintet_jobs::extend(&api.store, &worker, &held.lease).await.map_err(failed)?;
    let cancelled = cancelled.ok_or_else(lease_lost)?;
    let mut refused = Vec::new();
    if !held.jobs.is_empty() {
        let said: Vec<_> = held.jobs.into_iter().map(Said::read).collect();
        refused = quintet_jobs::note(&api.store, &worker, &held.lease, &said).await.map_err(failed)?;
    }
    Ok(axum::Json(Extended { cancelled, refused }))
}

fn lease_lost() -> Problem {
    let detail = "the lease is gone: its jobs have ended or are in other hands; stop working on them";
    Problem::conflict("lease_lost", detail)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DependenciesOf)]
struct Asked {
    lease: String,
    #[schema(value_type = String, pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    id: JobId,
    /// The last name of the page before.
    #[serde(default)]
    after: String,
}

/// Read what a job waited for, with the results, fifty at a time.
#[utoipa::path(
    post, path = "/jobs/v1/work/dependencies", tag = "work", operation_id = "read_dependencies",
    request_body = Asked,
    responses(
        (status = 200, description = "The dependencies by name", body = List<Dependency>),
        (status = 409, description = "`lease_lost`: its jobs have ended or are in other hands; stop working on them"),
    ),
    security(("oauth2" = ["jobs:work"])),
)]
async fn dependencies(
    allowed: Allowed<Work>,
    State(api): State<Api>,
    Json(asked): Json<Asked>,
) -> Result<axum::Json<List<Dependency>>, Problem> {
    let worker = RemoteWorker::new(&allowed.principal.claims.client_id);
    let read =
        quintet_jobs::remote_dependencies(&api.store, &worker, &asked.lease, asked.id, &asked.after).await;
    read.map_err(failed)?.map(|data| axum::Json(List { data })).ok_or_else(lease_lost)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Acknowledgement {
    lease: String,
    #[schema(min_items = 1, max_items = 100)]
    jobs: Vec<Ended>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndedJob)]
struct Ended {
    #[schema(value_type = String, pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    id: JobId,
    outcome: Ending,
    error: Option<String>,
    /// For `completed`: what the job gives back.
    result: Option<serde_json::Value>,
    /// For `failed` and `snoozed`.
    #[schema(maximum = 2_592_000_000_u64)]
    retry_after_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Outcome)]
enum Ending {
    Completed,
    Failed,
    Snoozed,
    Discarded,
    Cancelled,
}

impl Ended {
    fn read(self) -> Result<(JobId, RemoteOutcome), Problem> {
        let delay = self.retry_after_ms.map(Duration::from_millis);
        if delay.is_some_and(|delay| delay > MOST_DELAY) {
            return Err(invalid("retry_after_ms is at most 30 days"));
        }
        if self.result.is_some() && !matches!(self.outcome, Ending::Completed) {
            return Err(invalid("a job that did not complete has no result"));
        }
        let error = self.error.ok_or_else(|| invalid("a failed or discarded job has an error"));
        let outcome = match self.outcome {
            Ending::Completed => self.result.map_or(RemoteOutcome::Completed, RemoteOutcome::CompletedWith),
            Ending::Failed => RemoteOutcome::Failed { error: error?, retry_after: delay },
            Ending::Snoozed => {
                let delay = delay.ok_or_else(|| invalid("a snoozed job has a retry_after_ms"))?;
                RemoteOutcome::Snoozed(delay)
            }
            Ending::Discarded => RemoteOutcome::Discarded(error?),
            Ending::Cancelled => RemoteOutcome::Cancelled,
        };
        Ok((self.id, outcome))
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Acknowledged {
    /// Jobs of which nothing was recorded: they have ended already or are in other hands.
    #[schema(value_type = Vec<String>)]
    refused: Vec<JobId>,
}

/// Say how jobs of a lease ended.
#[utoipa::path(
    post, path = "/jobs/v1/work/acknowledge", tag = "work", operation_id = "acknowledge_jobs",
    request_body = Acknowledgement,
    responses(
        (status = 200, description = "Jobs of which nothing was recorded", body = Acknowledged),
        (status = 422, description = "`too_large`: a result is up to 64 KiB; `invalid_request` or `invalid_body`"),
    ),
    security(("oauth2" = ["jobs:work"])),
)]
async fn acknowledge(
    allowed: Allowed<Work>,
    State(api): State<Api>,
    Json(said): Json<Acknowledgement>,
) -> Result<axum::Json<Acknowledged>, Problem> {
    if !(1..=MOST_JOBS).contains(&said.jobs.len()) {
        return Err(invalid("an acknowledgement is of 1 to 100 jobs"));
    }
    let outcomes = said.jobs.into_iter().map(Ended::read).collect::<Result<Vec<_>, _>>()?;
    let worker = RemoteWorker::new(&allowed.principal.claims.client_id);
    let clock = api.clock.as_ref();
    let refused =
        quintet_jobs::acknowledge(&api.store, clock, &api.remote.policies, &worker, &said.lease, &outcomes)
            .await
            .map_err(failed)?;
    Ok(axum::Json(Acknowledged { refused }))
}
