//! A part of the cache under one lock: objects by address, and who fetches what.
//!
//! Eviction is a clock: objects stand in the order in which they came, and one that was used since it was last looked
//! at goes to the end instead. A hit therefore changes no more than one flag.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use http::header::HeaderMap;

use super::flight::{Flight, Guard, Turn};
use super::object::{Object, Scope};
use super::{Cache, Key};

/// Answers to one address; more would let a client fill the budget with one.
const MAX_VARIANTS: usize = 16;
/// Addresses whose answers cannot be stored, remembered by one shard.
const MAX_PASSES: usize = 1_024;
/// Entries of the clock whose object is gone, before they are swept.
const MAX_GONE: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Shard {
    objects: HashMap<Key, Vec<Arc<Object>>>,
    clock: VecDeque<(Key, Weak<Object>)>,
    count: usize,
    flights: HashMap<(Key, Scope), Arc<Flight>>,
    /// By hash of address and scope, until when, in milliseconds, requests do not wait for each other. Two of one hash
    /// only lose their waiting.
    passes: HashMap<u64, i64>,
    hasher: RandomState,
    pub(super) epoch: u64,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn find(&self, key: &Key, scope: Scope, request: &HeaderMap) -> Option<Arc<Object>> {
        let found = self.objects.get(key)?.iter().find(|object| object.answers(scope, request))?;
        found.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(found))
    }

    pub(super) fn turn(&mut self, cache: &Arc<Cache>, key: &Key, scope: Scope, now: i64) -> Turn {
        let pass = self.hasher.hash_one((key, scope));
        if let Some(until) = self.passes.get(&pass) {
            if now < *until {
                return Turn::Alone;
            }
            self.passes.remove(&pass);
        }
        let at = (key.clone(), scope);
        if let Some(flight) = self.flights.get(&at) {
            return Turn::Wait(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        self.flights.insert(at, Arc::clone(&flight));
        Turn::Fetch(Guard::new(cache, key, scope, flight))
    }

    pub(super) fn land(&mut self, key: &Key, scope: Scope, flight: &Arc<Flight>) {
        let at = (key.clone(), scope);
        if self.flights.get(&at).is_some_and(|running| Arc::ptr_eq(running, flight)) {
            self.flights.remove(&at);
        }
    }

    pub(super) fn do_not_wait(&mut self, key: &Key, scope: Scope, until: i64) {
        if self.passes.len() >= MAX_PASSES {
            self.passes.clear();
        }
        self.passes.insert(self.hasher.hash_one((key, scope)), until);
    }

    pub(super) fn insert(&mut self, key: &Key, object: &Arc<Object>) {
        self.passes.remove(&self.hasher.hash_one((key, object.scope)));
        let list = self.objects.entry(key.clone()).or_default();
        let before = list.len();
        list.retain(|other| other.scope != object.scope || other.variant != object.variant);
        if list.len() >= MAX_VARIANTS {
            list.remove(0);
        }
        list.push(Arc::clone(object));
        self.count = self.count + list.len() - before;
        if self.clock.len() > self.count + MAX_GONE {
            self.clock.retain(|(_, object)| object.strong_count() > 0);
        }
        self.clock.push_back((key.clone(), Arc::downgrade(object)));
    }

    pub(super) fn remove(&mut self, key: &Key, object: &Arc<Object>) -> bool {
        let Some(list) = self.objects.get_mut(key) else { return false };
        let before = list.len();
        list.retain(|other| !Arc::ptr_eq(other, object));
        let removed = before > list.len();
        self.count -= usize::from(removed);
        if list.is_empty() {
            self.objects.remove(key);
        }
        removed
    }

    pub(super) fn invalidate(&mut self, key: &Key) -> usize {
        self.epoch += 1;
        let gone = self.objects.remove(key).map_or(0, |list| list.len());
        self.count -= gone;
        gone
    }

    pub(super) fn purge(&mut self, purged: impl Fn(&Key) -> bool) -> usize {
        self.epoch += 1;
        let mut gone = 0;
        self.objects.retain(|key, list| {
            let goes = purged(key);
            gone += if goes { list.len() } else { 0 };
            !goes
        });
        self.passes.clear();
        self.count -= gone;
        gone
    }

    /// Looks at each object once and removes those that were not used since the last look, while `over` says that so
    /// many bytes are too many. Returns how many.
    pub(super) fn evict(&mut self, over: impl Fn() -> usize) -> u64 {
        let mut evicted = 0;
        let mut looks = self.clock.len();
        while over() > 0 && looks > 0 {
            looks -= 1;
            let Some((key, weak)) = self.clock.pop_front() else { break };
            let Some(object) = weak.upgrade() else { continue };
            if object.used.swap(false, Ordering::Relaxed) {
                self.clock.push_back((key, weak));
            } else {
                evicted += u64::from(self.remove(&key, &object));
            }
        }
        evicted
    }
}
