//! The gateway's metrics: handles made once, so that a request costs an atomic addition and no look-up.
//!
//! Labels come from the configuration (routes, upstreams) or from fixed lists; nothing a client sends
//! becomes a label.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::router::Router;
use crate::upstream::Upstream;

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

pub(crate) struct Metrics {
    /// Per route, then `none` for requests that matched no route.
    routes: Vec<RouteMetrics>,
    unrouted: RouteMetrics,
    upstreams: Vec<UpstreamMetrics>,
    pub(crate) connections_accepted: Counter,
    pub(crate) refused_total: Counter,
    pub(crate) refused_per_client: Counter,
    pub(crate) connections_open: Gauge,
    pub(crate) rate_limited: Counter,
    pub(crate) tunnels_open: Gauge,
    pub(crate) accept_errors: Counter,
    pub(crate) reaped: Counter,
    certificate_expiry: Gauge,
}

struct RouteMetrics {
    requests: [Counter; 6],
    duration: Histogram,
}

struct UpstreamMetrics {
    in_flight: Gauge,
    retries: Counter,
    connect_failures: Counter,
    connects: Counter,
}

impl RouteMetrics {
    fn new(route: &str) -> Self {
        let requests = CLASSES.map(
            |class| counter!("quintet_gateway_requests_total", "route" => route.to_owned(), "status_class" => class),
        );
        let duration = histogram!("quintet_gateway_request_duration_seconds", "route" => route.to_owned());
        Self { requests, duration }
    }
}

impl Metrics {
    pub(crate) fn new(router: &Router, upstreams: &[Upstream]) -> Self {
        let refused =
            |reason: &'static str| counter!("quintet_gateway_connections_refused_total", "reason" => reason);
        Self {
            routes: router.routes().iter().map(|route| RouteMetrics::new(&route.label())).collect(),
            unrouted: RouteMetrics::new("none"),
            upstreams: upstreams
                .iter()
                .map(|upstream| {
                    let name = || upstream.name.clone();
                    UpstreamMetrics {
                        in_flight: gauge!("quintet_gateway_upstream_in_flight", "upstream" => name()),
                        retries: counter!("quintet_gateway_upstream_retries_total", "upstream" => name()),
                        connect_failures: counter!("quintet_gateway_upstream_connect_failures_total", "upstream" => name()),
                        connects: counter!("quintet_gateway_upstream_connects_total", "upstream" => name()),
                    }
                })
                .collect(),
            connections_accepted: counter!("quintet_gateway_connections_accepted_total"),
            refused_total: refused("total"),
            refused_per_client: refused("per_client"),
            connections_open: gauge!("quintet_gateway_connections_open"),
            rate_limited: counter!("quintet_gateway_rate_limited_total"),
            tunnels_open: gauge!("quintet_gateway_tunnels_open"),
            accept_errors: counter!("quintet_gateway_accept_errors_total"),
            reaped: counter!("quintet_gateway_connections_reaped_total"),
            certificate_expiry: gauge!("quintet_gateway_certificate_expiry_timestamp_seconds"),
        }
    }

    /// Counts an answered request; `latency` is none for one that is open-ended by nature.
    pub(crate) fn request(&self, route: Option<usize>, status: u16, latency: Option<Duration>) {
        let route = route.and_then(|at| self.routes.get(at)).unwrap_or(&self.unrouted);
        let class = usize::from(status / 100).wrapping_sub(1).min(5);
        if let Some(counter) = route.requests.get(class) {
            counter.increment(1);
        }
        if let Some(latency) = latency {
            route.duration.record(latency.as_secs_f64());
        }
    }

    pub(crate) fn handshake_failed(reason: &'static str) {
        // Rare, and the reasons are a fixed list; the look-up does not matter.
        counter!("quintet_gateway_tls_handshake_failures_total", "reason" => reason).increment(1);
    }

    pub(crate) fn retried(&self, upstream: usize) {
        if let Some(metrics) = self.upstreams.get(upstream) {
            metrics.retries.increment(1);
        }
    }

    pub(crate) fn connected(&self, upstream: usize) {
        if let Some(metrics) = self.upstreams.get(upstream) {
            metrics.connects.increment(1);
        }
    }

    pub(crate) fn connect_failed(&self, upstream: usize) {
        if let Some(metrics) = self.upstreams.get(upstream) {
            metrics.connect_failures.increment(1);
        }
    }

    /// Sets the gauges that are read rather than counted.
    pub(crate) fn observe(&self, connections: usize, upstreams: &[Upstream], certificate_expiry: i64) {
        self.connections_open.set(float(connections));
        for (metrics, upstream) in self.upstreams.iter().zip(upstreams) {
            metrics.in_flight.set(float(upstream.in_flight()));
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
        self.certificate_expiry.set(certificate_expiry as f64);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of connections and requests are far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}
