//! Forgetting what runs wrote down, with their jobs.

use std::collections::HashSet;

use quintet_store::{Sql, Store, Tx, args};
use quintet_types::JobId;

use crate::error::Error;
use crate::job::Record;

/// Rows looked at in one turn of the sweep.
const WINDOW: i64 = 1_000;

const FORGET: Sql = Sql::per_dialect(
    "DELETE FROM jobs_notes WHERE job_id IN (SELECT value FROM json_each($1))
         AND NOT EXISTS (SELECT 1 FROM jobs_workflow_jobs AS member WHERE member.job_id = jobs_notes.job_id)",
    "DELETE FROM jobs_notes WHERE job_id = ANY($1)
         AND NOT EXISTS (SELECT 1 FROM jobs_workflow_jobs AS member WHERE member.job_id = jobs_notes.job_id)",
);

/// Forgets what the runs of these jobs wrote down; of those in a workflow the sweep does, when that is forgotten, because others
/// may read their results until then.
pub(crate) async fn forget(tx: &mut Tx, jobs: Vec<String>) -> Result<(), Error> {
    Ok(tx.send(&FORGET, args![jobs]).await?)
}

const LOOK: &str = "SELECT job_id FROM jobs_notes WHERE job_id > $1 ORDER BY job_id LIMIT $2";

const HOMELESS: Sql = Sql::per_dialect(
    "SELECT job_id FROM jobs_notes WHERE job_id IN (SELECT value FROM json_each($1))
         AND NOT EXISTS (SELECT 1 FROM jobs_ready WHERE jobs_ready.id = job_id)
         AND NOT EXISTS (SELECT 1 FROM jobs_history WHERE jobs_history.id = job_id)
         AND NOT EXISTS (SELECT 1 FROM jobs_workflow_jobs AS member WHERE member.job_id = jobs_notes.job_id)",
    "SELECT job_id FROM jobs_notes WHERE job_id = ANY($1)
         AND NOT EXISTS (SELECT 1 FROM jobs_ready WHERE jobs_ready.id = job_id)
         AND NOT EXISTS (SELECT 1 FROM jobs_history WHERE jobs_history.id = job_id)
         AND NOT EXISTS (SELECT 1 FROM jobs_workflow_jobs AS member WHERE member.job_id = jobs_notes.job_id)",
);

/// Goes through all notes, a bounded number at a time, for those whose job is nowhere any more: it completed and the history
/// keeps no such jobs. Looking for them at each end of a job would cost every job something.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The last job looked at.
    after: String,
}

impl Sweep {
    /// Looks at the next ones; how many were forgotten.
    pub(crate) async fn turn(&mut self, store: &Store) -> Result<usize, Error> {
        // One view of all tables: a job that moves meanwhile is somewhere. One that is nowhere never comes back.
        let mut snapshot = store.read().await?;
        let looked = snapshot.fetch_all(LOOK, args![&self.after, WINDOW]).await?;
        let ids: Vec<String> = looked.iter().map(|row| row.get("job_id")).collect::<Result<_, _>>()?;
        self.after = ids.last().cloned().unwrap_or_default();
        let homeless = snapshot.fetch_all(&HOMELESS, args![ids]).await?;
        let mut homeless: Vec<String> =
            homeless.iter().map(|row| row.get("job_id")).collect::<Result<_, _>>()?;
        if homeless.is_empty() {
            return Ok(0);
        }
        let mut running: HashSet<JobId> = HashSet::new();
        for row in snapshot.fetch_all("SELECT jobs FROM jobs_lease", args![]).await? {
            let records: Vec<Record> = serde_json::from_str(&row.get::<String>("jobs")?)?;
            running.extend(records.iter().map(|record| record.id));
        }
        drop(snapshot);
        homeless.retain(|id| id.parse().is_ok_and(|id: JobId| !running.contains(&id)));
        let count = homeless.len();
        if count > 0 {
            let mut tx = store.begin().await?;
            forget(&mut tx, homeless).await?;
            tx.commit().await?;
        }
        Ok(count)
    }
}
