//! OTLP over gRPC: unary `Export` calls, and the health check that load balancers ask.
//!
//! A unary call is one framed message in and one out, with the status in the trailers, so that the HTTP/2 server
//! that is there anyway is all it needs. What the client should do next is said as OTLP demands: `RetryInfo` beside
//! RESOURCE_EXHAUSTED and UNAVAILABLE where waiting helps, and never where it does not.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full};
use quintet_http::middleware::MaxBody;

use super::body::{Encoding, Packing, media_type};
use super::response::Refusal;
use super::wire::{put_text_field, put_varint_field};
use super::{MAX_BODY, Receiver};
use crate::storage::Signal;

/// Whether the message is packed, and its length.
const FRAME_HEADER: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPTED_PACKINGS: HeaderName = HeaderName::from_static("grpc-accept-encoding");

const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;

pub(super) fn router() -> Router<Arc<Receiver>> {
    let path = |service: &str| format!("/opentelemetry.proto.collector.{service}/Export");
    Router::new()
        .route(&path("trace.v1.TraceService"), post(traces))
        .route(&path("logs.v1.LogsService"), post(logs))
        .route(&path("metrics.v1.MetricsService"), post(metrics))
        .route("/grpc.health.v1.Health/Check", post(health))
        // A message may be as large as a body over HTTP, besides its header.
        .layer(MaxBody(MAX_BODY + FRAME_HEADER))
}

async fn traces(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    call(receiver, Signal::Spans, request).await
}

async fn logs(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    call(receiver, Signal::Logs, request).await
}

async fn metrics(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    call(receiver, Signal::Metrics, request).await
}

/// SERVING once writes are taken, NOT_SERVING before.
async fn health(State(receiver): State<Arc<Receiver>>) -> Response {
    let mut body = Vec::new();
    put_varint_field(&mut body, 1, if receiver.storage.has_started() { 1 } else { 2 });
    succeeded(&body)
}

/// How a call failed: gRPC's code, a message, and the seconds after which to try again.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
    retry_after: Option<u32>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        // Without RetryInfo this says "too large", which no retry changes.
        let too_large = refusal.status == StatusCode::PAYLOAD_TOO_LARGE;
        let code = if too_large { RESOURCE_EXHAUSTED } else { refusal.code() };
        Self { code, message: refusal.message, retry_after: refusal.retry_after }
    }
}

async fn call(receiver: Arc<Receiver>, signal: Signal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let outcome = match message(&parts.headers, body).await {
        Ok((packing, bytes)) => {
            let work = move |receiver: &Receiver| {
                let message = bytes.get(FRAME_HEADER..).unwrap_or_default();
                receiver.export(signal, Encoding::Protobuf, packing, message)
            };
            receiver.work(work).await.map_err(|refusal| {
                refusal.report(signal);
                Failure::from(refusal)
            })
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(accepted) => {
            accepted.report(signal);
            succeeded(&accepted.to_protobuf())
        }
        Err(failure) => failed(&failure),
    }
}

/// Reads the one message of a unary call, its header still before it, and how it is packed.
async fn message(headers: &HeaderMap, body: Body) -> Result<(Packing, Bytes), Failure> {
    if !matches!(media_type(headers).as_str(), "application/grpc" | "application/grpc+proto") {
        return Err(Failure::new(UNIMPLEMENTED, "content-type must be application/grpc"));
    }
    let bytes = axum::body::to_bytes(body, MAX_BODY + FRAME_HEADER).await.map_err(|error| {
        let message = format!("the message is larger than {MAX_BODY} bytes, or broke off: {error}");
        Failure::new(RESOURCE_EXHAUSTED, message)
    })?;
    let header: Option<(&[u8; FRAME_HEADER], &[u8])> = bytes.split_first_chunk();
    let Some(([flag, length @ ..], rest)) = header else {
        return Err(Failure::new(INTERNAL, "the call has no message"));
    };
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(rest.len()) {
        return Err(Failure::new(INTERNAL, "the call must have exactly one message"));
    }
    Ok((packing(headers, *flag)?, bytes))
}

fn packing(headers: &HeaderMap, flag: u8) -> Result<Packing, Failure> {
    if flag == 0 {
        return Ok(Packing::Plain);
    }
    let named = headers.get("grpc-encoding").and_then(|value| value.to_str().ok()).unwrap_or("");
    match Packing::named(named) {
        Some(packing @ (Packing::Gzip | Packing::Zstd)) => Ok(packing),
        Some(Packing::Plain) => Err(Failure::new(INTERNAL, "a packed message needs grpc-encoding")),
        _ => Err(Failure::new(UNIMPLEMENTED, "grpc-encoding must be gzip, zstd or identity")),
    }
}

fn succeeded(message: &[u8]) -> Response {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// An answer of headers alone, as gRPC allows where there is no message.
fn failed(failure: &Failure) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(STATUS, HeaderValue::from(u16::from(failure.code)));
    let text = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    headers.insert(MESSAGE, text(&percent_encoded(&failure.message)));
    headers.insert(ACCEPTED_PACKINGS, HeaderValue::from_static("identity,gzip,zstd"));
    if let Some(seconds) = failure.retry_after {
        headers.insert(DETAILS, text(&STANDARD_NO_PAD.encode(retry_details(failure, seconds))));
    }
    response
}

/// A `google.rpc.Status` with a `RetryInfo`.
fn retry_details(failure: &Failure, seconds: u32) -> Vec<u8> {
    let (mut delay, mut info, mut any, mut status) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    put_varint_field(&mut delay, 1, seconds.into());
    put_text_field(&mut info, 1, &delay);
    put_text_field(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    put_text_field(&mut any, 2, &info);
    put_varint_field(&mut status, 1, failure.code.into());
    put_text_field(&mut status, 2, failure.message.as_bytes());
    put_text_field(&mut status, 3, &any);
    status
}

/// gRPC's encoding of messages: what is not printable ASCII, and the per cent sign.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to text does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
