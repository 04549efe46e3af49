//! The rows of `jobs_ready` and `jobs_history`, written many at once.

use quintet_store::{Bulk, Column, ColumnType, Tx};
use quintet_types::JobId;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::job::Record;
use crate::sealing::{self, Seals};

use ColumnType::{Int, Text};

macro_rules! ready_columns {
    ($($member:expr)?) => {
        &[
        ("id", Text),
        ("queue", Text),
        ("kind", Text),
        ("args", Text),
        ("priority", Int),
        ("run_at", Int),
        ("attempt", Int),
        ("max_attempts", Int),
        ("enqueued_at", Int),
        ("traceparent", Text),
        ("unique_key", Text),
        ("partition_key", Text),
        ("last_error", Text),
        $($member,)?
        ]
    };
}

/// `jobs_ready`, in the order of [`ready`].
const READY: Bulk = Bulk { table: "jobs_ready", columns: ready_columns!(), then: "" };
/// The same for jobs that are in a group: the others do not pay for that column.
const READY_MEMBERS: Bulk =
    Bulk { table: "jobs_ready", columns: ready_columns!(("member_of", Text)), then: "" };

/// `jobs_blocked`, whose jobs are all in a workflow.
const BLOCKED: Bulk = Bulk { table: "jobs_blocked", ..READY_MEMBERS };

/// A row of `jobs_ready`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) id: JobId,
    pub(crate) queue: String,
    pub(crate) kind: String,
    pub(crate) args: String,
    pub(crate) priority: i64,
    pub(crate) run_at: i64,
    pub(crate) attempt: i64,
    pub(crate) max_attempts: i64,
    pub(crate) enqueued_at: i64,
    pub(crate) traceparent: Option<String>,
    pub(crate) unique_key: Option<String>,
    pub(crate) partition_key: Option<String>,
    pub(crate) member_of: Option<String>,
    pub(crate) last_error: Option<String>,
}

/// Writes jobs that wait for others. What is to be sealed is sealed here and in [`insert_ready`].
pub(crate) async fn insert_blocked(tx: &mut Tx, mut rows: Vec<Waiting>) -> Result<(), Error> {
    sealing::seal_args(tx.attached::<Seals>().as_deref(), &mut rows)?;
    Ok(tx.insert_many(&BLOCKED, members_of(rows)).await?)
}

/// The values of [`READY_MEMBERS`] for these rows.
fn members_of(rows: Vec<Waiting>) -> Vec<Column> {
    let groups = Column::OptionalTexts(rows.iter().map(|row| row.member_of.clone()).collect());
    let mut columns = ready(rows);
    columns.push(groups);
    columns
}

/// Writes jobs into the queue.
pub(crate) async fn insert_ready(tx: &mut Tx, mut rows: Vec<Waiting>) -> Result<(), Error> {
    sealing::seal_args(tx.attached::<Seals>().as_deref(), &mut rows)?;
    if rows.iter().all(|row| row.member_of.is_none()) {
        return Ok(tx.insert_many(&READY, ready(rows)).await?);
    }
    let (members, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.member_of.is_some());
    tx.insert_many(&READY_MEMBERS, members_of(members)).await?;
    Ok(tx.insert_many(&READY, ready(others)).await?)
}

/// The values of [`READY`] for these rows.
fn ready(rows: Vec<Waiting>) -> Vec<Column> {
    let with = || Vec::with_capacity(rows.len());
    let (mut id, mut queue, mut kind, mut args) = (with(), with(), with(), with());
    let numbers = || Vec::with_capacity(rows.len());
    let (mut priority, mut run_at, mut attempt) = (numbers(), numbers(), numbers());
    let (mut max_attempts, mut enqueued_at) = (numbers(), numbers());
    let texts = || Vec::with_capacity(rows.len());
    let (mut traceparent, mut unique_key) = (texts(), texts());
    let (mut partition_key, mut last_error) = (texts(), texts());
    for row in rows {
        id.push(String::from(row.id));
        queue.push(row.queue);
        kind.push(row.kind);
        args.push(row.args);
        priority.push(row.priority);
        run_at.push(row.run_at);
        attempt.push(row.attempt);
        max_attempts.push(row.max_attempts);
        enqueued_at.push(row.enqueued_at);
        traceparent.push(row.traceparent);
        unique_key.push(row.unique_key);
        partition_key.push(row.partition_key);
        last_error.push(row.last_error);
    }
    vec![
        Column::Texts(id),
        Column::Texts(queue),
        Column::Texts(kind),
        Column::Texts(args),
        Column::Ints(priority),
        Column::Ints(run_at),
        Column::Ints(attempt),
        Column::Ints(max_attempts),
        Column::Ints(enqueued_at),
        Column::OptionalTexts(traceparent),
        Column::OptionalTexts(unique_key),
        Column::OptionalTexts(partition_key),
        Column::OptionalTexts(last_error),
    ]
}

