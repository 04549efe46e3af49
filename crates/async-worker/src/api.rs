//! The HTTP API under `/jobs/v1`: what operators see of the queue and, with the maildir
//! transport, of the mail. Each resource has its file; here is what they share.

mod batches;
mod count;
mod creation;
mod enqueue;
mod failures;
mod jobs;
mod limits;
mod queues;
mod schedules;
mod work;
mod workflows;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::{Policies, Schedule};
use quintet_store::Store;
use quintet_types::SharedClock;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::mail::{Delivered, Maildir};
use crate::page::List;

const READ: &str = "jobs:read";
const WRITE: &str = "jobs:write";
quintet_module::permissions! {
    /// Enqueue jobs of allowed kinds.
    Enqueue = "jobs:enqueue";
    /// Claim and run jobs of allowed kinds.
    Work = "jobs:work";
    /// Change the queue.
    Write = "jobs:write";
}

/// Claims that wait at the same time.
const MOST_POLLS: usize = 64;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) queues: Vec<String>,
    pub(crate) schedules: Arc<[Schedule]>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) maildir: Option<Maildir>,
}

/// What the routes for programs in other languages need besides.
pub(crate) struct Remote {
    enqueue_kinds: Vec<String>,
    work_kinds: Vec<String>,
    policies: Arc<Policies>,
    announced: watch::Receiver<()>,
    shutdown: CancellationToken,
    polls: Semaphore,
}

impl Remote {
    pub(crate) fn new(
        allowed: config::Remote,
        worker: &quintet_jobs::Worker,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            enqueue_kinds: allowed.enqueue_kinds,
            work_kinds: allowed.work_kinds,
            policies: worker.policies(),
            announced: worker.announcements(),
            shutdown,
            polls: Semaphore::new(MOST_POLLS),
        }
    }
}

pub(crate) fn router(api: Api, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .merge(jobs::routes())
        .merge(count::routes())
        .merge(failures::routes())
        .merge(queues::routes())
        .merge(limits::routes())
        .merge(schedules::routes())
        .merge(enqueue::routes())
        .merge(batches::routes())
        .merge(workflows::routes())
        .merge(work::routes())
        .route("/jobs/v1/mail", get(mails))
        .route("/jobs/v1/mail/{id}", get(mail))
        .layer(quintet_auth::layer(verifier))
        .with_state(api)
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

/// One line for each change an operator makes: who, what, to what.
fn audit(principal: &Principal, action: &'static str, target: &str) {
    let claims = &principal.claims;
    tracing::info!(actor = claims.sub, client = claims.client_id, action, target, "the queue was changed");
}

fn failed(error: quintet_jobs::Error) -> Problem {
    match &error {
        quintet_jobs::Error::Store(store) if store.is_transient() => {
            Problem::unavailable(std::time::Duration::from_secs(1))
        }
        quintet_jobs::Error::UniqueContended => Problem::unavailable(std::time::Duration::from_secs(1)),
        quintet_jobs::Error::BatchNotOpen { .. } => Problem::conflict("batch_not_open", error.to_string()),
        quintet_jobs::Error::Workflow(_) => Problem::unprocessable("invalid_workflow", error.to_string()),
        quintet_jobs::Error::NoteTooLarge { .. } => Problem::unprocessable("too_large", error.to_string()),
        _ => Problem::internal(&error),
    }
}

#[cfg(test)]
mod tests;
