//! What one client may take: requests per time (GCRA), connections, and memory ([`memory`]).
//!
//! State is shared by all workers, so that a client's allowance does not depend on which worker its
//! connections land on. It is sharded to keep locks short, keyed by address (IPv6 by /64, the smallest
//! block a client is handed) and bounded: a full shard first forgets clients whose allowance is whole
//! again, which loses nothing, and then lets strangers in unmetered rather than grow.

mod memory;
mod networks;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderName;

pub(crate) use self::memory::{Account, Share};
pub(crate) use self::networks::{Access, Networks};

const SHARDS: usize = 32;
/// 32 shards of 8,192 clients at about 40 bytes: 10 MB at the worst.
const CLIENTS_PER_SHARD: usize = 8_192;

/// `requests` per `window`, of which `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Time that one request costs.
    interval: u64,
    /// How far ahead of its pace a client may be.
    tolerance: u64,
    pub(crate) requests: u32,
    pub(crate) window: Duration,
    pub(crate) burst: u32,
}

impl Quota {
    /// All three must be at least one (checked by the configuration).
    pub(crate) fn new(requests: u32, window: Duration, burst: u32) -> Self {
        let interval = (nanos(window) / u64::from(requests.max(1))).max(1);
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst)), requests, window, burst }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the limiter decided about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Requests that may still be made at once.
    pub(crate) remaining: u32,
    /// Until the next request is allowed, or zero.
    pub(crate) retry_after: Duration,
    /// Until the whole burst is available again.
    pub(crate) reset_after: Duration,
}

/// A client as far as limits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey(u64);

impl ClientKey {
    /// Of all clients together.
    pub(crate) const EVERYONE: Self = Self(0);

    /// For hashing.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // A marker above 32 bits keeps IPv4 apart from the all-zero IPv6 prefixes.
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits()) | 1 << 63),
            IpAddr::V6(v6) => Self(u64::try_from(v6.to_bits() >> 64).unwrap_or_default() & !(1 << 63)),
        }
    }
}

/// Whom an allowance belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuotaKey {
    /// The client's address.
    Ip,
    /// The value of a header; the client's address where there is none.
    Header(HeaderName),
    /// The subject of the token or session.
    Subject,
    /// All requests of the route together.
    Route,
}

/// Generic cell rate algorithm over many clients and buckets.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    hasher: RandomState,
    /// Per client and bucket: the time, in nanoseconds since `epoch`, at which its allowance is whole again.
    shards: Vec<Mutex<HashMap<(ClientKey, u32), u64>>>,
    epoch: Instant,
}

impl RateLimiter {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect(), epoch }
    }

    /// The key of a text such as a header's value. Its hash is seeded anew in each process, so that nobody can
    /// choose texts that share an allowance.
    pub(crate) fn key_of(&self, text: &[u8]) -> ClientKey {
        ClientKey(self.hasher.hash_one(text))
    }

    /// Takes one request of `client` out of `bucket` (0 is the global one, routes follow).
    pub(crate) fn take(&self, client: ClientKey, bucket: u32, quota: &Quota, now: Instant) -> Decision {
        let now = nanos(now.saturating_duration_since(self.epoch));
        let key = (client, bucket);
        let Some(shard) = self.shards.get(shard_of(self.hasher.hash_one(key))) else { return UNMETERED };
        let mut clients = lock(shard);
        if clients.len() >= CLIENTS_PER_SHARD && !clients.contains_key(&key) {
            clients.retain(|_, whole_at| *whole_at > now);
            if clients.len() >= CLIENTS_PER_SHARD {
                return UNMETERED;
            }
        }
        let whole_at = clients.entry(key).or_insert(now);
        let after = (*whole_at).max(now).saturating_add(quota.interval);
        let ahead = after - now;
        if ahead > quota.tolerance {
            return Decision {
                allowed: false,
                remaining: 0,
                retry_after: Duration::from_nanos(ahead - quota.tolerance),
                reset_after: Duration::from_nanos(ahead - quota.interval),
            };
        }
        *whole_at = after;
        Decision {
            allowed: true,
            remaining: u32::try_from((quota.tolerance - ahead) / quota.interval).unwrap_or(u32::MAX),
            retry_after: Duration::ZERO,
            reset_after: Duration::from_nanos(ahead),
        }
    }
}

const UNMETERED: Decision =
    Decision { allowed: true, remaining: 0, retry_after: Duration::ZERO, reset_after: Duration::ZERO };

fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or_default() % SHARDS
}

/// A panic while a shard was locked cannot leave a map half changed, so the poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Open connections, in all and per client.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: AtomicUsize,
    per_client: AtomicUsize,
    open: AtomicUsize,
    /// Bytes of memory that a client may have reserved.
    memory: Arc<AtomicUsize>,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<ClientKey, Arc<Account>>>>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Total,
    PerClient,
}

