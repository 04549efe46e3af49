//! What senders push over HTTP: OTLP (gRPC too), Prometheus remote write and Loki's push, all on each listener.
//!
//! The wire formats are walked by hand ([`wire`], [`otlp_proto`], [`otlp_json`]) straight into the
//! sink's own records: no generated types, no intermediate tree for protobuf.
//!
//! Invariants: a body is at most [`MAX_BODY`] bytes as sent and [`MAX_PLAIN`] bytes unpacked; what is
//! being unpacked and decoded is charged to the in-flight share of the memory budget, and a request that does not
//! fit is answered 429; a batch is acknowledged only after it is in the log; what can never be stored is never
//! answered in a way that makes a sender repeat it.

mod body;
mod budget;
pub(crate) mod exposition;
mod grpc;
pub(crate) mod known_labels;
pub(crate) mod loki_push;
pub(crate) mod naming;
pub(crate) mod otlp_json;
mod otlp_metrics;
pub(crate) mod otlp_proto;
pub(crate) mod remote_write;
mod response;
pub(crate) mod severity;
mod weight;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, StatusCode};

use self::body::{Encoding, Packing, unpack};
use self::budget::{Budget, Charge};
use self::known_labels::KnownLabels;
use self::response::{Accepted, Refusal, accepted, refused};
use crate::model::MetricBatch;
use crate::storage::{AppendError, Signal, Storage};

/// The largest body as sent, in bytes.
pub(crate) const MAX_BODY: usize = 4 * 1024 * 1024;
/// The largest body after decompression, in bytes.
pub(crate) const MAX_PLAIN: usize = 16 * 1024 * 1024;
/// Decoding needs about this many bytes for each of the plain body.
const PROTOBUF_COST: usize = 3;
const JSON_COST: usize = 8;

/// What a decoder made of a body.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decoded<T> {
    pub(crate) batch: T,
    /// Items that cannot be stored, whatever the sender does.
    pub(crate) rejected: usize,
    pub(crate) reason: Option<&'static str>,
}

impl<T> Decoded<T> {
    pub(crate) fn reject(&mut self, count: usize, reason: &'static str) {
        self.rejected += count;
        self.reason = Some(reason);
    }

    fn accepted(&self) -> Accepted {
        Accepted { rejected: self.rejected, reason: self.reason }
    }
}

/// What of a batch of metrics the storage has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    samples: usize,
    exemplars: usize,
}

/// The receiving side's state.
pub(crate) struct Receiver {
    storage: Arc<Storage>,
    budget: Budget,
    known_labels: KnownLabels,
}

impl Receiver {
    /// A receiver that lets at most `share` bytes be decoded at once.
    pub(crate) fn new(storage: Arc<Storage>, share: usize) -> Self {
        Self { storage, budget: Budget::new(share), known_labels: KnownLabels::new() }
    }

