//! The admin listener: liveness, readiness and metrics.
//!
//! `/healthz` says that the process answers; it never looks at dependencies, so that a broken
//! database does not get a healthy process killed. `/readyz` says whether to send it work.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
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
/// `/metrics` (what `metrics` gives in the form that the client prefers).
pub fn router(
    checks: impl Fn() -> Vec<Check> + Send + Sync + 'static,
    metrics: impl Fn(MetricsForm) -> String + Send + Sync + 'static,
) -> Router {
    let checks = Arc::new(checks);
    let metrics = Arc::new(metrics);
    Router::new()
        .route("/healthz", get(|| async { plain("ok\n".to_owned(), "text/plain; charset=utf-8") }))
        .route("/readyz", get(move || async move { readiness(checks()) }))
        .route(
            "/metrics",
            get(move |headers: HeaderMap| async move {
                let form = MetricsForm::wanted(&headers);
                let mut response = plain(metrics(form), form.media_type());
                response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
                response
            }),
        )
}

/// A text form of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsForm {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0, the only one with exemplars.
    OpenMetrics,
}

impl MetricsForm {
    /// The form that the `Accept` headers weigh most; Prometheus' own where they weigh both alike or name neither.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let (mut openmetrics, mut prometheus) = (0.0, 0.0);
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parameters = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let media_type = parameters.next().unwrap_or_default();
            let (mut weight, mut known) = (1.0, true);
            for parameter in parameters {
                match parameter.split_once('=') {
                    Some(("q", text)) => weight = text.parse().unwrap_or(0.0),
                    Some(("version", text)) if media_type == "application/openmetrics-text" => {
                        known = text.trim_matches('"') == "1.0.0";
                    }
                    _ => {}
                }
            }
            match media_type.as_str() {
                "application/openmetrics-text" if known => openmetrics = f64::max(openmetrics, weight),
                "text/plain" | "text/*" | "*/*" => prometheus = f64::max(prometheus, weight),
                _ => {}
            }
        }
        if openmetrics > prometheus { Self::OpenMetrics } else { Self::Prometheus }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
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
