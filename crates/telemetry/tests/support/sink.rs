//! A sink that keeps what it is sent.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use quintet_http::{Address, Limits, Origin};
use tokio_util::sync::CancellationToken;

pub(crate) struct Sink {
    directory: tempfile::TempDir,
    state: Arc<Received>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Received {
    refusals: AtomicUsize,
    refusal: Mutex<StatusCode>,
    bodies: Mutex<Vec<Bytes>>,
    spans: Mutex<Vec<Span>>,
    logs: Mutex<Vec<LogRecord>>,
    resource: Mutex<Vec<KeyValue>>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("sink.sock"));
        let state = Arc::new(Received::default());
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/logs", post(logs))
            .with_state(Arc::clone(&state));
        let stop = CancellationToken::new();
        let server = quintet_http::serve(address.bind().unwrap(), router, Limits::default(), stop.clone());
        drop(tokio::runtime::Handle::current().spawn(server));
        Self { directory, state, stop }
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::Unix(self.directory.path().join("sink.sock"))
    }

    /// Answers the next `times` requests with `status`.
    pub(crate) fn refuse(&self, times: usize, status: StatusCode) {
        *self.state.refusal.lock().unwrap() = status;
        self.state.refusals.store(times, Ordering::SeqCst);
    }

    /// The spans, once there are `count`.
    pub(crate) async fn spans(&self, count: usize) -> Vec<Span> {
        until(|| self.span_count() >= count).await;
        self.state.spans.lock().unwrap().clone()
    }

    /// The log records, once there are `count`.
    pub(crate) async fn logs(&self, count: usize) -> Vec<LogRecord> {
        until(|| self.log_count() >= count).await;
        self.state.logs.lock().unwrap().clone()
    }

    pub(crate) fn span_count(&self) -> usize {
        self.state.spans.lock().unwrap().len()
    }

    pub(crate) fn log_count(&self) -> usize {
        self.state.logs.lock().unwrap().len()
    }

    pub(crate) fn resource(&self) -> Vec<KeyValue> {
        self.state.resource.lock().unwrap().clone()
    }

    /// Whether `text` occurs in anything received.
    pub(crate) fn received_text(&self, text: &str) -> bool {
        let bodies = self.state.bodies.lock().unwrap();
        bodies.iter().any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn traces(State(state): State<Arc<Received>>, body: Bytes) -> StatusCode {
    if let Some(refusal) = state.refusal() {
        return refusal;
    }
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    state.bodies.lock().unwrap().push(body);
    for resource in request.resource_spans {
        *state.resource.lock().unwrap() = resource.resource.unwrap().attributes;
        state.spans.lock().unwrap().extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    StatusCode::OK
}

async fn logs(State(state): State<Arc<Received>>, body: Bytes) -> StatusCode {
    if let Some(refusal) = state.refusal() {
        return refusal;
    }
    let request = ExportLogsServiceRequest::decode(body.clone()).unwrap();
    state.bodies.lock().unwrap().push(body);
    for resource in request.resource_logs {
        state
            .logs
            .lock()
            .unwrap()
            .extend(resource.scope_logs.into_iter().flat_map(|scope| scope.log_records));
    }
    StatusCode::OK
}

impl Received {
    fn refusal(&self) -> Option<StatusCode> {
        let left = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.is_ok().then(|| *self.refusal.lock().unwrap())
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the sink waited in vain");
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(yes) => yes.to_string(),
        other => panic!("unexpected {other:?}"),
    })
}

pub(crate) fn body(log: &LogRecord) -> String {
    match log.body.clone().and_then(|body| body.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("unexpected {other:?}"),
    }
}
