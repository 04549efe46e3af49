//! The job `webhook.publish`: one event becomes one delivery for each endpoint that wants it.

use async_trait::async_trait;
use quintet_jobs::{Handler, HandlerError, Job};
use quintet_types::{SystemEntropy, Timestamp};
use serde::{Deserialize, Serialize};

use super::endpoints::Endpoints;
use super::schema::MessageId;
use super::{Args as Delivery, gone};

/// The job's arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    /// What happened, such as `order.placed`.
    event_type: String,
    /// When; the time of publishing unless given.
    timestamp: Option<Timestamp>,
    /// About what.
    data: serde_json::Value,
}

/// What is posted.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: Timestamp,
    data: &'a serde_json::Value,
}

/// The body of a message.
pub(super) fn body(
    event_type: &str,
    timestamp: Timestamp,
    data: &serde_json::Value,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Payload { event_type, timestamp, data })
}

/// Whether this can be the name of an event: `order.placed`, as Standard Webhooks asks.
pub(super) fn is_event_type(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

/// Tells an event to every endpoint that wants it.
pub(crate) struct Publish(pub(crate) Endpoints);

#[async_trait]
impl Handler for Publish {
    fn kind(&self) -> &'static str {
        "webhook.publish"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let Args { event_type, timestamp, data } = job.args()?;
        if !is_event_type(&event_type) {
            return Err(HandlerError::discard(format!("{event_type:?} is no name of an event")));
        }
        let (store, clock) = (&self.0.store, self.0.clock.as_ref());
        let message_id = MessageId::generate(clock, &SystemEntropy);
        let body = body(&event_type, timestamp.unwrap_or_else(|| clock.now()), &data)?;
        let mut tx = store.begin().await?;
        for endpoint_id in Endpoints::wanting(&mut tx, &event_type).await.map_err(gone)? {
            let (event_type, body) = (event_type.clone(), body.clone());
            let delivery = Delivery { endpoint_id, message_id, event_type, body }.job();
            quintet_jobs::enqueue(&mut tx, clock, delivery.traceparent(job.traceparent().map(str::to_owned)))
                .await?;
        }
        // With the deliveries or not at all: a second run would tell everybody twice.
        job.complete_in(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
