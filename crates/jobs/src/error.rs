//! What can go wrong with the queue itself (a handler's failures are [`HandlerError`](crate::HandlerError)).

use quintet_types::JobId;
use thiserror::Error;

/// An error of the queue.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed.
    #[error("the job tables cannot be used")]
    Store(#[from] quintet_store::Error),
    /// The arguments are not JSON, or a stored job is not what this release writes.
    #[error("a job's arguments cannot be written or read as JSON")]
    Json(#[from] serde_json::Error),
    /// A job's arguments are larger than the limit.
    #[error(
        "the arguments of a {kind} job have {bytes} bytes, the limit is {limit}; store large data as a blob"
    )]
    ArgsTooLarge {
        /// The job's kind.
        kind: String,
        /// What was given.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A job is to be the only one also when it has ended, or for a period, and the period has no length.
    #[error("a job that is unique in all states, or for a period, needs a period longer than zero")]
    UniquePeriod,
    /// What is sealed of a job cannot be read, or something cannot be sealed.
    #[error("a job's arguments, result or checkpoint cannot be sealed or opened")]
    Sealed(#[from] crate::sealing::SealError),
    /// Other programs seal kinds that this one would write in the clear.
    #[error(
        "jobs of {kinds} are sealed by other programs on this database; give this one the same [sealing] section, or name \
         the kinds in sealing.unsealed_kinds of one program if they are not to be sealed any more"
    )]
    SealedElsewhere {
        /// Their names.
        kinds: String,
    },
    /// The keys of the configuration cannot be used.
    #[error("{0}")]
    Sealing(String),
    /// A unique key changed hands again and again while the job was enqueued.
    #[error("others took and gave up the job's unique key faster than it could be read")]
    UniqueContended,
    /// A batch is sealed, or there is none.
    #[error("no batch {batch} is open; it was sealed, or has ended, or never was")]
    BatchNotOpen {
        /// Its id.
        batch: String,
    },
    /// A job that others wait for must be a new one.
    #[error("a {kind} job that is a callback or part of a workflow cannot be unique or in a batch")]
    UniqueMember {
        /// The job's kind.
        kind: String,
    },
    /// The graph of a workflow cannot be.
    #[error(transparent)]
    Workflow(#[from] crate::workflow::WorkflowError),
    /// A result or a checkpoint is larger than the limit.
    #[error(
        "the {what} of {job} has {bytes} bytes of JSON, the limit is {limit}; store large data as a blob"
    )]
    NoteTooLarge {
        /// `result` or `checkpoint`.
        what: &'static str,
        /// The job that was being run.
        job: JobId,
        /// What was given.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The job's lease was taken away: it runs again elsewhere, nothing of this run may be kept.
    #[error("the lease of {job} was lost")]
    LeaseLost {
        /// The job that was being run.
        job: JobId,
    },
}

impl Error {
    /// Whether running the same transaction again may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::UniqueContended => true,
            _ => false,
        }
    }
}
