//! What every public router wears, from the outside in: request id, then (in one layer) the
//! concurrency limit, the time limit, panic capture and the body limit.
//!
//! [`standard`] applies all of it. A binary that observes requests puts its layer between
//! [`guard`] and [`identify`], so that it sees the request id and also the answers that the limits
//! give. What a route needs beyond the defaults it says itself: [`MaxBody`].

mod body;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Version};
use http_body::Body as _;
use tokio::sync::Semaphore;

pub use self::body::{BodyTooLarge, MaxBody, MaxBodyService};
use crate::problem::{Problem, stamp};
use crate::request_id::{HEADER, RequestId};
use crate::server::{Limits, Progress};

/// How long a caller turned away for lack of room should wait.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// [`identify`] around [`guard`]: everything a public router needs.
pub fn standard(router: Router, limits: &Limits) -> Router {
    identify(guard(router, limits))
}

/// Applies the limits and turns a panic, an unknown route and a wrong method into problems.
pub fn guard(router: Router, limits: &Limits) -> Router {
    let guard = Arc::new(Guard {
        in_flight: Semaphore::new(limits.max_in_flight),
        request_timeout: limits.request_timeout,
        max_body: limits.max_body,
    });
    // Axum's own body limit is static per layer; ours is enforced on the stream itself.
    router.layer(DefaultBodyLimit::disable()).layer(from_fn_with_state(guard, guarded))
}

/// Gives every request a [`RequestId`] and every answer its `X-Request-Id`.
pub fn identify(router: Router) -> Router {
    router.layer(from_fn(identified))
}

struct Guard {
    in_flight: Semaphore,
    request_timeout: Duration,
    max_body: usize,
}

async fn identified(mut request: Request, next: Next) -> Response {
    let id = RequestId::from_headers(request.headers()).unwrap_or_else(RequestId::generate);
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    stamp(&mut response, &id);
    response.headers_mut().insert(HEADER, id.header_value());
    response
}

async fn guarded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let version = request.version();
    let progress = request.extensions().get::<Progress>().cloned();
    let mut response = limited(&guard, request, next).await;
    explain_empty(&mut response);
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        // The rest of the body is still on its way: the connection cannot carry another request.
        if version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(progress) = progress {
            progress.linger();
        }
    }
    response
}

async fn limited(guard: &Guard, request: Request, next: Next) -> Response {
    let Ok(_permit) = guard.in_flight.try_acquire() else {
        metrics::counter!("quintet_http_overloads_total").increment(1);
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "too many requests are in progress",
        )
        .with_retry_after(OVERLOAD_RETRY)
        .into_response();
    };
    let request = body::limit(request, guard.max_body);
    // Unwind safety: the request's state is dropped with the future, nothing is seen half-changed.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(guard.request_timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(payload)) => panicked(payload.as_ref()),
        Err(_) => timed_out(),
    }
}

fn panicked(payload: &(dyn Any + Send)) -> Response {
    let message = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    metrics::counter!("quintet_http_panics_total").increment(1);
    tracing::error!(panic = message, "request handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed to answer this request")
        .into_response()
}

fn timed_out() -> Response {
    metrics::counter!("quintet_http_timeouts_total").increment(1);
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "timeout",
        "the request took longer than this service allows",
    )
    .with_retry_after(OVERLOAD_RETRY)
    .into_response()
}

/// The router's own 404 and 405 have no body; a handler's answers do and stay as they are.
fn explain_empty(response: &mut Response) {
    if response.headers().contains_key(CONTENT_TYPE) || response.body().size_hint().exact() != Some(0) {
        return;
    }
    let problem = match response.status() {
        StatusCode::NOT_FOUND => {
            Problem::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such route")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed =
                response.headers().get(ALLOW).and_then(|value| value.to_str().ok()).unwrap_or("none");
            let detail = format!("this route does not support the method; it supports {allowed}");
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        }
        _ => return,
    };
    let bare = std::mem::replace(response, problem.into_response());
    let (parts, _): (_, Body) = bare.into_parts();
    for (name, value) in &parts.headers {
        response.headers_mut().append(name, value.clone());
    }
}
