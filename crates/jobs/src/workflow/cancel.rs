//! Cancelling jobs that wait for others, and whole workflows.

use quintet_store::{Row, Sql, Store, Tx, args};
use quintet_types::Clock;
use serde::Serialize;
use utoipa::ToSchema;

use super::{WorkflowId, lock};
use crate::cancel::{TAKE_READY, end_waiting, request_all};
use crate::error::Error;
use crate::lease::CHANNEL;

const TAKE_BLOCKED: Sql = Sql::per_dialect(
    "DELETE FROM jobs_blocked WHERE id IN (SELECT value FROM json_each($1)) RETURNING *",
    "DELETE FROM jobs_blocked WHERE id = ANY($1) RETURNING *",
);

/// Takes blocked jobs away; the caller has locked their workflows.
pub(crate) async fn take_blocked(tx: &mut Tx, ids: Vec<String>) -> Result<Vec<Row>, Error> {
    Ok(tx.fetch_all(&TAKE_BLOCKED, args![ids]).await?)
}

macro_rules! workflows_of {
    ($these:literal) => {
        concat!(
            "SELECT DISTINCT workflow_id FROM jobs_workflow_jobs WHERE job_id ",
            $these,
            " ORDER BY workflow_id"
        )
    };
}

const WORKFLOWS_OF: Sql =
    Sql::per_dialect(workflows_of!("IN (SELECT value FROM json_each($1))"), workflows_of!("= ANY($1)"));

/// Locks the workflows that these jobs are in; whether there are any.
pub(crate) async fn lock_all_of(tx: &mut Tx, ids: Vec<String>) -> Result<bool, Error> {
    let rows = tx.fetch_all(&WORKFLOWS_OF, args![ids]).await?;
    for row in &rows {
        lock(tx, &row.get::<String>("workflow_id")?).await?;
    }
    Ok(!rows.is_empty())
}

/// What [`cancel_workflow`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct WorkflowCancelled {
    /// Jobs that will not run.
    pub cancelled: usize,
    /// Jobs that run: their workers were asked to stop them.
    pub cancelling: usize,
}

/// Cancels every job of a workflow that has not ended; nothing if there is no such workflow.
pub async fn cancel_workflow(
    store: &Store,
    clock: &dyn Clock,
    workflow: WorkflowId,
) -> Result<Option<WorkflowCancelled>, Error> {
    let (id, now) = (workflow.to_string(), clock.now());
    let mut tx = store.begin().await?;
    if !lock(&mut tx, &id).await? {
        return Ok(None);
    }
    let sql = "SELECT job_id FROM jobs_workflow_jobs
               WHERE workflow_id = $1 AND state IN ('blocked', 'released')";
    let rows = tx.fetch_all(sql, args![&id]).await?;
    let mut open: Vec<String> = rows.iter().map(|row| row.get("job_id")).collect::<Result<_, _>>()?;
    let mut taken = take_blocked(&mut tx, open.clone()).await?;
    taken.extend(tx.fetch_all(&TAKE_READY, args![open.clone()]).await?);
    for row in &taken {
        let id: String = row.get("id")?;
        open.retain(|open| *open != id);
    }
    // All in one go: none of them is released or dropped for another.
    let cancelled = end_waiting(&mut tx, &taken, now).await?;
    request_all(&mut tx, &open, now).await?;
    tx.notify(CHANNEL).await?;
    tx.commit().await?;
    Ok(Some(WorkflowCancelled { cancelled, cancelling: open.len() }))
}
