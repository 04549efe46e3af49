//! What an operator sees of workflows, and forgetting them.

use std::collections::{BTreeMap, HashSet};

use quintet_store::{Row, Sql, Store, args};
use quintet_types::{JobId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::WorkflowId;
use super::settle::texts;
use crate::admin::State;
use crate::error::Error;

/// Rows of one page.
const MOST_ROWS: u32 = 500;

/// How a workflow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// Not all of its jobs have ended.
    Running,
    /// All of its jobs have completed.
    Succeeded,
    /// All of its jobs have ended, some of them badly.
    Failed,
}

/// A workflow.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WorkflowView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: WorkflowId,
    /// What it is for.
    pub name: String,
    /// How it stands.
    pub state: WorkflowState,
    /// How many jobs it has.
    pub jobs: i64,
    /// Of them, those that have not ended.
    pub open: i64,
    /// … those that were discarded or cancelled.
    pub failed: i64,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// When its last job ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Its jobs in the order of their levels; only where one workflow is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub graph: Vec<WorkflowJobView>,
}

/// A job of a workflow.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WorkflowJobView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Its name in the workflow.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Where it is in its life.
    pub state: State,
    /// 0 without dependencies, else one more than the highest of them.
    pub level: i64,
    /// What it waits for.
    pub after: Vec<EdgeView>,
    /// The failed dependency for which it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_for: Option<String>,
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EdgeView {
    /// The name of the job that is waited for.
    pub name: String,
    /// Whether it may fail.
    pub ignore_failure: bool,
}

/// Workflows, newest first, without their graphs.
#[derive(Debug, Clone)]
pub struct WorkflowPage {
    /// The workflows.
    pub workflows: Vec<WorkflowView>,
    /// Where the next page begins, if there is one.
    pub next: Option<WorkflowId>,
}

const SELECT: &str = "
    SELECT jobs_workflows.*, (
        SELECT count(*) FROM jobs_workflow_jobs AS job
        WHERE job.workflow_id = jobs_workflows.id AND job.state IN ('discarded', 'cancelled')) AS failed
    FROM jobs_workflows";

fn view(row: &Row) -> Result<WorkflowView, Error> {
    let (open, failed): (i64, i64) = (row.get("open")?, row.get("failed")?);
    let state = match (open, failed) {
        (1.., _) => WorkflowState::Running,
        (_, 0) => WorkflowState::Succeeded,
        _ => WorkflowState::Failed,
    };
    Ok(WorkflowView {
        id: row.parse("id")?,
        name: row.get("name")?,
        state,
        jobs: row.get("jobs")?,
        open,
        failed,
        enqueued_at: row.timestamp("enqueued_at")?,
        ended_at: row.get::<Option<i64>>("ended_at")?.map(quintet_types::time::from_micros),
        graph: Vec::new(),
    })
}

/// The workflows from below `cursor` on, newest first; at most `limit` (up to 500).
pub async fn workflows(store: &Store, cursor: Option<WorkflowId>, limit: u32) -> Result<WorkflowPage, Error> {
    let limit = i64::from(limit.clamp(1, MOST_ROWS));
    // Above every id.
    let below = cursor.map_or_else(|| "wfl_~".to_owned(), |cursor| cursor.to_string());
    let sql = Sql::dynamic(format!("{SELECT} WHERE id < $1 ORDER BY id DESC LIMIT $2"));
    let rows = store.fetch_all(sql, args![below, limit]).await?;
    let workflows = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    let full = i64::try_from(workflows.len()).is_ok_and(|found| found == limit);
    let next = workflows.last().map(|view| view.id).filter(|_| full);
    Ok(WorkflowPage { workflows, next })
}

const EDGES: Sql = Sql::per_dialect(
    "SELECT * FROM jobs_workflow_edges WHERE job_id IN (SELECT value FROM json_each($1))",
    "SELECT * FROM jobs_workflow_edges WHERE job_id = ANY($1)",
);

const QUEUED: Sql = Sql::per_dialect(
    "SELECT id FROM jobs_ready WHERE id IN (SELECT value FROM json_each($1))",
    "SELECT id FROM jobs_ready WHERE id = ANY($1)",
);

