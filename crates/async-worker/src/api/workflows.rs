//! Workflows over HTTP: enqueuing one, looking at its graph, cancelling it.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use quintet_auth::Principal;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_jobs::{After, NewWorkflow, WorkflowCancelled, WorkflowId, WorkflowView};
use quintet_module::Allowed;
use quintet_module::idempotency::{self, Key, Outcome};
use quintet_types::JobId;
use serde::{Deserialize, Serialize};

use super::creation::{self, Begun};
use super::enqueue::{Described, MAX_NAME_BYTES};
use super::{Api, Enqueue, READ, Write, audit, failed};
use crate::page::{self, Listing, Page};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/jobs/v1/workflows", get(list).post(enqueue))
        .route("/jobs/v1/workflows/{id}", get(one))
        .route("/jobs/v1/workflows/{id}/cancel", post(cancel))
}

/// A workflow as a client describes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedWorkflow {
    name: String,
    jobs: Vec<Step>,
}

/// A job of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    job: Described,
    #[serde(default)]
    after: Vec<Edge>,
}

/// What a job waits for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Edge {
    /// This job, which has to complete.
    Success(String),
    Described(DescribedEdge),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedEdge {
    name: String,
    /// Whether it may fail.
    #[serde(default)]
    ignore_failure: bool,
}

impl From<Edge> for After {
    fn from(edge: Edge) -> Self {
        match edge {
            Edge::Described(DescribedEdge { name, ignore_failure: true }) => Self::end(name),
            Edge::Success(name) | Edge::Described(DescribedEdge { name, .. }) => Self::success(name),
        }
    }
}

impl DescribedWorkflow {
    fn check(&self, api: &Api) -> Result<(), Problem> {
        let invalid = |detail: &str| Err(Problem::unprocessable("invalid_workflow", detail));
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return invalid("a workflow has a name of 1 to 200 bytes");
        }
        for step in &self.jobs {
            step.job.check(api)?;
            if step.job.is_unique() || step.job.is_member() {
                return invalid("a job of a workflow is neither unique nor in a batch");
            }
        }
        Ok(())
    }

    fn workflow(self) -> NewWorkflow {
        self.jobs.into_iter().fold(NewWorkflow::new(self.name), |workflow, step| {
            let after: Vec<After> = step.after.into_iter().map(After::from).collect();
            workflow.job(step.name, step.job.job(), &after)
        })
    }
}

#[derive(Debug, Serialize)]
struct Enqueued {
    id: WorkflowId,
    /// By their names.
    jobs: std::collections::BTreeMap<String, JobId>,
}

/// Enqueues a workflow whole, once for each Idempotency-Key.
async fn enqueue(
    allowed: Allowed<Enqueue>,
    State(api): State<Api>,
    key: Key,
    Json(described): Json<DescribedWorkflow>,
) -> Result<Outcome, Problem> {
    described.check(&api)?;
    let request = idempotency::Request::new(key, &allowed.principal, "POST /jobs/v1/workflows", &described)?;
    let mut creation = match creation::begin(&api, request).await? {
        Begun::New(creation) => creation,
        Begun::Known(outcome) => return Ok(outcome),
    };
    let (tx, clock) = (&mut creation.tx, api.clock.as_ref());
    let enqueued = quintet_jobs::enqueue_workflow(tx, clock, described.workflow()).await.map_err(failed)?;
    let location = format!("/jobs/v1/workflows/{}", enqueued.id);
    creation.finish(&api, Some(location), &Enqueued { id: enqueued.id, jobs: enqueued.jobs }).await
}

async fn one(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<WorkflowId>,
) -> Result<axum::Json<WorkflowView>, Problem> {
    principal.require(READ)?;
    let view = quintet_jobs::workflow(&api.store, id).await.map_err(failed)?;
    view.map(axum::Json).ok_or_else(|| Problem::not_found("workflow"))
}

async fn cancel(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<WorkflowId>,
) -> Result<axum::Json<WorkflowCancelled>, Problem> {
    let done = quintet_jobs::cancel_workflow(&api.store, api.clock.as_ref(), id).await.map_err(failed)?;
    let done = done.ok_or_else(|| Problem::not_found("workflow"))?;
    audit(&allowed.principal, "jobs.cancel_workflow", &id.to_string());
    Ok(axum::Json(done))
}

async fn list(
    principal: Principal,
    State(api): State<Api>,
    Query(query): Query<Listing<WorkflowId>>,
) -> Result<axum::Json<Page<WorkflowView>>, Problem> {
    principal.require(READ)?;
    let limit = page::limit(query.limit)?;
    let page = quintet_jobs::workflows(&api.store, query.cursor, limit).await.map_err(failed)?;
    Ok(axum::Json(Page::new(page.workflows, page.next)))
}
