//! The gateway's metrics: handles made once, with the snapshot or object they belong to, so that a request
//! costs an atomic addition and no look-up.
//!
//! Labels come from the configuration (routes, upstreams) or from fixed lists; nothing a client sends
//! becomes a label.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::cache::CacheUse;
use crate::upstream::Upstream;

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// What belongs to the process rather than to a route or an upstream.
pub(crate) struct Metrics {
    /// Requests that matched no route.
    pub(crate) unrouted: RouteMetrics,
    pub(crate) connections_accepted: Counter,
    pub(crate) refused_total: Counter,
    pub(crate) refused_per_client: Counter,
    pub(crate) connections_open: Gauge,
    connections_parked: Gauge,
    pub(crate) rate_limited: Counter,
    /// Requests beyond their client's memory.
    pub(crate) memory_limited: Counter,
    client_memory: [Gauge; 2],
    pub(crate) handshakes: Counter,
    pub(crate) tunnels_open: Gauge,
    pub(crate) accept_errors: Counter,
    pub(crate) reaped: Counter,
    pub(crate) mirror_sent: Counter,
    pub(crate) mirror_skipped: Counter,
    pub(crate) mirror_failed: Counter,
    pub(crate) reloads_applied: Counter,
    pub(crate) reloads_refused: Counter,
    pub(crate) reloads_rolled_back: Counter,
    certificate_expiry: Gauge,
}

/// Counters of one route; those of a route that is gone are no longer touched.
pub(crate) struct RouteMetrics {
    requests: [Counter; 6],
    duration: Histogram,
}

/// Counters of one route's use of the cache.
pub(crate) struct CacheMetrics([Counter; CacheUse::ALL.len()]);

/// What belongs to the cache as a whole.
pub(crate) struct CacheTotals {
    pub(crate) evicted: Counter,
    objects: Gauge,
    bytes: Gauge,
}

impl std::fmt::Debug for CacheTotals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheTotals").finish_non_exhaustive()
    }
}

impl CacheMetrics {
    pub(crate) fn new(route: &str) -> Self {
        Self(CacheUse::ALL.map(|how| {
            counter!("quintet_gateway_cache_requests_total", "route" => route.to_owned(), "outcome" => how.word())
        }))
    }

    pub(crate) fn count(&self, how: CacheUse) {
        if let Some(counter) = self.0.get(how as usize) {
            counter.increment(1);
        }
    }
}

impl CacheTotals {
    pub(crate) fn new() -> Self {
        Self {
            evicted: counter!("quintet_gateway_cache_evicted_total"),
            objects: gauge!("quintet_gateway_cache_objects"),
            bytes: gauge!("quintet_gateway_cache_bytes"),
        }
    }

    pub(crate) fn observe(&self, objects: usize, bytes: usize) {
        self.objects.set(float(objects));
        self.bytes.set(float(bytes));
    }
}

/// Counters of one upstream.
pub(crate) struct UpstreamMetrics {
    in_flight: Gauge,
    in_flight_limit: Gauge,
    pub(crate) retries: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) connects: Counter,
    checks_passed: Counter,
    checks_failed: Counter,
    pending: Gauge,
    pub(crate) hedges: Counter,
    pub(crate) ejections: Counter,
    /// By address.
    available: Vec<Gauge>,
}

impl RouteMetrics {
    pub(crate) fn new(route: &str) -> Self {
        let requests = CLASSES.map(
            |class| counter!("quintet_gateway_requests_total", "route" => route.to_owned(), "status_class" => class),
        );
        let duration = histogram!("quintet_gateway_request_duration_seconds", "route" => route.to_owned());
        Self { requests, duration }
    }

    /// Counts an answered request; `latency` is none for one that is open-ended by nature.
    pub(crate) fn request(&self, status: u16, latency: Option<Duration>) {
        let class = usize::from(status / 100).wrapping_sub(1).min(5);
        if let Some(counter) = self.requests.get(class) {
            counter.increment(1);
        }
        if let Some(latency) = latency {
            self.duration.record(latency.as_secs_f64());
        }
    }
}

