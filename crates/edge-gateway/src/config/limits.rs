//! `[limits]`: bounds on what clients can make the gateway hold or do.

use std::time::Duration;

use quintet_service::Invalid;
use serde::Deserialize;

use super::invalid;
use crate::limits::Quota;

/// Bounds on what clients can make the gateway hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_ip: usize,
    /// Bytes of a request head; more is answered 431.
    pub(crate) header_bytes: u32,
    pub(crate) header_count: usize,
    pub(crate) h2_streams: u32,
    pub(crate) tls_handshake_timeout_ms: u64,
    pub(crate) header_read_timeout_ms: u64,
    pub(crate) keep_alive_timeout_ms: u64,
    /// Longest pause while a request body is being sent.
    pub(crate) body_idle_timeout_ms: u64,
    /// Longest pause of a client that does not take its answer.
    pub(crate) write_timeout_ms: u64,
    pub(crate) tunnel_idle_timeout_ms: u64,
    pub(crate) max_body: u64,
    /// Allowance per client address over all routes.
    pub(crate) rate_limit: Option<RateLimit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 1_024,
            header_bytes: 32 * 1024,
            header_count: 100,
            h2_streams: 100,
            tls_handshake_timeout_ms: 10_000,
            header_read_timeout_ms: 10_000,
            keep_alive_timeout_ms: 75_000,
            body_idle_timeout_ms: 30_000,
            write_timeout_ms: 60_000,
            tunnel_idle_timeout_ms: 600_000,
            max_body: 1024 * 1024,
            rate_limit: None,
        }
    }
}

/// `requests` per `window_ms`, of which `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    pub(crate) requests: u32,
    #[serde(default = "default_window_ms")]
    pub(crate) window_ms: u32,
    pub(crate) burst: Option<u32>,
}

const fn default_window_ms() -> u32 {
    1_000
}

pub(super) fn check(limits: &Limits) -> Result<(), Invalid> {
    let at_least = |key: &str, value: u64, least: u64| {
        if value < least {
            invalid(&format!("limits.{key}"), &format!("must be at least {least}"))
        } else {
            Ok(())
        }
    };
    at_least("connections", limits.connections as u64, 1)?;
    at_least("connections_per_ip", limits.connections_per_ip as u64, 1)?;
    at_least("header_bytes", u64::from(limits.header_bytes), 8_192)?;
    at_least("header_count", limits.header_count as u64, 16)?;
    at_least("h2_streams", u64::from(limits.h2_streams), 1)?;
    at_least("tls_handshake_timeout_ms", limits.tls_handshake_timeout_ms, 100)?;
    at_least("header_read_timeout_ms", limits.header_read_timeout_ms, 100)?;
    at_least("keep_alive_timeout_ms", limits.keep_alive_timeout_ms, 100)?;
    at_least("body_idle_timeout_ms", limits.body_idle_timeout_ms, 100)?;
    at_least("write_timeout_ms", limits.write_timeout_ms, 100)?;
    at_least("tunnel_idle_timeout_ms", limits.tunnel_idle_timeout_ms, 100)
}

pub(super) fn quota(key: &str, limit: RateLimit) -> Result<Quota, Invalid> {
    let burst = limit.burst.unwrap_or(limit.requests);
    if limit.requests == 0 || limit.window_ms == 0 || burst == 0 {
        return invalid(key, "`requests`, `window_ms` and `burst` must be at least 1");
    }
    Ok(Quota::new(limit.requests, Duration::from_millis(u64::from(limit.window_ms)), burst))
}
