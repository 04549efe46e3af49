//! `[[upstreams]]`: the services behind the gateway.

use quintet_http::listen::Address;
use quintet_service::Invalid;
use serde::Deserialize;

use super::invalid;

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) addresses: Vec<Address>,
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

pub(super) fn check(upstreams: &[Upstream]) -> Result<(), Invalid> {
    for (at, upstream) in upstreams.iter().enumerate() {
        let key = |field: &str| format!("upstreams.{at}.{field}");
        if upstream.name.is_empty() || !upstream.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return invalid(&key("name"), "must be letters, digits and hyphens");
        }
        if upstreams.iter().take(at).any(|other| other.name == upstream.name) {
            return invalid(&key("name"), &format!("`{}` names an upstream twice", upstream.name));
        }
        if upstream.addresses.is_empty() {
            return invalid(
                &key("addresses"),
                "needs at least one address, such as \"unix:/run/quintet/core-api.sock\"",
            );
        }
        if upstream.connect_timeout_ms == 0 {
            return invalid(&key("connect_timeout_ms"), "must be at least 1");
        }
        if upstream.max_in_flight == 0 {
            return invalid(&key("max_in_flight"), "must be at least 1");
        }
    }
    Ok(())
}
