//! The failed runs of a job, each with its error: what an operator reads beside the last error.
//!
//! A row is written in the transaction that records the end of the run, so a failure that was refused because the lease
//! was lost leaves none. Only failed runs are written down: a job that succeeds at once costs nothing here. A row
//! outlives its job by nothing that matters: deleting dead letters deletes theirs, time takes the rest.

use quintet_store::{Bulk, Column, ColumnType, Sql, Store, Tx, args};
use quintet_types::time::{from_micros, micros};
use quintet_types::{JobId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use ColumnType::{Int, Text};

use crate::error::Error;
use crate::job::Job;
use crate::lease::Outcome;

/// Failures of one job that are shown, the newest.
const MOST_SHOWN: i64 = 100;
/// Rows removed in one transaction: a long one would hold the write lock.
const PRUNE_BATCH: i64 = 1000;

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Failure {
    /// Which attempt it was, from 1; a redriven job counts anew.
    pub attempt: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// When its end was recorded; of a worker that stopped, when that was noticed.
    pub ended_at: Timestamp,
    /// The worker that had the job.
    pub worker: String,
    /// What went wrong.
    pub error: String,
}

const FAILURES: Bulk = Bulk {
    table: "jobs_failures",
    columns: &[
        ("job_id", Text),
        ("started_at", Int),
        ("ended_at", Int),
        ("attempt", Int),
        ("worker", Text),
        ("error", Text),
    ],
    then: "ON CONFLICT (job_id, started_at) DO NOTHING",
};

/// Writes down which of these runs failed.
pub(crate) async fn record(tx: &mut Tx, ended: &[(&Job, &Outcome)], now: Timestamp) -> Result<(), Error> {
    let failed: Vec<(&Job, &str)> =
        ended.iter().filter_map(|(job, outcome)| Some((*job, failure(outcome)?))).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let texts = |of: fn(&(&Job, &str)) -> String| Column::Texts(failed.iter().map(of).collect());
    let numbers = |of: fn(&(&Job, &str)) -> i64| Column::Ints(failed.iter().map(of).collect());
    let columns = vec![
        texts(|(job, _)| job.id().to_string()),
        numbers(|(job, _)| job.record.started_at),
        Column::Ints(vec![micros(now); failed.len()]),
        numbers(|(job, _)| job.attempt()),
        texts(|(job, _)| worker(&job.lease).to_owned()),
        texts(|(_, error)| (*error).to_owned()),
    ];
    Ok(tx.insert_many(&FAILURES, columns).await?)
}

fn failure(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Discarded { error } | Outcome::Again { error: Some(error), counts: true, .. } => Some(error),
        _ => None,
    }
}

/// A lease is named after its worker, with a random part of its own.
fn worker(lease: &str) -> &str {
    lease.rsplit_once('.').map_or(lease, |(worker, _)| worker)
}

/// The failed runs of a job, oldest first; at most the newest hundred.
pub async fn failures(store: &Store, id: JobId) -> Result<Vec<Failure>, Error> {
    let sql = "SELECT attempt, started_at, ended_at, worker, error FROM jobs_failures
               WHERE job_id = $1 ORDER BY started_at DESC LIMIT $2";
    let mut shown = Vec::new();
    for row in store.fetch_all(sql, args![id, MOST_SHOWN]).await? {
        shown.push(Failure {
            attempt: row.get("attempt")?,
            started_at: from_micros(row.get("started_at")?),
            ended_at: from_micros(row.get("ended_at")?),
            worker: row.get("worker")?,
            error: row.get("error")?,
        });
    }
    shown.reverse();
    Ok(shown)
}

const FORGET: Sql = Sql::per_dialect(
    "DELETE FROM jobs_failures WHERE job_id IN (SELECT value FROM json_each($1))",
    "DELETE FROM jobs_failures WHERE job_id = ANY($1)",
);

/// Forgets the failures of jobs that are deleted: an error may quote what the job was about.
pub(crate) async fn forget(tx: &mut Tx, ids: Vec<String>) -> Result<(), Error> {
    tx.execute(&FORGET, args![ids]).await?;
    Ok(())
}

/// Forgets failures from before this.
pub(crate) async fn prune(store: &Store, before: Timestamp) -> Result<(), Error> {
    let old = "SELECT 1 AS old FROM jobs_failures WHERE ended_at < $1 LIMIT 1";
    while store.fetch_optional(old, args![before]).await?.is_some() {
        let mut tx = store.begin().await?;
        tx.execute(
            "DELETE FROM jobs_failures WHERE (job_id, started_at) IN (
                 SELECT job_id, started_at FROM jobs_failures WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)",
            args![before, PRUNE_BATCH],
        )
        .await?;
        tx.commit().await?;
    }
    Ok(())
}
