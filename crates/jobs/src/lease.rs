//! The queue's protocol on the database: acknowledge, keep alive, rescue. Claiming: `claim`.
//!
//! No policy here (concurrency, timing: `worker`), only transactions. Every function is one
//! transaction; every one that ends a job names the lease, and a lease that is gone means that the
//! job belongs to somebody else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quintet_store::{Sql, Store, Tx, args};
use quintet_types::time::{from_micros, micros};
use quintet_types::{JobId, Timestamp};

use crate::batch;
use crate::error::Error;
use crate::failures;
use crate::job::{Job, Record};
use crate::notes;
use crate::policy::Policies;
use crate::row::{self, Past};
use crate::sealing::SealError;
use crate::workflow;

/// How long a job waits whose key is missing: somebody has to bring it.
const KEY_PATIENCE: Duration = Duration::from_mins(1);
/// Announced on enqueue, followed by workers.
pub(crate) const CHANNEL: &str = "quintet_jobs";

/// How one run ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Done.
    Completed,
    /// Try again at `at`; `counts` is false for a snooze or a release at drain.
    Again { at: Timestamp, error: Option<String>, counts: bool },
    /// A dead letter.
    Discarded { error: String },
    /// Somebody did not want it any more; with what its last run failed, if it did.
    Cancelled { error: Option<String> },
}

impl Outcome {
    /// What becomes of a job whose arguments cannot be read here: it waits for a key that is missing, which is no fault of its
    /// own; what no key opens is a dead letter.
    pub(crate) fn of_closed(closed: &SealError, now: Timestamp) -> Self {
        let error = format!("the arguments cannot be read: {closed}");
        match closed {
            SealError::MissingKey { .. } => {
                let at = now.checked_add(KEY_PATIENCE).unwrap_or(Timestamp::MAX);
                Self::Again { at, error: Some(error), counts: false }
            }
            _ => Self::Discarded { error },
        }
    }

    /// As metrics name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Again { counts: true, .. } => "retried",
            Self::Again { counts: false, .. } => "snoozed",
            Self::Discarded { .. } => "discarded",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) job: Job,
    pub(crate) outcome: Outcome,
}

/// A row of `jobs_ready` that nobody has claimed.
pub(crate) fn record(row: &quintet_store::Row, now: Timestamp) -> Result<Record, Error> {
    Ok(Record {
        id: row.parse("id")?,
        queue: row.get("queue")?,
        kind: row.get("kind")?,
        args: row.get("args")?,
        priority: row.get("priority")?,
        run_at: row.get("run_at")?,
        attempt: row.get("attempt")?,
        max_attempts: row.get("max_attempts")?,
        enqueued_at: row.get("enqueued_at")?,
        started_at: micros(now),
        traceparent: row.get("traceparent")?,
        unique_key: row.get("unique_key")?,
        partition_key: row.get("partition_key")?,
        member_of: row.get("member_of")?,
        last_error: row.get("last_error")?,
    })
}

/// Whether the history keeps completed jobs of a kind.
pub(crate) type Keeps<'a> = &'a (dyn Fn(&str) -> bool + Sync);

/// Records how runs ended; gives back those whose lease was lost (they run again elsewhere). Completed jobs are
/// forgotten where the history does not keep them.
pub(crate) async fn acknowledge(
    store: &Store,
    ended: &[Ended],
    keeps: Keeps<'_>,
    now: Timestamp,
) -> Result<Vec<JobId>, Error> {
    let mut by_lease: BTreeMap<&str, Vec<&Ended>> = BTreeMap::new();
    for end in ended {
        by_lease.entry(&end.job.lease).or_default().push(end);
    }
    let mut tx = store.begin().await?;
    let ids = by_lease.keys().map(|lease| (*lease).to_owned()).collect();
    let (mut leases, limited) = read_leases(&mut tx, ids).await?;
    let mut kept: Vec<(&Job, &Outcome)> = Vec::with_capacity(ended.len());
    let mut lost = Vec::new();
    for (lease, ends) in by_lease {
        let mut marks = leases.remove(lease);
        for end in ends {
            let mark = marks.as_mut().and_then(|marks| marks.get_mut(end.job.position));
            match mark.map(|mark| std::mem::replace(mark, RECORDED)) {
                None | Some(RECORDED) => lost.push(end.job.id()),
                // What the handler's transaction said stands, whatever the handler returned after.
                Some(COMPLETED) => kept.push((&end.job, &Outcome::Completed)),
                Some(_) => kept.push((&end.job, &end.outcome)),
            }
        }
        if let Some(marks) = marks {
            write_marks(&mut tx, lease, marks).await?;
        }
    }
    finish(&mut tx, &kept, keeps, now).await?;
    if limited {
        // A place came free that a worker elsewhere may wait for.
        tx.notify(CHANNEL).await?;
    }
    tx.commit().await?;
    Ok(lost)
}

