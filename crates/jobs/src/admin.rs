//! What an operator sees of a job and of a queue. Finding jobs: [`search`](crate::search()).

use quintet_store::{Row, Snapshot, Sql, Store, args};
use quintet_types::{Clock, JobId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Error;
use crate::job::Record;
use crate::notes::{self, Notes};
use crate::pause;
use crate::sealing;

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobState)]
pub enum State {
    /// Waits for other jobs of its workflow.
    Blocked,
    /// Waits to be claimed, due or not.
    Ready,
    /// A worker has it.
    Running,
    /// It ended well.
    Completed,
    /// It ended badly: a dead letter.
    Discarded,
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// As it stands in `jobs_history.state`, and where a job has not ended, in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }

    fn ended(name: &str) -> Self {
        match name {
            "discarded" => Self::Discarded,
            "cancelled" => Self::Cancelled,
            _ => Self::Completed,
        }
    }
}

/// One job, as shown to an operator. Arguments may hold personal data and are shown in a single
/// job's view only.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobView {
    /// The job's id.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Where it is in its life.
    pub state: State,
    /// Runs begun so far.
    pub attempt: i64,
    /// Runs it has in all.
    pub max_attempts: i64,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// When it is due, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// When its last run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Whose job it is among those of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// The batch or the workflow that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_of: Option<String>,
    /// The trace it belongs to (32 hexadecimal digits).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Why its last run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Its arguments; `"encrypted"` if they are sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<serde_json::Value>,
    /// What its runs wrote down, in the same places.
    #[serde(flatten)]
    pub notes: Notes,
}

/// One queue's figures.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueView {
    /// The queue's name.
    pub name: String,
    /// Jobs that wait.
    pub ready: i64,
    /// Jobs that wait and are due.
    pub due: i64,
    /// Jobs that workers have.
    pub running: i64,
    /// Dead letters kept in the history.
    pub discarded: i64,
    /// Age of the oldest due job in seconds.
    pub oldest_due_seconds: f64,
    /// Since when it is paused, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Timestamp>,
    /// Who paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
}

fn trace_id(traceparent: Option<&str>) -> Option<String> {
    traceparent.and_then(|text| text.split('-').nth(1)).map(str::to_owned)
}

pub(crate) fn waiting(row: &Row) -> Result<JobView, Error> {
    Ok(JobView {
        id: row.parse("id")?,
        queue: row.get("queue")?,
        kind: row.get("kind")?,
        state: State::Ready,
        attempt: row.get("attempt")?,
        max_attempts: row.get("max_attempts")?,
        enqueued_at: row.timestamp("enqueued_at")?,
        run_at: Some(row.timestamp("run_at")?),
        started_at: None,
        finished_at: None,
        partition_key: row.get("partition_key")?,
        member_of: row.get("member_of")?,
        trace_id: trace_id(row.get::<Option<String>>("traceparent")?.as_deref()),
        last_error: row.get("last_error")?,
        args: sealing::shown(&row.get::<String>("args")?).ok(),
        notes: Notes::default(),
    })
}

pub(crate) fn blocked(row: &Row) -> Result<JobView, Error> {
    Ok(JobView { state: State::Blocked, ..waiting(row)? })
}

pub(crate) fn past(row: &Row) -> Result<JobView, Error> {
    let attempt: i64 = row.get("attempt")?;
    Ok(JobView {
        id: row.parse("id")?,
        queue: row.get("queue")?,
        kind: row.get("kind")?,
        state: State::ended(&row.get::<String>("state")?),
        attempt,
        max_attempts: row.get("max_attempts")?,
        enqueued_at: row.timestamp("enqueued_at")?,
        run_at: None,
        // A job that was cancelled before it ran has no first run.
        started_at: if attempt > 0 { Some(row.timestamp("started_at")?) } else { None },
        finished_at: Some(row.timestamp("finished_at")?),
        partition_key: row.get("partition_key")?,
        member_of: row.get("member_of")?,
        trace_id: trace_id(row.get::<Option<String>>("traceparent")?.as_deref()),
        last_error: row.get("last_error")?,
        args: sealing::shown(&row.get::<String>("args")?).ok(),
        notes: Notes::default(),
    })
}

fn running(record: &Record) -> JobView {
    JobView {
        id: record.id,
        queue: record.queue.clone(),
        kind: record.kind.clone(),
        state: State::Running,
        attempt: record.attempt,
        max_attempts: record.max_attempts,
        enqueued_at: quintet_types::time::from_micros(record.enqueued_at),
        run_at: Some(quintet_types::time::from_micros(record.run_at)),
        started_at: Some(quintet_types::time::from_micros(record.started_at)),
        finished_at: None,
        partition_key: record.partition_key.clone(),
        member_of: record.member_of.clone(),
        trace_id: trace_id(record.traceparent.as_deref()),
        last_error: record.last_error.clone(),
        args: sealing::shown(&record.args).ok(),
        notes: Notes::default(),
    }
}

