//! What the end of a job does to those that wait for it.

use std::collections::BTreeMap;

use quintet_store::{Sql, Tx, args};
use quintet_types::time::micros;
use quintet_types::{JobId, Timestamp};

use super::{lock, of};
use crate::admin::State;
use crate::error::Error;
use crate::job::{Job, Record};
use crate::lease::{self, CHANNEL, Outcome};
use crate::row::{self, Past};
use crate::worker::finished;

/// Records these ends in their workflows: jobs that can run now are put into the queue, those that cannot any more are
/// cancelled, and with them those that wait for them.
pub(crate) async fn settle(tx: &mut Tx, ended: &[(&Job, &Outcome)], now: Timestamp) -> Result<(), Error> {
    // In one order in every transaction, so that two of them cannot deadlock.
    let mut workflows: BTreeMap<&str, Ends> = BTreeMap::new();
    for (job, outcome) in ended {
        let Some(workflow) = of(job.record.member_of.as_deref()) else { continue };
        let state = match outcome {
            Outcome::Completed => State::Completed,
            Outcome::Discarded { .. } => State::Discarded,
            Outcome::Cancelled { .. } => State::Cancelled,
            Outcome::Again { .. } => continue,
        };
        workflows.entry(workflow).or_default().entry(state.name()).or_default().push(job.id().to_string());
    }
    for (workflow, ends) in workflows {
        // One that was forgotten while a job of it was redriven is none any more.
        if lock(tx, workflow).await? {
            settle_one(tx, workflow, ends, now).await?;
        }
    }
    Ok(())
}

/// Ids of jobs by how they ended.
type Ends = BTreeMap<&'static str, Vec<String>>;

const MARK: Sql = Sql::per_dialect(
    "UPDATE jobs_workflow_jobs SET state = $2, cancelled_for = NULL
     WHERE job_id IN (SELECT value FROM json_each($1)) AND state IN ('blocked', 'released')",
    "UPDATE jobs_workflow_jobs SET state = $2, cancelled_for = NULL
     WHERE job_id = ANY($1) AND state IN ('blocked', 'released')",
);

async fn settle_one(tx: &mut Tx, workflow: &str, ends: Ends, now: Timestamp) -> Result<(), Error> {
    let (mut closed, mut all, mut failed) = (0, Vec::new(), Vec::new());
    for (state, ids) in ends {
        closed += tx.execute(&MARK, args![ids.clone(), state]).await?;
        if state != State::Completed.name() {
            failed.extend(ids.iter().cloned());
        }
        all.extend(ids);
    }
    // At most as many turns as the graph has levels.
    while !failed.is_empty() {
        failed = drop_dependants(tx, failed, now).await?;
        closed += u64::try_from(failed.len()).unwrap_or(u64::MAX);
        all.extend(failed.iter().cloned());
    }
    release(tx, all, now).await?;
    let closed = i64::try_from(closed).unwrap_or(i64::MAX);
    let sql = "UPDATE jobs_workflows
               SET open = open - $2, ended_at = CASE WHEN open <= $2 THEN $3 ELSE NULL END WHERE id = $1";
    Ok(tx.send(sql, args![workflow, closed, now]).await?)
}

macro_rules! dependants {
    ($failed:literal) => {
        concat!(
            "SELECT edge.job_id, min(edge.dependency) AS dependency
             FROM jobs_workflow_edges AS edge JOIN jobs_workflow_jobs AS job ON job.job_id = edge.job_id
             WHERE edge.dependency ",
            $failed,
            " AND edge.ignore_failure = 0 AND job.state = 'blocked' GROUP BY edge.job_id"
        )
    };
}

const DEPENDANTS: Sql =
    Sql::per_dialect(dependants!("IN (SELECT value FROM json_each($1))"), dependants!("= ANY($1)"));

/// Cancels the blocked jobs that cannot do without one of these that failed; their ids.
async fn drop_dependants(tx: &mut Tx, failed: Vec<String>, now: Timestamp) -> Result<Vec<String>, Error> {
    let mut causes: BTreeMap<String, String> = BTreeMap::new();
    for row in tx.fetch_all(&DEPENDANTS, args![failed]).await? {
        causes.insert(row.get("job_id")?, row.get("dependency")?);
    }
    if causes.is_empty() {
        return Ok(Vec::new());
    }
    let rows = super::take_blocked(tx, causes.keys().cloned().collect()).await?;
    let mut dropped: Vec<(Record, String)> = Vec::with_capacity(rows.len());
    for row in &rows {
        let record = lease::record(row, now)?;
        let cause = causes.get(&record.id.to_string()).cloned().unwrap_or_default();
        finished(&record.queue, &record.kind, "cancelled").increment(1);
        dropped.push((record, format!("{cause}, which it waits for, did not complete")));
    }
    let past = dropped
        .iter()
        .map(|(record, error)| Past { record, state: State::Cancelled.name(), error: Some(error) })
        .collect();
    row::insert_history(tx, past, micros(now)).await?;
    let (jobs, for_jobs): (Vec<String>, Vec<String>) = causes.into_iter().unzip();
    tx.send(&DROP, args![jobs.clone(), for_jobs]).await?;
    Ok(jobs)
}

