//! Taking jobs out of the queue, into a lease.
//!
//! Jobs of kinds without limits are taken in one statement, which is a transaction. Those of a limited kind are chosen
//! first, with the kind locked, and a limited queue is locked before either ([`limits`](mod@crate::limits)). Which of the two comes first is drawn by lot for each
//! claim, so that neither a busy limited kind nor the others can keep all slots for themselves.

use std::sync::Arc;

use quintet_store::{Sql, Store, Tx, args};
use quintet_types::{Timestamp, id};

use crate::error::Error;
use crate::job::{Job, Record};
use crate::limits::{self, QueueLimits, Room};
use crate::policy::Policies;
use crate::sealing::{self, Seals};

/// Who claims, and from where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimant<'a> {
    pub(crate) store: &'a Store,
    pub(crate) worker: &'a str,
    pub(crate) queue: &'a str,
    pub(crate) now: Timestamp,
}

/// Takes up to `limit` due jobs whose kind is one of `kinds`. An attempt counts from here on, so that a job that kills
/// its worker uses up its attempts.
pub(crate) async fn claim(
    claimant: Claimant<'_>,
    policies: &Policies,
    kinds: &[String],
    limit: usize,
) -> Result<Vec<Job>, Error> {
    let limited: Vec<_> =
        kinds.iter().filter_map(|kind| policies.limits(kind).map(|limits| (kind, limits))).collect();
    let queue_limits = policies.queue_limits(claimant.queue);
    if limited.is_empty() {
        return claim_others(claimant, queue_limits, kinds.to_vec(), limit).await;
    }
    let others: Vec<String> = kinds.iter().filter(|kind| policies.limits(kind).is_none()).cloned().collect();
    let ways = limited.len() + usize::from(!others.is_empty());
    let lot = usize::try_from(id::draw_from_system() % u128::from(u32::MAX)).unwrap_or_default();
    for turn in 0..ways {
        let jobs = match limited.get((lot + turn) % ways) {
            Some((kind, limits)) => limits::claim(claimant, kind, limits, queue_limits, limit).await?,
            None => claim_others(claimant, queue_limits, others.clone(), limit).await?,
        };
        if !jobs.is_empty() {
            return Ok(jobs);
        }
    }
    Ok(Vec::new())
}

/// The jobs go from one table into the other without a visit to this process: what it reads is one column of one
/// row. On SQLite the trigger `jobs_lease_takes` deletes what the lease holds.
macro_rules! take_on_sqlite {
    ($columns:literal, $values:literal, $which:literal, $most:literal) => {
        concat!(
            "INSERT INTO jobs_lease (id, worker, queue, beat, claimed_at, jobs, ended",
            $columns,
            ")
             SELECT $5, $6, $1, 0, $2,
                    json_group_array(json_object(
                        'id', id, 'queue', queue, 'kind', kind, 'args', args, 'priority', priority,
                        'run_at', run_at, 'attempt', attempt + 1, 'max_attempts', max_attempts,
                        'enqueued_at', enqueued_at, 'started_at', $2, 'traceparent', traceparent,
                        'unique_key', unique_key, 'partition_key', partition_key, 'member_of', member_of,
                        'last_error', last_error)),
                    substr(hex(zeroblob(count(*))), 1, count(*))",
            $values,
            " FROM (SELECT * FROM jobs_ready WHERE ",
            $which,
            " AND NOT EXISTS (SELECT 1 FROM jobs_paused WHERE jobs_paused.queue = $1)
                   ORDER BY priority, run_at, id ",
            $most,
            ") HAVING count(*) > 0
             RETURNING jobs"
        )
    };
}

/// PostgreSQL deletes by `ctid`, the place of a row that this statement has locked: without statistics, and a queue's
/// are always stale, it would otherwise join the ids with all of the table.
macro_rules! take_on_postgres {
    ($columns:literal, $values:literal, $which:literal, $most:literal) => {
        concat!(
            "WITH claimed AS (
                 DELETE FROM jobs_ready WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM jobs_ready WHERE ",
            $which,
            " AND NOT EXISTS (SELECT 1 FROM jobs_paused WHERE jobs_paused.queue = $1)
                     ORDER BY priority, run_at, id ",
            $most,
            " FOR UPDATE SKIP LOCKED))
                 RETURNING id, queue, kind, args, priority, run_at, attempt + 1 AS attempt, max_attempts,
                           enqueued_at, $2 AS started_at, traceparent, unique_key, partition_key, member_of,
                           last_error)
             INSERT INTO jobs_lease (id, worker, queue, beat, claimed_at, jobs, ended",
            $columns,
            ")
             SELECT $5, $6, $1, 0, $2, json_agg(claimed)::text, repeat('0', count(*)::integer)",
            $values,
            " FROM claimed HAVING count(*) > 0
             RETURNING jobs"
        )
    };
}

const CLAIM: Sql = Sql::per_dialect(
    take_on_sqlite!(
        "",
        "",
        "queue = $1 AND run_at <= $2 AND kind IN (SELECT value FROM json_each($3))",
        "LIMIT $4"
    ),
    take_on_postgres!("", "", "queue = $1 AND run_at <= $2 AND kind = ANY($3)", "LIMIT $4"),
);

