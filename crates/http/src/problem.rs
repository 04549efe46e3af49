//! Error answers as RFC 9457 problem details.
//!
//! A [`Problem`] is what a caller may know; what only the operator may know is logged where the
//! problem is made ([`Problem::internal`]) and never reaches the body. `code` is the stable part
//! of the contract: clients match on it, so a code is never renamed. `type` stays `about:blank`,
//! which by RFC 9457 §4.2.1 makes `title` the status phrase.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use crate::request_id::RequestId;

/// The media type of every error body.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One thing wrong with one part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// RFC 6901 JSON pointer into the request body, or the name of a query or path parameter.
    pub pointer: String,
    /// What is wrong with it, in words for the caller.
    pub detail: String,
}

/// An error answer: status, stable code and words for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable `snake_case` identifier that clients match on.
    pub code: &'static str,
    /// Short summary that does not vary between occurrences.
    pub title: &'static str,
    /// Explanation of this occurrence.
    pub detail: String,
    /// The parts of the request at fault, where known.
    pub errors: Vec<FieldError>,
    /// Seconds after which trying again makes sense; sent as `Retry-After`.
    pub retry_after: Option<u64>,
    /// Value of `WWW-Authenticate` (RFC 9110 §11.6.1), for 401 and RFC 6750 403 answers.
    pub challenge: Option<Box<str>>,
}

impl Problem {
    /// A problem with the status phrase as its title.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            challenge: None,
        }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401 with a plain `Bearer` challenge.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_challenge("Bearer")
    }

    /// 403: the caller is known but lacks `scope`; names it as RFC 6750 §3.1 asks.
    pub fn forbidden(scope: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "scope_missing", format!("this needs the scope {scope}"))
            .with_challenge(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""))
    }

    /// 404: `what` (such as `item`) does not exist, or the caller may not know that it does.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    /// 409: the request contradicts the current state.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422: the request is well-formed and its content is not acceptable.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 412: `If-Match` names another version than the current one.
    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "the resource has changed since the version named in If-Match",
        )
    }

    /// 429: the caller exceeded its allowance.
    pub fn too_many(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "the rate limit is exceeded")
            .with_retry_after(retry_after)
    }

    /// 503: a temporary condition of the service, not of the request.
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the service cannot answer right now")
            .with_retry_after(retry_after)
    }

    /// 500: logs `error` with its chain of sources, once, and tells the caller nothing of it.
    pub fn internal(error: &dyn Error) -> Self {
        tracing::error!(error = %Chain(error), "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed to answer this request")
    }

    /// Adds one part of the request at fault.
    pub fn with_error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Sets `Retry-After`, rounded up to whole seconds and at least one.
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        let part = u64::from(retry_after.subsec_nanos() > 0);
        self.retry_after = Some(retry_after.as_secs().saturating_add(part).max(1));
        self
    }

    /// Sets `WWW-Authenticate`.
    pub fn with_challenge(mut self, challenge: impl Into<Box<str>>) -> Self {
        self.challenge = Some(challenge.into());
        self
    }

    /// The body: the problem as JSON, with the id of the request it answers.
    #[must_use]
    pub fn to_json(&self, request_id: Option<&str>) -> Bytes {
        let document = Document {
            kind: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            errors: &self.errors,
        };
        // Strings and integers always serialise; an empty body is still a correct status.
        serde_json::to_vec(&document).unwrap_or_default().into()
    }

    /// Sets the headers that go with the body.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
    }
}

/// Writes the request id into a problem made further in; other answers are left alone.
pub(crate) fn stamp(response: &mut Response, request_id: &RequestId) {
    if let Some(Carried(problem)) = response.extensions_mut().remove::<Carried>() {
        *response.body_mut() = problem.to_json(Some(request_id.as_str())).into();
        // A router that served as another's fallback has already said how long the old body was.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
}

/// The problem a response was made from, so that the request id can still be written into it.
#[derive(Clone)]
struct Carried(Box<Problem>);

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json(None)));
        *response.status_mut() = self.status;
        self.write_headers(response.headers_mut());
        response.extensions_mut().insert(Carried(Box::new(self)));
        response
    }
}

/// An error and its sources on one line, joined by `: `.
struct Chain<'a>(&'a dyn Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_to_at_least_one_second() {
        for (given, sent) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            let problem = Problem::too_many(Duration::from_millis(given));
            assert_eq!(problem.retry_after, Some(sent), "{given} ms");
        }
    }

    #[test]
    fn a_challenge_that_is_no_header_value_is_left_out() {
        let response = Problem::unauthorized("no").with_challenge("a\r\nb").into_response();
        assert!(response.headers().get(WWW_AUTHENTICATE).is_none());
    }

    #[test]
    fn the_chain_names_every_source_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot save the order")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk full"));
        assert_eq!(Chain(&error).to_string(), "cannot save the order: disk full");
    }
}
