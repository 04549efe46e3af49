//! Upstreams as all workers see them: load per address, health, retry budgets.
//!
//! Health is learnt from failures, and by checks where they are configured: an address that refuses
//! connections, or fails several requests in a row, is ejected for a while that doubles with each repeat.
//! Counters are relaxed atomics: an approximate load is as good as an exact one here.

mod adaptive;
mod admission;
mod affinity;
mod balance;
mod endpoint;
mod hash;
mod health;
mod latency;
mod names;
mod resolve;
mod status;
#[cfg(test)]
mod tests;
mod transport;
mod upkeep;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};

use self::adaptive::Adaptive;
pub(crate) use self::adaptive::Bounds;
use self::admission::Admission;
pub(crate) use self::affinity::{HashKey, Sticky};
use self::balance::Field;
pub(crate) use self::balance::{Affinity, Choice, Policy, Rotation};
pub(crate) use self::endpoint::Endpoint;
pub(crate) use self::hash::spread;
pub(crate) use self::health::Health;
use self::names::Named;
pub(crate) use self::resolve::{Resolve, SystemResolver};
pub(crate) use self::status::{Condition, EndpointStatus, UpstreamStatus};
pub(crate) use self::transport::{Protocol, Purpose, Transport};
pub(crate) use self::upkeep::upkeep;
use crate::connection::Client;
use crate::limits::ClientKey;
use crate::metrics::UpstreamMetrics;
use crate::proxy_protocol::Ends;

/// Failed requests in a row after which an address is ejected.
const FAILURES_BEFORE_EJECTION: u32 = 5;
/// Retries may be this share of requests, one in so many.
const RETRY_SHARE: i64 = 5;
/// Retries saved up at most, so that a quiet upstream can be retried at all.
const RETRY_RESERVE: i64 = 50 * RETRY_SHARE;

