//! OTLP over HTTP: protobuf and JSON in, partial success or a status out.
//!
//! The wire formats are walked by hand ([`wire`], [`otlp_proto`], [`otlp_json`]) straight into the
//! sink's own records: no generated types, no intermediate tree for protobuf.
//!
//! Invariants: a body is at most [`MAX_BODY`] bytes as sent and [`MAX_PLAIN`] bytes unpacked; what is
//! being decoded is charged to the in-flight share of the memory budget, and a request that does not
//! fit is answered 429; a batch is acknowledged only after it is in the log.

mod body;
pub(crate) mod exposition;
pub(crate) mod naming;
pub(crate) mod otlp_json;
mod otlp_metrics;
pub(crate) mod otlp_proto;
mod response;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;

use self::body::{Encoding, plain};
use self::response::{Refusal, accepted, refused};
use crate::model::{Batch, LogRecord, MetricBatch, Span};
use crate::storage::{AppendError, Signal, Storage};

/// The largest body as sent, in bytes.
pub(crate) const MAX_BODY: usize = 4 * 1024 * 1024;
/// The largest body after decompression, in bytes.
pub(crate) const MAX_PLAIN: usize = 16 * 1024 * 1024;
/// Decoding needs about this many bytes for each of the plain body.
const PROTOBUF_COST: usize = 3;
const JSON_COST: usize = 8;
const CHARGE_UNIT: usize = 1024;

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
}

/// The receiving side's state.
pub(crate) struct Receiver {
    storage: Arc<Storage>,
    in_flight: Semaphore,
    units: usize,
}

impl Receiver {
    /// A receiver that lets at most `share` bytes be decoded at once.
    pub(crate) fn new(storage: Arc<Storage>, share: usize) -> Self {
        let units = (share / CHARGE_UNIT).max(1);
        Self { storage, in_flight: Semaphore::new(units), units }
    }

    /// The routes of an OTLP listener.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/logs", post(logs))
            .route("/v1/metrics", post(metrics))
            .with_state(Arc::new(self))
    }

    async fn receive<T, F>(
        self: Arc<Self>,
        signal: Signal,
        headers: HeaderMap,
        body: Bytes,
        store: F,
    ) -> Response
    where
        T: Send + 'static,
        F: FnOnce(&Storage, Encoding, &[u8]) -> Result<Decoded<T>, Refusal> + Send + 'static,
    {
        let encoding = match Encoding::of(&headers) {
            Ok(encoding) => encoding,
            Err(refusal) => return refused(Encoding::Json, signal, &refusal),
        };
        let work = move || {
            let plain = plain(&headers, &body, MAX_PLAIN)?;
            let cost = if encoding == Encoding::Json { JSON_COST } else { PROTOBUF_COST };
            let units = (plain.len().saturating_mul(cost) / CHARGE_UNIT + 1).min(self.units);
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            let _charge = self.in_flight.try_acquire_many(units).map_err(|_| Refusal::overloaded())?;
            store(&self.storage, encoding, &plain)
        };
        let outcome = tokio::task::spawn_blocking(work).await;
        match outcome {
            Ok(Ok(decoded)) => accepted(encoding, signal, decoded.rejected, decoded.reason),
            Ok(Err(refusal)) => refused(encoding, signal, &refusal),
            Err(error) => {
                tracing::error!(%error, "the decoder stopped");
                refused(encoding, signal, &Refusal::internal())
            }
        }
    }
}

async fn traces(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let store = |storage: &Storage, encoding, plain: &[u8]| {
        let decoded: Decoded<Batch<Span>> = match encoding {
            Encoding::Protobuf => otlp_proto::traces(plain).map_err(Refusal::malformed)?,
            Encoding::Json => otlp_json::traces(plain).map_err(Refusal::malformed)?,
        };
        storage.append_spans(&decoded.batch)?;
        count(Signal::Spans, decoded.batch.len());
        Ok(decoded)
    };
    receiver.receive(Signal::Spans, headers, body, store).await
}

async fn logs(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let store = |storage: &Storage, encoding, plain: &[u8]| {
        let now = i64::try_from(storage.clock().now().as_nanosecond()).unwrap_or(i64::MAX);
        let decoded: Decoded<Batch<LogRecord>> = match encoding {
            Encoding::Protobuf => otlp_proto::logs(plain, now).map_err(Refusal::malformed)?,
            Encoding::Json => otlp_json::logs(plain, now).map_err(Refusal::malformed)?,
        };
        storage.append_logs(&decoded.batch)?;
        count(Signal::Logs, decoded.batch.len());
        Ok(decoded)
    };
    receiver.receive(Signal::Logs, headers, body, store).await
}

async fn metrics(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let store = |storage: &Storage, encoding, plain: &[u8]| {
        let mut decoded: Decoded<MetricBatch> = match encoding {
            Encoding::Protobuf => otlp_proto::metrics(plain).map_err(Refusal::malformed)?,
            Encoding::Json => otlp_json::metrics(plain).map_err(Refusal::malformed)?,
        };
        let stored = storage.append_metrics(&decoded.batch)?;
        count(Signal::Metrics, stored.kept);
        if stored.out_of_order > 0 {
            decoded.reject(stored.out_of_order, "samples older than the newest of their series");
        }
        if stored.refused > 0 {
            decoded.reject(stored.refused, "new series beyond the cardinality limit");
        }
        Ok(decoded)
    };
    receiver.receive(Signal::Metrics, headers, body, store).await
}

fn count(signal: Signal, items: usize) {
    let items = u64::try_from(items).unwrap_or(0);
    metrics::counter!("quintet_sink_ingested_items_total", "signal" => signal.as_str()).increment(items);
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::Starting => Self::retry(StatusCode::SERVICE_UNAVAILABLE, 1, message),
            AppendError::Overloaded => Self::retry(StatusCode::TOO_MANY_REQUESTS, 5, message),
            AppendError::Full => Self::retry(StatusCode::SERVICE_UNAVAILABLE, 10, message),
            AppendError::Io(_) => Self::retry(StatusCode::SERVICE_UNAVAILABLE, 5, message),
        }
    }
}

#[cfg(test)]
mod tests;
