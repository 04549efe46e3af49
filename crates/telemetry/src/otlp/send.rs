//! One batch to the sink: encoded, sent, sent again, given up.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode};
use metrics::Counter;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use quintet_http::Client;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::encode::Signal;

/// Largest request body; the servers' default limit is 1 MiB.
const MAX_REQUEST: usize = 512 * 1024;
/// Limit for one request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses before sending a batch again. After the last one the batch is dropped.
const RETRY_PAUSES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// The longest pause that the sink can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(10);
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Sends batches of one signal.
pub(super) struct Sender<S> {
    client: Client,
    resource: Arc<Resource>,
    sent: Counter,
    rejected: Counter,
    unsent: Counter,
    warned: Option<Instant>,
    signal: PhantomData<S>,
}

/// Why the sink did not take a request.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the sink answered {status}")]
    Refused { status: StatusCode, retry_after: Option<Duration> },
    #[error("the sink does not answer")]
    Unreachable(#[source] quintet_http::ClientError),
    #[error("the request cannot be built")]
    Request(#[source] http::Error),
}

impl Failure {
    /// OTLP 1.x, "Failures": only these may be sent again.
    fn is_transient(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Unreachable(_) => true,
            Self::Request(_) => false,
        }
    }

    fn pause(&self, planned: Duration) -> Duration {
        match self {
            Self::Refused { retry_after: Some(asked), .. } => planned.max((*asked).min(MAX_PAUSE)),
            _ => planned,
        }
    }
}

impl<S: Signal> Sender<S> {
    pub(super) fn new(client: Client, resource: Arc<Resource>) -> Self {
        let dropped = |reason: &'static str| metrics::counter!("quintet_telemetry_dropped_total", "signal" => S::NAME, "reason" => reason);
        Self {
            client,
            resource,
            sent: metrics::counter!("quintet_telemetry_exported_total", "signal" => S::NAME),
            rejected: dropped("rejected"),
            unsent: dropped("unreachable"),
            warned: None,
            signal: PhantomData,
        }
    }

    pub(super) async fn send_once(&mut self, items: Vec<S::Item>) {
        for chunk in chunks::<S>(items) {
            self.send_chunk(chunk, &[]).await;
        }
    }

    pub(super) async fn send_with_retries(&mut self, items: Vec<S::Item>) {
        for chunk in chunks::<S>(items) {
            self.send_chunk(chunk, &RETRY_PAUSES).await;
        }
    }

    async fn send_chunk(&mut self, chunk: Vec<S::Wire>, pauses: &[Duration]) {
        // Counts the items as lost if a flush cuts the retries short.
        let pending = Pending { items: chunk.len() as u64, lost: self.unsent.clone() };
        let body = Bytes::from(S::request(&self.resource, chunk));
        let mut pauses = pauses.iter();
        loop {
            let failure = match self.post(body.clone()).await {
                Ok(rejected) => {
                    let rejected = rejected.min(pending.items);
                    self.sent.increment(pending.items - rejected);
                    self.rejected.increment(rejected);
                    pending.settle();
                    return;
                }
                Err(failure) => failure,
            };
            self.warn(&failure, pending.items);
            match pauses.next() {
                Some(pause) if failure.is_transient() => tokio::time::sleep(failure.pause(*pause)).await,
                _ if failure.is_transient() => return,
                _ => {
                    self.rejected.increment(pending.items);
                    pending.settle();
                    return;
                }
            }
        }
    }

    /// Gives the number of items that the sink took but refused to keep.
    async fn post(&self, body: Bytes) -> Result<u64, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(S::PATH)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("quintet-telemetry/", env!("CARGO_PKG_VERSION")))
            .body(body)
            .map_err(Failure::Request)?;
        // Nothing that the client logs about this request may become another request.
        let exchange = self.client.request(request).with_subscriber(NoSubscriber::new());
        let response = exchange.await.map_err(Failure::Unreachable)?;
        if response.status().is_success() {
            return Ok(S::rejected(response.body()));
        }
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(Failure::Refused { status: response.status(), retry_after: retry_after.map(Duration::from_secs) })
    }

    fn warn(&mut self, failure: &Failure, items: u64) {
        let now = Instant::now();
        if self.warned.is_some_and(|last| now.duration_since(last) < WARN_EVERY) {
            return;
        }
        self.warned = Some(now);
        let error: &(dyn std::error::Error + 'static) = failure;
        tracing::warn!(
            target: "quintet_telemetry",
            signal = S::NAME, items, sink = %self.client.origin(), error,
            "cannot export telemetry; it is kept for a while, then dropped and counted"
        );
    }
}

/// Items on their way; dropping it unsettled counts them as lost.
struct Pending {
    items: u64,
    lost: Counter,
}

impl Pending {
    fn settle(mut self) {
        self.items = 0;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.items > 0 {
            self.lost.increment(self.items);
        }
    }
}

/// Cuts a batch into requests of at most [`MAX_REQUEST`] bytes.
fn chunks<S: Signal>(items: Vec<S::Item>) -> Vec<Vec<S::Wire>> {
    let mut chunks = Vec::new();
    let (mut chunk, mut size) = (Vec::new(), 0);
    for item in items {
        let wire = S::wire(item);
        let length = wire.encoded_len();
        if size + length > MAX_REQUEST && !chunk.is_empty() {
            chunks.push(std::mem::take(&mut chunk));
            size = 0;
        }
        size += length;
        chunk.push(wire);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}
