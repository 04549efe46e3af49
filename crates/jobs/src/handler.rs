//! The code that runs a kind of job.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::job::Job;
use crate::policy::Policy;

/// Runs one kind of job.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The kind this runs, such as `email.send`.
    fn kind(&self) -> &'static str;

    /// How long one run may take before it is stopped and counted as failed.
    fn timeout(&self) -> Duration {
        Duration::from_mins(1)
    }

    /// How jobs of this kind are tried and remembered; the configuration may replace any part of it.
    fn policy(&self) -> Policy {
        Policy::default()
    }

    /// Runs a job. It may run more than once (a worker can die after the effect and before the
    /// acknowledgement): use [`Job::id`] as idempotency key, or [`Job::complete_in`].
    async fn run(&self, job: &Job) -> Result<(), HandlerError>;
}

/// Why a run did not complete its job, and what shall become of it.
#[derive(Debug, Error)]
pub enum HandlerError {
    /// Try again later, until the attempts are used up.
    #[error("{0:#}")]
    Retry(BoxError),
    /// Try again after this time, because the far side said so, until the attempts are used up.
    #[error("{0:#}")]
    RetryAfter(BoxError, Duration),
    /// It can never succeed: make it a dead letter now.
    #[error("{0:#}")]
    Discard(BoxError),
    /// The database was out of reach or its disk full, which is not the job's doing: try again later; the attempt does not
    /// count.
    #[error("{0:#}")]
    Unavailable(BoxError),
    /// Not yet: come back after this time; the attempt does not count.
    #[error("snoozed")]
    Snooze(Duration),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl HandlerError {
    /// Try again later because of `error`; that does not count as an attempt where the cause is a database out of reach.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        if out_of_reach(error.as_ref()) { Self::Unavailable(error) } else { Self::Retry(error) }
    }

    /// Try again after `delay` because of `error`.
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        Self::RetryAfter(error.into(), delay)
    }

    /// Give up because of `error`.
    pub fn discard(error: impl Into<BoxError>) -> Self {
        Self::Discard(error.into())
    }

    /// The error with its causes, for the job's record.
    pub fn describe(&self) -> String {
        let (Self::Retry(error)
        | Self::RetryAfter(error, _)
        | Self::Discard(error)
        | Self::Unavailable(error)) = self
        else {
            return self.to_string();
        };
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        text
    }
}

/// Whether an error, or what caused it, is a database that is out of reach or full.
fn out_of_reach(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        matches!(
            error.downcast_ref(),
            Some(quintet_store::Error::Unavailable(_) | quintet_store::Error::Full(_))
        )
    })
}

/// A failing database is of the moment.
impl From<quintet_store::Error> for HandlerError {
    fn from(error: quintet_store::Error) -> Self {
        Self::retry(error)
    }
}

/// Arguments that do not parse will not parse next time either.
impl From<serde_json::Error> for HandlerError {
    fn from(error: serde_json::Error) -> Self {
        Self::discard(error)
    }
}

/// A lost lease or a failing database: the job runs again. What is too large will be so again.
impl From<crate::Error> for HandlerError {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::NoteTooLarge { .. } | crate::Error::ArgsTooLarge { .. } => Self::discard(error),
            crate::Error::Store(error) => error.into(),
            // It waits for the key, which is no fault of the job's.
            crate::Error::Sealed(crate::SealError::MissingKey { .. }) => Self::Unavailable(error.into()),
            _ => Self::retry(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot keep the picture")]
    struct Around(#[source] quintet_store::Error);

    #[test]
    fn a_database_out_of_reach_is_no_failure_of_the_job_however_deep_in_the_causes() {
        let unavailable = || quintet_store::Error::Unavailable("refused".into());
        let full = || quintet_store::Error::Full("no space".into());
        for error in [
            HandlerError::retry(unavailable()),
            HandlerError::retry(Around(full())),
            HandlerError::retry(crate::Error::Store(unavailable())),
        ] {
            assert!(matches!(error, HandlerError::Unavailable(_)), "{error:?}");
        }
        let busy = quintet_store::Error::Busy("deadlock".into());
        assert!(matches!(HandlerError::retry(Around(busy)), HandlerError::Retry(_)));
    }
}
