//! Workflows: jobs that wait for others, a directed graph without cycles.
//!
//! A job with open dependencies is a row of `jobs_blocked`, which no claim reads; `jobs_workflow_jobs` has a row for each job of a
//! workflow with how it stands, `jobs_workflow_edges` one for each dependency. The transaction that records the end of a job
//! releases those that waited for it alone, and cancels those that cannot run any more ([`settle`](settle::settle)).
//!
//! Whether a job can run is asked of the states of its dependencies, never kept in a counter: a redrive makes an ended
//! dependency open again, and a counter would have to be told. The question stops at the first that is open. Whoever
//! changes a state or a blocked job has locked the workflow's row, workflows in the order of their ids; so an end sees what
//! the ends before it did. Jobs in the queue are taken by those who hold that lock with SKIP LOCKED only.

use std::collections::BTreeMap;

use quintet_store::{Bulk, Column, ColumnType, Sql, Tx, args};
use quintet_types::{Clock, JobId};

use ColumnType::{Int, Text};

use crate::enqueue::{NewJob, announce, plain};
use crate::error::Error;
use crate::job::Job;
use crate::row::{self, Waiting};

mod cancel;
mod dependencies;
mod graph;
mod redrive;
mod settle;
#[cfg(test)]
mod tests;
mod view;

pub use cancel::{WorkflowCancelled, cancel_workflow};
pub(crate) use cancel::{lock_all_of, take_blocked};
pub use dependencies::{Dependency, remote_dependencies};
pub use graph::{MOST_DEPENDENCIES, MOST_WORKFLOW_JOBS, WorkflowError};
pub(crate) use redrive::redrive;
pub(crate) use settle::settle;
pub(crate) use view::prune;
pub use view::{EdgeView, WorkflowJobView, WorkflowPage, WorkflowState, WorkflowView, workflow, workflows};

quintet_types::define_id!(
    /// A workflow.
    WorkflowId,
    "wfl"
);

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    name: String,
    ignore_failure: bool,
}

impl After {
    /// Runs after this job has completed; is cancelled if it is discarded or cancelled.
    pub fn success(name: impl Into<String>) -> Self {
        Self { name: name.into(), ignore_failure: false }
    }

    /// Runs after this job has ended, in whatever way.
    pub fn end(name: impl Into<String>) -> Self {
        Self { name: name.into(), ignore_failure: true }
    }
}

/// A workflow to be enqueued.
#[derive(Debug)]
pub struct NewWorkflow {
    name: String,
    jobs: Vec<(String, NewJob, Vec<After>)>,
}

impl NewWorkflow {
    /// One without jobs. The name is for people.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), jobs: Vec::new() }
    }

    /// Adds a job under a name of its own, to run after these others, which may be added later.
    #[must_use]
    pub fn job(mut self, name: impl Into<String>, job: NewJob, after: &[After]) -> Self {
        self.jobs.push((name.into(), job, after.to_vec()));
        self
    }
}

/// What [`enqueue_workflow`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnqueuedWorkflow {
    /// The workflow.
    pub id: WorkflowId,
    /// Its jobs by their names.
    pub jobs: BTreeMap<String, JobId>,
}

const JOBS: Bulk = Bulk {
    table: "jobs_workflow_jobs",
    columns: &[
        ("job_id", Text),
        ("workflow_id", Text),
        ("name", Text),
        ("kind", Text),
        ("level", Int),
        ("state", Text),
    ],
    then: "",
};

const EDGES: Bulk = Bulk {
    table: "jobs_workflow_edges",
    columns: &[("job_id", Text), ("dependency", Text), ("ignore_failure", Int)],
    then: "",
};