const READ_LEASES: Sql = Sql::per_dialect(
    "SELECT id, ended, limited FROM jobs_lease WHERE id IN (SELECT value FROM json_each($1))",
    // In one order in every transaction, so that two of them cannot deadlock.
    "SELECT id, ended, limited FROM jobs_lease WHERE id = ANY($1) ORDER BY id FOR UPDATE",
);

/// The marks of those leases that are still there, and whether one of them is of a limited kind.
async fn read_leases(tx: &mut Tx, ids: Vec<String>) -> Result<(HashMap<String, Vec<u8>>, bool), Error> {
    let rows = tx.fetch_all(&READ_LEASES, args![ids]).await?;
    let mut marks = HashMap::with_capacity(rows.len());
    let mut limited = false;
    for row in &rows {
        marks.insert(row.get("id")?, row.get::<String>("ended")?.into_bytes());
        limited |= row.get::<Option<String>>("limited")?.is_some();
    }
    Ok((marks, limited))
}

/// Writes a lease's marks, or removes it when it has no open place.
async fn write_marks(tx: &mut Tx, lease: &str, marks: Vec<u8>) -> Result<(), Error> {
    if marks.iter().all(|mark| *mark == RECORDED) {
        tx.send("DELETE FROM jobs_lease WHERE id = $1", args![lease]).await?;
    } else {
        let marks = String::from_utf8_lossy(&marks).into_owned();
        tx.send("UPDATE jobs_lease SET ended = $2 WHERE id = $1", args![lease, marks]).await?;
    }
    Ok(())
}

/// A place in `jobs_lease.ended`: the job runs.
pub(crate) const RUNNING: u8 = b'0';
/// A place in `jobs_lease.ended`: its handler's transaction completed it, the history does not know yet.
const COMPLETED: u8 = b'1';
/// A place in `jobs_lease.ended`: it is in the history or back in the queue.
const RECORDED: u8 = b'2';

/// By the key, which is indexed. One that is held for a period stays.
const FREE_UNIQUE: Sql = Sql::per_dialect(
    "DELETE FROM jobs_unique
     WHERE unique_key IN (SELECT value FROM json_each($1)) AND job_id IN (SELECT value FROM json_each($2))
       AND expires_at = 0",
    "DELETE FROM jobs_unique WHERE unique_key = ANY($1) AND job_id = ANY($2) AND expires_at = 0",
);

/// Moves ended jobs to the history or back to the queue.
pub(crate) async fn finish(
    tx: &mut Tx,
    ended: &[(&Job, &Outcome)],
    keeps: Keeps<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    failures::record(tx, ended, now).await?;
    // The jobs that wait for one in a workflow read its result.
    notes::record(tx, ended, |job| keeps(job.kind()) || job.workflow().is_some()).await?;
    let mut past = Vec::with_capacity(ended.len());
    let mut again = Vec::new();
    let (mut keys, mut holders) = (Vec::new(), Vec::new());
    for (job, outcome) in ended {
        let record = &job.record;
        match outcome {
            Outcome::Completed if keeps(&record.kind) => {
                past.push(Past { record, state: "completed", error: None });
            }
            Outcome::Completed => {}
            Outcome::Discarded { error } => {
                past.push(Past { record, state: "discarded", error: Some(error) });
            }
            Outcome::Cancelled { error } => {
                past.push(Past { record, state: "cancelled", error: error.as_deref() });
            }
            Outcome::Again { at, error, counts } => {
                let attempt = if *counts { record.attempt } else { record.attempt - 1 };
                let last_error = error.clone().or_else(|| record.last_error.clone());
                again.push(record.waiting(micros(*at), attempt, last_error));
                continue;
            }
        }
        if let Some(key) = &record.unique_key {
            keys.push(key.clone());
            holders.push(record.id.to_string());
        }
    }
    if !past.is_empty() {
        row::insert_history(tx, past, micros(now)).await?;
    }
    if !keys.is_empty() {
        tx.send(&FREE_UNIQUE, args![keys, holders]).await?;
    }
    if !again.is_empty() {
        row::insert_ready(tx, again).await?;
    }
    workflow::settle(tx, ended, now).await?;
    batch::settle(tx, ended, now).await
}

