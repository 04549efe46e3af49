//! What the runs of a job write down: a result, a checkpoint, how far they are.
//!
//! They are rows of a table of their own, so that a job that writes nothing down costs nothing. A checkpoint is written at
//! once, in a statement that locks the lease of the run: a run whose lease was taken away writes none, and none of its
//! checkpoints comes after the first one of the next run. Progress stays in the process until its worker writes that of all its
//! runs, once a second. Result and last progress are written by the transaction that records the end of the run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use quintet_store::{Bulk, Column, ColumnType, Row, Sql, Store, Tx, args};
use quintet_types::JobId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use ColumnType::Text;

use crate::error::Error;
use crate::job::Job;
use crate::lease::Outcome;
use crate::remote::RemoteNote;
use crate::sealing::{self, Content, Place, Seals};

mod forget;
#[cfg(test)]
mod tests;

pub(crate) use forget::{Sweep, forget};

/// Results and checkpoints beyond this belong in a blob.
pub const MOST_NOTE_BYTES: usize = 64 * 1024;
/// A message of progress is cut to this length.
const MOST_MESSAGE_CHARS: usize = 200;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is done, in whatever the job counts.
    pub done: u64,
    /// What there is to do in all, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What it does now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Progress {
    /// So much is done; of `total`, if that is known.
    pub fn new(done: u64, total: Option<u64>) -> Self {
        Self { done, total, message: None }
    }

    /// What it does now; cut to 200 characters.
    #[must_use]
    pub fn message(self, message: &str) -> Self {
        Self { message: Some(message.chars().take(MOST_MESSAGE_CHARS).collect()), ..self }
    }
}

/// What a job's runs wrote down, for who looks at the job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Notes {
    /// What its run that completed gave back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Where its next run goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Value>,
    /// How far its last run was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// What a run has to say that is not written yet. Shared by the clones of its job.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    result: Option<String>,
    progress: Option<Progress>,
    /// Whether the progress is newer than what was written of it.
    fresh: bool,
}

impl Unwritten {
    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        // Nothing panics between two states of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, progress: Progress) {
        let mut said = self.said();
        said.fresh |= said.progress.as_ref() != Some(&progress);
        said.progress = Some(progress);
    }

    fn result(&self) -> Option<String> {
        self.said().result.clone()
    }

    /// The progress, once for each time that it changed.
    pub(crate) fn fresh_progress(&self) -> Option<Progress> {
        let mut said = self.said();
        if std::mem::take(&mut said.fresh) { said.progress.clone() } else { None }
    }
}

/// A value as it is kept.
fn bounded(what: &'static str, job: JobId, value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(value)?;
    if text.len() > MOST_NOTE_BYTES {
        return Err(Error::NoteTooLarge { what, job, bytes: text.len(), limit: MOST_NOTE_BYTES });
    }
    Ok(text)
}

impl Job {
    /// What the job gives back. It is kept if this run completes, and as long as the job is in the history.
    ///
    /// # Errors
    /// [`Error::NoteTooLarge`] beyond 64 KiB of JSON; nothing is cut.
    pub fn set_result(&self, result: &impl Serialize) -> Result<(), Error> {
        self.unwritten.said().result = Some(bounded("result", self.id(), result)?);
        Ok(())
    }

    /// Says how far this run is. Call it as often as you like: it costs a lock in this process, and the worker writes what was
    /// said last, once a second.
    pub fn set_progress(&self, progress: Progress) {
        self.unwritten.say(progress);
    }

    /// Where an earlier run of this job said that the next one goes on.
    ///
    /// # Errors
    /// [`Error::Json`] when it is not what `T` expects.
    pub async fn checkpoint<T: DeserializeOwned>(&self, store: &Store) -> Result<Option<T>, Error> {
        let notes = read(store, std::slice::from_ref(self)).await?;
        let checkpoint = notes.into_values().find_map(|notes| notes.checkpoint);
        Ok(checkpoint.map(serde_json::from_value).transpose()?)
    }

    /// Keeps `checkpoint` for the next run, should this one not complete.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the job was taken away: stop working on it. [`Error::NoteTooLarge`] beyond 64 KiB of JSON.
    pub async fn save_checkpoint(&self, store: &Store, checkpoint: &impl Serialize) -> Result<(), Error> {
        let mut tx = store.begin().await?;
        self.save_checkpoint_in(&mut tx, checkpoint).await?;
        Ok(tx.commit().await?)
    }

