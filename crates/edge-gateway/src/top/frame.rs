//! What happened between two looks at the gateway.

use serde::Serialize;

use super::exposition::Exposition;
use super::status::Status;
use crate::upstream::EndpointStatus;

/// One look: what is, and what was counted so far.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) status: Status,
    pub(super) counted: Exposition,
    pub(super) at: std::time::Instant,
}

/// The gateway over one interval. Rates are by second.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    pub(super) at: String,
    pub(super) version: String,
    pub(super) interval_s: f64,
    pub(super) uptime_s: f64,
    /// Of one core.
    pub(super) cpu_percent: f64,
    pub(super) memory_bytes: f64,
    pub(super) open_files: f64,
    /// Configurations installed since the start.
    pub(super) reloads: u64,
    pub(super) requests: Requests,
    pub(super) connections: Connections,
    pub(super) limits: LimitsHit,
    pub(super) cache: Cached,
    pub(super) routes: Vec<RouteRow>,
    pub(super) upstreams: Vec<UpstreamRow>,
}

/// Requests over all routes.
#[derive(Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "in JSON the unit belongs to the name")]
pub(super) struct Requests {
    pub(super) per_s: f64,
    pub(super) client_errors_per_s: f64,
    pub(super) server_errors_per_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub(super) open: usize,
    pub(super) limit: usize,
    pub(super) parked: usize,
    pub(super) tunnels: f64,
    pub(super) accepted_per_s: f64,
    pub(super) tls_handshakes_per_s: f64,
    pub(super) tls_failures_per_s: f64,
}

/// What bounds kept out.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "in JSON the unit belongs to the name")]
pub(super) struct LimitsHit {
    pub(super) rate_limited_per_s: f64,
    /// Requests beyond their client's memory.
    pub(super) memory_limited_per_s: f64,
    pub(super) connections_refused_per_s: f64,
    /// Connections that were ended because a client was too slow.
    pub(super) connections_reaped_per_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Cached {
    pub(super) bytes: f64,
    pub(super) objects: f64,
    pub(super) hits_per_s: f64,
    pub(super) lookups_per_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct RouteRow {
    pub(super) route: String,
    /// Since the start.
    pub(super) total: f64,
    #[serde(flatten)]
    pub(super) requests: Requests,
    /// None without a request. At most the largest bucket's bound, 10 s.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// None where the cache was not asked.
    pub(super) cache_hit_percent: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct UpstreamRow {
    pub(super) upstream: String,
    pub(super) in_flight: usize,
    pub(super) in_flight_limit: usize,
    pub(super) pending: usize,
    pub(super) connects_per_s: f64,
    pub(super) connect_failures_per_s: f64,
    pub(super) retries_per_s: f64,
    pub(super) hedges_per_s: f64,
    pub(super) ejections_per_s: f64,
    pub(super) endpoints: Vec<EndpointStatus>,
}

/// Outcomes of the cache that asked no upstream and made nobody wait for one.
const HITS: [&str; 3] = ["hit", "collapsed", "stale"];
/// As metrics call requests that no route took.
const UNROUTED: &str = "none";
const REQUESTS: &str = "quintet_gateway_requests_total";
const CACHE: &str = "quintet_gateway_cache_requests_total";

/// Reads counters as rates.
struct Between<'a> {
    before: &'a Exposition,
    after: &'a Exposition,
    seconds: f64,
}

impl Between<'_> {
    /// A counter that went down began anew: the gateway was restarted.
    fn since(before: f64, after: f64) -> f64 {
        if after < before { after } else { after - before }
    }

    fn rate(&self, name: &str, of: &str) -> f64 {
        Self::since(self.before.sum(name, of), self.after.sum(name, of)) / self.seconds
    }

    fn rate_where(&self, name: &str, of: &str, label: &str, values: &[&str]) -> f64 {
        let sum = |counted: &Exposition| counted.sum_where(name, of, label, values);
        Self::since(sum(self.before), sum(self.after)) / self.seconds
    }

    fn requests(&self, route: &str) -> Requests {
        Requests {
            per_s: self.rate(REQUESTS, route),
            client_errors_per_s: self.rate_where(REQUESTS, route, "status_class", &["4xx"]),
            server_errors_per_s: self.rate_where(REQUESTS, route, "status_class", &["5xx"]),
        }
    }

    /// The time in milliseconds that this share of the interval's requests took at most.
    fn quantile(&self, route: &str, share: f64) -> Option<f64> {
        let name = "quintet_gateway_request_duration_seconds";
        let before = self.before.buckets(name, route);
        let after = self.after.buckets(name, route);
        let buckets: Vec<(f64, f64)> = after
            .iter()
            .enumerate()
            .map(|(at, (bound, count))| {
                let earlier = before.get(at).map_or(0.0, |(_, count)| *count);
                (*bound, Self::since(earlier, *count))
            })
            .collect();
        quantile(&buckets, share).map(|seconds| seconds * 1e3)
    }

    fn route(&self, route: &str) -> RouteRow {
        let lookups = self.rate(CACHE, route);
        let hits = self.rate_where(CACHE, route, "outcome", &HITS);
        RouteRow {
            route: if route == UNROUTED { "(no route)".to_owned() } else { route.to_owned() },
            total: self.after.sum(REQUESTS, route),
            requests: self.requests(route),
            p50_ms: self.quantile(route, 0.5),
            p99_ms: self.quantile(route, 0.99),
            cache_hit_percent: (lookups > 0.0).then(|| 100.0 * hits / lookups),
        }
    }

    fn upstream(&self, status: &crate::upstream::UpstreamStatus) -> UpstreamRow {
        let rate =
            |what: &str| self.rate(&format!("quintet_gateway_upstream_{what}_total"), &status.upstream);
        UpstreamRow {
            upstream: status.upstream.clone(),
            in_flight: status.in_flight,
            in_flight_limit: status.in_flight_limit,
            pending: status.pending,
            connects_per_s: rate("connects"),
            connect_failures_per_s: rate("connect_failures"),
            retries_per_s: rate("retries"),
            hedges_per_s: rate("hedges"),
            ejections_per_s: rate("ejections"),
            endpoints: status.endpoints.clone(),
        }
    }
}

/// Interpolates between the bounds of the bucket that holds the share, as Prometheus does.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = share * total;
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank {
            // What is beyond the last bound could be anything.
            return Some(if bound.is_infinite() {
                lower
            } else {
                lower + (bound - lower) * (rank - below) / (count - below)
            });
        }
        (lower, below) = (*bound, *count);
    }
    None
}

