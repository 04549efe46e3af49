//! `[[upstreams]]`: the services behind the gateway.

mod adaptive;
mod health;
mod place;
mod sticky;
mod tls;

use http::{HeaderName, HeaderValue};
use quintet_http::listen::Address;
use quintet_service::Invalid;
use serde::Deserialize;

pub(crate) use self::adaptive::AdaptiveSection;
pub(crate) use self::health::HealthSection;
pub(crate) use self::place::{HostPort, Place, Site};
pub(crate) use self::sticky::StickySection;
pub(crate) use self::tls::TlsSection;
use super::invalid;
use crate::proxy_protocol::Version;
use crate::upstream::{HashKey, Health, Policy, Protocol};

const MAX_ADDRESSES: usize = 256;
const MAX_SLOW_START_MS: u64 = 3_600_000;

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    /// Where it listens: `"10.0.0.1:8080"`, `"unix:/run/app.sock"`, `"app.internal:8080"` for all addresses that the
    /// DNS name has, or `{ address = "10.0.0.1:8080", weight = 3 }`. At most 256.
    pub(crate) addresses: Vec<Place>,
    /// Time between two look-ups of the DNS names among `addresses`, a tenth more or less; 100 to 3600000.
    #[serde(default = "default_resolve_interval_ms")]
    pub(crate) resolve_interval_ms: u64,
    /// Addresses that one DNS name may have, others are left out; 1 to 64.
    #[serde(default = "default_max_resolved")]
    pub(crate) max_resolved: usize,
    /// What is spoken there: `"h1"`, `"h2"` (needs `tls`) or `"h2c"` (HTTP/2 without TLS).
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// Speaks TLS and verifies who answers.
    pub(crate) tls: Option<TlsSection>,
    /// Tells the address of each client by a PROXY header of this version, `"v1"` or `"v2"`, before everything else. A
    /// connection then serves one client's connection alone.
    pub(crate) proxy_protocol: Option<Version>,
    /// Requests at once on one HTTP/2 connection, or fewer where the upstream says so; 1 to 1000.
    #[serde(default = "default_max_streams")]
    pub(crate) max_streams: u32,
    /// How an address is chosen.
    #[serde(default)]
    pub(crate) balance: Policy,
    /// What `balance = "hash"` hashes: `"ip"`, `"header:NAME"` or `"cookie:NAME"`; the client's address where
    /// unset or where a request has no such header or cookie.
    pub(crate) hash_key: Option<String>,
    /// Keeps a client at the address that served it first.
    pub(crate) sticky: Option<StickySection>,
    /// Asks each address regularly whether it is well.
    pub(crate) health: Option<HealthSection>,
    /// Time in which an address that joins or recovers comes to its full weight; at most 3600000.
    #[serde(default)]
    pub(crate) slow_start_ms: u64,
    /// All addresses are used, whatever their health, when less than this share is available; 0 to 100.
    #[serde(default = "default_panic_percent")]
    pub(crate) panic_percent: u8,
    /// Share of addresses that failed requests may take out at once, though always one; 0 to 100.
    #[serde(default = "default_max_ejected_percent")]
    pub(crate) max_ejected_percent: u8,
    /// Time to establish a connection.
    #[serde(default = "default_connect_timeout_ms")]
    pub(crate) connect_timeout_ms: u64,
    /// How long a request waits for an upstream that refuses connections, as during a restart.
    #[serde(default = "default_restart_patience_ms")]
    pub(crate) restart_patience_ms: u64,
    /// Idle connections are closed after this; must be below the upstream's own timeout.
    #[serde(default = "default_idle_timeout_ms")]
    pub(crate) idle_timeout_ms: u64,
    /// Idle connections kept per address and worker.
    #[serde(default = "default_max_idle")]
    pub(crate) max_idle: usize,
    /// Requests in flight to the whole upstream before more are refused with 503.
    #[serde(default = "default_max_in_flight")]
    pub(crate) max_in_flight: usize,
    /// Learns a lower bound than `max_in_flight` from how long the upstream takes.
    pub(crate) adaptive: Option<AdaptiveSection>,
    /// Requests that wait for a place when `max_in_flight` is reached; at most 65536.
    #[serde(default)]
    pub(crate) max_pending: usize,
    /// How long they wait; 1 to 60000.
    #[serde(default = "default_pending_timeout_ms")]
    pub(crate) pending_timeout_ms: u64,
}

const fn default_resolve_interval_ms() -> u64 {
    10_000
}
const fn default_max_resolved() -> usize {
    16
}
const fn default_max_streams() -> u32 {
    100
}
const fn default_panic_percent() -> u8 {
    30
}
const fn default_max_ejected_percent() -> u8 {
    50
}
const fn default_connect_timeout_ms() -> u64 {
    2_000
}
const fn default_restart_patience_ms() -> u64 {
    2_000
}
/// `quintet_http::server` closes idle connections after its header timeout of 10 s.
const fn default_idle_timeout_ms() -> u64 {
    5_000
}
const fn default_max_idle() -> usize {
    128
}
const fn default_max_in_flight() -> usize {
    4_096
}

const fn default_pending_timeout_ms() -> u64 {
    1_000
}

impl Upstream {
    /// The name that all of its addresses have, where they have one.
    fn only_name(&self) -> Option<&HostPort> {
        let (first, _) = self.names().next()?;
        let same = self.names().filter(|(name, _)| name.host == first.host).count();
        (same == self.addresses.len()).then_some(first)
    }