    /// As [`Self::save_checkpoint`], in the caller's transaction: what it has written and the checkpoint that says so come
    /// together. Make it the last statement: it locks the lease, which other jobs may share, until the commit.
    ///
    /// # Errors
    /// As [`Self::save_checkpoint`]; drop the transaction then.
    pub async fn save_checkpoint_in(&self, tx: &mut Tx, checkpoint: &impl Serialize) -> Result<(), Error> {
        let checkpoint = Some(serde_json::to_value(checkpoint)?);
        let note = RemoteNote { checkpoint, progress: None };
        if write(tx, &self.lease, self.position, (self.id(), self.kind()), &note).await? {
            Ok(())
        } else {
            Err(Error::LeaseLost { job: self.id() })
        }
    }
}

/// `substr` counts from one.
pub(crate) fn place(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX - 1) + 1
}

macro_rules! write {
    ($held:literal) => {
        concat!(
            "INSERT INTO jobs_notes (job_id, checkpoint, progress)
             SELECT CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT)
             FROM (SELECT 1 FROM jobs_lease WHERE id = $1 AND ",
            $held,
            ") AS held
             WHERE TRUE ON CONFLICT (job_id) DO UPDATE
             SET checkpoint = coalesce(excluded.checkpoint, jobs_notes.checkpoint),
                 progress = coalesce(excluded.progress, jobs_notes.progress)"
        )
    };
}

/// The lock keeps whoever takes the lease away waiting until the checkpoint is there for the next run to read.
const WRITE: Sql = Sql::per_dialect(
    write!("substr(ended, $2, 1) = '0'"),
    write!("substr(ended, $2::bigint::integer, 1) = '0' FOR SHARE"),
);

/// Writes what a run of `job` says; whether it still held its lease.
pub(crate) async fn write(
    tx: &mut Tx,
    lease: &str,
    position: usize,
    (job, kind): (JobId, &str),
    note: &RemoteNote,
) -> Result<bool, Error> {
    let seals = tx.attached::<Seals>();
    let bound = Place { content: Content::Checkpoint, job, kind };
    let sealed =
        |value| Ok::<_, Error>(sealing::seal(seals.as_deref(), bound, bounded("checkpoint", job, value)?)?);
    let checkpoint = note.checkpoint.as_ref().map(sealed).transpose()?;
    let progress = note.progress.as_ref().map(serde_json::to_string).transpose()?;
    Ok(tx.execute(&WRITE, args![lease, place(position), job, checkpoint, progress]).await? == 1)
}

const WRITE_PROGRESS: Sql = Sql::per_dialect(
    "INSERT INTO jobs_notes (job_id, progress)
     SELECT job.value, said.value FROM json_each($3) AS job JOIN json_each($1) AS lease ON lease.key = job.key
         JOIN json_each($2) AS place ON place.key = job.key JOIN json_each($4) AS said ON said.key = job.key
         JOIN jobs_lease AS held ON held.id = lease.value
     WHERE substr(held.ended, place.value, 1) = '0'
     ON CONFLICT (job_id) DO UPDATE SET progress = excluded.progress",
    "WITH held AS (SELECT id, ended FROM jobs_lease WHERE id = ANY($1) ORDER BY id FOR SHARE)
     INSERT INTO jobs_notes (job_id, progress)
     SELECT said.job, said.progress
     FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS said (lease, place, job, progress)
         JOIN held ON held.id = said.lease
     WHERE substr(held.ended, said.place::integer, 1) = '0' ORDER BY said.job
     ON CONFLICT (job_id) DO UPDATE SET progress = excluded.progress",
);

/// Writes how far these runs are, of those that still hold their lease.
pub(crate) async fn write_progress(store: &Store, said: &[(&Job, Progress)]) -> Result<(), Error> {
    let leases: Vec<String> = said.iter().map(|(job, _)| job.lease.to_string()).collect();
    let places: Vec<i64> = said.iter().map(|(job, _)| place(job.position)).collect();
    let jobs: Vec<String> = said.iter().map(|(job, _)| job.id().to_string()).collect();
    let texts = said.iter().map(|(_, progress)| Ok(serde_json::to_string(progress)?));
    let texts = texts.collect::<Result<Vec<String>, Error>>()?;
    let mut tx = store.begin().await?;
    tx.execute(&WRITE_PROGRESS, args![leases, places, jobs, texts]).await?;
    Ok(tx.commit().await?)
}

