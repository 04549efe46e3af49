//! One run of one job: its span, its deadline, its panics, and what becomes of the job.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use quintet_types::SystemEntropy;
use quintet_types::time::from_micros;
use tracing::Instrument as _;

use super::Worker;
use crate::handler::HandlerError;
use crate::job::Job;
use crate::lease::Outcome;

/// Errors are kept to this length: they may quote a whole remote answer.
const MAX_ERROR_CHARS: usize = 2000;

impl Worker {
    pub(super) async fn run_job(&self, job: &Job) -> Outcome {
        let span = tracing::info_span!(
            "job",
            otel.name = format!("job {}", job.kind()),
            otel.kind = "consumer",
            otel.status_code = tracing::field::Empty,
            job.id = %job.id(),
            job.kind = job.kind(),
            job.attempt = job.attempt(),
            job.queue = job.record.queue,
        );
        if let Some(traceparent) = job.traceparent() {
            quintet_telemetry::trace::set_parent(&span, traceparent);
        }
        self.run_in_span(job).instrument(span).await
    }

    async fn run_in_span(&self, job: &Job) -> Outcome {
        let due = from_micros(job.record.run_at.max(job.record.enqueued_at));
        let waited = self.clock.now().duration_since(due).as_secs_f64().max(0.0);
        self.meters.waited(job, waited);
        let started = Instant::now();
        let outcome = if let Some(closed) = job.closed() {
            Outcome::of_closed(closed, self.clock.now())
        } else {
            let result = self.run_handler(job).await;
            self.outcome(job, result)
        };
        let took = started.elapsed();
        self.meters.ended(job, &outcome, took);
        log(job, &outcome, took);
        outcome
    }

    async fn run_handler(&self, job: &Job) -> Result<(), HandlerError> {
        let Some(handler) = self.handlers.get(job.kind()) else {
            // Claims ask for known kinds only.
            return Err(HandlerError::retry(format!("no handler for {}", job.kind())));
        };
        let deadline = self.policies.timeout(handler.as_ref());
        let _listed = self.running.enter(job);
        // A panic is this job's failure, not the worker's.
        let run = AssertUnwindSafe(handler.run(job)).catch_unwind();
        tokio::select! {
            ended = tokio::time::timeout(deadline, run) => match ended {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(HandlerError::retry(format!("panicked: {}", panic_text(panic.as_ref())))),
                Err(_elapsed) => {
                    Err(HandlerError::retry(format!("did not end within {} s", deadline.as_secs_f64())))
                }
            },
            () = self.grace_after(job) => Err(HandlerError::retry("did not stop when it was cancelled")),
        }
    }

    /// Returns when the job was cancelled and its time to stop by itself is over.
    async fn grace_after(&self, job: &Job) {
        job.cancellation.cancelled().await;
        tokio::time::sleep(self.settings.cancel_grace).await;
    }

    /// Whether the job has no attempt left after this one.
    fn was_last(&self, job: &Job) -> bool {
        job.attempt() >= self.policies.max_attempts(job.kind(), job.max_attempts())
    }

    fn outcome(&self, job: &Job, result: Result<(), HandlerError>) -> Outcome {
        let Err(error) = result else { return Outcome::Completed };
        let text: String = error.describe().chars().take(MAX_ERROR_CHARS).collect();
        let now = self.clock.now();
        match error {
            _ if job.cancellation.is_cancelled() => Outcome::Cancelled { error: Some(text) },
            HandlerError::Discard(_) => Outcome::Discarded { error: text },
            HandlerError::Retry(_) | HandlerError::RetryAfter(..) if self.was_last(job) => {
                Outcome::Discarded { error: text }
            }
            HandlerError::Retry(_) => {
                let delay = self.policies.backoff(job.kind()).delay(job.attempt(), &SystemEntropy);
                Outcome::Again { at: later(now, delay), error: Some(text), counts: true }
            }
            HandlerError::Unavailable(_) => {
                let delay = self.policies.backoff(job.kind()).delay(job.attempt(), &SystemEntropy);
                Outcome::Again { at: later(now, delay), error: Some(text), counts: false }
            }
            HandlerError::RetryAfter(_, delay) => {
                Outcome::Again { at: later(now, delay), error: Some(text), counts: true }
            }
            HandlerError::Snooze(delay) => {
                Outcome::Again { at: later(now, delay), error: None, counts: false }
            }
        }
    }
}

fn later(now: quintet_types::Timestamp, delay: Duration) -> quintet_types::Timestamp {
    now.checked_add(delay).unwrap_or(quintet_types::Timestamp::MAX)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

fn log(job: &Job, outcome: &Outcome, took: Duration) {
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Outcome::Completed => tracing::info!(duration_us, "job completed"),
        Outcome::Again { error: Some(error), at, .. } => {
            tracing::warn!(error, retry_at = %at, "job failed, will be tried again");
        }
        Outcome::Again { at, .. } => tracing::info!(retry_at = %at, "job snoozed"),
        Outcome::Cancelled { .. } => tracing::info!(duration_us, "job cancelled"),
        Outcome::Discarded { error } => {
            tracing::Span::current().record("otel.status_code", "ERROR");
            tracing::error!(error, attempts = job.attempt(), "job is a dead letter");
        }
    }
}
