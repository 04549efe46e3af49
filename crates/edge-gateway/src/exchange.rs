//! One request and its answer as operators see them: the access log line, the metrics and the span.
//!
//! An [`Exchange`] is made when a request head arrives and reports once, when it is dropped: after the
//! last byte of the answer, or when the client has left. Query strings and credentials are not logged.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use quintet_http::problem::Problem;

use crate::access_log::{Line, Said};
use crate::cache::CacheUse;
use crate::connection::ConnectionState;
use crate::content::Content;
use crate::pool::Pool;
use crate::router::Route;
use crate::why::Incident;
use crate::worker::View;

/// nginx's convention for a client that left before the answer was complete.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The one reason that is nobody's error here.
const CLIENT_LEFT: &str = "client_left";

/// What is known of a request so far.
pub(crate) struct Exchange {
    connection: Rc<ConnectionState>,
    started: Instant,
    method: Method,
    uri: Uri,
    request_id: HeaderValue,
    view: Rc<View>,
    route: Option<usize>,
    upstream: Option<Rc<Pool>>,
    upstream_time: Option<Duration>,
    status: Option<StatusCode>,
    bytes: Cell<u64>,
    error: Option<&'static str>,
    /// The problem that the gateway answered with, as code and detail.
    refused: Option<(&'static str, String)>,
    /// What the cache did, on a route that has one.
    cache: Option<CacheUse>,
    long_lived: bool,
    /// What lines of the form `combined` tell beside the rest.
    said: Option<Box<Said>>,
    span: tracing::Span,
}

impl Exchange {
    pub(crate) fn new(
        connection: Rc<ConnectionState>,
        started: Instant,
        method: Method,
        uri: Uri,
        request_id: HeaderValue,
    ) -> Self {
        connection.exchange_began();
        Self {
            view: connection.worker.view(),
            connection,
            started,
            method,
            uri,
            request_id,
            route: None,
            upstream: None,
            upstream_time: None,
            status: None,
            bytes: Cell::new(0),
            error: None,
            refused: None,
            cache: None,
            long_lived: false,
            said: None,
            span: tracing::Span::none(),
        }
    }

