//! What an operator does to many jobs at once: redrive or delete dead letters, cancel jobs that wait.
//!
//! Each call changes at most [`MOST_CHANGED`] jobs, in transactions of a few hundred, so that neither the caller nor
//! the writer of an embedded database waits long; the answer says how many, and whether more are left. Whatever a
//! transaction takes it takes by DELETE, so two operators (or nodes) at once never redrive a job twice.

use quintet_store::{Dialect, Row, Sql, Store, Tx, Value, args};
use quintet_types::{Clock, JobId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::State;
use crate::batch;
use crate::cancel;
use crate::error::Error;
use crate::failures;
use crate::lease::CHANNEL;
use crate::notes;
use crate::row::{self, Waiting};
use crate::search::{self, Filter};
use crate::workflow;

/// Jobs changed by one call.
pub const MOST_CHANGED: u32 = 10_000;
/// Jobs changed in one transaction.
const BATCH: i64 = 500;

/// What a call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Changed {
    /// Jobs it changed.
    pub changed: u64,
    /// Whether it stopped at its bound and others are left.
    pub more: bool,
}

/// What is done with one batch.
#[derive(Debug, Clone, Copy)]
enum Action {
    Redrive,
    Delete,
    CancelWaiting,
}

/// Puts dead letters back into their queues with all their attempts; of the states of jobs that ended, those that were
/// discarded, or with `filter.state` those that were cancelled.
pub async fn redrive_dead(
    store: &Store,
    clock: &dyn Clock,
    filter: &Filter,
    limit: u32,
) -> Result<Changed, Error> {
    change(store, clock, filter, limit, Action::Redrive).await
}

/// Forgets dead letters, or with `filter.state` cancelled jobs.
pub async fn delete_dead(
    store: &Store,
    clock: &dyn Clock,
    filter: &Filter,
    limit: u32,
) -> Result<Changed, Error> {
    change(store, clock, filter, limit, Action::Delete).await
}

/// Cancels jobs that wait; jobs that run are cancelled one by one ([`cancel`](crate::cancel())).
pub async fn cancel_waiting(
    store: &Store,
    clock: &dyn Clock,
    filter: &Filter,
    limit: u32,
) -> Result<Changed, Error> {
    change(store, clock, filter, limit, Action::CancelWaiting).await
}

/// Puts a dead letter or a cancelled job back into its queue with all its attempts; whether there was one.
pub async fn redrive(store: &Store, clock: &dyn Clock, id: JobId) -> Result<bool, Error> {
    for state in [State::Discarded, State::Cancelled] {
        let filter = Filter { ids: vec![id], state: Some(state), ..Filter::default() };
        if redrive_dead(store, clock, &filter, 1).await?.changed > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn change(
    store: &Store,
    clock: &dyn Clock,
    filter: &Filter,
    limit: u32,
    action: Action,
) -> Result<Changed, Error> {
    let mut left = i64::from(limit.clamp(1, MOST_CHANGED));
    let mut changed = 0;
    while left > 0 {
        let mut tx = store.begin().await?;
        let batch = left.min(BATCH);
        let rows = take(&mut tx, filter, action, batch).await?;
        if rows.is_empty() {
            return Ok(Changed { changed, more: false });
        }
        match action {
            Action::Redrive => {
                put_back(&mut tx, &rows, clock.now()).await?;
                batch::reopen(&mut tx, &rows).await?;
            }
            Action::Delete => {
                let ids =
                    rows.iter().map(|row| Ok(row.get("id")?)).collect::<Result<Vec<String>, Error>>()?;
                failures::forget(&mut tx, ids.clone()).await?;
                notes::forget(&mut tx, ids).await?;
            }
            Action::CancelWaiting => {
                cancel::end_waiting(&mut tx, &rows, clock.now()).await?;
            }
        }
        tx.commit().await?;
        let taken = i64::try_from(rows.len()).unwrap_or(batch);
        changed += taken.unsigned_abs();
        left -= taken;
    }
    Ok(Changed { changed, more: true })
}

async fn take(tx: &mut Tx, filter: &Filter, action: Action, limit: i64) -> Result<Vec<Row>, Error> {
    let (table, part) = match (action, filter.state) {
        (Action::CancelWaiting, None | Some(State::Ready)) => ("jobs_ready", "TRUE"),
        (Action::Redrive | Action::Delete, None | Some(State::Discarded)) => {
            ("jobs_history", search::DISCARDED)
        }
        (Action::Redrive | Action::Delete, Some(State::Cancelled)) => ("jobs_history", search::CANCELLED),
        // Jobs in another state are none that this action may be done to.
        _ => return Ok(Vec::new()),
    };
    let (conditions, arguments) = filter.conditions(tx.dialect(), Value::from(limit));
    let chosen = format!("SELECT id FROM {table} WHERE {part} AND {conditions} ORDER BY id LIMIT $6");
    // Rows that another transaction is about to take are its own.
    let locked = match tx.dialect() {
        Dialect::Sqlite => "",
        Dialect::Postgres => "FOR UPDATE SKIP LOCKED",
    };
    let sql = format!("DELETE FROM {table} WHERE id IN ({chosen} {locked}) RETURNING *");
    Ok(tx.fetch_all(Sql::dynamic(sql), arguments).await?)
}

const FORGET_REQUESTS: Sql = Sql::per_dialect(
    "DELETE FROM jobs_cancel WHERE job_id IN (SELECT value FROM json_each($1))",
    "DELETE FROM jobs_cancel WHERE job_id = ANY($1)",
);

/// Writes rows that were taken out of the history into the queue, due at once.
async fn put_back(tx: &mut Tx, rows: &[Row], now: Timestamp) -> Result<(), Error> {
    let again = rows.iter().map(|row| fresh(row, now)).collect::<Result<Vec<Waiting>, Error>>()?;
    // A request that outlived the first life of the job must not end its second.
    let ids: Vec<String> = again.iter().map(|job| job.id.to_string()).collect();
    tx.send(&FORGET_REQUESTS, args![ids]).await?;
    let again = workflow::redrive(tx, again, now).await?;
    row::insert_ready(tx, again).await?;
    tx.notify(CHANNEL).await?;
    Ok(())
}

/// A row of the history as a new job.
pub(crate) fn fresh(row: &Row, now: Timestamp) -> Result<Waiting, Error> {
    Ok(Waiting {
        id: row.parse("id")?,
        queue: row.get("queue")?,
        kind: row.get("kind")?,
        args: row.get("args")?,
        priority: row.get("priority")?,
        run_at: quintet_types::time::micros(now),
        attempt: 0,
        max_attempts: row.get("max_attempts")?,
        enqueued_at: row.get("enqueued_at")?,
        traceparent: row.get("traceparent")?,
        unique_key: None,
        partition_key: row.get("partition_key")?,
        member_of: row.get("member_of")?,
        last_error: row.get("last_error")?,
    })
}
