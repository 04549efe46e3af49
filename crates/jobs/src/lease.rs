//! The queue's protocol on the database: claim, acknowledge, keep alive, rescue.
//!
//! No policy here (concurrency, timing: `worker`), only transactions. Every function is one
//! transaction; every one that ends a job names the lease, and a lease that is gone means that the
//! job belongs to somebody else.

use std::collections::BTreeMap;
use std::time::Duration;

use quintet_store::{Sql, Store, Tx, args};
use quintet_types::time::micros;
use quintet_types::{JobId, Timestamp};
use serde::Serialize;

use crate::error::Error;
use crate::job::{Job, Record};
use crate::policy::Policies;

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

const CLAIM: Sql = Sql::per_dialect(
    "DELETE FROM jobs_ready WHERE id IN (
         SELECT id FROM jobs_ready
         WHERE queue = $1 AND run_at <= $2 AND kind IN (SELECT value FROM json_each($3))
           AND NOT EXISTS (SELECT 1 FROM jobs_paused WHERE jobs_paused.queue = $1)
         ORDER BY priority, run_at, id LIMIT $4)
     RETURNING *",
    "DELETE FROM jobs_ready WHERE id IN (
         SELECT id FROM jobs_ready
         WHERE queue = $1 AND run_at <= $2 AND kind = ANY($3)
           AND NOT EXISTS (SELECT 1 FROM jobs_paused WHERE jobs_paused.queue = $1)
         ORDER BY priority, run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
     RETURNING *",
);

/// Takes up to `limit` due jobs of `queue` whose kind is one of `kinds`.
pub(crate) async fn claim(
    store: &Store,
    worker: &str,
    queue: &str,
    kinds: &[String],
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Job>, Error> {
    let mut tx = store.begin().await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.fetch_all(&CLAIM, args![queue, now, kinds.to_vec(), limit]).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut records = rows.iter().map(|row| record(row, now)).collect::<Result<Vec<_>, Error>>()?;
    // RETURNING promises no order.
    records.sort_by_key(|record| (record.priority, record.run_at, record.id));
    let lease = format!("{worker}.{}", quintet_types::id::encode(quintet_types::id::draw_from_system()));
    tx.execute(
        "INSERT INTO jobs_lease (id, worker, queue, beat, claimed_at, jobs, ended) VALUES ($1, $2, $3, 0, $4, $5, $6)",
        args![&lease, worker, queue, now, serde_json::to_string(&records)?, char::from(RUNNING).to_string().repeat(records.len())],
    )
    .await?;
    tx.commit().await?;
    Ok(records
        .into_iter()
        .enumerate()
        .map(|(position, record)| Job::new(record, lease.clone(), position))
        .collect())
}

pub(crate) fn record(row: &quintet_store::Row, now: Timestamp) -> Result<Record, Error> {
    Ok(Record {
        id: row.parse("id")?,
        queue: row.get("queue")?,
        kind: row.get("kind")?,
        args: row.get("args")?,
        priority: row.get("priority")?,
        run_at: row.get("run_at")?,
        // Counted here, so that a job that kills its worker uses up its attempts.
        attempt: row.get::<i64>("attempt")? + 1,
        max_attempts: row.get("max_attempts")?,
        enqueued_at: row.get("enqueued_at")?,
        started_at: micros(now),
        traceparent: row.get("traceparent")?,
        unique_key: row.get("unique_key")?,
        last_error: row.get("last_error")?,
    })
}

/// Records how runs ended; gives back those whose lease was lost (they run again elsewhere).
pub(crate) async fn acknowledge(store: &Store, ended: &[Ended], now: Timestamp) -> Result<Vec<JobId>, Error> {
    let mut by_lease: BTreeMap<&str, Vec<&Ended>> = BTreeMap::new();
    for end in ended {
        by_lease.entry(&end.job.lease).or_default().push(end);
    }
    let mut tx = store.begin().await?;
    let mut kept: Vec<(&Job, &Outcome)> = Vec::with_capacity(ended.len());
    let mut lost = Vec::new();
    // Leases in one order in every transaction, so that two of them cannot deadlock.
    for (lease, ends) in by_lease {
        let held = mark_ended(&mut tx, lease, &ends).await?;
        for end in ends {
            match held.get(&end.job.position) {
                // What the handler's transaction said stands, whatever the handler returned after.
                Some(true) => kept.push((&end.job, &Outcome::Completed)),
                Some(false) => kept.push((&end.job, &end.outcome)),
                None => lost.push(end.job.id()),
            }
        }
    }
    finish(&mut tx, &kept, now).await?;
    tx.commit().await?;
    Ok(lost)
}

const READ_LEASE: Sql = Sql::per_dialect(
    "SELECT ended FROM jobs_lease WHERE id = $1",
    "SELECT ended FROM jobs_lease WHERE id = $1 FOR UPDATE",
);

/// A place in `jobs_lease.ended`: the job runs.
const RUNNING: u8 = b'0';
/// A place in `jobs_lease.ended`: its handler's transaction completed it, the history does not know yet.
const COMPLETED: u8 = b'1';
/// A place in `jobs_lease.ended`: it is in the history or back in the queue.
const RECORDED: u8 = b'2';

/// Marks places of a lease as recorded and removes a lease without open places. Returns the places
/// that were still this lease's to record, and whether a handler's transaction had completed them.
async fn mark_ended(tx: &mut Tx, lease: &str, ends: &[&Ended]) -> Result<BTreeMap<usize, bool>, Error> {
    let Some(row) = tx.fetch_optional(&READ_LEASE, args![lease]).await? else { return Ok(BTreeMap::new()) };
    let mut marks = row.get::<String>("ended")?.into_bytes();
    let mut held = BTreeMap::new();
    for end in ends {
        let Some(mark) = marks.get_mut(end.job.position) else { continue };
        if *mark != RECORDED {
            held.insert(end.job.position, *mark == COMPLETED);
            *mark = RECORDED;
        }
    }
    if marks.iter().all(|mark| *mark == RECORDED) {
        tx.execute("DELETE FROM jobs_lease WHERE id = $1", args![lease]).await?;
    } else {
        let marks = String::from_utf8_lossy(&marks).into_owned();
        tx.execute("UPDATE jobs_lease SET ended = $2 WHERE id = $1", args![lease, marks]).await?;
    }
    Ok(held)
}

/// A row of `jobs_history`, as JSON for one statement that inserts many.
#[derive(Serialize)]
struct Past<'a> {
    #[serde(flatten)]
    record: &'a Record,
    state: &'static str,
    error: Option<&'a str>,
    finished_at: i64,
}