impl Frame {
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let between = Between { before: &before.counted, after: &after.counted, seconds };
        let (status, counted) = (&after.status, &after.counted);
        let gauge = |name: &str| counted.sum(name, "");
        let total = |name: &str| between.rate(name, "");
        let mut routes: Vec<RouteRow> = status.routes.iter().map(|route| between.route(route)).collect();
        routes.push(between.route(UNROUTED));
        let mut requests = Requests::default();
        for row in &routes {
            requests.per_s += row.requests.per_s;
            requests.client_errors_per_s += row.requests.client_errors_per_s;
            requests.server_errors_per_s += row.requests.server_errors_per_s;
        }
        let over_routes = |rate: &dyn Fn(&str) -> f64| status.routes.iter().map(|route| rate(route)).sum();
        Self {
            at: status.at.clone(),
            version: status.version.clone(),
            interval_s: seconds,
            uptime_s: uptime(&status.at, gauge("process_start_time_seconds")),
            cpu_percent: 100.0 * total("process_cpu_seconds_total"),
            memory_bytes: gauge("process_resident_memory_bytes"),
            open_files: gauge("process_open_fds"),
            reloads: status.generation,
            requests,
            connections: Connections {
                open: status.connections_open,
                limit: status.connections_limit,
                parked: status.connections_parked,
                tunnels: gauge("quintet_gateway_tunnels_open"),
                accepted_per_s: total("quintet_gateway_connections_accepted_total"),
                tls_handshakes_per_s: total("quintet_gateway_tls_handshakes_total"),
                tls_failures_per_s: total("quintet_gateway_tls_handshake_failures_total"),
            },
            limits: LimitsHit {
                rate_limited_per_s: total("quintet_gateway_rate_limited_total"),
                memory_limited_per_s: total("quintet_gateway_client_memory_refused_total"),
                connections_refused_per_s: total("quintet_gateway_connections_refused_total"),
                connections_reaped_per_s: total("quintet_gateway_connections_reaped_total"),
            },
            cache: Cached {
                bytes: gauge("quintet_gateway_cache_bytes"),
                objects: gauge("quintet_gateway_cache_objects"),
                hits_per_s: over_routes(&|route| between.rate_where(CACHE, route, "outcome", &HITS)),
                lookups_per_s: over_routes(&|route| between.rate(CACHE, route)),
            },
            upstreams: status.upstreams.iter().map(|upstream| between.upstream(upstream)).collect(),
            routes,
        }
    }
}

/// Seconds from the process's start to the moment that it told of.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
fn uptime(at: &str, started: f64) -> f64 {
    let now = at.parse::<quintet_types::Timestamp>().map_or(started, |at| at.as_second() as f64);
    (now - started).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_bucket() {
        let buckets = [(0.001, 50.0), (0.002, 90.0), (0.004, 100.0), (f64::INFINITY, 100.0)];
        for (share, expected) in [(0.5, 0.001), (0.7, 0.0015), (0.95, 0.003), (1.0, 0.004)] {
            let found = quantile(&buckets, share).unwrap();
            assert!((found - expected).abs() < 1e-9, "{share}: {found}");
        }
    }

    #[test]
    fn what_is_beyond_the_last_bound_is_told_as_the_bound() {
        assert_eq!(quantile(&[(10.0, 1.0), (f64::INFINITY, 100.0)], 0.99), Some(10.0));
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
    }

    #[test]
    fn a_counter_that_fell_began_anew() {
        assert!((Between::since(100.0, 7.0) - 7.0).abs() < f64::EPSILON);
        assert!((Between::since(100.0, 107.0) - 7.0).abs() < f64::EPSILON);
    }
}