const KEEP_ALIVE: Sql = Sql::per_dialect(
    "UPDATE jobs_lease SET beat = beat + 1 WHERE id IN (SELECT value FROM json_each($1))",
    "UPDATE jobs_lease SET beat = beat + 1 WHERE id = ANY($1)",
);

/// Shows that these leases are worked on. Named one by one and not by their worker: a claim whose answer was lost left
/// a lease that its worker knows nothing of, and whose jobs nobody would run for as long as that worker lives.
pub(crate) async fn keep_alive(store: &Store, leases: Vec<String>) -> Result<(), Error> {
    if leases.is_empty() {
        return Ok(());
    }
    let mut tx = store.begin().await?;
    if tx.execute(&KEEP_ALIVE, args![leases]).await? > 0 {
        tx.commit().await?;
    }
    Ok(())
}

/// The beats of all leases, to find those that stand still, and how long each may at least.
pub(crate) async fn beats(store: &Store) -> Result<Vec<(String, i64, Duration)>, Error> {
    let rows = store.fetch_all("SELECT id, beat, hold_ms FROM jobs_lease", args![]).await?;
    let hold = |row: &quintet_store::Row| row.get::<i64>("hold_ms").map(i64::unsigned_abs);
    rows.iter().map(|row| Ok((row.get("id")?, row.get("beat")?, Duration::from_millis(hold(row)?)))).collect()
}

/// Takes a lease whose holder is gone and puts its open jobs back; how many. `beat` is the last
/// one seen: a holder that woke up in between keeps its lease.
pub(crate) async fn rescue(
    store: &Store,
    policies: &Policies,
    lease: &str,
    beat: i64,
    now: Timestamp,
) -> Result<usize, Error> {
    let mut tx = store.begin().await?;
    let taken = tx
        .fetch_optional(
            "DELETE FROM jobs_lease WHERE id = $1 AND beat = $2 RETURNING jobs, ended",
            args![lease, beat],
        )
        .await?;
    let Some(row) = taken else { return Ok(0) };
    let records: Vec<Record> = serde_json::from_str(&row.get::<String>("jobs")?)?;
    let marks = row.get::<String>("ended")?;
    let id: Arc<str> = lease.into();
    let ended: Vec<(Job, Outcome)> = records
        .into_iter()
        .zip(marks.bytes())
        .enumerate()
        .filter(|(_, (_, mark))| *mark != RECORDED)
        .map(|(position, (record, mark))| {
            let outcome = rescued_outcome(&record, mark, policies);
            (Job::new(record, Arc::clone(&id), position), outcome)
        })
        .collect();
    let ended: Vec<(&Job, &Outcome)> = ended.iter().map(|(job, outcome)| (job, outcome)).collect();
    // Its worker said what it keeps, this one may keep more.
    finish(&mut tx, &ended, &|_| true, now).await?;
    tx.notify(CHANNEL).await?;
    tx.commit().await?;
    Ok(ended.len())
}

fn rescued_outcome(record: &Record, mark: u8, policies: &Policies) -> Outcome {
    let error = "the worker stopped while running it".to_owned();
    if mark == COMPLETED {
        Outcome::Completed
    } else if record.attempt >= policies.max_attempts(&record.kind, record.max_attempts) {
        Outcome::Discarded { error }
    } else {
        // Due as it was: by the clock of a rescuer that is ahead, it would not be for all others.
        Outcome::Again { at: from_micros(record.run_at), error: Some(error), counts: true }
    }
}
