//! Jobs by the calendar: schedules that enqueue a job at the instants of a cron expression.
//!
//! Every node has the schedules of its program and configuration; `jobs_schedules` has one row for each, with the
//! instant of the next run. Whoever finds it due moves it on and enqueues the job in one transaction, and only if the
//! instant is still the one it read: so a run happens once, however many nodes look, and not at all if the transaction
//! fails. A node with another definition (an older release during a roll-out) leaves the row alone.

mod expression;

use std::time::Duration;

use jiff::tz::TimeZone;
use quintet_store::{Row, Store, Tx, args};
use quintet_types::time::{from_micros, micros};
use quintet_types::{Clock, JobId, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

pub use expression::{Expression, ExpressionError};

use crate::enqueue::{NewJob, enqueue};
use crate::error::Error;
use crate::sealing::Seals;

/// A run that is later than this was missed: no worker was there.
const MISSED_AFTER: Duration = Duration::from_mins(1);

/// What becomes of runs that were missed because no worker was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// They are left out.
    #[default]
    Skip,
    /// One job runs for all of them.
    Once,
}

/// Why a schedule cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// The expression is none.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// The system's time zone database has no such zone.
    #[error("the time zone {0:?} is not known here; use a name such as Europe/Berlin, and install tzdata")]
    Zone(String),
    /// It never comes.
    #[error("the cron expression {0:?} means no instant at all")]
    Never(String),
}

/// What says that two nodes mean the same by a schedule's name.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Definition {
    cron: String,
    time_zone: String,
    kind: String,
    args: serde_json::Value,
    queue: String,
    missed: Missed,
}

/// A job that is enqueued by the calendar.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: String,
    expression: Expression,
    zone: TimeZone,
    definition: Definition,
}

impl Schedule {
    /// A schedule that enqueues a job of `kind` with `args` on the queue `default`.
    ///
    /// # Errors
    /// When the expression or the zone cannot be read, or the expression means no instant.
    pub fn new(
        name: impl Into<String>,
        cron: &str,
        time_zone: &str,
        kind: impl Into<String>,
        args: serde_json::Value,
    ) -> Result<Self, ScheduleError> {
        let expression: Expression = cron.parse()?;
        let zone = TimeZone::get(time_zone).map_err(|_| ScheduleError::Zone(time_zone.to_owned()))?;
        if expression.next_after(Timestamp::UNIX_EPOCH, &zone).is_none() {
            return Err(ScheduleError::Never(cron.to_owned()));
        }
        let definition = Definition {
            cron: cron.to_owned(),
            time_zone: time_zone.to_owned(),
            kind: kind.into(),
            args,
            queue: "default".to_owned(),
            missed: Missed::default(),
        };
        Ok(Self { name: name.into(), expression, zone, definition })
    }

    /// Chooses the queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.definition.queue = queue.into();
        self
    }

    /// Chooses what becomes of missed runs.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.definition.missed = missed;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn next_after(&self, after: Timestamp) -> Timestamp {
        self.expression.next_after(after, &self.zone).unwrap_or(Timestamp::MAX)
    }

    fn job(&self) -> NewJob {
        NewJob::new(&self.definition.kind, &self.definition.args).queue(&self.definition.queue)
    }

    /// Tells one definition from another; what is sealed of it cannot be read there.
    fn fingerprint(&self, seals: Option<&Seals>) -> Result<String, Error> {
        let Some(seals) = seals.filter(|seals| seals.seals(&self.definition.kind)) else {
            return Ok(serde_json::to_string(&self.definition)?);
        };
        let args = seals.unique(&self.definition.args.to_string()).into();
        Ok(serde_json::to_string(&Definition { args, ..self.definition.clone() })?)
    }
}

/// Makes the rows of schedules that are new, and gives those with a changed definition a new next run.
pub async fn register(store: &Store, clock: &dyn Clock, schedules: &[Schedule]) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    for schedule in schedules {
        tx.execute(
            "INSERT INTO jobs_schedules (name, definition, next_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, next_at = excluded.next_at
             WHERE jobs_schedules.definition <> excluded.definition",
            args![&schedule.name, schedule.fingerprint(store.attached())?, schedule.next_after(clock.now())],
        )
        .await?;
    }
    Ok(tx.commit().await?)
}