const INSERT_HISTORY: Sql = Sql::per_dialect(
    "INSERT INTO jobs_history (id, queue, kind, args, state, priority, attempt, max_attempts, enqueued_at, started_at,
                               finished_at, traceparent, last_error)
     SELECT value ->> 'id', value ->> 'queue', value ->> 'kind', value ->> 'args', value ->> 'state',
            value ->> 'priority', value ->> 'attempt', value ->> 'max_attempts', value ->> 'enqueued_at',
            value ->> 'started_at', value ->> 'finished_at', value ->> 'traceparent', value ->> 'error'
     FROM json_each($1) WHERE TRUE ON CONFLICT (id) DO NOTHING",
    "INSERT INTO jobs_history (id, queue, kind, args, state, priority, attempt, max_attempts, enqueued_at, started_at,
                               finished_at, traceparent, last_error)
     SELECT id, queue, kind, args, state, priority, attempt, max_attempts, enqueued_at, started_at, finished_at,
            traceparent, error
     FROM json_to_recordset($1::json) AS past (id TEXT, queue TEXT, kind TEXT, args TEXT, state TEXT, priority BIGINT,
         attempt BIGINT, max_attempts BIGINT, enqueued_at BIGINT, started_at BIGINT, finished_at BIGINT,
         traceparent TEXT, error TEXT)
     ON CONFLICT (id) DO NOTHING",
);

