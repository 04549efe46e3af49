//! Redriving jobs of a workflow: they wait for their dependencies again, and what was cancelled for them comes back.

use std::collections::{BTreeMap, HashMap, HashSet};

use quintet_store::{Row, Sql, Tx, args};
use quintet_types::{JobId, Timestamp};

use super::graph::{self, Standing};
use super::settle::{release, texts};
use super::{lock, of};
use crate::bulk::fresh;
use crate::error::Error;
use crate::row::{self, Waiting};

/// Puts jobs that were taken out of the history back into their workflows; gives back those that are in none any more.
pub(crate) async fn redrive(tx: &mut Tx, jobs: Vec<Waiting>, now: Timestamp) -> Result<Vec<Waiting>, Error> {
    let mut others = Vec::with_capacity(jobs.len());
    let mut workflows: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
    for job in jobs {
        match of(job.member_of.as_deref()) {
            Some(workflow) => workflows.entry(workflow.to_owned()).or_default().push(job),
            None => others.push(job),
        }
    }
    for (workflow, jobs) in workflows {
        if lock(tx, &workflow).await? {
            reopen(tx, &workflow, jobs, now).await?;
        } else {
            // It was forgotten: nobody waits for its jobs.
            others.extend(jobs);
        }
    }
    Ok(others)
}

const BLOCK: Sql = Sql::per_dialect(
    "UPDATE jobs_workflow_jobs SET state = 'blocked', cancelled_for = NULL
     WHERE job_id IN (SELECT value FROM json_each($1))",
    "UPDATE jobs_workflow_jobs SET state = 'blocked', cancelled_for = NULL WHERE job_id = ANY($1)",
);

async fn reopen(tx: &mut Tx, workflow: &str, jobs: Vec<Waiting>, now: Timestamp) -> Result<(), Error> {
    let mut ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    tx.send(&BLOCK, args![ids.clone()]).await?;
    row::insert_blocked(tx, jobs).await?;
    let revived = revive(tx, workflow, now).await?;
    tx.send(&BLOCK, args![revived.clone()]).await?;
    ids.extend(revived);
    let opened = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    release(tx, ids, now).await?;
    let sql = "UPDATE jobs_workflows SET open = open + $2, ended_at = NULL WHERE id = $1";
    Ok(tx.send(sql, args![workflow, opened]).await?)
}

const THERE: Sql = Sql::per_dialect(
    "SELECT id FROM jobs_history WHERE id IN (SELECT value FROM json_each($1))",
    // One that is being redriven itself comes back by that transaction, which waits for the workflow.
    "SELECT id FROM jobs_history WHERE id = ANY($1) FOR UPDATE SKIP LOCKED",
);

const TAKE: Sql = Sql::per_dialect(
    "DELETE FROM jobs_history WHERE id IN (SELECT value FROM json_each($1)) RETURNING *",
    "DELETE FROM jobs_history WHERE id = ANY($1) RETURNING *",
);

/// Brings back the jobs that were cancelled for a failure and could run after all; their ids. They are blocked.
async fn revive(tx: &mut Tx, workflow: &str, now: Timestamp) -> Result<Vec<String>, Error> {
    let sql = "SELECT job_id, state, cancelled_for FROM jobs_workflow_jobs
               WHERE workflow_id = $1 ORDER BY level, job_id";
    let graph = tx.fetch_all(sql, args![workflow]).await?;
    let mut dropped = Vec::new();
    for row in &graph {
        if row.get::<Option<String>>("cancelled_for")?.is_some() {
            dropped.push(row.get("job_id")?);
        }
    }
    if dropped.is_empty() {
        return Ok(Vec::new());
    }
    let edges = edges(tx, dropped.clone()).await?;
    let there = tx.fetch_all(&THERE, args![dropped]).await?;
    let there: HashSet<JobId> = there.iter().map(|row| row.parse("id")).collect::<Result<_, _>>()?;
    let revived = texts(&graph::revived(&standings(&graph, &there)?, &edges));
    let rows: Vec<Row> = tx.fetch_all(&TAKE, args![revived.clone()]).await?;
    let jobs = rows.iter().map(|row| {
        // Its error said only that it could not run.
        Ok(Waiting { last_error: None, ..fresh(row, now)? })
    });
    row::insert_blocked(tx, jobs.collect::<Result<_, Error>>()?).await?;
    Ok(revived)
}

/// How the jobs of a graph stand, of which those `there` were dropped and can come back.
fn standings(graph: &[Row], there: &HashSet<JobId>) -> Result<Vec<(JobId, Standing)>, Error> {
    let mut standings = Vec::with_capacity(graph.len());
    for row in graph {
        let job: JobId = row.parse("job_id")?;
        let standing = match row.get::<String>("state")?.as_str() {
            "discarded" | "cancelled" if there.contains(&job) => Standing::Dropped,
            "discarded" | "cancelled" => Standing::Failed,
            _ => Standing::Other,
        };
        standings.push((job, standing));
    }
    Ok(standings)
}

const EDGES: Sql = Sql::per_dialect(
    "SELECT job_id, dependency FROM jobs_workflow_edges
     WHERE job_id IN (SELECT value FROM json_each($1)) AND ignore_failure = 0",
    "SELECT job_id, dependency FROM jobs_workflow_edges WHERE job_id = ANY($1) AND ignore_failure = 0",
);

/// What these jobs cannot do without.
async fn edges(tx: &mut Tx, jobs: Vec<String>) -> Result<HashMap<JobId, Vec<JobId>>, Error> {
    let mut edges: HashMap<JobId, Vec<JobId>> = HashMap::new();
    for row in tx.fetch_all(&EDGES, args![jobs]).await? {
        edges.entry(row.parse("job_id")?).or_default().push(row.parse("dependency")?);
    }
    Ok(edges)
}
