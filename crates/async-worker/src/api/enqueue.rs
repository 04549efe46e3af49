//! Enqueuing over HTTP, one job or many, once for each Idempotency-Key.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use quintet_http::Problem;
use quintet_http::extract::Json;
use quintet_jobs::{BatchId, Conflict, NewJob, Unique, UniqueStates};
use quintet_module::Allowed;
use quintet_module::idempotency::{self, Key, Outcome};
use quintet_types::{JobId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::creation::{self, Begun, KeyHeader};
use super::{Api, failed};
use crate::page::List;
use crate::permissions::Enqueue;

/// Jobs enqueued by one request: one transaction.
pub(super) const MOST_JOBS: usize = 1_000;
/// Longer names are none.
pub(super) const MAX_NAME_BYTES: usize = 200;
/// Members of the arguments that may say which jobs are the same.
const MOST_ARG_KEYS: usize = 20;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(one)).routes(routes!(many))
}

/// A job as a client describes it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewJob)]
pub(super) struct Described {
    #[schema(min_length = 1, max_length = 200, example = "python.add")]
    kind: String,
    #[serde(default)]
    args: serde_json::Value,
    #[schema(min_length = 1, max_length = 200)]
    queue: Option<String>,
    /// Lower is first.
    #[schema(minimum = -32768, maximum = 32767)]
    priority: Option<i16>,
    /// Not before this; now unless set.
    run_at: Option<Timestamp>,
    #[schema(maximum = 65535)]
    max_attempts: Option<u16>,
    #[schema(min_length = 1, max_length = 200)]
    unique_key: Option<String>,
    // Left out of the fingerprint where it is not there, as all below: what a key was first used with stays the same request.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    unique: Option<Sameness>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    partition_key: Option<String>,
    /// The open batch that it is added to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    batch: Option<BatchId>,
}

/// An object and no array: a structure whose members all have defaults would be read from `[null]` as well.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let members = Option::<serde_json::Map<String, serde_json::Value>>::deserialize(deserializer)?;
    let value = members.map(|members| serde_json::from_value(members.into()));
    value.transpose().map_err(serde::de::Error::custom)
}

/// Which jobs are the same, and what becomes of a second one. Without `unique_key` and `arg_keys` the arguments say it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Unique)]
struct Sameness {
    /// Only these members of the arguments; none: all jobs of the kind are the same.
    #[schema(max_items = 20)]
    arg_keys: Option<Vec<String>>,
    #[schema(minimum = 1)]
    period_ms: Option<u64>,
    states: States,
    on_conflict: OnConflict,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UniqueStates)]
enum States {
    Waiting,
    #[default]
    Unfinished,
    All,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OnConflict {
    #[default]
    Keep,
    ReplaceArgs,
    Reschedule,
    Replace,
}

impl Sameness {
    fn check(&self, keyed: bool) -> Result<(), Problem> {
        let invalid = |detail: &str| Err(Problem::unprocessable("invalid_job", detail));
        if keyed && self.arg_keys.is_some() {
            return invalid("unique_key and unique.arg_keys both say which jobs are the same; leave one out");
        }
        if self.arg_keys.as_ref().is_some_and(|keys| keys.len() > MOST_ARG_KEYS) {
            return invalid("unique.arg_keys names at most 20 members");
        }
        match (self.period_ms, self.states) {
            (Some(0), _) | (None, States::All) => {
                invalid("unique.period_ms is at least 1, and needed with the states \"all\"")
            }
            _ => Ok(()),
        }
    }

    fn unique(self, key: Option<String>) -> Unique {
        let unique = match (key, self.arg_keys) {
            (Some(key), _) => Unique::by_key(key),
            (None, None) => Unique::by_args(),
            (None, Some(keys)) if keys.is_empty() => Unique::by_kind(),
            (None, Some(keys)) => Unique::by_arg_keys(keys),
        };
        let unique = unique
            .states(match self.states {
                States::Waiting => UniqueStates::Waiting,
                States::Unfinished => UniqueStates::Unfinished,
                States::All => UniqueStates::All,
            })
            .on_conflict(match self.on_conflict {
                OnConflict::Keep => Conflict::Keep,
                OnConflict::ReplaceArgs => Conflict::ReplaceArgs,
                OnConflict::Reschedule => Conflict::Reschedule,
                OnConflict::Replace => Conflict::Replace,
            });
        match self.period_ms {
            Some(period) => unique.period(Duration::from_millis(period)),
            None => unique,
        }
    }
}

impl Described {
    pub(super) fn is_member(&self) -> bool {
        self.batch.is_some()
    }

    pub(super) fn is_unique(&self) -> bool {
        self.unique.is_some() || self.unique_key.is_some()
    }

