//! A shared cache in memory (RFC 9111), for routes that ask for one.
//!
//! All workers share it: what one fetched serves all. The address that clients name (scheme, host, path and query)
//! finds the answers to it, among them the rules of the route, the upstream and the headers in `Vary` decide. It is
//! sharded by address to keep locks short; no lock is held over a wait. The byte budget counts an object until its
//! last reader is done with it, and answers on their way in as well.
//!
//! Invariants: an object is complete; nothing is stored that [`freshness::storable`] refuses; an answer that was under
//! way while its address was invalidated is not stored. At most one request for an address and scope fetches its
//! answer while others wait for it, and nobody waits longer than the route says.

mod control;
mod fill;
mod flight;
mod freshness;
mod object;
mod purge;
mod shard;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::{Response, StatusCode};

pub(crate) use self::control::RequestControl;
pub(crate) use self::fill::{Fill, Place};
pub(crate) use self::flight::{Flight, Guard, Turn};
pub(crate) use self::freshness::{Asked, is_delimited, storable};
use self::object::Charge;
pub(crate) use self::object::{Object, Scope, Use, Variant};
pub(crate) use self::purge::routes;
use self::shard::Shard;
use crate::metrics::CacheTotals;

const SHARDS: usize = 16;

/// What a route says about storing its answers. Times in seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    /// Freshness of a 200 that says nothing about it.
    pub(crate) default_ttl: u64,
    pub(crate) stale_while_revalidate: u64,
    pub(crate) stale_if_error: u64,
    pub(crate) max_object_bytes: usize,
    /// Longest wait for an answer that another request fetches.
    pub(crate) wait: Duration,
    /// Clients may ask for an answer that is newer than the stored one.
    pub(crate) obey_clients: bool,
    /// Request headers that the route changes on the way upstream.
    pub(crate) edited: Vec<HeaderName>,
}

/// What the cache did with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheUse {
    /// A fresh stored answer.
    Hit,
    /// One that another request had just fetched.
    Collapsed,
    /// A stale stored answer, while it is asked for anew or because the upstream fails.
    Stale,
    /// A stored answer that the upstream confirmed.
    Revalidated,
    /// Sent upstream, and stored where the answer allowed it.
    Miss,
    /// Sent upstream past the cache.
    Bypass,
}

impl CacheUse {
    /// In the order of their declaration.
    pub(crate) const ALL: [Self; 6] =
        [Self::Hit, Self::Collapsed, Self::Stale, Self::Revalidated, Self::Miss, Self::Bypass];

    /// In logs and metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// Stored answers.
#[derive(Debug)]
pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    hasher: std::hash::RandomState,
    /// Bytes of objects, and of answers on their way in.
    total: Arc<AtomicUsize>,
    budget: AtomicUsize,
    metrics: CacheTotals,
}

/// What clients call a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Arc<str>);

