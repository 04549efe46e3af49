//! One address of an upstream: its load, its health, and how fast it answers.
//!
//! Everything is an atomic that all workers write; a value that is a little old is as good as an exact one.
//! An endpoint without an address is a place that a DNS name may fill later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quintet_http::listen::Address;

use super::hash::spread;
use super::latency::Latency;

pub(super) const FIRST_EJECTION: Duration = Duration::from_millis(500);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);
/// Weights are counted in hundredths, so that slow start can give a part of one.
pub(super) const FULL: u64 = 100;
/// Of its weight, for an address that has just joined.
const FIRST_SHARE: u64 = 10;

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: ArcSwapOption<Address>,
    /// Hash of the address, for consistent hashing and cookies; 0 while there is none.
    identity: AtomicU64,
    /// Changes with the address, so that connections to the old one are not used for the new one.
    generation: AtomicU32,
    pub(super) weight: u32,
    in_flight: AtomicUsize,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// Milliseconds since the epoch, as all times here.
    ejected_until: AtomicU64,
    /// When connections began to fail, plus one; 0 while they succeed.
    refusing_since: AtomicU64,
    /// When it was last added or found healthy again; 0 for the start of the process.
    joined: AtomicU64,
    /// What active checks found.
    unhealthy: AtomicBool,
    pub(super) latency: Latency,
}

impl Endpoint {
    pub(super) fn new(address: Option<Address>, weight: u32) -> Self {
        let identity = address.as_ref().map_or(0, identity);
        Self {
            address: ArcSwapOption::from_pointee(address),
            identity: AtomicU64::new(identity),
            generation: AtomicU32::new(0),
            weight,
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            refusing_since: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            unhealthy: AtomicBool::new(false),
            latency: Latency::default(),
        }
    }

    pub(crate) fn address(&self) -> Option<Arc<Address>> {
        self.address.load_full()
    }

    pub(super) fn identity(&self) -> u64 {
        self.identity.load(Ordering::Relaxed)
    }

    pub(crate) fn generation(&self) -> u32 {
        // Who sees the new number sees the new address.
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn is_active(&self) -> bool {
        self.identity() != 0
    }

    /// Whether requests should go here.
    pub(super) fn is_available(&self, now: u64) -> bool {
        self.is_active() && !self.unhealthy.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The weight in hundredths, less while the address starts slowly.
    pub(super) fn weight_at(&self, now: u64, slow_start: u64) -> u64 {
        let full = u64::from(self.weight) * FULL;
        if slow_start == 0 {
            return full;
        }
        let joined = self.joined.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed));
        let since = now.saturating_sub(joined);
        if joined == 0 || since >= slow_start {
            return full;
        }
        u64::from(self.weight) * (since * FULL / slow_start).max(FIRST_SHARE)
    }

    /// What active checks found.
    pub(super) fn set_healthy(&self, healthy: bool, now: u64) {
        let was = self.unhealthy.swap(!healthy, Ordering::Relaxed);
        if was && healthy {
            self.join(now);
        }
    }

    pub(super) fn join(&self, now: u64) {
        self.joined.store(now.max(1), Ordering::Relaxed);
    }

    pub(super) fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    /// Ejections since the last answer.
    pub(super) fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// False where it was already.
    pub(super) fn eject(&self, now: u64) -> bool {
        // Many requests fail together; they are one failure.
        if self.is_ejected(now) {
            return false;
        }
        let repeat = self.ejections.fetch_add(1, Ordering::Relaxed).min(6);
        let length = (FIRST_EJECTION * 2u32.pow(repeat)).min(LONGEST_EJECTION);
        let until = now.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        self.ejected_until.store(until, Ordering::Relaxed);
        true
    }

    /// A connection could not be established. Returns for how many milliseconds this has been so.
    pub(super) fn refused(&self, now: u64) -> u64 {
        let begun = self.refusing_since.compare_exchange(0, now + 1, Ordering::Relaxed, Ordering::Relaxed);
        let since = begun.map_or_else(|earlier| earlier - 1, |_| now);
        now.saturating_sub(since)
    }

    pub(super) fn accepted(&self) {
        if self.refusing_since.load(Ordering::Relaxed) != 0 {
            self.refusing_since.store(0, Ordering::Relaxed);
        }
    }

    /// A request was answered.
    pub(super) fn succeeded(&self, now: u64) {
        // Reading first keeps the cache line shared while all is well.
        if self.failures.load(Ordering::Relaxed) == 0 && self.ejections.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.ejections.store(0, Ordering::Relaxed);
        let until = self.ejected_until.swap(0, Ordering::Relaxed);
        if until != 0 {
            self.join(until.min(now));
        }
    }

    /// A request failed. Returns how many have in a row.
    pub(super) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn forget_failures(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Stands for another address, or none, from now on; nothing is known of it.
    pub(super) fn settle(&self, address: Option<Address>, now: u64) {
        let identity = address.as_ref().map_or(0, identity);
        self.inherit(&Self::new(None, self.weight));
        self.failures.store(0, Ordering::Relaxed);
        self.join(now);
        self.address.store(address.map(Arc::new));
        self.identity.store(identity, Ordering::Relaxed);
        // Last: a connection that is put away under the new number was made to the new address.
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Takes over what is known of the same address in an earlier configuration.
    pub(super) fn inherit(&self, earlier: &Self) {
        let numbers = [
            (&self.ejected_until, &earlier.ejected_until),
            (&self.refusing_since, &earlier.refusing_since),
            (&self.joined, &earlier.joined),
        ];
        for (mine, theirs) in numbers {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.ejections.store(earlier.ejections.load(Ordering::Relaxed), Ordering::Relaxed);
        self.unhealthy.store(earlier.unhealthy.load(Ordering::Relaxed), Ordering::Relaxed);
        self.latency.inherit(&earlier.latency);
    }
}

/// The same on every machine, so that gateways side by side agree on where a key belongs. Never 0.
pub(super) fn identity(address: &Address) -> u64 {
    spread(address.to_string().as_bytes()).max(1)
}