/// Jobs of kinds without limits.
async fn claim_others(
    claimant: Claimant<'_>,
    queue_limits: Option<&QueueLimits>,
    kinds: Vec<String>,
    limit: usize,
) -> Result<Vec<Job>, Error> {
    match queue_limits {
        Some(limits) => claim_in_limited_queue(claimant, limits, kinds, limit).await,
        None => claim_unlimited(claimant, kinds, limit).await,
    }
}

async fn claim_unlimited(
    claimant: Claimant<'_>,
    kinds: Vec<String>,
    limit: usize,
) -> Result<Vec<Job>, Error> {
    let Claimant { store, worker, queue, now } = claimant;
    let lease = new_lease(worker);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let taken = store.write_one(&CLAIM, args![queue, now, kinds, limit, &lease, worker]).await?;
    read(store, taken.first(), lease)
}

/// The lease names no kind, but whoever ends its jobs learns that a place came free that others may wait for.
const CLAIM_IN_LIMITED_QUEUE: Sql = Sql::per_dialect(
    take_on_sqlite!(
        ", limited",
        ", ''",
        "queue = $1 AND run_at <= $2 AND kind IN (SELECT value FROM json_each($3))",
        "LIMIT $4"
    ),
    take_on_postgres!(", limited", ", ''", "queue = $1 AND run_at <= $2 AND kind = ANY($3)", "LIMIT $4"),
);

const ANY_DUE: Sql = Sql::per_dialect(
    "SELECT 1 AS due WHERE EXISTS (SELECT 1 FROM jobs_ready WHERE queue = $1 AND run_at <= $2
         AND kind IN (SELECT value FROM json_each($3)))",
    "SELECT 1 AS due WHERE EXISTS (SELECT 1 FROM jobs_ready WHERE queue = $1 AND run_at <= $2 AND kind = ANY($3))",
);

async fn claim_in_limited_queue(
    claimant: Claimant<'_>,
    limits: &QueueLimits,
    kinds: Vec<String>,
    limit: usize,
) -> Result<Vec<Job>, Error> {
    let Claimant { store, worker, queue, now } = claimant;
    // An idle queue costs one read, and neither a lock nor a transaction.
    if store.fetch_optional(&ANY_DUE, args![queue, now, kinds.clone()]).await?.is_none() {
        return Ok(Vec::new());
    }
    let mut tx = store.begin().await?;
    let room = Room::lock(&mut tx, claimant, Some(limits)).await?;
    let free = i64::try_from(limit).unwrap_or(i64::MAX).min(room.free);
    if free <= 0 {
        return Ok(Vec::new());
    }
    let lease = new_lease(worker);
    let arguments = args![queue, now, kinds, free, &lease, worker];
    let taken = tx.fetch_optional(&CLAIM_IN_LIMITED_QUEUE, arguments).await?;
    let jobs = read(store, taken.as_ref(), lease)?;
    if !jobs.is_empty() {
        room.spend(&mut tx, jobs.len()).await?;
        tx.commit().await?;
    }
    Ok(jobs)
}

const CLAIM_CHOSEN: Sql = Sql::per_dialect(
    take_on_sqlite!(
        ", limited, partition_keys",
        ", $4, json_group_array(partition_key)",
        "id IN (SELECT value FROM json_each($3))",
        ""
    ),
    take_on_postgres!(", limited, partition_keys", ", $4, json_agg(partition_key)::text", "id = ANY($3)", ""),
);

/// Takes those of these jobs that wait still. They are of one kind, and their lease says so.
pub(crate) async fn claim_chosen(
    tx: &mut Tx,
    claimant: Claimant<'_>,
    kind: &str,
    ids: Vec<String>,
) -> Result<Vec<Job>, Error> {
    let Claimant { store, worker, queue, now } = claimant;
    let lease = new_lease(worker);
    let taken = tx.fetch_optional(&CLAIM_CHOSEN, args![queue, now, ids, kind, &lease, worker]).await?;
    read(store, taken.as_ref(), lease)
}

fn new_lease(worker: &str) -> String {
    format!("{worker}.{}", id::encode(id::draw_from_system()))
}

/// The jobs of a new lease, in the order in which they are to run.
fn read(store: &Store, taken: Option<&quintet_store::Row>, lease: String) -> Result<Vec<Job>, Error> {
    let Some(row) = taken else { return Ok(Vec::new()) };
    let records: Vec<Record> = serde_json::from_str(&row.get::<String>("jobs")?)?;
    let lease: Arc<str> = lease.into();
    let seals = store.attached::<Seals>();
    say_what_was_not_sealed(seals, &records);
    let mut jobs: Vec<Job> = records
        .into_iter()
        .enumerate()
        .map(|(position, record)| Job::new(record, Arc::clone(&lease), position).open(seals))
        .collect();
    // A lease promises no order, only places.
    jobs.sort_by_key(|job| (job.record.priority, job.record.run_at, job.record.id));
    Ok(jobs)
}

/// Jobs that were enqueued before their kind was sealed, or by a program that does not do it.
fn say_what_was_not_sealed(seals: Option<&Seals>, records: &[Record]) {
    let Some(seals) = seals else { return };
    let plain = |record: &&Record| seals.seals(&record.kind) && !sealing::is_sealed(&record.args);
    let jobs = records.iter().filter(plain).count();
    if jobs > 0 {
        tracing::warn!(
            jobs,
            "jobs of a sealed kind were enqueued in the clear; is [sealing] the same in all programs?"
        );
    }
}