/// A service behind the gateway.
pub(crate) struct Upstream {
    pub(crate) name: String,
    /// Those with a configured address, then places for the addresses of each name.
    pub(crate) endpoints: Vec<Endpoint>,
    names: Vec<Named>,
    pub(crate) transport: Transport,
    /// Requests at once on one HTTP/2 connection.
    pub(crate) max_streams: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) restart_patience: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_idle: usize,
    health: Option<Health>,
    resolve_interval: Duration,
    made: Instant,
    /// Its upkeep has begun.
    upkept: AtomicBool,
    policy: Policy,
    hash_key: Option<HashKey>,
    sticky: Option<Sticky>,
    /// Milliseconds.
    slow_start: u64,
    panic_percent: usize,
    max_ejected_percent: usize,
    admission: Admission,
    /// In units of one request's contribution: a retry costs [`RETRY_SHARE`] of them.
    retry_budget: AtomicI64,
    epoch: Instant,
    pub(crate) metrics: UpstreamMetrics,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Upstream {
    /// `previous` is the upstream of this name in the configuration before.
    pub(crate) fn new(
        section: &crate::config::Upstream,
        sticky: Option<Sticky>,
        transport: Transport,
        epoch: Instant,
        previous: Option<&Self>,
    ) -> Self {
        let fixed = section.fixed().map(|(address, weight)| Endpoint::new(Some(address.clone()), weight));
        let mut endpoints: Vec<Endpoint> = fixed.collect();
        let names = section.names().map(|name| Named::new(section, name, &mut endpoints)).collect();
        let upstream = Self {
            name: section.name.clone(),
            endpoints,
            names,
            resolve_interval: Duration::from_millis(section.resolve_interval_ms),
            made: Instant::now(),
            transport,
            max_streams: usize::try_from(section.max_streams).unwrap_or(usize::MAX),
            connect_timeout: Duration::from_millis(section.connect_timeout_ms),
            restart_patience: Duration::from_millis(section.restart_patience_ms),
            idle_timeout: Duration::from_millis(section.idle_timeout_ms),
            max_idle: section.max_idle,
            health: section.health(),
            upkept: AtomicBool::new(false),
            policy: section.balance,
            hash_key: section.hash_key(),
            sticky,
            slow_start: section.slow_start_ms,
            panic_percent: usize::from(section.panic_percent),
            max_ejected_percent: usize::from(section.max_ejected_percent),
            admission: Admission::new(
                section.max_in_flight,
                section.adaptive.as_ref().map(|it| Adaptive::new(it.bounds(section.max_in_flight))),
                section.max_pending,
                Duration::from_millis(section.pending_timeout_ms),
            ),
            retry_budget: AtomicI64::new(RETRY_RESERVE),
            epoch,
            metrics: UpstreamMetrics::new(
                &section.name,
                section.fixed().map(|(address, _)| address.to_string()),
            ),
        };
        if let Some(previous) = previous {
            upstream.take_over(previous, Instant::now());
        }
        upstream
    }

    /// Addresses that stay keep what is known of them; those that are new join now.
    fn take_over(&self, previous: &Self, now: Instant) {
        self.admission.inherit(&previous.admission);
        for named in &self.names {
            if let Some(earlier) = previous.names.iter().find(|earlier| earlier.name == named.name) {
                let known = earlier.addresses(&previous.endpoints);
                named.settle(&self.endpoints, &known, self.millis(now));
            }
        }
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.is_active()) {
            let identity = endpoint.identity();
            match previous.endpoints.iter().find(|other| other.identity() == identity) {
                Some(earlier) => endpoint.inherit(earlier),
                None => endpoint.join(self.millis(now)),
            }
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the caller is the one that has to begin this upstream's upkeep.
    fn claim_upkeep(&self) -> bool {
        !self.upkept.swap(true, Ordering::Relaxed)
    }

    /// Addresses that requests can go to, whatever their health.
    pub(crate) fn addresses(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_active()).count()
    }

    /// For how long no name has had an address.
    pub(crate) fn nowhere_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made)
    }

    /// Sets the gauges.
    pub(crate) fn observe(&self, now: Instant) {
        let now = self.millis(now);
        let available = self.endpoints.iter().map(|endpoint| endpoint.is_available(now));
        let (limit, pending) = (self.admission.limit(), self.admission.pending());
        self.metrics.observe(self.in_flight(), limit, pending, available);
        for named in &self.names {
            named.observe(&self.endpoints, now);
        }
    }

    /// What the upstream is told of the client, where it is told anything.
    pub(crate) fn introduced(&self, client: &Client) -> Option<Rc<Ends>> {
        self.transport.announces.map(|_| client.ends())
    }

    /// What keeps this request with one address.
    pub(crate) fn affinity(&self, client: ClientKey, headers: &HeaderMap) -> Affinity {
        if self.hash_key.is_none() && self.sticky.is_none() {
            return Affinity::default();
        }
        Affinity::new(self.hash_key.as_ref(), self.sticky.as_ref(), client, headers)
    }

    /// The cookie that keeps a client at the address that served it, unless it has it already.
    pub(crate) fn sticky_cookie(&self, affinity: Affinity, at: usize) -> Option<HeaderValue> {
        let sticky = self.sticky.as_ref()?;
        let identity = self.endpoints.get(at)?.identity();
        if affinity.sticky == Some(identity) { None } else { sticky.write(identity) }
    }

    /// The index of the address for the next request.
    pub(crate) fn choose(&self, choice: &Choice<'_>) -> usize {
        if self.endpoints.len() == 1 {
            return 0;
        }
        let now = self.millis(choice.now);
        let field = Field::new(&self.endpoints, choice.avoid, now, self.slow_start, self.panic_percent);
        let kept = choice.affinity.sticky.and_then(|identity| field.named(identity));
        kept.or_else(|| field.choose(self.policy, choice)).unwrap_or(0)
    }

    /// Counts a request in, after a bounded wait where the upstream has as many as it may. Pair with
    /// [`Self::leave`].
    pub(crate) async fn enter(&self) -> bool {
        let entered = self.admission.enter().await;
        if entered && self.retry_budget.load(Ordering::Relaxed) < RETRY_RESERVE {
            self.retry_budget.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    pub(crate) fn leave(&self) {
        self.admission.leave();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    /// Takes one retry out of the budget, if it has one.
    pub(crate) fn may_retry(&self) -> bool {
        if self.retry_budget.fetch_sub(RETRY_SHARE, Ordering::Relaxed) >= RETRY_SHARE {
            return true;
        }
        self.retry_budget.fetch_add(RETRY_SHARE, Ordering::Relaxed);
        false
    }

    /// A connection could not be established. Returns for how long this has been so.
    pub(crate) fn connect_failed(&self, at: usize, now: Instant) -> Duration {
        let Some(endpoint) = self.endpoints.get(at) else { return Duration::MAX };
        let now = self.millis(now);
        if endpoint.eject(now) {
            self.metrics.ejections.increment(1);
        }
        Duration::from_millis(endpoint.refused(now))
    }

    pub(crate) fn connect_succeeded(&self, at: usize) {
        if let Some(endpoint) = self.endpoints.get(at) {
            endpoint.accepted();
        }
    }

    /// A request was answered with this status in this time.
    pub(crate) fn answered(&self, at: usize, status: StatusCode, took: Duration, now: Instant) {
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            self.admission.failed();
        } else {
            self.admission.answered(took);
        }
        let Some(endpoint) = self.endpoints.get(at) else { return };
        let now = self.millis(now);
        endpoint.succeeded(now);
        if self.policy == Policy::P2cEwma {
            endpoint.latency.record(took, now);
        }
    }

    /// A request failed on the way.
    pub(crate) fn failed(&self, at: usize, now: Instant) {
        self.admission.failed();
        let Some(endpoint) = self.endpoints.get(at) else { return };
        if endpoint.failed() < FAILURES_BEFORE_EJECTION {
            return;
        }
        endpoint.forget_failures();
        let now = self.millis(now);
        if self.may_eject(now) && endpoint.eject(now) {
            self.metrics.ejections.increment(1);
        }
    }

    /// Failures can be the requests' fault, so only a part of the addresses leaves for them.
    fn may_eject(&self, now: u64) -> bool {
        let active = self.endpoints.iter().filter(|one| one.is_active()).count();
        let ejected = self.endpoints.iter().filter(|one| one.is_ejected(now)).count();
        ejected == 0 || (ejected + 1) * 100 <= active * self.max_ejected_percent
    }
}