impl Record {
    /// Its row in the queue, for another run.
    pub(crate) fn waiting(&self, run_at: i64, attempt: i64, last_error: Option<String>) -> Waiting {
        Waiting {
            id: self.id,
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            args: self.args.clone(),
            priority: self.priority,
            run_at,
            attempt,
            max_attempts: self.max_attempts,
            enqueued_at: self.enqueued_at,
            traceparent: self.traceparent.clone(),
            unique_key: self.unique_key.clone(),
            partition_key: self.partition_key.clone(),
            member_of: self.member_of.clone(),
            last_error,
        }
    }
}

macro_rules! history_columns {
    ($($member:expr)?) => {
        &[
        ("id", Text),
        ("queue", Text),
        ("kind", Text),
        ("args", Text),
        ("state", Text),
        ("priority", Int),
        ("attempt", Int),
        ("max_attempts", Int),
        ("enqueued_at", Int),
        ("started_at", Int),
        ("finished_at", Int),
        ("traceparent", Text),
        ("partition_key", Text),
        ("last_error", Text),
        $($member,)?
        ]
    };
}

/// `jobs_history`, in the order of [`history`].
const HISTORY: Bulk =
    Bulk { table: "jobs_history", columns: history_columns!(), then: "ON CONFLICT (id) DO NOTHING" };
/// The same for jobs that are in a group.
const HISTORY_MEMBERS: Bulk = Bulk { columns: history_columns!(("member_of", Text)), ..HISTORY };

/// A row of `jobs_history`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past<'a> {
    pub(crate) record: &'a Record,
    pub(crate) state: &'static str,
    pub(crate) error: Option<&'a str>,
}

/// Writes jobs that ended down.
pub(crate) async fn insert_history(tx: &mut Tx, rows: Vec<Past<'_>>, finished_at: i64) -> Result<(), Error> {
    let (members, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.record.member_of.is_some());
    if !members.is_empty() {
        let mut columns = history(&members, finished_at);
        let groups = members.iter().map(|row| row.record.member_of.clone());
        columns.push(Column::OptionalTexts(groups.collect()));
        tx.insert_many(&HISTORY_MEMBERS, columns).await?;
    }
    Ok(tx.insert_many(&HISTORY, history(&others, finished_at)).await?)
}

/// The values of [`HISTORY`] for these rows.
fn history(rows: &[Past<'_>], finished_at: i64) -> Vec<Column> {
    let texts = |of: fn(&Past<'_>) -> String| Column::Texts(rows.iter().map(of).collect());
    let optional = |of: fn(&Past<'_>) -> Option<String>| Column::OptionalTexts(rows.iter().map(of).collect());
    let numbers = |of: fn(&Past<'_>) -> i64| Column::Ints(rows.iter().map(of).collect());
    vec![
        texts(|row| row.record.id.to_string()),
        texts(|row| row.record.queue.clone()),
        texts(|row| row.record.kind.clone()),
        texts(|row| row.record.args.clone()),
        texts(|row| row.state.to_owned()),
        numbers(|row| row.record.priority),
        numbers(|row| row.record.attempt),
        numbers(|row| row.record.max_attempts),
        numbers(|row| row.record.enqueued_at),
        numbers(|row| row.record.started_at),
        Column::Ints(vec![finished_at; rows.len()]),
        optional(|row| row.record.traceparent.clone()),
        optional(|row| row.record.partition_key.clone()),
        optional(|row| row.error.map(str::to_owned)),
    ]
}