impl UpstreamMetrics {
    /// `addresses` become labels: they come from the configuration.
    pub(crate) fn new(upstream: &str, addresses: impl Iterator<Item = String>) -> Self {
        let name = || upstream.to_owned();
        let checks = |outcome: &'static str| counter!("quintet_gateway_health_checks_total", "upstream" => name(), "outcome" => outcome);
        let available = addresses.map(|address| {
            gauge!("quintet_gateway_upstream_address_available", "upstream" => name(), "address" => address)
        });
        Self {
            in_flight: gauge!("quintet_gateway_upstream_in_flight", "upstream" => name()),
            in_flight_limit: gauge!("quintet_gateway_upstream_in_flight_limit", "upstream" => name()),
            retries: counter!("quintet_gateway_upstream_retries_total", "upstream" => name()),
            connect_failures: counter!("quintet_gateway_upstream_connect_failures_total", "upstream" => name()),
            connects: counter!("quintet_gateway_upstream_connects_total", "upstream" => name()),
            pending: gauge!("quintet_gateway_upstream_pending", "upstream" => name()),
            hedges: counter!("quintet_gateway_upstream_hedges_total", "upstream" => name()),
            ejections: counter!("quintet_gateway_upstream_ejections_total", "upstream" => name()),
            checks_passed: checks("passed"),
            checks_failed: checks("failed"),
            available: available.collect(),
        }
    }

    /// Requests in flight to the upstream, those that may be and those that wait, and whether each address gets any.
    pub(crate) fn observe(
        &self,
        in_flight: usize,
        limit: usize,
        pending: usize,
        available: impl Iterator<Item = bool>,
    ) {
        self.in_flight.set(float(in_flight));
        self.in_flight_limit.set(float(limit));
        self.pending.set(float(pending));
        for (gauge, available) in self.available.iter().zip(available) {
            gauge.set(f64::from(u8::from(available)));
        }
    }

    /// Counts a health check.
    pub(crate) fn checked(&self, passed: bool) {
        if passed { self.checks_passed.increment(1) } else { self.checks_failed.increment(1) }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let refused =
            |reason: &'static str| counter!("quintet_gateway_connections_refused_total", "reason" => reason);
        let mirrored =
            |outcome: &'static str| counter!("quintet_gateway_mirrored_total", "outcome" => outcome);
        let reloads = |outcome: &'static str| counter!("quintet_gateway_reloads_total", "outcome" => outcome);
        Self {
            unrouted: RouteMetrics::new("none"),
            connections_accepted: counter!("quintet_gateway_connections_accepted_total"),
            refused_total: refused("total"),
            refused_per_client: refused("per_client"),
            connections_open: gauge!("quintet_gateway_connections_open"),
            connections_parked: gauge!("quintet_gateway_connections_parked"),
            rate_limited: counter!("quintet_gateway_rate_limited_total"),
            memory_limited: counter!("quintet_gateway_client_memory_refused_total"),
            client_memory: [
                gauge!("quintet_gateway_client_memory_bytes"),
                gauge!("quintet_gateway_client_memory_largest_bytes"),
            ],
            handshakes: counter!("quintet_gateway_tls_handshakes_total"),
            tunnels_open: gauge!("quintet_gateway_tunnels_open"),
            accept_errors: counter!("quintet_gateway_accept_errors_total"),
            reaped: counter!("quintet_gateway_connections_reaped_total"),
            mirror_sent: mirrored("sent"),
            mirror_skipped: mirrored("skipped"),
            mirror_failed: mirrored("failed"),
            reloads_applied: reloads("applied"),
            reloads_refused: reloads("refused"),
            reloads_rolled_back: reloads("rolled_back"),
            certificate_expiry: gauge!("quintet_gateway_certificate_expiry_timestamp_seconds"),
        }
    }

    pub(crate) fn handshake_failed(reason: &'static str) {
        // Rare, and the reasons are a fixed list; the look-up does not matter.
        counter!("quintet_gateway_tls_handshake_failures_total", "reason" => reason).increment(1);
    }

    pub(crate) fn proxy_header_refused(reason: &'static str) {
        // As above.
        counter!("quintet_gateway_proxy_headers_refused_total", "reason" => reason).increment(1);
    }

    /// Bytes that clients have reserved: all together, and the one with the most.
    pub(crate) fn client_memory(&self, (all, largest): (usize, usize)) {
        let [of_all, of_largest] = &self.client_memory;
        of_all.set(float(all));
        of_largest.set(float(largest));
    }

    /// Idle connections that hold no buffers.
    pub(crate) fn parked(&self, connections: usize) {
        self.connections_parked.set(float(connections));
    }

    /// Sets the gauges that are read rather than counted.
    pub(crate) fn observe(
        &self,
        connections: usize,
        upstreams: &[Arc<Upstream>],
        certificate_expiry: Option<i64>,
    ) {
        let now = Instant::now();
        self.connections_open.set(float(connections));
        for upstream in upstreams {
            upstream.observe(now);
        }
        if let Some(expiry) = certificate_expiry {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
            self.certificate_expiry.set(expiry as f64);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of connections and requests are far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}
