//! What an operator sees of batches, and what is due of one.

use quintet_store::{Row, Store, args};
use quintet_types::{JobId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::BatchId;
use super::callback::{self, Callback};
use crate::error::Error;

/// Rows of one page.
const MOST_ROWS: u32 = 500;

/// Where a batch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Jobs can be added.
    Open,
    /// It is sealed, and not all of its jobs have ended.
    Running,
    /// All of its jobs have completed.
    Succeeded,
    /// All of its jobs have ended, some of them badly.
    Failed,
}

/// A batch.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BatchView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: BatchId,
    /// What it is for.
    pub name: String,
    /// Where it is in its life.
    pub state: BatchState,
    /// Jobs added to it.
    pub jobs: i64,
    /// Of them, those that have not ended.
    pub open: i64,
    /// … those that completed.
    pub completed: i64,
    /// … the dead letters.
    pub discarded: i64,
    /// … those that were cancelled.
    pub cancelled: i64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_at: Option<Timestamp>,
    /// When all of its jobs had ended for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The jobs that it enqueues itself.
    pub callbacks: Vec<CallbackView>,
}

/// A job that a batch enqueues itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CallbackView {
    /// `on_success`, `on_failure` or `on_end`.
    pub on: &'static str,
    /// The job's id, from the beginning.
    #[schema(value_type = String)]
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// When it was enqueued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enqueued_at: Option<Timestamp>,
}

/// Batches, newest first.
#[derive(Debug, Clone)]
pub struct BatchPage {
    /// The batches.
    pub batches: Vec<BatchView>,
    /// Where the next page begins, if there is one.
    pub next: Option<BatchId>,
}

/// The callbacks whose condition holds and that were not called.
pub(super) fn due(row: &Row) -> Result<Vec<Callback>, Error> {
    let completed: i64 = row.get("completed")?;
    let failed = row.get::<i64>("discarded")? + row.get::<i64>("cancelled")?;
    let jobs = row.get::<Option<i64>>("jobs")?;
    let ended = jobs.is_some_and(|jobs| completed + failed >= jobs);
    let mut due = Vec::new();
    for callback in Callback::ALL {
        let holds = match callback {
            Callback::Success => ended && failed == 0,
            Callback::Failure => failed > 0,
            Callback::End => ended,
        };
        if holds && row.get::<Option<i64>>(callback.column())?.is_none() {
            due.push(callback);
        }
    }
    Ok(due)
}

fn instant(row: &Row, column: &'static str) -> Result<Option<Timestamp>, Error> {
    Ok(row.get::<Option<i64>>(column)?.map(quintet_types::time::from_micros))
}

fn view(row: &Row) -> Result<BatchView, Error> {
    let (completed, discarded, cancelled) =
        (row.get::<i64>("completed")?, row.get::<i64>("discarded")?, row.get::<i64>("cancelled")?);
    let sealed_at = instant(row, "sealed_at")?;
    let jobs: i64 = row.get("added")?;
    let open = jobs - completed - discarded - cancelled;
    let state = match (sealed_at, open) {
        (None, _) => BatchState::Open,
        (Some(_), 1..) => BatchState::Running,
        (Some(_), _) if discarded + cancelled == 0 => BatchState::Succeeded,
        (Some(_), _) => BatchState::Failed,
    };
    let mut callbacks = Vec::new();
    for (callback, job) in callback::read(row)? {
        let on = match callback {
            Callback::Success => "on_success",
            Callback::Failure => "on_failure",
            Callback::End => "on_end",
        };
        let enqueued_at = instant(row, callback.column())?;
        callbacks.push(CallbackView { on, job: job.id, kind: job.kind, enqueued_at });
    }
    Ok(BatchView {
        id: row.parse("id")?,
        name: row.get("name")?,
        state,
        jobs,
        open,
        completed,
        discarded,
        cancelled,
        opened_at: row.timestamp("opened_at")?,
        sealed_at,
        ended_at: instant(row, "ended_at")?,
        callbacks,
    })
}

/// An open batch's additions are summed for who looks at it, and for nobody else.
const ADDED: &str = "
    SELECT jobs_batches.*, coalesce(jobs, (
        SELECT CAST(coalesce(sum(addition.jobs), 0) AS BIGINT) FROM jobs_batch_additions AS addition
        WHERE addition.batch_id = jobs_batches.id)) AS added
    FROM jobs_batches";

/// One batch.
pub async fn batch(store: &Store, id: BatchId) -> Result<Option<BatchView>, Error> {
    let sql = quintet_store::Sql::dynamic(format!("{ADDED} WHERE id = $1"));
    store.fetch_optional(sql, args![id.to_string()]).await?.as_ref().map(view).transpose()
}

/// The batches from below `cursor` on, newest first; at most `limit` (up to 500).
pub async fn batches(store: &Store, cursor: Option<BatchId>, limit: u32) -> Result<BatchPage, Error> {
    let limit = i64::from(limit.clamp(1, MOST_ROWS));
    // Above every id.
    let below = cursor.map_or_else(|| "bat_~".to_owned(), |cursor| cursor.to_string());
    let sql = quintet_store::Sql::dynamic(format!("{ADDED} WHERE id < $1 ORDER BY id DESC LIMIT $2"));
    let rows = store.fetch_all(sql, args![below, limit]).await?;
    let batches = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    let full = i64::try_from(batches.len()).is_ok_and(|found| found == limit);
    let next = batches.last().map(|view| view.id).filter(|_| full);
    Ok(BatchPage { batches, next })
}