pub(crate) const INSERT_READY: Sql = Sql::per_dialect(
    "INSERT INTO jobs_ready (id, queue, kind, args, priority, run_at, attempt, max_attempts, enqueued_at, traceparent,
                             unique_key, last_error)
     SELECT value ->> 'id', value ->> 'queue', value ->> 'kind', value ->> 'args', value ->> 'priority',
            value ->> 'run_at', value ->> 'attempt', value ->> 'max_attempts', value ->> 'enqueued_at',
            value ->> 'traceparent', value ->> 'unique_key', value ->> 'last_error'
     FROM json_each($1)",
    "INSERT INTO jobs_ready (id, queue, kind, args, priority, run_at, attempt, max_attempts, enqueued_at, traceparent,
                             unique_key, last_error)
     SELECT id, queue, kind, args, priority, run_at, attempt, max_attempts, enqueued_at, traceparent, unique_key,
            last_error
     FROM json_to_recordset($1::json) AS again (id TEXT, queue TEXT, kind TEXT, args TEXT, priority BIGINT,
         run_at BIGINT, attempt BIGINT, max_attempts BIGINT, enqueued_at BIGINT, traceparent TEXT, unique_key TEXT,
         last_error TEXT)",
);

const FREE_UNIQUE: Sql = Sql::per_dialect(
    "DELETE FROM jobs_unique WHERE job_id IN (SELECT value FROM json_each($1))",
    "DELETE FROM jobs_unique WHERE job_id = ANY($1)",
);

/// Moves ended jobs to the history or back to the queue.
pub(crate) async fn finish(tx: &mut Tx, ended: &[(&Job, &Outcome)], now: Timestamp) -> Result<(), Error> {
    let mut past = Vec::new();
    let mut again = Vec::new();
    let mut freed = Vec::new();
    for (job, outcome) in ended {
        let record = &job.record;
        let (state, error) = match outcome {
            Outcome::Completed => ("completed", None),
            Outcome::Discarded { error } => ("discarded", Some(error.as_str())),
            Outcome::Cancelled { error } => ("cancelled", error.as_deref()),
            Outcome::Again { at, error, counts } => {
                let attempt = if *counts { record.attempt } else { record.attempt - 1 };
                let last_error = error.clone().or_else(|| record.last_error.clone());
                again.push(Record { run_at: micros(*at), attempt, last_error, ..record.clone() });
                continue;
            }
        };
        past.push(Past { record, state, error, finished_at: micros(now) });
        if record.unique_key.is_some() {
            freed.push(record.id.to_string());
        }
    }
    if !past.is_empty() {
        tx.execute(&INSERT_HISTORY, args![serde_json::to_string(&past)?]).await?;
    }
    if !freed.is_empty() {
        tx.execute(&FREE_UNIQUE, args![freed]).await?;
    }
    if !again.is_empty() {
        tx.execute(&INSERT_READY, args![serde_json::to_string(&again)?]).await?;
    }
    Ok(())
}

/// Shows that `worker` lives; how many leases it holds.
pub(crate) async fn keep_alive(store: &Store, worker: &str) -> Result<u64, Error> {
    let mut tx = store.begin().await?;
    let held = tx.execute("UPDATE jobs_lease SET beat = beat + 1 WHERE worker = $1", args![worker]).await?;
    if held > 0 {
        tx.commit().await?;
    }
    Ok(held)
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
    let ended: Vec<(Job, Outcome)> = records
        .into_iter()
        .zip(marks.bytes())
        .enumerate()
        .filter(|(_, (_, mark))| *mark != RECORDED)
        .map(|(position, (record, mark))| {
            let outcome = rescued_outcome(&record, mark, policies, now);
            (Job::new(record, lease.to_owned(), position), outcome)
        })
        .collect();
    let ended: Vec<(&Job, &Outcome)> = ended.iter().map(|(job, outcome)| (job, outcome)).collect();
    finish(&mut tx, &ended, now).await?;
    tx.notify(CHANNEL).await?;
    tx.commit().await?;
    Ok(ended.len())
}

fn rescued_outcome(record: &Record, mark: u8, policies: &Policies, now: Timestamp) -> Outcome {
    let error = "the worker stopped while running it".to_owned();
    if mark == COMPLETED {
        Outcome::Completed
    } else if record.attempt >= policies.max_attempts(&record.kind, record.max_attempts) {
        Outcome::Discarded { error }
    } else {
        Outcome::Again { at: now, error: Some(error), counts: true }
    }
}
