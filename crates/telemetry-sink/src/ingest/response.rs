//! OTLP/HTTP's answers: an export response, or a `google.rpc.Status` in the request's encoding.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::body::Encoding;
use super::wire::{put_text_field, put_varint_field};
use crate::storage::Signal;

/// Why a request was not stored.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) retry_after: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    pub(super) fn retry(status: StatusCode, seconds: u32, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: Some(seconds) }
    }

    pub(super) fn malformed(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }

    pub(super) fn overloaded() -> Self {
        Self::retry(StatusCode::TOO_MANY_REQUESTS, 1, "the memory budget for requests is used up")
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be processed")
    }

    /// The gRPC code that goes with the HTTP status.
    fn code(&self) -> u8 {
        match self.status {
            StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::PAYLOAD_TOO_LARGE => 3,
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            _ => 13,
        }
    }
}

/// 200, with `partial_success` where something was rejected.
pub(super) fn accepted(
    encoding: Encoding,
    signal: Signal,
    rejected: usize,
    reason: Option<&str>,
) -> Response {
    if rejected > 0 {
        metrics::counter!("quintet_sink_rejected_items_total", "signal" => signal.as_str())
            .increment(u64::try_from(rejected).unwrap_or(0));
    }
    let reason = reason.unwrap_or("");
    let body = match encoding {
        Encoding::Protobuf if rejected == 0 => Vec::new(),
        Encoding::Protobuf => {
            let mut partial = Vec::new();
            put_varint_field(&mut partial, 1, u64::try_from(rejected).unwrap_or(0));
            put_text_field(&mut partial, 2, reason.as_bytes());
            let mut body = Vec::new();
            put_text_field(&mut body, 1, &partial);
            body
        }
        Encoding::Json if rejected == 0 => b"{}".to_vec(),
        Encoding::Json => {
            let name = match signal {
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
                Signal::Spans => "rejectedSpans",
            };
            json!({ "partialSuccess": { name: rejected.to_string(), "errorMessage": reason } })
                .to_string()
                .into_bytes()
        }
    };
    response(StatusCode::OK, encoding, body)
}

pub(super) fn refused(encoding: Encoding, signal: Signal, refusal: &Refusal) -> Response {
    let status = refusal.status.as_u16().to_string();
    metrics::counter!("quintet_sink_refused_requests_total", "signal" => signal.as_str(), "status" => status)
        .increment(1);
    let body = match encoding {
        Encoding::Protobuf => {
            let mut body = Vec::new();
            put_varint_field(&mut body, 1, refusal.code().into());
            put_text_field(&mut body, 2, refusal.message.as_bytes());
            body
        }
        Encoding::Json => {
            json!({ "code": refusal.code(), "message": refusal.message }).to_string().into_bytes()
        }
    };
    let mut response = response(refusal.status, encoding, body);
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn response(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    response
}
