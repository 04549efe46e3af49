//! Batches: jobs that are counted together, and jobs that are enqueued when they have ended.
//!
//! A batch is a row with a counter for each way to end. Whoever records the end of jobs adds to it in the same
//! transaction, once for all of them that are in the batch: an acknowledgement is of up to a thousand runs, so a batch costs one
//! update for as many, and it counts nothing. Acknowledgements that name one batch stand in line for its row, and while they do
//! the ends that are reported meanwhile gather in the next, larger one; the update is their last statement, so that
//! the row is held for little more than the commit. Counters in several rows would let them pass each other, but then
//! none of them could know that it was the last.
//!
//! Jobs are added without that row: each addition is a row of its own (`jobs_batch_additions`), which locks the batch against
//! being sealed and against nothing else. Sealing waits for them and adds them up, once; only a sealed batch can end. So the
//! transaction that adds a batch's jobs, however long it takes, never holds up the ends of those that run.
//!
//! A callback is enqueued by the transaction whose update made its condition true, and its instant is written in the
//! same one, so it is enqueued once.

use std::collections::BTreeMap;

use quintet_store::{Row, Sql, Store, Tx, args};
use quintet_types::{Clock, Timestamp};

use crate::admin::State;
use crate::enqueue::NewJob;
use crate::error::Error;
use crate::job::Job;
use crate::lease::{CHANNEL, Outcome};
use crate::row::{self, Waiting};

mod callback;
mod cancel;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use callback::Callback;
pub use cancel::{BatchCancelled, cancel_batch};
pub use view::{BatchPage, BatchState, BatchView, CallbackView, batch, batches};

quintet_types::define_id!(
    /// A batch of jobs.
    BatchId,
    "bat"
);

/// A batch to be opened.
#[derive(Debug)]
pub struct NewBatch {
    id: BatchId,
    name: String,
    callbacks: Vec<(Callback, NewJob)>,
}

impl NewBatch {
    /// A batch without callbacks. The name is for people.
    pub fn new(clock: &dyn Clock, name: impl Into<String>) -> Self {
        let id = BatchId::generate(clock, &quintet_types::SystemEntropy);
        Self { id, name: name.into(), callbacks: Vec::new() }
    }

    /// Its id, which its callbacks' arguments have too, as `batch`, where they are an object.
    pub fn id(&self) -> BatchId {
        self.id
    }

    fn callback(mut self, callback: Callback, job: NewJob) -> Self {
        self.callbacks.retain(|(other, _)| *other != callback);
        self.callbacks.push((callback, job));
        self
    }

    /// Enqueued when all of its jobs have completed, also if some had to be redriven first.
    #[must_use]
    pub fn on_success(self, job: NewJob) -> Self {
        self.callback(Callback::Success, job)
    }

    /// Enqueued when the first of its jobs is discarded or cancelled.
    #[must_use]
    pub fn on_failure(self, job: NewJob) -> Self {
        self.callback(Callback::Failure, job)
    }

    /// Enqueued when all of its jobs have ended for the first time, in whatever way.
    #[must_use]
    pub fn on_end(self, job: NewJob) -> Self {
        self.callback(Callback::End, job)
    }
}

/// Opens a batch in the caller's transaction. Jobs get into it by [`NewJob::batch`], until it is sealed.
///
/// # Errors
/// [`Error::UniqueMember`] for a callback that is unique, and as [`enqueue`](crate::enqueue()).
pub async fn open_batch(tx: &mut Tx, clock: &dyn Clock, batch: NewBatch) -> Result<BatchId, Error> {
    let NewBatch { id, name, callbacks } = batch;
    let callbacks = callback::describe(tx, clock, id, callbacks)?;
    tx.send(
        "INSERT INTO jobs_batches (id, name, opened_at, callbacks, completed, discarded, cancelled)
         VALUES ($1, $2, $3, $4, 0, 0, 0)",
        args![id.to_string(), name, clock.now(), callbacks],
    )
    .await?;
    Ok(id)
}

const ADD: Sql = Sql::per_dialect(
    "INSERT INTO jobs_batch_additions (batch_id, id, jobs)
     SELECT id, $2, $3 FROM jobs_batches WHERE id = $1 AND sealed_at IS NULL",
    "INSERT INTO jobs_batch_additions (batch_id, id, jobs)
     SELECT id, $2, $3 FROM (
         SELECT id FROM jobs_batches WHERE id = $1 AND sealed_at IS NULL FOR KEY SHARE) AS batch",
);

/// Says that so many jobs are added to each of these batches.
pub(crate) async fn add(tx: &mut Tx, jobs: &BTreeMap<String, i64>) -> Result<(), Error> {
    for (batch, jobs) in jobs {
        let addition = quintet_types::id::encode(quintet_types::id::draw_from_system());
        if tx.execute(&ADD, args![batch, addition, *jobs]).await? == 0 {
            return Err(Error::BatchNotOpen { batch: batch.clone() });
        }
    }
    Ok(())
}

const LOCK: Sql = Sql::per_dialect(
    "SELECT * FROM jobs_batches WHERE id = $1",
    // Waits for those who add jobs, whose lock is the weakest there is.
    "SELECT * FROM jobs_batches WHERE id = $1 FOR UPDATE",
);