    /// Keeps what the access log tells of the request's head, where its lines do.
    pub(crate) fn listen<B>(&mut self, request: &Request<B>) {
        if self.view.access_log.combined().is_some() {
            self.said = Some(Box::new(Said::new(request.version(), request.headers())));
        }
    }

    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    fn request_id_text(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// The configuration that the request is served by.
    pub(crate) fn view(&self) -> &Rc<View> {
        &self.view
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn set_route(&mut self, route: usize) {
        self.route = Some(route);
    }

    /// What the route does to the content of its answers.
    pub(crate) fn content(&self) -> Option<&Content> {
        self.view.router.routes().get(self.route?)?.content.as_deref()
    }

    pub(crate) fn set_span(&mut self, span: tracing::Span) {
        self.span = span;
    }

    pub(crate) fn span(&self) -> &tracing::Span {
        &self.span
    }

    /// The request goes to this upstream.
    pub(crate) fn set_upstream(&mut self, upstream: Rc<Pool>) {
        self.upstream = Some(upstream);
    }

    /// The upstream has sent the head of its answer, so long after it was asked.
    pub(crate) fn set_upstream_time(&mut self, time: Duration) {
        self.upstream_time = Some(time);
    }

    /// What the cache did; what it did last counts.
    pub(crate) fn set_cache(&mut self, how: CacheUse) {
        self.cache = Some(how);
    }

    /// Takes note of the answer's head.
    pub(crate) fn set_head<B>(&mut self, response: &Response<B>) {
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        self.long_lived =
            status == StatusCode::SWITCHING_PROTOCOLS || content_type.starts_with(b"text/event-stream");
        self.status = Some(status);
    }

    pub(crate) fn connection(&self) -> &ConnectionState {
        &self.connection
    }

    pub(crate) fn add_bytes(&self, count: u64) {
        self.bytes.set(self.bytes.get().saturating_add(count));
    }

    /// Notes why an answer was made here, or is not complete; the first reason stays.
    pub(crate) fn fail(&mut self, reason: &'static str) {
        self.error.get_or_insert(reason);
    }

    /// The gateway answers with this problem of its own, whose code is the reason unless an earlier one is known.
    pub(crate) fn refuse(&mut self, problem: &Problem) {
        self.refused = Some((problem.code, problem.detail.clone()));
        self.fail(problem.code);
    }

    fn report(&self) {
        let elapsed = self.started.elapsed();
        let status = self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16());
        // An event stream or a tunnel lasts as long as somebody looks at it: that is no latency.
        let latency = (!self.long_lived).then_some(elapsed);
        // For the metrics too, whose exemplars name the current trace.
        let _entered = self.span.enter();
        match self.route.and_then(|route| self.view.route_state(route)) {
            Some(route) => {
                route.metrics.request(status, latency);
                if let (Some(how), Some(cache)) = (self.cache, &route.cache) {
                    cache.metrics.count(how);
                }
            }
            None => self.connection.worker.gateway.metrics.unrouted.request(status, latency),
        }
        self.view.tally.count(self.refused.is_some() && matches!(status, 502..=504));
        if let Some(reason) = self.error.filter(|reason| *reason != CLIENT_LEFT) {
            self.remember(reason, elapsed);
        }
        if !self.span.is_disabled() {
            self.span.record("http.response.status_code", status);
            if status >= 500 {
                self.span.record("otel.status_code", "ERROR");
            }
        }
        let access_log = self.connection.worker.access_log();
        if let Some(combined) = access_log.combined() {
            combined.log(&Line {
                client: self.connection.client.text(),
                now: self.connection.worker.gateway.now(),
                method: &self.method,
                uri: &self.uri,
                said: self.said.as_deref(),
                status,
                bytes: self.bytes.get(),
            });
        }
        access_log.structured.log("request", self.request_id_text(), |fields| {
            fields.text("method", self.method.as_str());
            fields.text("path", self.uri.path());
            fields.number("status", status.into());
            fields.number("duration_us", micros(elapsed));
            if let Some(pool) = &self.upstream {
                fields.text("upstream", &pool.upstream.name);
            }
            if let Some(time) = self.upstream_time {
                fields.number("upstream_duration_us", micros(time));
            }
            fields.text("request_id", self.request_id_text());
            fields.number("bytes", self.bytes.get());
            fields.text("client", self.connection.client.text());
            if let Some(how) = self.cache {
                fields.text("cache", how.word());
            }
            if let Some(error) = self.error {
                fields.text("error", error);
            }
        });
    }
}

impl Exchange {
    /// Keeps what `edge-gateway why` tells.
    #[cold]
    fn remember(&self, reason: &'static str, elapsed: Duration) {
        let worker = &self.connection.worker;
        let (code, detail) = self.refused.clone().unwrap_or((reason, String::new()));
        let micros = worker.gateway.now_millis().saturating_mul(1_000);
        worker.incidents.note(Incident {
            request_id: self.request_id_text().to_owned(),
            at: quintet_types::time::from_micros(micros).to_string(),
            duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            method: self.method.to_string(),
            path: self.uri.path().to_owned(),
            client: self.connection.client.text().to_owned(),
            // An answer that broke off has a status of the upstream's, which is not what went wrong.
            status: self.refused.is_some().then(|| self.status.map(|status| status.as_u16())).flatten(),
            code: code.to_owned(),
            reason: reason.to_owned(),
            detail,
            route: self.route.and_then(|at| self.view.router.routes().get(at)).map(Route::label),
            upstream: self.upstream.as_ref().map(|pool| pool.upstream.name.clone()),
        });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.fail(CLIENT_LEFT);
            self.connection.exchange_cancelled();
        }
        self.report();
        self.connection.exchange_ended();
    }
}
