//! Upstreams as all workers see them: load per address, health learnt from failures, retry budgets.
//!
//! An address is chosen by power of two choices on requests in flight. Health is passive: an address that
//! refuses connections, or fails several requests in a row, is ejected for a while that doubles with each
//! repeat; while every address is ejected they are all tried, because refusing for certain is worse
//! than trying. Counters are relaxed atomics: an approximate load is as good as an exact one here.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quintet_http::listen::Address;

use crate::metrics::UpstreamMetrics;

/// Failed requests in a row after which an address is ejected.
const FAILURES_BEFORE_EJECTION: u32 = 5;
const FIRST_EJECTION: Duration = Duration::from_millis(500);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);
/// Retries may be this share of requests, one in so many.
const RETRY_SHARE: i64 = 5;
/// Retries saved up at most, so that a quiet upstream can be retried at all.
const RETRY_RESERVE: i64 = 50 * RETRY_SHARE;

/// A service behind the gateway.
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) connect_timeout: Duration,
    pub(crate) restart_patience: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_idle: usize,
    max_in_flight: usize,
    in_flight: AtomicUsize,
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

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    in_flight: AtomicUsize,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// Milliseconds since the epoch.
    ejected_until: AtomicU64,
    /// When connections began to fail, in milliseconds since the epoch plus one; 0 while they succeed.
    refusing_since: AtomicU64,
}

