//! Webhooks (<https://www.standardwebhooks.com>): the jobs `webhook.publish`, which tells an event to every
//! endpoint that wants it, and `webhook.deliver`, which posts it to one.
//!
//! Publishing enqueues its deliveries in the transaction that completes it, so each endpoint gets one. A delivery
//! may be posted twice (a worker can die after the answer); `webhook-id` stays the same, which is how a receiver
//! tells. An endpoint is somebody else's machine: nothing of it is waited for without a bound, read without a
//! limit, or connected to inside our own network ([`addresses`]).

mod addresses;
mod api;
mod deliveries;
mod endpoints;
mod publish;
mod schema;
mod secrets;
mod send;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{Backoff, Handler, HandlerError, Job, NewJob, Policy};
use serde::{Deserialize, Serialize};

pub(crate) use api::routes;
use deliveries::Subject;
use endpoints::EndpointError;
pub(crate) use endpoints::Endpoints;
pub(crate) use publish::Publish;
pub(crate) use schema::SCHEMA;
use schema::{EndpointId, MessageId};
pub(crate) use secrets::Sealer;
pub(crate) use send::Sender;

/// The waits after each failed attempt (Standard Webhooks, "Retry schedule"), in seconds.
const SCHEDULE: [u64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// The first attempt and one after each wait.
const ATTEMPTS: u16 = 10;
/// The job's arguments.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    endpoint_id: EndpointId,
    message_id: MessageId,
    event_type: String,
    /// What is posted, the same bytes at every attempt.
    body: String,
}

impl Args {
    fn job(&self) -> NewJob {
        NewJob::new(Deliver::KIND, self).max_attempts(ATTEMPTS)
    }
}

/// Posts a message to an endpoint.
pub(crate) struct Deliver {
    pub(crate) endpoints: Endpoints,
    pub(crate) sender: Arc<Sender>,
    /// Each attempt ends within this.
    pub(crate) timeout: Duration,
    /// An endpoint that fails for longer is disabled.
    pub(crate) patience: Duration,
}

impl Deliver {
    const KIND: &'static str = "webhook.deliver";
    /// The event that tests an endpoint.
    const PING: &'static str = "webhook.ping";

    async fn deliver(&self, args: &Args, attempt: i64) -> Result<(), HandlerError> {
        let (endpoint, secrets) = self.endpoints.with_secrets(args.endpoint_id).await.map_err(gone)?;
        if let Some(reason) = endpoint.disabled_reason {
            return Err(HandlerError::discard(format!("the endpoint is disabled: {reason}")));
        }
        let target = self.sender.target(&endpoint.url).map_err(HandlerError::discard)?;
        let (id, now) = (args.message_id.to_string(), self.endpoints.clock.now());
        let headers = [
            ("webhook-signature", secrets::sign(&secrets, &id, now, &args.body)),
            ("webhook-timestamp", now.as_second().to_string()),
            ("webhook-id", id.clone()),
        ];
        let attempted = self.sender.post(target, headers, &args.body).await;
        metrics::histogram!("quintet_webhook_delivery_seconds").record(attempted.latency.as_secs_f64());
        let outcome = if attempted.failure.is_none() { "delivered" } else { "failed" };
        metrics::counter!("quintet_webhook_deliveries_total", "outcome" => outcome).increment(1);
        let subject =
            Subject { endpoint: endpoint.id, message_id: &id, event_type: &args.event_type, attempt };
        let disabled = self.endpoints.record(&subject, &attempted, self.patience).await.map_err(gone)?;
        if let Some(reason) = disabled {
            metrics::counter!("quintet_webhook_endpoints_disabled_total").increment(1);
            tracing::warn!(endpoint = %endpoint.id, reason, "webhook endpoint disabled");
            return Err(HandlerError::discard(format!("the endpoint is disabled: {reason}")));
        }
        match (attempted.failure, attempted.retry_after) {
            (None, _) => Ok(()),
            (Some(failure), None) => Err(HandlerError::retry(failure)),
            // It may put the retry off and not hurry it.
            (Some(failure), Some(after)) => Err(HandlerError::retry_after(failure, after.max(wait(attempt)))),
        }
    }
}

/// The wait after the failure of this attempt, from 1.
fn wait(attempt: i64) -> Duration {
    let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(SCHEDULE.len() - 1);
    Duration::from_secs(SCHEDULE.get(place).copied().unwrap_or(0))
}

/// A deleted endpoint stays deleted; anything else may pass.
fn gone(error: EndpointError) -> HandlerError {
    match error {
        EndpointError::Unknown => HandlerError::discard(error),
        EndpointError::Store(error) => error.into(),
        _ => HandlerError::retry(error),
    }
}

#[async_trait]
impl Handler for Deliver {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn timeout(&self) -> Duration {
        // The database besides.
        self.timeout + Duration::from_secs(20)
    }

    fn policy(&self) -> Policy {
        let delays = SCHEDULE.into_iter().map(Duration::from_secs).collect();
        Policy { backoff: Some(Backoff::Delays(delays)), ..Policy::default() }
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.deliver(&job.args()?, job.attempt()).await
    }
}

#[cfg(test)]
mod tests;
