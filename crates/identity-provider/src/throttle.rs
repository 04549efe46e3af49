//! Slows password guessing without giving anyone a way to lock somebody else out.
//!
//! Three counters, each of which delays and never blocks for good:
//! - a browser that has signed in to this account before (it carries a device cookie, after the
//!   OWASP device cookie protocol) is counted alone, so an attack on the account from elsewhere
//!   does not touch its owner;
//! - every other attempt counts against the pair of account and network prefix;
//! - and, more generously, against the network prefix, which bounds stuffing across accounts.
//!
//! An attempt is counted before its password is checked and taken back on success, so that a burst
//! of parallel guesses counts fully. The counters do not ask whether the account exists.
//!
//! They live in this process: a restart forgives, and each of several nodes counts for itself.
//! The maps are bounded; a full map drops what expired, then what was touched longest ago.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::span;

/// The `[throttle]` section.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Failed attempts on one account from one place before delays begin.
    pub(crate) account_attempts: u32,
    /// Failed attempts from one network prefix before delays begin.
    pub(crate) prefix_attempts: u32,
    /// Failures older than this are forgotten, in seconds.
    pub(crate) window_seconds: u64,
    /// The first delay in seconds; each further failure doubles it.
    pub(crate) base_delay_seconds: u64,
    /// The longest delay for one account from one place, in seconds.
    pub(crate) max_delay_seconds: u64,
    /// The longest delay for a whole network prefix, in seconds.
    pub(crate) prefix_max_delay_seconds: u64,
    /// Bits of an IPv4 address that form a prefix.
    pub(crate) ipv4_prefix: u8,
    /// Bits of an IPv6 address that form a prefix.
    pub(crate) ipv6_prefix: u8,
    /// Counters kept in memory per kind.
    pub(crate) capacity: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account_attempts: 10,
            prefix_attempts: 100,
            window_seconds: 900,
            base_delay_seconds: 1,
            max_delay_seconds: 900,
            // Short: everyone behind one office address shares it.
            prefix_max_delay_seconds: 30,
            ipv4_prefix: 24,
            // What a provider commonly gives one customer.
            ipv6_prefix: 56,
            capacity: 65_536,
        }
    }
}

/// Who tries: hashes, so that the map holds no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AccountKey(pub(crate) [u8; 32]);

/// From where an account is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A browser known to the account.
    Device([u8; 16]),
    /// Anywhere: for what only somebody who knows the password comes to.
    Anywhere,
    /// A network prefix; `None` when the gateway named no address (a local caller).
    Prefix(Option<IpAddr>),
}

/// An attempt that was let through; tell its outcome by [`Throttle::succeeded`] or drop it.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(crate) struct Attempt {
    account: AccountKey,
    place: Place,
}

/// The counters.
pub(crate) struct Throttle {
    settings: Settings,
    pairs: Mutex<Counters<(AccountKey, Place)>>,
    prefixes: Mutex<Counters<Option<IpAddr>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    failures: u32,
    last_at: i64,
    blocked_until: i64,
}

struct Counters<K> {
    entries: HashMap<K, Counter>,
    capacity: usize,
    window: i64,
    free: u32,
    base_delay: i64,
    max_delay: i64,
}

impl Throttle {
    /// Empty counters.
    pub(crate) fn new(settings: Settings) -> Self {
        let pairs = Counters::new(&settings, settings.account_attempts, settings.max_delay_seconds);
        let prefixes = Counters::new(&settings, settings.prefix_attempts, settings.prefix_max_delay_seconds);
        Self { settings, pairs: Mutex::new(pairs), prefixes: Mutex::new(prefixes) }
    }

    /// The place of a browser without a device cookie.
    pub(crate) fn place_of(&self, address: Option<IpAddr>) -> Place {
        Place::Prefix(
            address.map(|address| prefix(address, self.settings.ipv4_prefix, self.settings.ipv6_prefix)),
        )
    }

