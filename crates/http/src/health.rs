//! The admin listener: liveness, readiness and metrics.
//!
//! `/healthz` says that the process answers; it never looks at dependencies, so that a broken
//! database does not get a healthy process killed. `/readyz` says whether to send it work.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// One condition of readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked, such as `database`.
    pub name: String,
    /// Whether it allows the binary to take work.
    pub ready: bool,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

/// Routes of the admin listener: `/healthz`, `/readyz` (200 or 503 with the checks as JSON) and
/// `/metrics` (the Prometheus text that `metrics` gives).
pub fn router(
    checks: impl Fn() -> Vec<Check> + Send + Sync + 'static,
    metrics: impl Fn() -> String + Send + Sync + 'static,
) -> Router {
    let checks = Arc::new(checks);
    let metrics = Arc::new(metrics);
    Router::new()
        .route("/healthz", get(|| async { plain("ok\n".to_owned(), "text/plain; charset=utf-8") }))
        .route("/readyz", get(move || async move { readiness(checks()) }))
        .route(
            "/metrics",
            get(move || async move { plain(metrics(), "text/plain; version=0.0.4; charset=utf-8") }),
        )
}

fn readiness(checks: Vec<Check>) -> Response {
    let ready = checks.iter().all(|check| check.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, axum::Json(Readiness { ready, checks })).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(text: String, media_type: &'static str) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