/// Leases read for one view; a node has a handful.
const LEASES_SHOWN: i64 = 200;

pub(crate) async fn all_running(snapshot: &mut Snapshot) -> Result<Vec<JobView>, Error> {
    let sql = "SELECT jobs, ended FROM jobs_lease ORDER BY id DESC LIMIT $1";
    let mut views = Vec::new();
    for row in snapshot.fetch_all(sql, args![LEASES_SHOWN]).await? {
        let records: Vec<Record> = serde_json::from_str(&row.get::<String>("jobs")?)?;
        let marks = row.get::<String>("ended")?;
        views.extend(
            records
                .iter()
                .zip(marks.bytes())
                .filter(|(_, mark)| *mark == b'0')
                .map(|(record, _)| running(record)),
        );
    }
    Ok(views)
}

/// One job wherever it is, with its arguments and what its runs wrote down.
pub async fn lookup(store: &Store, id: JobId) -> Result<Option<JobView>, Error> {
    let Some(mut view) = find(store, id).await? else { return Ok(None) };
    if let Some(notes) = notes::shown(store, id).await? {
        view.notes = notes;
    }
    Ok(Some(view))
}

async fn find(store: &Store, id: JobId) -> Result<Option<JobView>, Error> {
    // One view of all tables: a job that moves while they are read is not missed.
    let mut snapshot = store.read().await?;
    let waits = snapshot.fetch_optional("SELECT * FROM jobs_ready WHERE id = $1", args![id]).await?;
    if let Some(row) = waits {
        return waiting(&row).map(Some);
    }
    let blocks = snapshot.fetch_optional("SELECT * FROM jobs_blocked WHERE id = $1", args![id]).await?;
    if let Some(row) = blocks {
        return blocked(&row).map(Some);
    }
    if let Some(view) = all_running(&mut snapshot).await?.into_iter().find(|view| view.id == id) {
        return Ok(Some(view));
    }
    let row = snapshot.fetch_optional("SELECT * FROM jobs_history WHERE id = $1", args![id]).await?;
    row.as_ref().map(past).transpose()
}

const QUEUES: Sql = Sql::one(
    "SELECT queue, count(*) AS ready, sum(CASE WHEN run_at <= $1 THEN 1 ELSE 0 END) AS due,
            min(run_at) AS oldest
     FROM jobs_ready GROUP BY queue ORDER BY queue",
);

/// The figures of every queue that has jobs or is named in `known`.
pub async fn queues(store: &Store, known: &[String], clock: &dyn Clock) -> Result<Vec<QueueView>, Error> {
    let now = clock.now_micros();
    let empty = |name: &str| QueueView {
        name: name.to_owned(),
        ready: 0,
        due: 0,
        running: 0,
        discarded: 0,
        oldest_due_seconds: 0.0,
        paused_since: None,
        paused_by: None,
    };
    let mut views: std::collections::BTreeMap<String, QueueView> =
        known.iter().map(|name| (name.clone(), empty(name))).collect();
    for row in store.fetch_all(&QUEUES, args![now]).await? {
        let name: String = row.get("queue")?;
        let view = views.entry(name.clone()).or_insert_with(|| empty(&name));
        view.ready = row.get("ready")?;
        view.due = row.get("due")?;
        let oldest = quintet_types::time::from_micros(row.get("oldest")?);
        view.oldest_due_seconds = clock.now().duration_since(oldest).as_secs_f64().max(0.0);
    }
    for job in all_running(&mut store.read().await?).await? {
        views.entry(job.queue.clone()).or_insert_with(|| empty(&job.queue)).running += 1;
    }
    let sql = "SELECT queue, count(*) AS n FROM jobs_history WHERE state = 'discarded' GROUP BY queue";
    for row in store.fetch_all(sql, args![]).await? {
        let name: String = row.get("queue")?;
        views.entry(name.clone()).or_insert_with(|| empty(&name)).discarded = row.get("n")?;
    }
    for pause in pause::paused(store).await? {
        let view = views.entry(pause.queue.clone()).or_insert_with(|| empty(&pause.queue));
        (view.paused_since, view.paused_by) = (Some(pause.since), Some(pause.by));
    }
    Ok(views.into_values().collect())
}