    pub(super) fn check(&self, api: &Api) -> Result<(), Problem> {
        let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
        let keys = [self.unique_key.as_ref(), self.partition_key.as_ref()];
        let names = [Some(&self.kind), self.queue.as_ref()].into_iter().chain(keys);
        if !names.flatten().all(|name| named(name)) {
            let detail =
                format!("kind, queue, unique_key and partition_key have 1 to {MAX_NAME_BYTES} bytes");
            return Err(Problem::unprocessable("invalid_job", detail));
        }
        if !api.remote.enqueue_kinds.contains(&self.kind) {
            let detail = format!("jobs of kind {} are not enqueued over HTTP here", self.kind);
            return Err(Problem::new(StatusCode::FORBIDDEN, "kind_not_allowed", detail));
        }
        self.unique.as_ref().map_or(Ok(()), |same| same.check(self.unique_key.is_some()))
    }

    pub(super) fn job(self) -> NewJob {
        let mut job = NewJob::new(self.kind, &self.args).priority(self.priority.unwrap_or(0));
        if let Some(queue) = self.queue {
            job = job.queue(queue);
        }
        if let Some(run_at) = self.run_at {
            job = job.run_at(run_at);
        }
        if let Some(key) = self.partition_key {
            job = job.partition_key(key);
        }
        if let Some(max_attempts) = self.max_attempts {
            job = job.max_attempts(max_attempts);
        }
        if let Some(batch) = self.batch {
            job = job.batch(batch);
        }
        match (self.unique, self.unique_key) {
            (Some(same), key) => job.unique(same.unique(key)),
            (None, Some(key)) => job.unique_key(key),
            (None, None) => job,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnqueuedJob)]
struct Enqueued {
    #[schema(value_type = String)]
    id: JobId,
    /// Whether a job with the same unique key was there already; `id` is that job's then.
    duplicate: bool,
    /// Whether that job was given the arguments or the time of this one.
    replaced: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewJobs)]
struct Jobs {
    #[schema(min_items = 1, max_items = 1000)]
    jobs: Vec<Described>,
}

/// Enqueue a job.
#[utoipa::path(
    post, path = "/jobs/v1/jobs", tag = "enqueue", operation_id = "enqueue_job",
    params(KeyHeader),
    request_body = Described,
    responses(
        (status = 201, description = "The job, or the one that it is the same as", body = Enqueued, headers(
            ("Idempotent-Replayed" = bool, description = "`true` when this answer was given before"))),
        (status = 409, description = "`batch_not_open`: the batch takes no more jobs; `idempotency_key_in_flight`"),
        (status = 403, description = "`kind_not_allowed`: the configuration does not name this kind in `remote.enqueue_kinds`; `scope_missing`"),
        (status = 422, description = "`invalid_job` or `invalid_body`; `idempotency_key_reused`: the key belongs to another body"),
    ),
    security(("oauth2" = ["jobs:enqueue"])),
)]
async fn one(
    allowed: Allowed<Enqueue>,
    State(api): State<Api>,
    key: Key,
    Json(job): Json<Described>,
) -> Result<Outcome, Problem> {
    let request = idempotency::Request::new(key, &allowed.principal, "POST /jobs/v1/jobs", &job)?;
    enqueue(&api, request, vec![job], |mut enqueued| enqueued.pop()).await
}

/// Enqueue up to 1,000 jobs, all or none.
#[utoipa::path(
    post, path = "/jobs/v1/jobs/bulk", tag = "enqueue", operation_id = "enqueue_jobs",
    params(KeyHeader),
    request_body = Jobs,
    responses(
        (status = 201, description = "The jobs in their order", body = List<Enqueued>, headers(
            ("Idempotent-Replayed" = bool, description = "`true` when this answer was given before"))),
        (status = 409, description = "`batch_not_open`: the batch takes no more jobs; `idempotency_key_in_flight`"),
        (status = 403, description = "`kind_not_allowed`: the configuration does not name this kind in `remote.enqueue_kinds`; `scope_missing`"),
        (status = 422, description = "`invalid_job`, `too_many` or `invalid_body`; `idempotency_key_reused`: the key belongs to another body"),
    ),
    security(("oauth2" = ["jobs:enqueue"])),
)]
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
    enqueue(&api, request, jobs.jobs, |data| List { data }).await
}

/// Enqueues all or none, once for the request's key.
async fn enqueue<D: Serialize>(
    api: &Api,
    request: idempotency::Request,
    jobs: Vec<Described>,
    document: impl FnOnce(Vec<Enqueued>) -> D,
) -> Result<Outcome, Problem> {
    for job in &jobs {
        job.check(api)?;
    }
    let mut creation = match creation::begin(api, request).await? {
        Begun::New(creation) => creation,
        Begun::Known(outcome) => return Ok(outcome),
    };
    let jobs = jobs.into_iter().map(Described::job).collect();
    let (tx, clock) = (&mut creation.tx, api.clock.as_ref());
    let done = quintet_jobs::enqueue_many(tx, clock, jobs).await.map_err(failed)?;
    let enqueued =
        done.iter().map(|job| Enqueued { id: job.id, duplicate: job.duplicate, replaced: job.replaced });
    let document = document(enqueued.collect());
    creation.finish(api, None, &document).await
}