impl Key {
    /// `host` is as the client wrote it, since the upstream may see it so; `path` is canonical.
    pub(crate) fn new(secure: bool, host: &str, path: &str, query: Option<&str>) -> Self {
        let scheme = if secure { "https" } else { "http" };
        Self(match query {
            Some(query) => format!("{scheme}://{host}{path}?{query}").into(),
            None => format!("{scheme}://{host}{path}").into(),
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The address of the same origin that a reference names; None for one elsewhere.
    pub(crate) fn beside(&self, reference: &str) -> Option<Self> {
        let host = self.0.find("://")? + 3;
        let path = host + self.0.get(host..)?.find('/')?;
        let origin = self.0.get(..path)?;
        let reference = reference.split('#').next().unwrap_or_default();
        let target = reference.strip_prefix(origin).unwrap_or(reference);
        let local = target.starts_with('/') && !target.starts_with("//");
        local.then(|| Self(format!("{origin}{target}").into()))
    }
}

impl Cache {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: std::hash::RandomState::new(),
            total: Arc::default(),
            budget: AtomicUsize::new(budget),
            metrics: CacheTotals::new(),
        }
    }

    /// Changes the budget; a smaller one is met by the next answers that are stored.
    pub(crate) fn resize(&self, budget: usize) {
        self.budget.store(budget, Ordering::Relaxed);
    }

    fn index(&self, key: &Key) -> usize {
        use std::hash::BuildHasher as _;
        usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARDS
    }

    fn lock(&self, at: usize) -> Option<MutexGuard<'_, Shard>> {
        // A panic while a shard was locked cannot leave an incomplete object in it.
        Some(self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        self.lock(self.index(key))
    }

    /// The stored answer to a request with these headers.
    pub(crate) fn find(&self, key: &Key, scope: Scope, request: &HeaderMap) -> Option<Arc<Object>> {
        self.shard(key)?.find(key, scope, request)
    }

    /// Whose turn it is to fetch the answer, at `now` in milliseconds.
    pub(crate) fn turn(self: &Arc<Self>, key: &Key, scope: Scope, now: i64) -> Turn {
        match self.shard(key) {
            Some(mut shard) => shard.turn(self, key, scope, now),
            None => Turn::Alone,
        }
    }

    /// Requests for an answer that cannot be stored do not wait for each other until `until`, in milliseconds.
    pub(crate) fn do_not_wait(&self, key: &Key, scope: Scope, until: i64) {
        if let Some(mut shard) = self.shard(key) {
            shard.do_not_wait(key, scope, until);
        }
    }

    fn land(&self, key: &Key, scope: Scope, flight: &Arc<Flight>) {
        if let Some(mut shard) = self.shard(key) {
            shard.land(key, scope, flight);
        }
    }

    /// Changes when anything of the shard is invalidated.
    pub(crate) fn epoch(&self, key: &Key) -> u64 {
        self.shard(key).map_or(0, |shard| shard.epoch)
    }

    /// Stores a complete answer that was asked for in `epoch`, in place of the one that it replaces. None where
    /// the address was invalidated meanwhile.
    #[expect(clippy::too_many_arguments, reason = "an object is made of all of them, under the shard's lock")]
    pub(crate) fn store(
        &self,
        key: &Key,
        scope: Scope,
        epoch: u64,
        variant: Variant,
        head: Response<()>,
        body: Bytes,
        lifetime: freshness::Lifetime,
    ) -> Option<Arc<Object>> {
        let object = Arc::new(Object::new(&self.total, key.text(), scope, variant, head, body, lifetime));
        self.make_room(self.index(key));
        if self.total.load(Ordering::Relaxed) > self.budget.load(Ordering::Relaxed) {
            // All of it is being read or on its way in.
            return Some(object);
        }
        let mut shard = self.shard(key)?;
        if shard.epoch != epoch {
            return None;
        }
        shard.insert(key, &object);
        Some(object)
    }

    /// Evicts until the budget holds, from the shard `first` and then from the others.
    fn make_room(&self, first: usize) {
        let over = || {
            let total = self.total.load(Ordering::Relaxed);
            total.saturating_sub(self.budget.load(Ordering::Relaxed))
        };
        // Twice around: what is used in one shard stays while another has what is not.
        for at in (first..SHARDS).chain(0..first).cycle().take(2 * SHARDS) {
            if over() == 0 {
                return;
            }
            if let Some(mut shard) = self.lock(at) {
                let evicted = shard.evict(over);
                self.metrics.evicted.increment(evicted);
            }
        }
    }

    /// Bytes of an answer on its way in; None where too many are already.
    fn charge(&self, bytes: usize) -> Option<Charge> {
        self.make_room(0);
        let room = self.budget.load(Ordering::Relaxed).checked_sub(self.total.load(Ordering::Relaxed))?;
        (bytes <= room).then(|| Charge::new(&self.total, bytes))
    }

    /// Forgets one object, such as one that must not be used any more.
    pub(crate) fn remove(&self, key: &Key, object: &Arc<Object>) {
        if let Some(mut shard) = self.shard(key) {
            shard.remove(key, object);
        }
    }

    /// Forgets all answers to an address (section 4.4), in all scopes. Returns how many.
    pub(crate) fn invalidate(&self, key: &Key) -> usize {
        self.shard(key).map_or(0, |mut shard| shard.invalidate(key))
    }

    /// Forgets the answers to all addresses that `purged` says so of. Returns how many.
    pub(crate) fn purge(&self, purged: impl Fn(&str) -> bool) -> usize {
        (0..SHARDS).filter_map(|at| Some(self.lock(at)?.purge(|key| purged(key.text())))).sum()
    }

    /// Sets the gauges.
    pub(crate) fn observe(&self) {
        let objects = (0..SHARDS).filter_map(|at| Some(self.lock(at)?.len())).sum();
        self.metrics.observe(objects, self.total.load(Ordering::Relaxed));
    }
}

/// Whether an unsafe request that was answered so changes what is at its address.
pub(crate) fn invalidates(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

#[cfg(test)]
mod tests;
