//! Work by programs elsewhere, in whatever language: what the HTTP API does on the queue's protocol.
//!
//! Such a worker is like one of ours: a claim gives it a lease, whose random id is the fencing token, and it raises the
//! lease's beat while it works. It may ask for a lease that is given to others later than ours are, because a beat is a
//! request over a network for it. A lease belongs to the client that claimed it: nobody else can speak for its jobs.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use quintet_store::{Store, args};
use quintet_types::{Clock, JobId, SystemEntropy, Timestamp};

use crate::claim::{self, Claimant};
use crate::error::Error;
use crate::job::{Job, Record};
use crate::lease::{self, Ended, Outcome};
use crate::notes::{self, Notes, Progress};
use crate::policy::Policies;
use crate::worker::finished;

/// Errors are kept to this length.
const MAX_ERROR_CHARS: usize = 2000;

/// Who works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWorker(String);

impl RemoteWorker {
    /// The worker that authenticates as `client`.
    pub fn new(client: &str) -> Self {
        Self(format!("remote:{client}"))
    }
}

/// Jobs that were claimed together.
#[derive(Debug)]
pub struct Claimed {
    /// The lease they are under: what an acknowledgement names.
    pub lease: String,
    /// The jobs, in the order in which they should be run.
    pub jobs: Vec<Job>,
    /// What earlier runs of them wrote down, if they did.
    pub notes: HashMap<JobId, Notes>,
}

/// What a worker asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// From which queue.
    pub queue: &'a str,
    /// Jobs of these kinds.
    pub kinds: &'a [String],
    /// At most so many.
    pub limit: usize,
    /// Others get them when the lease was not extended for this long.
    pub hold: Duration,
}

/// Takes due jobs, within the limits of their kinds.
pub async fn claim(
    store: &Store,
    clock: &dyn Clock,
    policies: &Policies,
    worker: &RemoteWorker,
    wanted: Wanted<'_>,
) -> Result<Option<Claimed>, Error> {
    let Wanted { queue, kinds, limit, hold } = wanted;
    let claimant = Claimant { store, worker: &worker.0, queue, now: clock.now() };
    let jobs = claim::claim(claimant, policies, kinds, limit).await?;
    let Some(lease) = jobs.first().map(|job| job.lease.to_string()) else { return Ok(None) };
    let hold = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
    // Until this is written the lease is held as long as one of ours.
    let mut tx = store.begin().await?;
    tx.execute("UPDATE jobs_lease SET hold_ms = $2 WHERE id = $1", args![&lease, hold]).await?;
    tx.commit().await?;
    let jobs = without_closed(store, policies, jobs, clock.now()).await?;
    if jobs.is_empty() {
        return Ok(None);
    }
    let notes = notes::read(store, &jobs).await?;
    Ok(Some(Claimed { lease, jobs, notes }))
}

/// The jobs whose arguments can be read here; the others go back or are dead letters, as in a worker of ours.
async fn without_closed(
    store: &Store,
    policies: &Policies,
    jobs: Vec<Job>,
    now: Timestamp,
) -> Result<Vec<Job>, Error> {
    let (closed, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.closed().is_some());
    let closed: Vec<Ended> = closed
        .into_iter()
        .filter_map(|job| Some(Ended { outcome: Outcome::of_closed(job.closed()?, now), job }))
        .collect();
    if !closed.is_empty() {
        lease::acknowledge(store, &closed, &keeps(policies), now).await?;
    }
    Ok(jobs)
}

fn keeps(policies: &Policies) -> impl Fn(&str) -> bool + Sync {
    |kind| policies.keep_completed(kind) != Some(Duration::ZERO)
}

/// Shows that the worker lives; the jobs of the lease that were cancelled, or nothing if the lease is gone.
pub async fn extend(store: &Store, worker: &RemoteWorker, lease: &str) -> Result<Option<Vec<JobId>>, Error> {
    let mut tx = store.begin().await?;
    let sql = "UPDATE jobs_lease SET beat = beat + 1 WHERE id = $1 AND worker = $2";
    if tx.execute(sql, args![lease, &worker.0]).await? == 0 {
        return Ok(None);
    }
    tx.commit().await?;
    let asked = crate::cancel::requests(store).await?;
    if asked.is_empty() {
        return Ok(Some(asked));
    }
    let held = records(store, worker, lease).await?;
    Ok(Some(held.into_iter().map(|record| record.id).filter(|id| asked.contains(id)).collect()))
}

/// What a run elsewhere writes down while it goes on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RemoteNote {
    /// Where the next run goes on, should this one not complete.
    pub checkpoint: Option<serde_json::Value>,
    /// How far it is.
    pub progress: Option<Progress>,
}