    /// DNS names, with their weights.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&HostPort, u32)> {
        self.addresses.iter().filter_map(|place| match &place.address {
            Site::Name(name) => Some((name, place.weight)),
            Site::Address(_) => None,
        })
    }

    /// Addresses, with their weights.
    pub(crate) fn fixed(&self) -> impl Iterator<Item = (&Address, u32)> {
        self.addresses.iter().filter_map(|place| match &place.address {
            Site::Address(address) => Some((address, place.weight)),
            Site::Name(_) => None,
        })
    }

    /// TLS with the name to verify, where it is that of `addresses`.
    pub(crate) fn tls(&self) -> Option<TlsSection> {
        let tls = self.tls.clone()?;
        let server_name = tls.server_name.or_else(|| self.only_name().map(|name| name.host.clone()));
        Some(TlsSection { server_name, ..tls })
    }

    /// The checks of its health.
    pub(crate) fn health(&self) -> Option<Health> {
        let mut health = self.health.as_ref()?.plan()?;
        let name = || self.only_name().and_then(|name| HeaderValue::from_str(&name.to_string()).ok());
        health.host = health.host.or_else(name);
        Some(health)
    }

    /// What is hashed, where the policy hashes.
    pub(crate) fn hash_key(&self) -> Option<HashKey> {
        let by_hash = self.balance == Policy::Hash;
        by_hash.then(|| self.hash_key.as_deref().and_then(parse_hash_key).unwrap_or(HashKey::Ip))
    }
}

fn parse_hash_key(text: &str) -> Option<HashKey> {
    match text.split_once(':') {
        None => (text == "ip").then_some(HashKey::Ip),
        Some(("header", name)) => HeaderName::try_from(name).ok().map(HashKey::Header),
        Some(("cookie", name)) => sticky::is_cookie_name(name).then(|| HashKey::Cookie(name.to_owned())),
        Some(_) => None,
    }
}

/// Where an upstream's mistakes are reported.
#[derive(Clone, Copy)]
struct At(usize);

impl At {
    fn refuse<T>(self, field: &str, message: &str) -> Result<T, Invalid> {
        invalid(&format!("upstreams.{}.{field}", self.0), message)
    }

    /// Refuses a value outside of its bounds.
    fn within(self, field: &str, value: u64, least: u64, most: u64) -> Result<(), Invalid> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        if most == u64::MAX {
            return self.refuse(field, &format!("must be at least {least}"));
        }
        self.refuse(field, &format!("must be from {least} to {most}"))
    }
}

pub(super) fn check(upstreams: &[Upstream]) -> Result<(), Invalid> {
    for (at, upstream) in upstreams.iter().enumerate() {
        let place = At(at);
        if upstream.name.is_empty() || !upstream.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return place.refuse("name", "must be letters, digits and hyphens");
        }
        if upstreams.iter().take(at).any(|other| other.name == upstream.name) {
            return place.refuse("name", &format!("`{}` names an upstream twice", upstream.name));
        }
        check_addresses(place, upstream)?;
        tls::check(place, upstream)?;
        if upstream.proxy_protocol.is_some() && upstream.protocol != Protocol::H1 {
            let message = "needs protocol = \"h1\": an HTTP/2 connection carries requests of many clients";
            return place.refuse("proxy_protocol", message);
        }
        check_balance(place, upstream)?;
        place.within("resolve_interval_ms", upstream.resolve_interval_ms, 100, 3_600_000)?;
        place.within("max_resolved", upstream.max_resolved as u64, 1, 64)?;
        place.within("connect_timeout_ms", upstream.connect_timeout_ms, 1, u64::MAX)?;
        place.within("max_pending", upstream.max_pending as u64, 0, 65_536)?;
        place.within("pending_timeout_ms", upstream.pending_timeout_ms, 1, 60_000)?;
        place.within("max_in_flight", upstream.max_in_flight as u64, 1, u64::MAX)?;
        if let Some(adaptive) = &upstream.adaptive {
            adaptive.check(place, upstream.max_in_flight)?;
        }
    }
    Ok(())
}

fn check_addresses(place: At, upstream: &Upstream) -> Result<(), Invalid> {
    let addresses = &upstream.addresses;
    if addresses.is_empty() {
        let example = "needs at least one address, such as \"unix:/run/quintet/core-api.sock\"";
        return place.refuse("addresses", example);
    }
    if addresses.len() > MAX_ADDRESSES {
        return place.refuse("addresses", &format!("must be at most {MAX_ADDRESSES}"));
    }
    for (n, one) in addresses.iter().enumerate() {
        place.within(
            &format!("addresses.{n}.weight"),
            u64::from(one.weight),
            1,
            u64::from(place::MAX_WEIGHT),
        )?;
        if addresses.iter().take(n).any(|other| other.address == one.address) {
            let message = format!("names `{}` twice; give it a `weight` instead", one.address);
            return place.refuse(&format!("addresses.{n}"), &message);
        }
    }
    Ok(())
}

fn check_balance(place: At, upstream: &Upstream) -> Result<(), Invalid> {
    if let Some(key) = &upstream.hash_key {
        if upstream.balance != Policy::Hash {
            return place.refuse("hash_key", "has no effect without balance = \"hash\"");
        }
        if parse_hash_key(key).is_none() {
            return place.refuse("hash_key", "must be \"ip\", \"header:NAME\" or \"cookie:NAME\"");
        }
    }
    if let Some(sticky) = &upstream.sticky {
        sticky::check(place, sticky)?;
    }
    if let Some(health) = &upstream.health {
        health::check(place, health)?;
    }
    place.within("slow_start_ms", upstream.slow_start_ms, 0, MAX_SLOW_START_MS)?;
    place.within("panic_percent", u64::from(upstream.panic_percent), 0, 100)?;
    place.within("max_ejected_percent", u64::from(upstream.max_ejected_percent), 0, 100)
}

#[cfg(test)]
mod tests;