    /// Counts an attempt, or says how long to wait before the next.
    pub(crate) fn attempt(&self, account: AccountKey, place: Place, now: i64) -> Result<Attempt, Duration> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.check(&(account, place), now)?;
        if let Place::Prefix(prefix) = place {
            let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
            prefixes.check(&prefix, now)?;
            prefixes.count(prefix, now);
        }
        pairs.count((account, place), now);
        Ok(Attempt { account, place })
    }

    /// Takes an attempt back: the password was right.
    pub(crate) fn succeeded(&self, attempt: Attempt) {
        let Attempt { account, place } = attempt;
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).entries.remove(&(account, place));
        self.refund_prefix(place);
    }

    /// Takes an attempt back: the password was never looked at (the queue was full).
    pub(crate) fn cancelled(&self, attempt: Attempt) {
        let Attempt { account, place } = attempt;
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).refund(&(account, place));
        self.refund_prefix(place);
    }

    fn refund_prefix(&self, place: Place) {
        if let Place::Prefix(prefix) = place {
            self.prefixes.lock().unwrap_or_else(PoisonError::into_inner).refund(&prefix);
        }
    }
}

impl<K: Copy + Eq + std::hash::Hash> Counters<K> {
    fn new(settings: &Settings, free: u32, max_delay_seconds: u64) -> Self {
        let seconds = |seconds| span(Duration::from_secs(seconds));
        Self {
            entries: HashMap::new(),
            capacity: settings.capacity.max(1),
            window: seconds(settings.window_seconds),
            free,
            base_delay: seconds(settings.base_delay_seconds),
            max_delay: seconds(max_delay_seconds),
        }
    }

    fn check(&self, key: &K, now: i64) -> Result<(), Duration> {
        let blocked_until = self.entries.get(key).map_or(0, |counter| counter.blocked_until);
        match u64::try_from(blocked_until - now) {
            Ok(left) if left > 0 => Err(Duration::from_micros(left)),
            _ => Ok(()),
        }
    }

    fn count(&mut self, key: K, now: i64) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        let (window, free, base_delay, max_delay) = (self.window, self.free, self.base_delay, self.max_delay);
        let counter = self.entries.entry(key).or_default();
        if now - counter.last_at > window {
            counter.failures = 0;
        }
        counter.failures = counter.failures.saturating_add(1);
        counter.last_at = now;
        if let Some(beyond) = counter.failures.checked_sub(free).filter(|_| counter.failures >= free) {
            // 2^30 times any base is beyond every maximum.
            counter.blocked_until = now + base_delay.saturating_mul(1 << beyond.min(30)).min(max_delay);
        }
    }

    fn refund(&mut self, key: &K) {
        if let Some(counter) = self.entries.get_mut(key) {
            counter.failures = counter.failures.saturating_sub(1);
            if counter.failures < self.free {
                counter.blocked_until = 0;
            }
        }
    }

    fn make_room(&mut self, now: i64) {
        let window = self.window;
        self.entries.retain(|_, counter| now - counter.last_at <= window || counter.blocked_until > now);
        // An eighth at a time: sorting at every insertion would be the attack.
        if self.entries.len() >= self.capacity {
            let mut ages: Vec<i64> = self.entries.values().map(|counter| counter.last_at).collect();
            let nth = ages.len() / 8;
            let (_, cut, _) = ages.select_nth_unstable(nth);
            let cut = *cut;
            let mut left = nth + 1;
            self.entries.retain(|_, counter| {
                let drop = counter.last_at <= cut && left > 0;
                left -= usize::from(drop);
                !drop
            });
        }
    }
}

