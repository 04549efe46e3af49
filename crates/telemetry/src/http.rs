//! Server instrumentation: a span, RED metrics and one access log line for every request.
//!
//! The layer belongs inside the middleware that sets the request id and outside of the one that
//! applies limits, so that refusals are counted too. The span is named after the matched route, not
//! the path, and no query string is recorded: queries may hold codes and tokens.
//!
//! A request whose client leaves before the answer counts as status 499, as nginx does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::Method;
use quintet_http::RequestId;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// Status recorded when the client left before the answer.
const CLIENT_CLOSED: u16 = 499;

/// How much is recorded of each request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Span, metrics and access log line.
    #[default]
    Full,
    /// Metrics alone: for the sink's own intake, where a record of each request would itself be
    /// sent to that intake.
    MetricsOnly,
}

/// Instruments an axum router with everything: `router.layer(telemetry::http::layer())`.
pub fn layer() -> HttpLayer {
    HttpLayer { detail: Detail::Full }
}

/// The layer; see [`layer`].
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpLayer {
    detail: Detail,
}

impl HttpLayer {
    /// A layer that records as much as `detail` says.
    pub fn new(detail: Detail) -> Self {
        Self { detail }
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = HttpService<S>;

    fn layer(&self, inner: S) -> HttpService<S> {
        HttpService { inner, detail: self.detail }
    }
}

/// The service that [`HttpLayer`] makes.
#[derive(Debug, Clone)]
pub struct HttpService<S> {
    inner: S,
    detail: Detail,
}

impl<S> Service<Request> for HttpService<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut observed = Observed::begin(&request, self.detail);
        let span = observed.span.clone();
        // Entered while the inner future is made, too: services may do work in `call`.
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let result = answer.await;
                if let Ok(response) = &result {
                    observed.status = response.status().as_u16();
                }
                drop(observed);
                result
            }
            .instrument(span),
        )
    }
}

/// A request in progress. Dropping it records the outcome, so that a request that is cut off
/// anywhere is recorded as well.
struct Observed {
    started: Instant,
    method: &'static str,
    route: String,
    path: Option<String>,
    status: u16,
    span: Span,
}

impl Observed {
    fn begin(request: &Request, detail: Detail) -> Self {
        let method = method_name(request.method());
        let route = request
            .extensions()
            .get::<MatchedPath>()
            .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
        let full = detail == Detail::Full;
        let span = if full { span(request, method, &route) } else { Span::none() };
        metrics::gauge!("http_server_active_requests").increment(1.0);
        Self {
            started: Instant::now(),
            method,
            route,
            path: full.then(|| request.uri().path().to_owned()),
            status: CLIENT_CLOSED,
            span,
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let route = std::mem::take(&mut self.route);
        if let Some(path) = &self.path {
            self.span.in_scope(|| {
                tracing::info!(
                    target: "access",
                    method = self.method,
                    path = path.as_str(),
                    route = route.as_str(),
                    status = self.status,
                    duration_ms = (seconds * 1_000_000.0).round() / 1000.0,
                    "request"
                );
            });
            self.span.record("http.response.status_code", self.status);
            if self.status >= 500 {
                self.span.record("otel.status_code", "ERROR");
            }
        }
        metrics::gauge!("http_server_active_requests").decrement(1.0);
        metrics::histogram!(
            "http_server_request_duration_seconds", "route" => route.clone(), "method" => self.method
        )
        .record(seconds);
        metrics::counter!(
            "http_server_requests_total",
            "route" => route, "method" => self.method, "status" => status_text(self.status)
        )
        .increment(1);
    }
}

fn span(request: &Request, method: &'static str, route: &str) -> Span {
    let span = tracing::info_span!(
        target: "http",
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        url.path = request.uri().path(),
        request.id = Empty,
    );
    if let Some(id) = request.extensions().get::<RequestId>() {
        span.record("request.id", id.as_str());
    }
    crate::trace::set_parent_from_headers(&span, request.headers());
    span
}

/// Methods are a metric's label, so a client must not invent new ones.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// The usual statuses without an allocation.
fn status_text(status: u16) -> std::borrow::Cow<'static, str> {
    match status {
        200 => "200".into(),
        201 => "201".into(),
        204 => "204".into(),
        304 => "304".into(),
        400 => "400".into(),
        401 => "401".into(),
        403 => "403".into(),
        404 => "404".into(),
        429 => "429".into(),
        503 => "503".into(),
        other => other.to_string().into(),
    }
}