/// Writes down what runs say; the jobs of which nothing was written, because they have ended or are in other hands.
///
/// # Errors
/// [`Error::NoteTooLarge`], and nothing is written.
pub async fn note(
    store: &Store,
    worker: &RemoteWorker,
    lease: &str,
    said: &[(JobId, RemoteNote)],
) -> Result<Vec<JobId>, Error> {
    let held = records(store, worker, lease).await?;
    let mut refused = Vec::new();
    let mut tx = store.begin().await?;
    // In one order in every transaction, so that two of them cannot deadlock.
    let said: BTreeMap<JobId, &RemoteNote> = said.iter().map(|(id, note)| (*id, note)).collect();
    for (id, note) in said {
        let written = match held.iter().enumerate().find(|(_, record)| record.id == id) {
            Some((position, record)) => {
                notes::write(&mut tx, lease, position, (id, &record.kind), note).await?
            }
            None => false,
        };
        if !written {
            refused.push(id);
        }
    }
    tx.commit().await?;
    Ok(refused)
}

/// How a run elsewhere ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteOutcome {
    /// Well.
    Completed,
    /// Well, and with a result.
    CompletedWith(serde_json::Value),
    /// Badly: to be tried again, after this time if it is given.
    Failed {
        /// What went wrong.
        error: String,
        /// When the other side can be asked again.
        retry_after: Option<Duration>,
    },
    /// Not yet: the attempt does not count.
    Snoozed(Duration),
    /// It can never succeed.
    Discarded(String),
    /// It was stopped because somebody cancelled it.
    Cancelled,
}

/// Records how runs ended; the jobs for which it was too late, because they are in other hands or have ended already.
pub async fn acknowledge(
    store: &Store,
    clock: &dyn Clock,
    policies: &Policies,
    worker: &RemoteWorker,
    lease: &str,
    outcomes: &[(JobId, RemoteOutcome)],
) -> Result<Vec<JobId>, Error> {
    let held = records(store, worker, lease).await?;
    let mut refused = Vec::new();
    let mut ended = Vec::new();
    for (id, outcome) in outcomes {
        match held.iter().position(|record| record.id == *id) {
            Some(position) => {
                let Some(record) = held.get(position).cloned() else { continue };
                let job = Job::new(record, lease.into(), position);
                if let RemoteOutcome::CompletedWith(result) = outcome {
                    job.set_result(result)?;
                }
                let outcome = outcome_of(&job.record, outcome, policies, clock.now());
                ended.push(Ended { job, outcome });
            }
            None => refused.push(*id),
        }
    }
    refused.extend(lease::acknowledge(store, &ended, &keeps(policies), clock.now()).await?);
    for end in ended.iter().filter(|end| !refused.contains(&end.job.id())) {
        finished(&end.job.record.queue, end.job.kind(), end.outcome.name()).increment(1);
    }
    Ok(refused)
}

/// The jobs of a lease of this worker, ended or not.
pub(crate) async fn records(store: &Store, worker: &RemoteWorker, lease: &str) -> Result<Vec<Record>, Error> {
    let sql = "SELECT jobs FROM jobs_lease WHERE id = $1 AND worker = $2";
    match store.fetch_optional(sql, args![lease, &worker.0]).await? {
        Some(row) => Ok(serde_json::from_str(&row.get::<String>("jobs")?)?),
        None => Ok(Vec::new()),
    }
}

fn outcome_of(record: &Record, said: &RemoteOutcome, policies: &Policies, now: Timestamp) -> Outcome {
    let later = |delay: Duration| now.checked_add(delay).unwrap_or(Timestamp::MAX);
    let short = |error: &String| error.chars().take(MAX_ERROR_CHARS).collect::<String>();
    match said {
        RemoteOutcome::Completed | RemoteOutcome::CompletedWith(_) => Outcome::Completed,
        RemoteOutcome::Snoozed(delay) => Outcome::Again { at: later(*delay), error: None, counts: false },
        RemoteOutcome::Discarded(error) => Outcome::Discarded { error: short(error) },
        RemoteOutcome::Cancelled => Outcome::Cancelled { error: record.last_error.clone() },
        RemoteOutcome::Failed { error, .. }
            if record.attempt >= policies.max_attempts(&record.kind, record.max_attempts) =>
        {
            Outcome::Discarded { error: short(error) }
        }
        RemoteOutcome::Failed { error, retry_after } => {
            let backoff = || policies.backoff(&record.kind).delay(record.attempt, &SystemEntropy);
            let at = later(retry_after.unwrap_or_else(backoff));
            Outcome::Again { at, error: Some(short(error)), counts: true }
        }
    }
}
