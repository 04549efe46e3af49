//! What a job reads of those it waited for.

use quintet_store::{Row, Store, args};
use quintet_types::JobId;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::Error;
use crate::job::Job;
use crate::remote::{self, RemoteWorker};
use crate::sealing::{self, Content, Place, Seals};

/// Dependencies read at once over HTTP: each may have a result of 64 KiB.
const MOST_ROWS: i64 = 50;

/// A job that another one waited for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Dependency {
    /// Its name in the workflow.
    pub name: String,
    /// Its id.
    #[schema(value_type = String)]
    pub id: JobId,
    /// How it ended.
    pub state: String,
    /// What it gave back, if it completed and did.
    pub result: Option<Value>,
}

impl Dependency {
    fn read(row: &Row, seals: Option<&Seals>) -> Result<Self, Error> {
        let (state, kind): (String, String) = (row.get("state")?, row.get("kind")?);
        let place = Place { content: Content::Result, job: row.parse("dependency")?, kind: &kind };
        let result = row.get::<Option<String>>("result")?.filter(|_| state == "completed");
        Ok(Self {
            name: row.get("name")?,
            id: place.job,
            state,
            result: result.map(|text| sealing::open_json(seals, place, &text)).transpose()?,
        })
    }
}

/// Subqueries as in `settle`, for the same reason.
const READ: &str = "
    SELECT * FROM (
        SELECT edge.dependency,
               (SELECT job.name FROM jobs_workflow_jobs AS job WHERE job.job_id = edge.dependency) AS name,
               (SELECT job.kind FROM jobs_workflow_jobs AS job WHERE job.job_id = edge.dependency) AS kind,
               (SELECT job.state FROM jobs_workflow_jobs AS job WHERE job.job_id = edge.dependency) AS state,
               (SELECT notes.result FROM jobs_notes AS notes WHERE notes.job_id = edge.dependency) AS result
        FROM jobs_workflow_edges AS edge WHERE edge.job_id = $1) AS found
    WHERE name > $2 ORDER BY name LIMIT $3";

async fn read(store: &Store, job: JobId, after: &str, limit: i64) -> Result<Vec<Dependency>, Error> {
    let rows = store.fetch_all(READ, args![job, after, limit]).await?;
    rows.iter().map(|row| Dependency::read(row, store.attached())).collect()
}

impl Job {
    /// The jobs that it waited for, with their results, in the order of their names.
    pub async fn dependencies(&self, store: &Store) -> Result<Vec<Dependency>, Error> {
        read(store, self.id(), "", i64::MAX).await
    }
}

/// What a job under this lease waited for, from the name after `after` on, fifty at a time; nothing if the worker does not
/// have it.
pub async fn remote_dependencies(
    store: &Store,
    worker: &RemoteWorker,
    lease: &str,
    job: JobId,
    after: &str,
) -> Result<Option<Vec<Dependency>>, Error> {
    let held = remote::records(store, worker, lease).await?;
    if !held.iter().any(|record| record.id == job) {
        return Ok(None);
    }
    read(store, job, after, MOST_ROWS).await.map(Some)
}