/// One workflow with its graph.
pub async fn workflow(store: &Store, id: WorkflowId) -> Result<Option<WorkflowView>, Error> {
    // One view of all tables: a job that moves meanwhile is somewhere.
    let mut snapshot = store.read().await?;
    let sql = Sql::dynamic(format!("{SELECT} WHERE id = $1"));
    let Some(row) = snapshot.fetch_optional(sql, args![id.to_string()]).await? else { return Ok(None) };
    let mut found = view(&row)?;
    let jobs = "SELECT * FROM jobs_workflow_jobs WHERE workflow_id = $1 ORDER BY level, name";
    let jobs = snapshot.fetch_all(jobs, args![id.to_string()]).await?;
    let ids = jobs.iter().map(|row| row.parse("job_id")).collect::<Result<Vec<JobId>, _>>()?;
    let mut names: BTreeMap<JobId, String> = BTreeMap::new();
    for row in &jobs {
        names.insert(row.parse("job_id")?, row.get("name")?);
    }
    let mut after: BTreeMap<JobId, Vec<EdgeView>> = BTreeMap::new();
    for row in snapshot.fetch_all(&EDGES, args![texts(&ids)]).await? {
        let name = names.get(&row.parse("dependency")?).cloned().unwrap_or_default();
        let ignore_failure = row.get::<i64>("ignore_failure")? != 0;
        after.entry(row.parse("job_id")?).or_default().push(EdgeView { name, ignore_failure });
    }
    for edges in after.values_mut() {
        edges.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    }
    let queued = snapshot.fetch_all(&QUEUED, args![texts(&ids)]).await?;
    let queued: HashSet<JobId> = queued.iter().map(|row| row.parse("id")).collect::<Result<_, _>>()?;
    for row in &jobs {
        found.graph.push(job(row, &queued, &mut after)?);
    }
    Ok(Some(found))
}

fn job(
    row: &Row,
    queued: &HashSet<JobId>,
    after: &mut BTreeMap<JobId, Vec<EdgeView>>,
) -> Result<WorkflowJobView, Error> {
    let id: JobId = row.parse("job_id")?;
    let state = match row.get::<String>("state")?.as_str() {
        "blocked" => State::Blocked,
        "released" if queued.contains(&id) => State::Ready,
        "released" => State::Running,
        "discarded" => State::Discarded,
        "cancelled" => State::Cancelled,
        _ => State::Completed,
    };
    Ok(WorkflowJobView {
        id,
        name: row.get("name")?,
        kind: row.get("kind")?,
        state,
        level: row.get("level")?,
        after: after.remove(&id).unwrap_or_default(),
        cancelled_for: row.get("cancelled_for")?,
    })
}

/// Workflows forgotten in one transaction; each has up to a thousand jobs.
const PRUNE_BATCH: i64 = 10;

const FORGET_JOBS: Sql = Sql::per_dialect(
    "DELETE FROM jobs_workflow_jobs WHERE workflow_id IN (SELECT value FROM json_each($1)) RETURNING job_id",
    "DELETE FROM jobs_workflow_jobs WHERE workflow_id = ANY($1) RETURNING job_id",
);

const FORGET_EDGES: Sql = Sql::per_dialect(
    "DELETE FROM jobs_workflow_edges WHERE job_id IN (SELECT value FROM json_each($1))",
    "DELETE FROM jobs_workflow_edges WHERE job_id = ANY($1)",
);

/// Forgets workflows that ended before this; whether there may be more.
pub(crate) async fn prune(store: &Store, before: Timestamp) -> Result<bool, Error> {
    let mut tx = store.begin().await?;
    let sql = "DELETE FROM jobs_workflows WHERE ended_at < $1 AND id IN (
                   SELECT id FROM jobs_workflows WHERE ended_at < $1 LIMIT $2)
               RETURNING id";
    let rows = tx.fetch_all(sql, args![before, PRUNE_BATCH]).await?;
    if rows.is_empty() {
        return Ok(false);
    }
    let gone: Vec<String> = rows.iter().map(|row| row.get("id")).collect::<Result<_, _>>()?;
    let jobs = tx.fetch_all(&FORGET_JOBS, args![gone]).await?;
    let jobs: Vec<String> = jobs.iter().map(|row| row.get("job_id")).collect::<Result<_, _>>()?;
    tx.send(&FORGET_EDGES, args![jobs]).await?;
    tx.commit().await?;
    Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX) == PRUNE_BATCH)
}
