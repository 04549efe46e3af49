//! Many jobs in one statement.

use std::collections::{BTreeMap, HashMap};

use quintet_store::{Sql, Tx, args};
use quintet_types::{Clock, JobId};

use super::{Enqueued, NewJob, Waiting};
use crate::error::Error;
use crate::lease::CHANNEL;
use crate::row::{self, READY};

/// Jobs of one statement: it holds them all in memory, here and in the database.
const AT_ONCE: usize = 1_000;

/// Enqueues jobs in the caller's transaction, a thousand in a statement; they exist if and when that commits. The
/// answers are in the order of the jobs. Of jobs with the same unique key, also within `jobs`, the first one counts.
///
/// # Errors
/// As [`enqueue`](super::enqueue()), before anything is written when a job's arguments are not acceptable.
pub async fn enqueue_many(tx: &mut Tx, clock: &dyn Clock, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
    let traceparent = quintet_telemetry::trace::current_traceparent();
    let waiting = jobs
        .into_iter()
        .map(|job| Waiting::new(clock, job, traceparent.as_deref()))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut answers = Vec::with_capacity(waiting.len());
    let mut waiting = waiting.into_iter().peekable();
    while waiting.peek().is_some() {
        let mut some: Vec<Waiting> = waiting.by_ref().take(AT_ONCE).collect();
        let holders = hold_unique_keys(tx, &some).await?;
        answers.extend(some.iter().map(|job| answer(job, &holders)));
        some.retain(|job| !answer(job, &holders).duplicate);
        for job in &some {
            *counts.entry((job.queue.clone(), job.kind.clone())).or_default() += 1;
        }
        if !some.is_empty() {
            tx.insert_many(&READY, row::ready(some)).await?;
        }
    }
    if !counts.is_empty() {
        tx.notify(CHANNEL).await?;
    }
    for ((queue, kind), count) in counts {
        metrics::counter!("quintet_jobs_enqueued_total", "queue" => queue, "kind" => kind).increment(count);
    }
    Ok(answers)
}

fn answer(job: &Waiting, holders: &HashMap<String, JobId>) -> Enqueued {
    let holder = job.unique_key.as_ref().and_then(|key| holders.get(key)).copied().unwrap_or(job.id);
    Enqueued { id: holder, duplicate: holder != job.id }
}

const HOLD: Sql = Sql::per_dialect(
    "INSERT INTO jobs_unique (unique_key, job_id)
     SELECT key.value, job.value FROM json_each($1) AS key JOIN json_each($2) AS job ON job.key = key.key
     WHERE TRUE ON CONFLICT (unique_key) DO NOTHING",
    // In one order in every transaction, so that two of them cannot deadlock.
    "INSERT INTO jobs_unique (unique_key, job_id)
     SELECT key, job FROM unnest($1::text[], $2::text[]) AS held (key, job) ORDER BY key
     ON CONFLICT (unique_key) DO NOTHING",
);

const HOLDERS: Sql = Sql::per_dialect(
    "SELECT unique_key, job_id FROM jobs_unique WHERE unique_key IN (SELECT value FROM json_each($1))",
    "SELECT unique_key, job_id FROM jobs_unique WHERE unique_key = ANY($1)",
);

/// Takes the keys that are free; which job holds each of them now.
async fn hold_unique_keys(tx: &mut Tx, jobs: &[Waiting]) -> Result<HashMap<String, JobId>, Error> {
    let mut first: BTreeMap<String, JobId> = BTreeMap::new();
    for job in jobs {
        if let Some(key) = &job.unique_key {
            first.entry(key.clone()).or_insert(job.id);
        }
    }
    if first.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<String> = first.keys().cloned().collect();
    let ids: Vec<String> = first.into_values().map(String::from).collect();
    tx.execute(&HOLD, args![keys.clone(), ids]).await?;
    let rows = tx.fetch_all(&HOLDERS, args![keys]).await?;
    rows.iter().map(|row| Ok((row.get("unique_key")?, row.parse("job_id")?))).collect()
}
