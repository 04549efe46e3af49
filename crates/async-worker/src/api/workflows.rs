//! Workflows over HTTP: enqueuing one, looking at its graph, cancelling it.

use axum::extract::State;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_jobs::{After, NewWorkflow, WorkflowCancelled, WorkflowId, WorkflowView};
use quintet_module::Allowed;
use quintet_module::idempotency::{self, Key, Outcome};
use quintet_types::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::creation::{self, Begun, KeyHeader};
use super::enqueue::{Described, MAX_NAME_BYTES};
use super::{Api, audit, failed};
use crate::page::{Listing, Page};
use crate::permissions::{Enqueue, Read, Write};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, enqueue)).routes(routes!(one)).routes(routes!(cancel))
}

/// A workflow as a client describes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWorkflow)]
struct DescribedWorkflow {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(max_items = 1000)]
    jobs: Vec<Step>,
}

/// A job of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkflowStep)]
struct Step {
    name: String,
    job: Described,
    #[serde(default)]
    after: Vec<Edge>,
}

/// What a job waits for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum Edge {
    /// This job, which has to complete.
    Success(String),
    Described(DescribedEdge),
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
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

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnqueuedWorkflow)]
struct Enqueued {
    #[schema(value_type = String)]
    id: WorkflowId,
    /// By their names.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    jobs: std::collections::BTreeMap<String, JobId>,
}

/// Enqueue a workflow, whole.
#[utoipa::path(
    post, path = "/jobs/v1/workflows", tag = "workflows", operation_id = "enqueue_workflow",
    params(KeyHeader),
    request_body = DescribedWorkflow,
    responses(
        (status = 201, description = "The workflow and its jobs", body = Enqueued, headers(
            ("Location" = String, description = "Where it is"),
            ("Idempotent-Replayed" = bool, description = "`true` when this answer was given before"))),
        (status = 403, description = "`kind_not_allowed` or `scope_missing`"),
        (status = 422, description = "`invalid_workflow`, such as one with a cycle, `invalid_job` or `invalid_body`; `idempotency_key_reused`"),
    ),
    security(("oauth2" = ["jobs:enqueue"])),
)]
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

/// Read one workflow with its graph.
#[utoipa::path(
    get, path = "/jobs/v1/workflows/{id}", tag = "workflows", operation_id = "read_workflow",
    params(("id" = String, Path, description = "The workflow's id", pattern = "^wfl_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The workflow", body = WorkflowView),
        (status = 404, description = "There is no such workflow, or no longer"),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn one(
    _: Allowed<Read>,
    State(api): State<Api>,
    Path(id): Path<WorkflowId>,
) -> Result<axum::Json<WorkflowView>, Problem> {
    let view = quintet_jobs::workflow(&api.store, id).await.map_err(failed)?;
    view.map(axum::Json).ok_or_else(|| Problem::not_found("workflow"))
}

/// Cancel all jobs of a workflow that have not ended.
#[utoipa::path(
    post, path = "/jobs/v1/workflows/{id}/cancel", tag = "workflows", operation_id = "cancel_workflow",
    params(("id" = String, Path, description = "The workflow's id", pattern = "^wfl_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "How many", body = WorkflowCancelled),
        (status = 404, description = "There is no such workflow"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
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

/// List workflows, newest first, without their graphs.
#[utoipa::path(
    get, path = "/jobs/v1/workflows", tag = "workflows", operation_id = "list_workflows",
    params(Listing),
    responses(
        (status = 200, description = "A page of workflows", body = Page<WorkflowView>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn list(
    _: Allowed<Read>,
    State(api): State<Api>,
    Query(query): Query<Listing>,
) -> Result<axum::Json<Page<WorkflowView>>, Problem> {
    let (cursor, limit) = query.window()?;
    let page = quintet_jobs::workflows(&api.store, cursor, limit).await.map_err(failed)?;
    Ok(axum::Json(Page::new(page.workflows, page.next)))
}