fn prefix(address: IpAddr, ipv4_bits: u8, ipv6_bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(ipv4_bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const ALICE: AccountKey = AccountKey([1; 32]);

    fn settings() -> Settings {
        Settings { account_attempts: 3, prefix_attempts: 6, capacity: 64, ..Settings::default() }
    }

    fn from(throttle: &Throttle, address: &str) -> Place {
        throttle.place_of(Some(address.parse().unwrap()))
    }

    fn fail(throttle: &Throttle, account: AccountKey, place: Place, times: usize) {
        for _ in 0..times {
            let _ = throttle.attempt(account, place, 0).unwrap();
        }
    }

    #[test]
    fn delays_begin_after_the_free_attempts_and_double() {
        let throttle = Throttle::new(settings());
        let place = from(&throttle, "192.0.2.1");
        fail(&throttle, ALICE, place, 3);
        assert_eq!(throttle.attempt(ALICE, place, 0).unwrap_err(), Duration::from_secs(1));
        assert!(throttle.attempt(ALICE, place, SECOND).is_ok());
        assert_eq!(throttle.attempt(ALICE, place, SECOND).unwrap_err(), Duration::from_secs(2));
    }

    #[test]
    fn an_attacker_elsewhere_does_not_delay_the_owner() {
        let throttle = Throttle::new(settings());
        fail(&throttle, ALICE, from(&throttle, "198.51.100.7"), 3);
        assert!(throttle.attempt(ALICE, from(&throttle, "192.0.2.1"), 0).is_ok());
    }

    #[test]
    fn an_attacker_in_the_same_network_does_not_delay_a_known_browser() {
        let throttle = Throttle::new(settings());
        for account in 0..6 {
            fail(&throttle, AccountKey([account; 32]), from(&throttle, "192.0.2.9"), 1);
        }
        assert!(throttle.attempt(ALICE, from(&throttle, "192.0.2.1"), 0).is_err());
        assert!(throttle.attempt(ALICE, Place::Device([7; 16]), 0).is_ok());
    }

    #[test]
    fn a_known_browser_that_guesses_is_delayed_too() {
        let throttle = Throttle::new(settings());
        fail(&throttle, ALICE, Place::Device([7; 16]), 3);
        assert!(throttle.attempt(ALICE, Place::Device([7; 16]), 0).is_err());
    }

    #[test]
    fn success_forgets_the_failures_before_it() {
        let throttle = Throttle::new(settings());
        let place = from(&throttle, "2001:db8::1");
        fail(&throttle, ALICE, place, 2);
        let attempt = throttle.attempt(ALICE, place, 0).unwrap();
        throttle.succeeded(attempt);
        assert!(throttle.attempt(ALICE, place, 0).is_ok());
    }

    #[test]
    fn addresses_of_one_customer_share_a_prefix_and_a_mapped_address_is_an_ipv4_one() {
        let throttle = Throttle::new(settings());
        assert_eq!(from(&throttle, "2001:db8:0:1::1"), from(&throttle, "2001:db8:0:ff::9"));
        assert_ne!(from(&throttle, "2001:db8:0:1::1"), from(&throttle, "2001:db8:1::1"));
        assert_eq!(from(&throttle, "::ffff:192.0.2.1"), from(&throttle, "192.0.2.200"));
    }

    #[test]
    fn the_maps_stay_bounded_under_a_flood_of_names() {
        let throttle = Throttle::new(settings());
        for number in 0..10_000u32 {
            let mut account = [0u8; 32];
            account[..4].copy_from_slice(&number.to_be_bytes());
            let _ = throttle.attempt(AccountKey(account), Place::Device([0; 16]), i64::from(number));
        }
        assert!(throttle.pairs.lock().unwrap().entries.len() <= 64);
    }

    #[test]
    fn failures_are_forgotten_after_the_window() {
        let throttle = Throttle::new(settings());
        let place = from(&throttle, "192.0.2.1");
        fail(&throttle, ALICE, place, 3);
        let later = 901 * SECOND;
        assert!(throttle.attempt(ALICE, place, later).is_ok());
        assert!(throttle.attempt(ALICE, place, later).is_ok());
    }
}
