//! Answers that the gateway gives itself: problems, redirects, small JSON documents.
//!
//! All carry headers that keep a browser from sniffing, framing or caching them. The request id and
//! Strict-Transport-Security are added to every answer in one place, [`crate::handler`].

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use quintet_http::problem::Problem;
use serde::Serialize;

use crate::body::ResponseBody;
use crate::limits::{Decision, Quota};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A problem as RFC 9457 asks for it.
pub(crate) fn problem(problem: &Problem, request_id: &HeaderValue) -> Response<ResponseBody> {
    let mut response = respond(problem.status, None, problem.to_json(request_id.to_str().ok()));
    problem.write_headers(response.headers_mut());
    response
}

/// A JSON document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<ResponseBody> {
    let body = serde_json::to_vec(document).unwrap_or_default();
    respond(status, Some(HeaderValue::from_static("application/json")), body.into())
}

/// A redirect without a body. A location that is no header value becomes the root.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response<ResponseBody> {
    let mut response = respond(status, None, Bytes::new());
    let location = HeaderValue::from_str(location).unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    response
}

/// An answer with the headers that all of the gateway's own answers carry.
pub(crate) fn respond(
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
) -> Response<ResponseBody> {
    let mut response =
        Response::new(if body.is_empty() { ResponseBody::Empty } else { ResponseBody::Full(body) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

/// Tells the client its allowance (draft-ietf-httpapi-ratelimit-headers).
pub(crate) fn add_rate_limit(headers: &mut http::HeaderMap, quota: &Quota, decision: &Decision) {
    let seconds = |duration: std::time::Duration| duration.as_millis().div_ceil(1000);
    let policy = format!("\"client\";q={};w={}", quota.requests, seconds(quota.window).max(1));
    let state = format!("\"client\";r={};t={}", decision.remaining, seconds(decision.reset_after));
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
