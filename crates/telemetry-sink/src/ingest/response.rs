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
pub(crate) struct Refusal {
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

    pub(super) fn report(&self, signal: Signal) {
        let status = self.status.as_u16().to_string();
        metrics::counter!("quintet_sink_refused_requests_total", "signal" => signal.as_str(), "status" => status)
            .increment(1);
    }

    /// The refusal as text, for protocols that have no form of their own.
    pub(super) fn to_text(&self) -> Response {
        let mut response = Response::new(Body::from(format!("{}\n", self.message)));
        *response.status_mut() = self.status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The gRPC code that goes with the HTTP status.
    pub(super) fn code(&self) -> u8 {
        match self.status {
            StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::PAYLOAD_TOO_LARGE => 3,
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            _ => 13,
        }
    }
}

/// What became of a request that was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Items that were left out for good.
    pub(super) rejected: usize,
    pub(super) reason: Option<&'static str>,
}

impl Accepted {
    /// Counts what was left out.
    pub(super) fn report(&self, signal: Signal) {
        if self.rejected > 0 {
            let rejected = u64::try_from(self.rejected).unwrap_or(0);
            metrics::counter!("quintet_sink_rejected_items_total", "signal" => signal.as_str())
                .increment(rejected);
        }
    }

    /// The export response of all three signals: `partial_success` where something was rejected.
    pub(super) fn to_protobuf(self) -> Vec<u8> {
        let mut body = Vec::new();
        if self.rejected > 0 {
            let mut partial = Vec::new();
            put_varint_field(&mut partial, 1, u64::try_from(self.rejected).unwrap_or(0));
            put_text_field(&mut partial, 2, self.reason.unwrap_or("").as_bytes());
            put_text_field(&mut body, 1, &partial);
        }
        body
    }

    fn to_json(self, signal: Signal) -> Vec<u8> {
        if self.rejected == 0 {
            return b"{}".to_vec();
        }
        let name = match signal {
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
            Signal::Spans => "rejectedSpans",
        };
        let partial = json!({ name: self.rejected.to_string(), "errorMessage": self.reason.unwrap_or("") });
        json!({ "partialSuccess": partial }).to_string().into_bytes()
    }
}

/// 200, with `partial_success` where something was rejected.
pub(super) fn accepted(encoding: Encoding, signal: Signal, outcome: &Accepted) -> Response {
    outcome.report(signal);
    let body = match encoding {
        Encoding::Protobuf => outcome.to_protobuf(),
        Encoding::Json => outcome.to_json(signal),
    };
    response(StatusCode::OK, encoding, body)
}

pub(super) fn refused(encoding: Encoding, signal: Signal, refusal: &Refusal) -> Response {
    refusal.report(signal);
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
