//! A job in a worker's hands, and the form in which a lease keeps it.

use std::sync::Arc;

use quintet_store::{Sql, Tx, args};
use quintet_types::JobId;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::notes::{self, Unwritten, place};
use crate::sealing::{self, Content, Place, SealError, Seals};

/// A claimed job. A handler may read everything and complete the job in its own transaction.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job as it was claimed.
    pub(crate) record: Arc<Record>,
    /// The lease under which it runs: the fencing token.
    pub(crate) lease: Arc<str>,
    /// Its place in the lease.
    pub(crate) position: usize,
    /// Cancelled when an operator wants the run to end.
    pub(crate) cancellation: CancellationToken,
    /// What its run said and nobody has written yet.
    pub(crate) unwritten: Arc<Unwritten>,
    /// Its arguments, where those of its record are sealed.
    opened: Opened,
}

/// Arguments that were sealed, as they were before, or why they cannot be had; nothing where they were not.
#[derive(Clone)]
struct Opened(Option<Result<Arc<str>, SealError>>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Sealed" } else { "Plain" })
    }
}

/// What is stored of a job while it is claimed; the JSON in `jobs_lease.jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: JobId,
    pub(crate) queue: String,
    pub(crate) kind: String,
    /// JSON text; kept as text so that claiming does not parse what only the handler reads.
    pub(crate) args: String,
    pub(crate) priority: i64,
    pub(crate) run_at: i64,
    pub(crate) attempt: i64,
    pub(crate) max_attempts: i64,
    pub(crate) enqueued_at: i64,
    pub(crate) started_at: i64,
    pub(crate) traceparent: Option<String>,
    pub(crate) unique_key: Option<String>,
    pub(crate) partition_key: Option<String>,
    /// The batch or the workflow that it is in.
    pub(crate) member_of: Option<String>,
    pub(crate) last_error: Option<String>,
}

impl Job {
    pub(crate) fn new(record: Record, lease: Arc<str>, position: usize) -> Self {
        Self {
            record: Arc::new(record),
            lease,
            position,
            cancellation: CancellationToken::new(),
            unwritten: Arc::default(),
            opened: Opened(None),
        }
    }

    /// The same job with its arguments opened, if they are sealed.
    pub(crate) fn open(self, seals: Option<&Seals>) -> Self {
        let opened = sealing::open(seals, self.place(Content::Args), &self.record.args).transpose();
        Self { opened: Opened(opened.map(|opened| opened.map(Arc::from))), ..self }
    }

    /// Why it cannot be run here, if its arguments cannot be read.
    pub(crate) fn closed(&self) -> Option<&SealError> {
        self.opened.0.as_ref()?.as_ref().err()
    }

    /// What something of this job is sealed for.
    pub(crate) fn place(&self, content: Content) -> Place<'_> {
        Place { content, job: self.record.id, kind: &self.record.kind }
    }

    /// The job's id: the idempotency key for whatever the handler calls.
    pub fn id(&self) -> JobId {
        self.record.id
    }

    /// The job's kind.
    pub fn kind(&self) -> &str {
        &self.record.kind
    }

    /// The arguments as `T`.
    ///
    /// # Errors
    /// When they are not what `T` expects; a handler should discard such a job. Of sealed arguments the error says where it
    /// is and not what stands there, because it is written down.
    pub fn args<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        use serde::de::Error as _;

        match &self.opened.0 {
            None => serde_json::from_str(&self.record.args),
            Some(Ok(args)) => serde_json::from_str(args).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                serde_json::Error::custom(format_args!(
                    "the sealed arguments are not what is expected at line {line} column {column}"
                ))
            }),
            Some(Err(closed)) => Err(serde_json::Error::custom(closed)),
        }
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> i64 {
        self.record.attempt
    }

    /// How many attempts the job has in all.
    pub fn max_attempts(&self) -> i64 {
        self.record.max_attempts
    }

    /// Whose job it is among those of its kind ([`NewJob::partition_key`](crate::NewJob::partition_key)).
    pub fn partition_key(&self) -> Option<&str> {
        self.record.partition_key.as_deref()
    }

    /// The id of the batch or the workflow that it is in.
    pub fn member_of(&self) -> Option<&str> {
        self.record.member_of.as_deref()
    }

    /// The trace context (W3C `traceparent`) of whoever enqueued the job.
    pub fn traceparent(&self) -> Option<&str> {
        self.record.traceparent.as_deref()
    }

    /// Cancelled when somebody cancels the job while it runs. A handler that can stop half way should look at this:
    /// it has [`Settings::cancel_grace`](crate::Settings::cancel_grace) to end before it is dropped.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Completes the job in the caller's transaction, so that its writes and the completion happen
    /// together: once. A result belongs to it if it was set before.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the job was taken away; drop the transaction then.
    pub async fn complete_in(&self, tx: &mut Tx) -> Result<(), Error> {
        match tx.execute(&COMPLETE, args![&*self.lease, place(self.position)]).await? {
            1 => notes::record_result(tx, self).await,
            _ => Err(Error::LeaseLost { job: self.id() }),
        }
    }
}

const COMPLETE: Sql = Sql::per_dialect(
    "UPDATE jobs_lease SET ended = substr(ended, 1, $2 - 1) || '1' || substr(ended, $2 + 1)
     WHERE id = $1 AND substr(ended, $2, 1) = '0'",
    // substr here takes integer, not bigint.
    "UPDATE jobs_lease
     SET ended = substr(ended, 1, $2::bigint::integer - 1) || '1' || substr(ended, $2::bigint::integer + 1)
     WHERE id = $1 AND substr(ended, $2::bigint::integer, 1) = '0'",
);