    /// The routes of an intake listener.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/logs", post(logs))
            .route("/v1/metrics", post(metrics))
            .route("/api/v1/write", post(remote_write::receive))
            .route("/loki/api/v1/push", post(loki_push::receive))
            .merge(grpc::router())
            .with_state(Arc::new(self))
    }

    /// Runs `work` on a thread that may block.
    async fn work<T, F>(self: Arc<Self>, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    {
        let outcome = tokio::task::spawn_blocking(move || work(&self)).await;
        outcome.unwrap_or_else(|error| {
            tracing::error!(%error, "the decoder stopped");
            Err(Refusal::internal())
        })
    }

    /// Unpacks, decodes and stores an OTLP request.
    fn export(
        &self,
        signal: Signal,
        encoding: Encoding,
        packing: Packing,
        body: &[u8],
    ) -> Result<Accepted, Refusal> {
        let cost = if encoding == Encoding::Json { JSON_COST } else { PROTOBUF_COST };
        let mut charge = self.budget.charge(cost);
        let plain = unpack(packing, body, MAX_PLAIN, &mut charge)?;
        let weight = match encoding {
            Encoding::Protobuf => weight::of_protobuf(signal, &plain).map_err(Refusal::malformed)?,
            Encoding::Json => weight::of_json(&plain),
        };
        admit(weight, cost, &mut charge)?;
        match signal {
            Signal::Spans => self.spans(encoding, &plain),
            Signal::Logs => self.logs(encoding, &plain),
            Signal::Metrics => self.metrics(encoding, &plain),
        }
    }

    fn spans(&self, encoding: Encoding, plain: &[u8]) -> Result<Accepted, Refusal> {
        let decoded = match encoding {
            Encoding::Protobuf => otlp_proto::traces(plain).map_err(Refusal::malformed)?,
            Encoding::Json => otlp_json::traces(plain).map_err(Refusal::malformed)?,
        };
        self.storage.append_spans(&decoded.batch)?;
        count(Signal::Spans, decoded.batch.len());
        Ok(decoded.accepted())
    }

    fn logs(&self, encoding: Encoding, plain: &[u8]) -> Result<Accepted, Refusal> {
        let now = self.now_nanos();
        let decoded = match encoding {
            Encoding::Protobuf => otlp_proto::logs(plain, now).map_err(Refusal::malformed)?,
            Encoding::Json => otlp_json::logs(plain, now).map_err(Refusal::malformed)?,
        };
        self.storage.append_logs(&decoded.batch)?;
        count(Signal::Logs, decoded.batch.len());
        Ok(decoded.accepted())
    }

    fn metrics(&self, encoding: Encoding, plain: &[u8]) -> Result<Accepted, Refusal> {
        let mut decoded = match encoding {
            Encoding::Protobuf => otlp_proto::metrics(plain).map_err(Refusal::malformed)?,
            Encoding::Json => otlp_json::metrics(plain).map_err(Refusal::malformed)?,
        };
        self.append(&mut decoded)?;
        Ok(decoded.accepted())
    }

    /// Stores samples and counts as rejected what the storage left out; returns how many it has now.
    fn append(&self, decoded: &mut Decoded<MetricBatch>) -> Result<Written, AppendError> {
        let stored = self.storage.append_metrics(&decoded.batch)?;
        count(Signal::Metrics, stored.kept);
        if stored.ahead > 0 {
            decoded.reject(stored.ahead, "samples more than ten minutes ahead of the clock");
        }
        if stored.out_of_order > 0 {
            decoded.reject(stored.out_of_order, "samples older than the window for what is out of order");
        }
        if stored.refused > 0 {
            decoded.reject(stored.refused, "new series beyond the cardinality limit");
        }
        Ok(Written { samples: stored.kept + stored.repeated, exemplars: stored.exemplars })
    }

    fn now_nanos(&self) -> i64 {
        i64::try_from(self.storage.clock().now().as_nanosecond()).unwrap_or(i64::MAX)
    }
}

/// Charges for what a body becomes where that is more than its length says, and refuses one that no budget is meant for.
fn admit(weight: usize, cost: usize, charge: &mut Charge<'_>) -> Result<(), Refusal> {
    if weight > MAX_PLAIN * cost {
        let message = "the body holds more items than one request may; send fewer in each";
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    charge.at_least(weight)
}

async fn traces(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    export(receiver, Signal::Spans, &headers, body).await
}

async fn logs(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    export(receiver, Signal::Logs, &headers, body).await
}

async fn metrics(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    export(receiver, Signal::Metrics, &headers, body).await
}

async fn export(receiver: Arc<Receiver>, signal: Signal, headers: &HeaderMap, body: Bytes) -> Response {
    let encoding = match Encoding::of(headers) {
        Ok(encoding) => encoding,
        Err(refusal) => return refused(Encoding::Json, signal, &refusal),
    };
    let outcome = match Packing::of(headers) {
        Ok(packing) => receiver.work(move |receiver| receiver.export(signal, encoding, packing, &body)).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(outcome) => accepted(encoding, signal, &outcome),
        Err(refusal) => refused(encoding, signal, &refusal),
    }
}

/// Counts what was stored, by signal.
pub(crate) fn count(signal: Signal, items: usize) {
    let items = u64::try_from(items).unwrap_or(0);
    metrics::counter!("quintet_sink_ingested_items_total", "signal" => signal.as_str()).increment(items);
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::Starting => Self::retry(StatusCode::SERVICE_UNAVAILABLE, 1, message),
            AppendError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, message),
            AppendError::Overloaded => Self::retry(StatusCode::TOO_MANY_REQUESTS, 5, message),
            AppendError::Full => Self::retry(StatusCode::SERVICE_UNAVAILABLE, 10, message),
            AppendError::Io(_) => Self::retry(StatusCode::SERVICE_UNAVAILABLE, 5, message),
        }
    }
}

#[cfg(test)]
mod tests;