impl Upstream {
    pub(crate) fn new(section: &crate::config::Upstream, epoch: Instant) -> Self {
        Self {
            name: section.name.clone(),
            endpoints: section.addresses.iter().cloned().map(Endpoint::new).collect(),
            connect_timeout: Duration::from_millis(section.connect_timeout_ms),
            restart_patience: Duration::from_millis(section.restart_patience_ms),
            idle_timeout: Duration::from_millis(section.idle_timeout_ms),
            max_idle: section.max_idle,
            max_in_flight: section.max_in_flight,
            in_flight: AtomicUsize::new(0),
            retry_budget: AtomicI64::new(RETRY_RESERVE),
            epoch,
            metrics: UpstreamMetrics::new(&section.name),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts a request in, unless the upstream has as many as it may. Pair with [`Self::leave`].
    pub(crate) fn enter(&self) -> bool {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.max_in_flight {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if self.retry_budget.load(Ordering::Relaxed) < RETRY_RESERVE {
            self.retry_budget.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes one retry out of the budget, if it has one.
    pub(crate) fn may_retry(&self) -> bool {
        if self.retry_budget.fetch_sub(RETRY_SHARE, Ordering::Relaxed) >= RETRY_SHARE {
            return true;
        }
        self.retry_budget.fetch_add(RETRY_SHARE, Ordering::Relaxed);
        false
    }

    /// The index of the address for the next request. `random` decides between equals.
    pub(crate) fn choose(&self, random: u64, now: Instant) -> usize {
        if self.endpoints.len() == 1 {
            return 0;
        }
        let now = self.millis(now);
        let healthy: usize = self.endpoints.iter().filter(|endpoint| !endpoint.is_ejected(now)).count();
        let of = if healthy == 0 { self.endpoints.len() } else { healthy };
        let nth = |n: usize| {
            let mut candidates = self
                .endpoints
                .iter()
                .enumerate()
                .filter(|(_, endpoint)| healthy == 0 || !endpoint.is_ejected(now))
                .map(|(at, _)| at);
            candidates.nth(n).unwrap_or(0)
        };
        let draw = |bits: u64, of: usize| usize::try_from(bits & 0xffff_ffff).unwrap_or(0) % of.max(1);
        let first = draw(random, of);
        let second = (first + 1 + draw(random >> 32, of.saturating_sub(1))) % of;
        let (a, b) = (nth(first), nth(second));
        let load = |at: usize| self.endpoints.get(at).map_or(usize::MAX, Endpoint::load);
        if load(b) < load(a) { b } else { a }
    }

    /// A connection could not be established. Returns for how long this has been so.
    pub(crate) fn connect_failed(&self, at: usize, now: Instant) -> Duration {
        let now = self.millis(now);
        let Some(endpoint) = self.endpoints.get(at) else { return Duration::MAX };
        let since = match endpoint.refusing_since.compare_exchange(
            0,
            now + 1,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => now,
            Err(earlier) => earlier - 1,
        };
        endpoint.eject(now);
        Duration::from_millis(now.saturating_sub(since))
    }

    pub(crate) fn connect_succeeded(&self, at: usize) {
        if let Some(endpoint) = self.endpoints.get(at)
            && endpoint.refusing_since.load(Ordering::Relaxed) != 0
        {
            endpoint.refusing_since.store(0, Ordering::Relaxed);
        }
    }

    /// A request got an answer (`true`) or failed on the way.
    pub(crate) fn report(&self, at: usize, answered: bool, now: Instant) {
        let Some(endpoint) = self.endpoints.get(at) else { return };
        if answered {
            // Reading first keeps the cache line shared while all is well.
            if endpoint.failures.load(Ordering::Relaxed) != 0
                || endpoint.ejections.load(Ordering::Relaxed) != 0
            {
                endpoint.failures.store(0, Ordering::Relaxed);
                endpoint.ejections.store(0, Ordering::Relaxed);
                endpoint.ejected_until.store(0, Ordering::Relaxed);
            }
        } else if endpoint.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_BEFORE_EJECTION {
            endpoint.failures.store(0, Ordering::Relaxed);
            endpoint.eject(self.millis(now));
        }
    }
}

impl Endpoint {
    fn new(address: Address) -> Self {
        Self {
            address,
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            refusing_since: AtomicU64::new(0),
        }
    }

    fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    fn eject(&self, now: u64) {
        // Many requests fail together; they are one failure.
        if self.is_ejected(now) {
            return;
        }
        let repeat = self.ejections.fetch_add(1, Ordering::Relaxed).min(6);
        let length = (FIRST_EJECTION * 2u32.pow(repeat)).min(LONGEST_EJECTION);
        let until = now.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        self.ejected_until.store(until, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(addresses: usize, epoch: Instant) -> Upstream {
        let addresses: Vec<String> = (0..addresses).map(|n| format!("\"127.0.0.1:{}\"", 9000 + n)).collect();
        let text = format!("name = \"a\"\naddresses = [{}]\nmax_in_flight = 2\n", addresses.join(","));
        Upstream::new(&toml::from_str(&text).unwrap(), epoch)
    }

    #[test]
    fn the_less_loaded_of_two_addresses_is_chosen() {
        let epoch = Instant::now();
        let upstream = upstream(2, epoch);
        upstream.endpoints[0].enter();
        for random in [0, 1, 2, u64::MAX, 0x1234_5678_9abc_def0] {
            assert_eq!(upstream.choose(random, epoch), 1);
        }
    }

    #[test]
    fn an_ejected_address_gets_no_requests_until_its_time_is_over() {
        let epoch = Instant::now();
        let upstream = upstream(3, epoch);
        upstream.connect_failed(1, epoch);
        for random in 0..100u64 {
            assert_ne!(upstream.choose(random.wrapping_mul(0x9e37_79b9_7f4a_7c15), epoch), 1);
        }
        let later = epoch + FIRST_EJECTION + Duration::from_millis(1);
        assert!(
            (0..100u64).any(|random| upstream.choose(random.wrapping_mul(0x9e37_79b9_7f4a_7c15), later) == 1)
        );
    }

    #[test]
    fn when_all_addresses_are_ejected_all_are_tried() {
        let epoch = Instant::now();
        let upstream = upstream(2, epoch);
        upstream.connect_failed(0, epoch);
        upstream.connect_failed(1, epoch);
        let chosen: std::collections::BTreeSet<_> = (0..100u64)
            .map(|random| upstream.choose(random.wrapping_mul(0x9e37_79b9_7f4a_7c15), epoch))
            .collect();
        assert_eq!(chosen.len(), 2);
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_forgives() {
        let epoch = Instant::now();
        let upstream = upstream(2, epoch);
        for _ in 0..FAILURES_BEFORE_EJECTION {
            upstream.report(0, false, epoch);
        }
        assert_eq!(upstream.choose(0, epoch), 1);
        upstream.report(0, true, epoch);
        upstream.endpoints[1].enter();
        assert_eq!(upstream.choose(0, epoch), 0);
    }

    #[test]
    fn the_retry_budget_is_a_fifth_of_requests() {
        let upstream = upstream(1, Instant::now());
        while upstream.may_retry() {}
        for _ in 0..100 {
            assert!(upstream.enter());
            upstream.leave();
        }
        assert_eq!(std::iter::repeat_with(|| upstream.may_retry()).take_while(|&ok| ok).count(), 20);
        for _ in 0..10_000 {
            assert!(upstream.enter());
            upstream.leave();
        }
        // The reserve caps what quiet times can save.
        assert_eq!(std::iter::repeat_with(|| upstream.may_retry()).take_while(|&ok| ok).count(), 50);
    }

    #[test]
    fn requests_beyond_the_bound_are_turned_away() {
        let upstream = upstream(1, Instant::now());
        assert!(upstream.enter() && upstream.enter());
        assert!(!upstream.enter());
        upstream.leave();
        assert!(upstream.enter());
    }

    #[test]
    fn how_long_an_address_has_refused_is_known() {
        let epoch = Instant::now();
        let upstream = upstream(1, epoch);
        assert_eq!(upstream.connect_failed(0, epoch), Duration::ZERO);
        assert_eq!(upstream.connect_failed(0, epoch + Duration::from_secs(3)), Duration::from_secs(3));
        upstream.connect_succeeded(0);
        assert_eq!(upstream.connect_failed(0, epoch + Duration::from_secs(4)), Duration::ZERO);
    }
}