const ENDED: Bulk = Bulk {
    table: "jobs_notes",
    columns: &[("job_id", Text), ("result", Text), ("progress", Text)],
    then: "ON CONFLICT (job_id) DO UPDATE SET result = coalesce(excluded.result, jobs_notes.result),
                                              progress = coalesce(excluded.progress, jobs_notes.progress)",
};

/// Writes down the results of these runs, and how far they were; of completed jobs only those that are `kept`.
pub(crate) async fn record(
    tx: &mut Tx,
    ended: &[(&Job, &Outcome)],
    kept: impl Fn(&Job) -> bool,
) -> Result<(), Error> {
    let seals = tx.attached::<Seals>();
    let (mut ids, mut results, mut progress) = (Vec::new(), Vec::new(), Vec::new());
    for (job, outcome) in ended {
        let completed = **outcome == Outcome::Completed;
        let said = job.unwritten.said();
        let result = said.result.clone().filter(|_| completed);
        if (result.is_none() && said.progress.is_none()) || (completed && !kept(job)) {
            continue;
        }
        ids.push(job.id().to_string());
        let sealed = result.map(|result| sealing::seal(seals.as_deref(), job.place(Content::Result), result));
        results.push(sealed.transpose()?);
        progress.push(said.progress.as_ref().map(serde_json::to_string).transpose()?);
    }
    if ids.is_empty() {
        return Ok(());
    }
    let columns = vec![Column::Texts(ids), Column::OptionalTexts(results), Column::OptionalTexts(progress)];
    Ok(tx.insert_many(&ENDED, columns).await?)
}

/// Writes the result of a run that its handler's transaction completes: a rescuer knows nothing of it.
pub(crate) async fn record_result(tx: &mut Tx, job: &Job) -> Result<(), Error> {
    let Some(result) = job.unwritten.result() else { return Ok(()) };
    let result = sealing::seal(tx.attached::<Seals>().as_deref(), job.place(Content::Result), result)?;
    let sql = "INSERT INTO jobs_notes (job_id, result) VALUES ($1, $2)
               ON CONFLICT (job_id) DO UPDATE SET result = excluded.result";
    Ok(tx.send(sql, args![job.id(), result]).await?)
}

const READ: Sql = Sql::per_dialect(
    "SELECT * FROM jobs_notes WHERE job_id IN (SELECT value FROM json_each($1))",
    "SELECT * FROM jobs_notes WHERE job_id = ANY($1)",
);

/// What the runs of these jobs wrote down, of those that wrote something.
pub(crate) async fn read(store: &Store, jobs: &[Job]) -> Result<HashMap<JobId, Notes>, Error> {
    let seals = store.attached::<Seals>();
    let ids: Vec<String> = jobs.iter().map(|job| job.id().to_string()).collect();
    let mut read = HashMap::new();
    for row in store.fetch_all(&READ, args![ids]).await? {
        let id: JobId = row.parse("job_id")?;
        let Some(job) = jobs.iter().find(|job| job.id() == id) else { continue };
        let open = |content, text: &str| sealing::open_json(seals, job.place(content), text);
        read.insert(id, notes(&row, open)?);
    }
    Ok(read)
}

/// The same of one job, for who only looks on.
pub(crate) async fn shown(store: &Store, job: JobId) -> Result<Option<Notes>, Error> {
    let rows = store.fetch_all(&READ, args![vec![job.to_string()]]).await?;
    rows.first().map(|row| notes(row, |_, text| Ok(sealing::shown(text)?))).transpose()
}

fn notes(row: &Row, json: impl Fn(Content, &str) -> Result<Value, Error>) -> Result<Notes, Error> {
    let read = |content: Content, text: Option<String>| text.map(|text| json(content, &text)).transpose();
    let progress = row.get::<Option<String>>("progress")?;
    Ok(Notes {
        result: read(Content::Result, row.get("result")?)?,
        checkpoint: read(Content::Checkpoint, row.get("checkpoint")?)?,
        progress: progress.map(|text| serde_json::from_str(&text)).transpose()?,
    })
}
