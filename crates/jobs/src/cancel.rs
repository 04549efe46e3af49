//! Cancelling a job, whether it waits or runs, and wherever it runs.
//!
//! A waiting job moves to the history at once. For one that runs, a row in `jobs_cancel` asks the worker that has it,
//! which may be another process. The row stands until the job has ended: a run that failed or was rescued meanwhile
//! puts the job back into the queue, and whoever reads the request next ([`settle`]) takes it out of there. So a
//! request cannot be lost between two states of the job, and claim and acknowledge need not know of requests.

use std::time::Duration;

use quintet_store::{Bulk, Column, ColumnType, Row, Sql, Store, Tx, args};
use quintet_types::time::micros;
use quintet_types::{Clock, JobId, Timestamp};

use crate::admin::{self, State};
use crate::error::Error;
use crate::job::Job;
use crate::lease::{self, Outcome};
use crate::worker::finished;
use crate::workflow;

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited and will not run.
    Done,
    /// It runs: its worker was asked to stop it, and it will not be tried again.
    Asked,
    /// It has ended already, in this state.
    Ended(State),
    /// There is no such job.
    Unknown,
}

/// A job that another transaction has locked is being claimed or cancelled: waiting for it while a workflow is locked
/// could be a deadlock, and a request does as well.
pub(crate) const TAKE_READY: Sql = Sql::per_dialect(
    "DELETE FROM jobs_ready WHERE id IN (SELECT value FROM json_each($1)) RETURNING *",
    "DELETE FROM jobs_ready WHERE id IN (SELECT id FROM jobs_ready WHERE id = ANY($1) FOR UPDATE SKIP LOCKED)
     RETURNING *",
);

macro_rules! take_requested {
    ($table:literal, $these:literal, $locked:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE id IN (SELECT waits.id FROM jobs_cancel JOIN ",
            $table,
            " AS waits ON waits.id = job_id WHERE job_id ",
            $these,
            $locked,
            ") RETURNING *"
        )
    };
}

const TAKE_REQUESTED: Sql = Sql::per_dialect(
    take_requested!("jobs_ready", "IN (SELECT value FROM json_each($1))", ""),
    take_requested!("jobs_ready", "= ANY($1)", " FOR UPDATE OF waits SKIP LOCKED"),
);

const TAKE_REQUESTED_BLOCKED: Sql = Sql::per_dialect(
    take_requested!("jobs_blocked", "IN (SELECT value FROM json_each($1))", ""),
    take_requested!("jobs_blocked", "= ANY($1)", ""),
);

/// Cancels one job.
pub async fn cancel(store: &Store, clock: &dyn Clock, id: JobId) -> Result<Cancelled, Error> {
    let mut tx = store.begin().await?;
    if take_waiting(&mut tx, vec![id.to_string()], clock.now()).await? > 0 {
        tx.commit().await?;
        return Ok(Cancelled::Done);
    }
    drop(tx);
    match admin::lookup(store, id).await?.map(|view| view.state) {
        Some(State::Blocked | State::Ready | State::Running) => {
            request(store, id, clock.now()).await?;
            Ok(Cancelled::Asked)
        }
        Some(ended) => Ok(Cancelled::Ended(ended)),
        None => Ok(Cancelled::Unknown),
    }
}

/// A job that ends before this is written leaves a request that is soon forgotten.
pub(crate) async fn request(store: &Store, id: JobId, now: Timestamp) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    request_all(&mut tx, &[id.to_string()], now).await?;
    Ok(tx.commit().await?)
}

pub(crate) async fn request_all(tx: &mut Tx, ids: &[String], now: Timestamp) -> Result<(), Error> {
    let requested = Column::Ints(vec![micros(now); ids.len()]);
    Ok(tx.insert_many(&REQUESTS, vec![Column::Texts(ids.to_vec()), requested]).await?)
}

const REQUESTS: Bulk = Bulk {
    table: "jobs_cancel",
    columns: &[("job_id", ColumnType::Text), ("requested_at", ColumnType::Int)],
    then: "ON CONFLICT (job_id) DO NOTHING",
};

/// Moves those of these jobs that wait to the history; how many.
async fn take_waiting(tx: &mut Tx, ids: Vec<String>, now: Timestamp) -> Result<usize, Error> {
    let in_workflows = workflow::lock_all_of(tx, ids.clone()).await?;
    let mut rows = tx.fetch_all(&TAKE_READY, args![ids.clone()]).await?;
    if in_workflows {
        rows.extend(workflow::take_blocked(tx, ids).await?);
    }
    end_waiting(tx, &rows, now).await
}

/// Writes rows that were taken out of `jobs_ready` down as cancelled; how many.
pub(crate) async fn end_waiting(tx: &mut Tx, rows: &[Row], now: Timestamp) -> Result<usize, Error> {
    let mut ended = Vec::with_capacity(rows.len());
    for row in rows {
        let record = lease::record(row, now)?;
        let error = record.last_error.clone();
        finished(&record.queue, &record.kind, "cancelled").increment(1);
        ended.push((Job::new(record, "".into(), 0), Outcome::Cancelled { error }));
    }
    let ended: Vec<(&Job, &Outcome)> = ended.iter().map(|(job, outcome)| (job, outcome)).collect();
    lease::finish(tx, &ended, &|_| true, now).await?;
    Ok(ended.len())
}

/// Requests read at once; the rest is read the next time.
const SETTLED_AT_ONCE: i64 = 1000;
/// No request is of use after this: its job has ended and is not in the history any more.
const STALE_AFTER: Duration = Duration::from_hours(24);

const FORGET: Sql = Sql::per_dialect(
    "DELETE FROM jobs_cancel WHERE requested_at < $2 OR job_id IN (
         SELECT id FROM jobs_history WHERE id IN (SELECT value FROM json_each($1)))",
    "DELETE FROM jobs_cancel WHERE requested_at < $2 OR job_id IN (SELECT id FROM jobs_history WHERE id = ANY($1))",
);

/// Cancels requested jobs that came back into the queue, forgets requests whose jobs have ended, and returns the jobs
/// whose runs are to stop.
pub(crate) async fn settle(store: &Store, now: Timestamp) -> Result<Vec<JobId>, Error> {
    let open = requests(store).await?;
    if !open.is_empty() {
        end_requested(store, &open, now).await?;
    }
    Ok(open)
}

/// Of jobs for which there was a request a moment ago. One that was redriven since is not meant by it any more.
pub(crate) async fn end_requested(store: &Store, open: &[JobId], now: Timestamp) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    let ids: Vec<String> = open.iter().map(ToString::to_string).collect();
    let in_workflows = workflow::lock_all_of(&mut tx, ids.clone()).await?;
    let mut rows = tx.fetch_all(&TAKE_REQUESTED, args![ids.clone()]).await?;
    if in_workflows {
        rows.extend(tx.fetch_all(&TAKE_REQUESTED_BLOCKED, args![ids.clone()]).await?);
    }
    end_waiting(&mut tx, &rows, now).await?;
    let stale = now.checked_sub(STALE_AFTER).unwrap_or(Timestamp::MIN);
    tx.execute(&FORGET, args![ids, stale]).await?;
    Ok(tx.commit().await?)
}

pub(crate) async fn requests(store: &Store) -> Result<Vec<JobId>, Error> {
    let sql = "SELECT job_id FROM jobs_cancel ORDER BY requested_at LIMIT $1";
    let rows = store.fetch_all(sql, args![SETTLED_AT_ONCE]).await?;
    rows.iter().map(|row| Ok(row.parse("job_id")?)).collect()
}
