//! Putting a job into the queue, in the caller's transaction.

mod hold;
mod many;
mod unique;

use std::collections::BTreeMap;

use quintet_store::{Tx, args};
use quintet_types::{Clock, JobId, Timestamp};
use serde::Serialize;

use crate::batch;
use crate::error::Error;
use crate::lease::CHANNEL;
use crate::row::{self, Waiting};
use crate::sealing::{self, Seals};

use unique::{Claim, Held};

pub use many::enqueue_many;
pub use unique::{Conflict, Unique, UniqueStates};

/// Arguments beyond this belong in a blob: a lease holds those of its whole batch.
pub(crate) const MAX_ARGS_BYTES: usize = 256 * 1024;

/// A job to be enqueued.
#[derive(Debug)]
pub struct NewJob {
    kind: String,
    args: serde_json::Result<String>,
    queue: String,
    priority: i16,
    run_at: Option<Timestamp>,
    max_attempts: u16,
    unique: Option<Unique>,
    partition_key: Option<String>,
    traceparent: Option<String>,
    member_of: Option<String>,
}

impl NewJob {
    /// A job of `kind` with `args`, on the queue `default`, due at once, with 20 attempts.
    pub fn new(kind: impl Into<String>, args: &impl Serialize) -> Self {
        Self {
            kind: kind.into(),
            args: serde_json::to_string(args),
            queue: "default".to_owned(),
            priority: 0,
            run_at: None,
            max_attempts: 20,
            unique: None,
            partition_key: None,
            traceparent: None,
            member_of: None,
        }
    }

    /// Chooses the queue.
    #[must_use]
    pub fn queue(self, queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), ..self }
    }

    /// Lower runs first; 0 is the default.
    #[must_use]
    pub fn priority(self, priority: i16) -> Self {
        Self { priority, ..self }
    }

    /// Not before this instant.
    #[must_use]
    pub fn run_at(self, run_at: Timestamp) -> Self {
        Self { run_at: Some(run_at), ..self }
    }

    /// How often the job is tried before it is a dead letter; at least once.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u16) -> Self {
        Self { max_attempts: max_attempts.max(1), ..self }
    }

    /// While a job with this key waits or runs, another is not enqueued.
    #[must_use]
    pub fn unique_key(self, key: impl Into<String>) -> Self {
        self.unique(Unique::by_key(key))
    }

    /// While a job that is the same waits or runs, or as `unique` says, another is not enqueued.
    #[must_use]
    pub fn unique(self, unique: Unique) -> Self {
        Self { unique: Some(unique), ..self }
    }

    /// Whose job it is among those of its kind, such as a tenant's: limits may be by this key, and where a kind is
    /// limited the keys get their turns one after the other. An empty key is none.
    #[must_use]
    pub fn partition_key(self, key: impl Into<String>) -> Self {
        Self { partition_key: Some(key.into()).filter(|key| !key.is_empty()), ..self }
    }

    /// The trace the job continues, where it is not the current one.
    #[must_use]
    pub fn traceparent(self, traceparent: Option<String>) -> Self {
        Self { traceparent, ..self }
    }

    pub(crate) fn member_of(self, group: String) -> Self {
        Self { member_of: Some(group), ..self }
    }
}

/// What [`enqueue`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The job that will run: the new one, or the one that holds the unique key.
    pub id: JobId,
    /// Whether a job with the same unique key was there already.
    pub duplicate: bool,
    /// Whether that job waits and was given the arguments or the time of this one ([`Conflict`]).
    pub replaced: bool,
}

impl Waiting {
    /// The row of a new job, continuing `traceparent` unless the job says what else, and the key that it wants.
    fn new(
        clock: &dyn Clock,
        job: NewJob,
        traceparent: Option<&str>,
        seals: Option<&Seals>,
    ) -> Result<(Self, Option<Claim>), Error> {
        let args = job.args?;
        if args.len() > MAX_ARGS_BYTES {
            return Err(Error::ArgsTooLarge { kind: job.kind, bytes: args.len(), limit: MAX_ARGS_BYTES });
        }
        let now = clock.now_micros();
        let claim = job.unique.map(|unique| unique.claim(&job.kind, &args, now, seals)).transpose()?;
        let waiting = Self {
            id: JobId::generate(clock, &quintet_types::SystemEntropy),
            queue: job.queue,
            kind: job.kind,
            args,
            priority: i64::from(job.priority),
            run_at: job.run_at.map_or(now, quintet_types::time::micros),
            attempt: 0,
            max_attempts: i64::from(job.max_attempts),
            enqueued_at: now,
            traceparent: job.traceparent.or_else(|| traceparent.map(str::to_owned)),
            unique_key: claim.as_ref().map(|claim| claim.key.clone()),
            partition_key: job.partition_key,
            member_of: job.member_of,
            last_error: None,
        };
        Ok((waiting, claim))
    }
}

/// The row of a job that others wait for: it is a new one in any case.
pub(crate) fn plain(clock: &dyn Clock, job: NewJob) -> Result<Waiting, Error> {
    let traceparent = quintet_telemetry::trace::current_traceparent();
    match Waiting::new(clock, job, traceparent.as_deref(), None)? {
        (job, None) if job.member_of.is_none() => Ok(job),
        (job, _) => Err(Error::UniqueMember { kind: job.kind }),
    }
}

/// Enqueues a job in the caller's transaction; it exists if and when that commits.
pub async fn enqueue(tx: &mut Tx, clock: &dyn Clock, job: NewJob) -> Result<Enqueued, Error> {
    let traceparent = quintet_telemetry::trace::current_traceparent();
    let seals = tx.attached::<Seals>();
    let (mut job, claim) = Waiting::new(clock, job, traceparent.as_deref(), seals.as_deref())?;
    let id = job.id;
    if let Some(claim) = &claim {
        let wanted = BTreeMap::from([(claim.key.clone(), (&job, claim))]);
        let held = hold::hold(tx, wanted).await?;
        if let Some(&Held::By { id, replaced }) = held.get(&claim.key) {
            // A claim that passed over the job while it was looked at here comes back for it.
            tx.notify(CHANNEL).await?;
            return Ok(Enqueued { id, duplicate: true, replaced });
        }
    }
    if let Some(batch) = &job.member_of {
        batch::add(tx, &BTreeMap::from([(batch.clone(), 1)])).await?;
        let (queue, kind) = (job.queue.clone(), job.kind.clone());
        row::insert_ready(tx, vec![job]).await?;
        announce(tx, queue, kind).await?;
        return Ok(Enqueued { id, duplicate: false, replaced: false });
    }
    sealing::seal_args(seals.as_deref(), std::slice::from_mut(&mut job))?;
    tx.send(
        "INSERT INTO jobs_ready (id, queue, kind, args, priority, run_at, attempt, max_attempts, enqueued_at,
                                 traceparent, unique_key, partition_key)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9, $10, $11)",
        args![
            id,
            &job.queue,
            &job.kind,
            job.args,
            job.priority,
            job.run_at,
            job.max_attempts,
            job.enqueued_at,
            job.traceparent,
            job.unique_key,
            job.partition_key
        ],
    )
    .await?;
    announce(tx, job.queue, job.kind).await?;
    Ok(Enqueued { id, duplicate: false, replaced: false })
}

pub(crate) async fn announce(tx: &mut Tx, queue: String, kind: String) -> Result<(), Error> {
    tx.notify(CHANNEL).await?;
    metrics::counter!("quintet_jobs_enqueued_total", "queue" => queue, "kind" => kind).increment(1);
    Ok(())
}