/// Enqueues the jobs of those schedules that are due; how many.
pub async fn fire_due(store: &Store, clock: &dyn Clock, schedules: &[Schedule]) -> Result<usize, Error> {
    let now = clock.now();
    let sql = "SELECT name, definition, next_at FROM jobs_schedules WHERE next_at <= $1";
    let mut fired = 0;
    for row in store.fetch_all(sql, args![now]).await? {
        let name: String = row.get("name")?;
        let Some(schedule) = schedules.iter().find(|schedule| schedule.name == name) else { continue };
        if row.get::<String>("definition")? == schedule.fingerprint(store.attached())?
            && fire(store, clock, schedule, row.get("next_at")?).await?
        {
            fired += 1;
        }
    }
    Ok(fired)
}

/// Moves the schedule on from `due` and enqueues its job, if no other node did.
async fn fire(store: &Store, clock: &dyn Clock, schedule: &Schedule, due: i64) -> Result<bool, Error> {
    let now = clock.now();
    let next = schedule.next_after(now);
    let mut tx = store.begin().await?;
    let moved = tx
        .execute(
            "UPDATE jobs_schedules SET next_at = $3 WHERE name = $1 AND next_at = $2 AND definition = $4",
            args![&schedule.name, due, next, schedule.fingerprint(store.attached())?],
        )
        .await?;
    if moved == 0 {
        return Ok(false);
    }
    let late = micros(now).saturating_sub(due) > i64::try_from(MISSED_AFTER.as_micros()).unwrap_or(i64::MAX);
    let skipped = late && schedule.definition.missed == Missed::Skip;
    if !skipped {
        enqueue_run(&mut tx, clock, schedule).await?;
    }
    tx.commit().await?;
    if late {
        let due = from_micros(due);
        tracing::warn!(schedule = schedule.name, %due, skipped, "runs of a schedule were missed, no worker was there");
    }
    let outcome = if skipped { "missed" } else { "fired" };
    metrics::counter!("quintet_jobs_schedule_runs_total", "schedule" => schedule.name.clone(), "outcome" => outcome)
        .increment(1);
    Ok(!skipped)
}

async fn enqueue_run(tx: &mut Tx, clock: &dyn Clock, schedule: &Schedule) -> Result<JobId, Error> {
    let id = enqueue(tx, clock, schedule.job()).await?.id;
    tx.execute(
        "UPDATE jobs_schedules SET last_at = $2, last_job = $3 WHERE name = $1",
        args![&schedule.name, clock.now(), id],
    )
    .await?;
    Ok(id)
}

/// Enqueues a schedule's job now, besides its regular runs.
pub async fn run_now(store: &Store, clock: &dyn Clock, schedule: &Schedule) -> Result<JobId, Error> {
    let mut tx = store.begin().await?;
    let id = enqueue_run(&mut tx, clock, schedule).await?;
    tx.commit().await?;
    Ok(id)
}

/// One schedule, as shown to an operator.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// Its cron expression.
    pub cron: String,
    /// The zone in which the expression is read.
    pub time_zone: String,
    /// The kind of its jobs.
    pub kind: String,
    /// Their queue.
    pub queue: String,
    /// What becomes of missed runs.
    pub missed: Missed,
    /// The next runs.
    pub next_runs: Vec<Timestamp>,
    /// When it last enqueued a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Timestamp>,
    /// That job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_job: Option<String>,
}

/// Runs shown ahead.
const RUNS_SHOWN: usize = 5;

/// These schedules with their next and last runs.
pub async fn schedules(
    store: &Store,
    clock: &dyn Clock,
    schedules: &[Schedule],
) -> Result<Vec<ScheduleView>, Error> {
    let rows = store.fetch_all("SELECT name, last_at, last_job FROM jobs_schedules", args![]).await?;
    schedules.iter().map(|schedule| view(schedule, &rows, clock.now())).collect()
}

fn view(schedule: &Schedule, rows: &[Row], now: Timestamp) -> Result<ScheduleView, Error> {
    let mut next_runs = Vec::with_capacity(RUNS_SHOWN);
    let mut at = now;
    while next_runs.len() < RUNS_SHOWN
        && let Some(next) = schedule.expression.next_after(at, &schedule.zone)
    {
        next_runs.push(next);
        at = next;
    }
    let mut view = ScheduleView {
        name: schedule.name.clone(),
        cron: schedule.definition.cron.clone(),
        time_zone: schedule.definition.time_zone.clone(),
        kind: schedule.definition.kind.clone(),
        queue: schedule.definition.queue.clone(),
        missed: schedule.definition.missed,
        next_runs,
        last_run: None,
        last_job: None,
    };
    for row in rows {
        if row.get::<String>("name")? == schedule.name {
            view.last_run = row.get::<Option<i64>>("last_at")?.map(from_micros);
            view.last_job = row.get("last_job")?;
        }
    }
    Ok(view)
}
