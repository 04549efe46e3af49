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

use axum::extract::State;
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::Path;
use quintet_jobs::{Policies, Schedule};
use quintet_module::Allowed;
use quintet_store::Store;
use quintet_types::SharedClock;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config;
use crate::mail::{Delivered, Maildir};
use crate::page::List;
use crate::permissions::Read;

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

/// The routes, for who has a token.
pub(crate) fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new()
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
        .routes(routes!(mails))
        .routes(routes!(mail))
        .with_state(api)
}

/// List the messages that were delivered into the maildir, newest first.
#[utoipa::path(
    get, path = "/jobs/v1/mail", tag = "mail", operation_id = "list_mail",
    responses(
        (status = 200, description = "The messages", body = List<Delivered>),
        (status = 404, description = "`no_maildir`: this worker delivers by SMTP"),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn mails(_: Allowed<Read>, State(api): State<Api>) -> Result<axum::Json<List<Delivered>>, Problem> {
    let data = maildir(&api)?.list().await.map_err(|error| Problem::internal(&error))?;
    Ok(axum::Json(List { data }))
}

/// Read a message that was delivered into the maildir.
#[utoipa::path(
    get, path = "/jobs/v1/mail/{id}", tag = "mail", operation_id = "read_mail",
    params(("id" = String, Path, description = "The message's id")),
    responses(
        (status = 200, description = "The message", body = Delivered),
        (status = 404, description = "`no_maildir` or `not_found`"),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn mail(
    _: Allowed<Read>,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<axum::Json<Delivered>, Problem> {
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
pub(crate) mod tests;