/// Lets no more jobs into a batch, in the caller's transaction: from then on it ends with its last job, at once if all have
/// ended. Whether it was open. A handler that also completes its job in that transaction does so first: ends lock the lease
/// before the batch.
///
/// # Errors
/// [`Error::BatchNotOpen`] when there is no such batch.
pub async fn seal_batch(tx: &mut Tx, clock: &dyn Clock, batch: BatchId) -> Result<bool, Error> {
    let id = batch.to_string();
    let Some(row) = tx.fetch_optional(&LOCK, args![&id]).await? else {
        return Err(Error::BatchNotOpen { batch: id });
    };
    if row.get::<Option<i64>>("sealed_at")?.is_some() {
        return Ok(false);
    }
    let sql = "UPDATE jobs_batches SET sealed_at = $2, jobs = (
                   SELECT CAST(coalesce(sum(jobs), 0) AS BIGINT) FROM jobs_batch_additions WHERE batch_id = $1)
               WHERE id = $1 RETURNING *";
    let row = tx.fetch_one(sql, args![&id, clock.now()]).await?;
    tx.send("DELETE FROM jobs_batch_additions WHERE batch_id = $1", args![&id]).await?;
    call_back(tx, &row, clock.now()).await?;
    Ok(true)
}

/// Jobs of a batch by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    completed: i64,
    discarded: i64,
    cancelled: i64,
}

/// The batch that a job is in.
fn of(member_of: Option<&str>) -> Option<&str> {
    member_of.filter(|group| group.starts_with("bat_"))
}

/// Counts these ends in their batches, and enqueues what they make due. The last statements of their transaction.
pub(crate) async fn settle(tx: &mut Tx, ended: &[(&Job, &Outcome)], now: Timestamp) -> Result<(), Error> {
    // In one order in every transaction, so that two of them cannot deadlock.
    let mut batches: BTreeMap<&str, Ends> = BTreeMap::new();
    for (job, outcome) in ended {
        let Some(batch) = of(job.record.member_of.as_deref()) else { continue };
        match outcome {
            Outcome::Completed => batches.entry(batch).or_default().completed += 1,
            Outcome::Discarded { .. } => batches.entry(batch).or_default().discarded += 1,
            Outcome::Cancelled { .. } => batches.entry(batch).or_default().cancelled += 1,
            Outcome::Again { .. } => {}
        }
    }
    for (batch, ends) in batches {
        if let Some(row) = count(tx, batch, ends).await? {
            call_back(tx, &row, now).await?;
        }
    }
    Ok(())
}

/// Takes jobs that are redriven from the counts of those that failed; all of `rows` were in `jobs_history`.
pub(crate) async fn reopen(tx: &mut Tx, rows: &[Row]) -> Result<(), Error> {
    let mut batches: BTreeMap<String, Ends> = BTreeMap::new();
    for row in rows {
        let group: Option<String> = row.get("member_of")?;
        let Some(batch) = of(group.as_deref()) else { continue };
        let ends = batches.entry(batch.to_owned()).or_default();
        if row.get::<String>("state")? == State::Discarded.name() {
            ends.discarded -= 1;
        } else {
            ends.cancelled -= 1;
        }
    }
    for (batch, ends) in batches {
        count(tx, &batch, ends).await?;
    }
    Ok(())
}

async fn count(tx: &mut Tx, batch: &str, ends: Ends) -> Result<Option<Row>, Error> {
    let sql = "UPDATE jobs_batches
               SET completed = completed + $2, discarded = discarded + $3, cancelled = cancelled + $4
               WHERE id = $1 RETURNING *";
    Ok(tx.fetch_optional(sql, args![batch, ends.completed, ends.discarded, ends.cancelled]).await?)
}

/// Enqueues what is due of a batch that this transaction has locked.
async fn call_back(tx: &mut Tx, row: &Row, now: Timestamp) -> Result<(), Error> {
    let mut jobs: Vec<Waiting> = Vec::new();
    let due: Vec<Callback> = view::due(row)?;
    if due.is_empty() {
        return Ok(());
    }
    let id: String = row.get("id")?;
    for callback in due {
        // The names of columns, and constants.
        let column = callback.column();
        let sql = format!("UPDATE jobs_batches SET {column} = $2 WHERE id = $1");
        tx.send(Sql::dynamic(sql), args![&id, now]).await?;
        jobs.extend(callback::take(row, callback, now)?);
    }
    if !jobs.is_empty() {
        row::insert_ready(tx, jobs).await?;
        tx.notify(CHANNEL).await?;
    }
    Ok(())
}

/// Batches forgotten in one transaction.
const PRUNE_BATCH: i64 = 500;

/// Forgets batches that ended before this; whether there may be more.
pub(crate) async fn prune(store: &Store, before: Timestamp) -> Result<bool, Error> {
    let sql = "DELETE FROM jobs_batches WHERE id IN (
                   SELECT id FROM jobs_batches WHERE ended_at < $1
                       AND completed + discarded + cancelled >= jobs LIMIT $2)
               RETURNING id";
    let gone = store.write_one(sql, args![before, PRUNE_BATCH]).await?;
    Ok(i64::try_from(gone.len()).unwrap_or(i64::MAX) == PRUNE_BATCH)
}

impl NewJob {
    /// Puts the job into a batch, which must be open: [`enqueue`](crate::enqueue()) fails otherwise.
    #[must_use]
    pub fn batch(self, batch: BatchId) -> Self {
        self.member_of(batch.to_string())
    }
}

impl Job {
    /// The batch it is in.
    pub fn batch(&self) -> Option<BatchId> {
        of(self.record.member_of.as_deref()).and_then(|batch| batch.parse().ok())
    }
}