impl Connections {
    /// `memory` is of one client, 0 for no bound.
    pub(crate) fn new(limit: usize, per_client: usize, memory: usize) -> Self {
        Self {
            memory: Arc::new(AtomicUsize::new(bound(memory))),
            limit: AtomicUsize::new(limit),
            per_client: AtomicUsize::new(per_client),
            open: AtomicUsize::new(0),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Changes the bounds; connections beyond a lowered one stay.
    pub(crate) fn resize(&self, limit: usize, per_client: usize, memory: usize) {
        self.memory.store(bound(memory), Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        self.per_client.store(per_client, Ordering::Relaxed);
    }

    /// Counts in a connection whose client is not known; every success must be followed by one [`Self::release`].
    pub(crate) fn hold(&self) -> Result<(), Refusal> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed) {
            self.release();
            return Err(Refusal::Total);
        }
        Ok(())
    }

    pub(crate) fn release(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection in; every success must be followed by one [`Self::close`].
    pub(crate) fn open(&self, client: ClientKey) -> Result<Arc<Account>, Refusal> {
        self.hold()?;
        let new = || Arc::new(Account::new(&self.memory));
        let Some(shard) = self.shards.get(shard_of(self.hasher.hash_one(client))) else { return Ok(new()) };
        let mut clients = lock(shard);
        let account = clients.entry(client).or_insert_with(new);
        if account.connections.load(Ordering::Relaxed) >= self.per_client.load(Ordering::Relaxed) {
            drop(clients);
            self.release();
            return Err(Refusal::PerClient);
        }
        account.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::clone(account))
    }

    pub(crate) fn close(&self, client: ClientKey) {
        self.release();
        if let Some(shard) = self.shards.get(shard_of(self.hasher.hash_one(client))) {
            let mut clients = lock(shard);
            if let Some(account) = clients.get(&client)
                && account.connections.fetch_sub(1, Ordering::Relaxed) <= 1
            {
                clients.remove(&client);
            }
        }
    }

    /// Bytes that all clients have reserved, and the most that one has.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let mut of_shards = (0, 0);
        for shard in &self.shards {
            for account in lock(shard).values() {
                let bytes = account.bytes();
                of_shards = (of_shards.0 + bytes, of_shards.1.max(bytes));
            }
        }
        of_shards
    }

    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

fn bound(memory: usize) -> usize {
    if memory == 0 { usize::MAX } else { memory }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> ClientKey {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_burst_passes_and_the_next_request_waits_its_interval() {
        let start = Instant::now();
        let limiter = RateLimiter::new(start);
        let quota = Quota::new(10, Duration::from_secs(1), 3);
        let a = client("192.0.2.1");
        let remaining: Vec<_> = (0..3).map(|_| limiter.take(a, 0, &quota, start).remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let refused = limiter.take(a, 0, &quota, start);
        assert!(!refused.allowed);
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert!(limiter.take(a, 0, &quota, start + Duration::from_millis(100)).allowed);
        assert!(!limiter.take(a, 0, &quota, start + Duration::from_millis(100)).allowed);
    }

    #[test]
    fn clients_and_buckets_do_not_share_an_allowance() {
        let start = Instant::now();
        let limiter = RateLimiter::new(start);
        let quota = Quota::new(1, Duration::from_secs(1), 1);
        assert!(limiter.take(client("192.0.2.1"), 0, &quota, start).allowed);
        assert!(limiter.take(client("192.0.2.2"), 0, &quota, start).allowed);
        assert!(limiter.take(client("192.0.2.1"), 1, &quota, start).allowed);
        assert!(!limiter.take(client("192.0.2.1"), 0, &quota, start).allowed);
    }

    #[test]
    fn an_ipv6_client_is_its_64_bit_prefix() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("::1"), client("0.0.0.1"));
    }

    #[test]
    fn connections_are_bounded_in_all_and_per_client() {
        let connections = Connections::new(3, 2, 0);
        let (a, b) = (client("192.0.2.1"), client("192.0.2.2"));
        assert!(connections.open(a).is_ok());
        assert!(connections.open(a).is_ok());
        assert_eq!(connections.open(a).err(), Some(Refusal::PerClient));
        assert!(connections.open(b).is_ok());
        assert_eq!(connections.open(b).err(), Some(Refusal::Total));
        connections.close(a);
        assert!(connections.open(b).is_ok());
        assert_eq!(connections.count(), 3);
    }

    proptest! {
        #[test]
        fn no_schedule_gets_more_than_burst_plus_rate(
            steps in prop::collection::vec(0u64..50, 1..200),
        ) {
            let start = Instant::now();
            let limiter = RateLimiter::new(start);
            let quota = Quota::new(100, Duration::from_secs(1), 5);
            let mut now = start;
            let mut allowed = 0u64;
            for step in steps {
                now += Duration::from_millis(step);
                allowed += u64::from(limiter.take(client("192.0.2.1"), 0, &quota, now).allowed);
            }
            let elapsed = u64::try_from((now - start).as_millis()).unwrap();
            prop_assert!(allowed <= 5 + elapsed / 10);
        }
    }
}