/// Enqueues a workflow in the caller's transaction; it exists if and when that commits.
///
/// # Errors
/// [`Error::Workflow`] when its graph cannot be; [`Error::UniqueMember`] for a job that is unique; as
/// [`enqueue`](crate::enqueue()).
pub async fn enqueue_workflow(
    tx: &mut Tx,
    clock: &dyn Clock,
    workflow: NewWorkflow,
) -> Result<EnqueuedWorkflow, Error> {
    let levels =
        graph::levels(&workflow.jobs.iter().map(|(name, _, after)| (&**name, &**after)).collect::<Vec<_>>())?;
    let id = WorkflowId::generate(clock, &quintet_types::SystemEntropy);
    let mut jobs: Vec<Waiting> = Vec::with_capacity(workflow.jobs.len());
    let mut ids: BTreeMap<String, JobId> = BTreeMap::new();
    let mut edges: Vec<(JobId, Vec<After>)> = Vec::new();
    for (name, job, after) in workflow.jobs {
        let job = Waiting { member_of: Some(id.to_string()), ..plain(clock, job)? };
        ids.insert(name, job.id);
        edges.push((job.id, after));
        jobs.push(job);
    }
    let sql = "INSERT INTO jobs_workflows (id, name, enqueued_at, jobs, open) VALUES ($1, $2, $3, $4, $4)";
    let count = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
    tx.send(sql, args![id.to_string(), workflow.name, clock.now(), count]).await?;
    insert_graph(tx, id, &jobs, &levels, &ids, edges).await?;
    let (ready, blocked): (Vec<_>, Vec<_>) = jobs.into_iter().zip(levels).partition(|(_, level)| *level == 0);
    let kinds: Vec<_> =
        ready.iter().chain(&blocked).map(|(job, _)| (job.queue.clone(), job.kind.clone())).collect();
    row::insert_ready(tx, ready.into_iter().map(|(job, _)| job).collect()).await?;
    row::insert_blocked(tx, blocked.into_iter().map(|(job, _)| job).collect()).await?;
    for (queue, kind) in kinds {
        announce(tx, queue, kind).await?;
    }
    Ok(EnqueuedWorkflow { id, jobs: ids })
}

async fn insert_graph(
    tx: &mut Tx,
    id: WorkflowId,
    jobs: &[Waiting],
    levels: &[i64],
    ids: &BTreeMap<String, JobId>,
    edges: Vec<(JobId, Vec<After>)>,
) -> Result<(), Error> {
    let names: BTreeMap<JobId, &String> = ids.iter().map(|(name, id)| (*id, name)).collect();
    let state = |level: &i64| if *level == 0 { "released" } else { "blocked" }.to_owned();
    let columns = vec![
        Column::Texts(jobs.iter().map(|job| job.id.to_string()).collect()),
        Column::Texts(vec![id.to_string(); jobs.len()]),
        Column::Texts(jobs.iter().filter_map(|job| names.get(&job.id).map(ToString::to_string)).collect()),
        Column::Texts(jobs.iter().map(|job| job.kind.clone()).collect()),
        Column::Ints(levels.to_vec()),
        Column::Texts(levels.iter().map(state).collect()),
    ];
    tx.insert_many(&JOBS, columns).await?;
    let (mut from, mut to, mut ignore) = (Vec::new(), Vec::new(), Vec::new());
    for (job, after) in edges {
        for edge in after {
            // The graph was checked: every name is one of its jobs.
            let Some(dependency) = ids.get(&edge.name) else { continue };
            from.push(job.to_string());
            to.push(dependency.to_string());
            ignore.push(i64::from(edge.ignore_failure));
        }
    }
    Ok(tx.insert_many(&EDGES, vec![Column::Texts(from), Column::Texts(to), Column::Ints(ignore)]).await?)
}

/// The workflow that a job is in.
pub(crate) fn of(member_of: Option<&str>) -> Option<&str> {
    member_of.filter(|group| group.starts_with("wfl_"))
}

const LOCK: Sql = Sql::per_dialect(
    "SELECT id FROM jobs_workflows WHERE id = $1",
    "SELECT id FROM jobs_workflows WHERE id = $1 FOR UPDATE",
);

/// Locks a workflow until the transaction ends; whether it is there.
async fn lock(tx: &mut Tx, workflow: &str) -> Result<bool, Error> {
    Ok(tx.fetch_optional(&LOCK, args![workflow]).await?.is_some())
}

impl Job {
    /// The workflow it is in.
    pub fn workflow(&self) -> Option<WorkflowId> {
        of(self.record.member_of.as_deref()).and_then(|workflow| workflow.parse().ok())
    }
}