const DROP: Sql = Sql::per_dialect(
    "UPDATE jobs_workflow_jobs SET state = 'cancelled', cancelled_for = (
         SELECT cause.value FROM json_each($1) AS job JOIN json_each($2) AS cause ON cause.key = job.key
         WHERE job.value = jobs_workflow_jobs.job_id)
     WHERE job_id IN (SELECT value FROM json_each($1))",
    "UPDATE jobs_workflow_jobs SET state = 'cancelled', cancelled_for = dropped.cause
     FROM unnest($1::text[], $2::text[]) AS dropped (job, cause) WHERE job_id = dropped.job",
);

macro_rules! releasable {
    ($these:literal, $dependants:literal) => {
        concat!(
            "SELECT job.job_id FROM (
                 SELECT ",
            $these,
            " UNION SELECT edge.job_id FROM jobs_workflow_edges AS edge WHERE edge.dependency ",
            $dependants,
            ") AS job
             WHERE (SELECT own.state FROM jobs_workflow_jobs AS own WHERE own.job_id = job.job_id) = 'blocked'
                 AND (SELECT 1 FROM jobs_workflow_edges AS needed
                      WHERE needed.job_id = job.job_id AND (
                          SELECT CASE dependency.state WHEN 'completed' THEN 0 WHEN 'discarded' THEN 1 - needed.ignore_failure
                                                       WHEN 'cancelled' THEN 1 - needed.ignore_failure ELSE 1 END
                          FROM jobs_workflow_jobs AS dependency WHERE dependency.job_id = needed.dependency) = 1
                      LIMIT 1) IS NULL"
        )
    };
}

/// Subqueries of one value each: PostgreSQL looks those up by their keys. A join it plans with what it knows of the tables, and
/// where that is nothing yet it reads them whole.
const RELEASABLE: Sql = Sql::per_dialect(
    releasable!("value AS job_id FROM json_each($1)", "IN (SELECT value FROM json_each($1))"),
    releasable!("unnest($1::text[]) AS job_id", "= ANY($1::text[])"),
);

macro_rules! queue {
    ($these:literal) => {
        concat!(
            "INSERT INTO jobs_ready (id, queue, kind, args, priority, run_at, attempt, max_attempts, enqueued_at,
                                     traceparent, partition_key, member_of, last_error)
             SELECT id, queue, kind, args, priority, CASE WHEN run_at > $2 THEN run_at ELSE $2 END, attempt,
                    max_attempts, enqueued_at, traceparent, partition_key, member_of, last_error
             FROM jobs_blocked WHERE id ",
            $these
        )
    };
}

const QUEUE: Sql = Sql::per_dialect(queue!("IN (SELECT value FROM json_each($1))"), queue!("= ANY($1)"));

const UNBLOCK: Sql = Sql::per_dialect(
    "DELETE FROM jobs_blocked WHERE id IN (SELECT value FROM json_each($1))",
    "DELETE FROM jobs_blocked WHERE id = ANY($1)",
);

const RELEASED: Sql = Sql::per_dialect(
    "UPDATE jobs_workflow_jobs SET state = 'released' WHERE job_id IN (SELECT value FROM json_each($1))",
    "UPDATE jobs_workflow_jobs SET state = 'released' WHERE job_id = ANY($1)",
);

/// Puts those of these jobs, and of those that wait for them, into the queue that wait for nothing any more.
pub(super) async fn release(tx: &mut Tx, jobs: Vec<String>, now: Timestamp) -> Result<(), Error> {
    let rows = tx.fetch_all(&RELEASABLE, args![jobs]).await?;
    let free: Vec<String> = rows.iter().map(|row| row.get("job_id")).collect::<Result<_, _>>()?;
    if free.is_empty() {
        return Ok(());
    }
    tx.send(&QUEUE, args![free.clone(), now]).await?;
    tx.send(&UNBLOCK, args![free.clone()]).await?;
    tx.send(&RELEASED, args![free]).await?;
    Ok(tx.notify(CHANNEL).await?)
}

/// Jobs as the graph names them.
pub(super) fn texts(ids: &[JobId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
