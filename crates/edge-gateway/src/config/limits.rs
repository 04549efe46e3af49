//! `[limits]`: bounds on what clients can make the gateway hold or do.

use std::time::Duration;

use http::HeaderName;
use quintet_service::Invalid;
use serde::Deserialize;

use super::invalid;
use crate::body::MinRate;
use crate::limits::{Access, Networks, Quota, QuotaKey};

/// Bounds on what clients can make the gateway hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_ip: usize,
    /// Bytes that the requests of one client address (IPv6 by /64) may hold of the gateway's memory; 0 for no bound.
    /// What is beyond is answered 429.
    pub(crate) memory_per_ip: usize,
    /// Bytes of a request head; more is answered 431.
    pub(crate) header_bytes: u32,
    pub(crate) header_count: usize,
    pub(crate) h2_streams: u32,
    pub(crate) tls_handshake_timeout_ms: u64,
    pub(crate) header_read_timeout_ms: u64,
    pub(crate) keep_alive_timeout_ms: u64,
    /// Longest pause while a request body is being sent.
    pub(crate) body_idle_timeout_ms: u64,
    /// Bytes a second that a client has to send of a request body, over the time that it is waited for; 0 for none.
    /// What is slower is answered 408.
    pub(crate) body_min_rate: u64,
    /// Time before `body_min_rate` counts.
    pub(crate) body_min_rate_grace_ms: u64,
    /// Longest pause of a client that does not take its answer.
    pub(crate) write_timeout_ms: u64,
    pub(crate) tunnel_idle_timeout_ms: u64,
    pub(crate) max_body: u64,
    /// Only clients of these networks (`"10.0.0.0/8"`) are served; empty means all.
    pub(crate) allow: Vec<String>,
    /// Clients of these networks are answered 403, even where `allow` has them.
    pub(crate) deny: Vec<String>,
    /// Allowance per client address over all routes.
    pub(crate) rate_limit: Option<RateLimit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 1_024,
            memory_per_ip: 256 * 1024 * 1024,
            header_bytes: 32 * 1024,
            header_count: 100,
            h2_streams: 100,
            tls_handshake_timeout_ms: 10_000,
            header_read_timeout_ms: 10_000,
            keep_alive_timeout_ms: 75_000,
            body_idle_timeout_ms: 30_000,
            body_min_rate: 500,
            body_min_rate_grace_ms: 20_000,
            write_timeout_ms: 60_000,
            tunnel_idle_timeout_ms: 600_000,
            max_body: 1024 * 1024,
            allow: Vec::new(),
            deny: Vec::new(),
            rate_limit: None,
        }
    }
}

/// `requests` per `window_ms`, of which `burst` at once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    pub(crate) requests: u32,
    #[serde(default = "default_window_ms")]
    pub(crate) window_ms: u32,
    pub(crate) burst: Option<u32>,
    /// Whom the allowance belongs to: `"ip"` (unless set; IPv6 by /64), `"header:NAME"`, `"subject"` of the
    /// token, or `"route"` for all requests together. The limit over all routes is always per address.
    pub(crate) key: Option<String>,
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
    if limits.rate_limit.as_ref().is_some_and(|limit| limit.key.as_deref().is_some_and(|key| key != "ip")) {
        return invalid(
            "limits.rate_limit.key",
            "must be \"ip\"; other keys belong to a route's `rate_limit`",
        );
    }
    at_least("connections", limits.connections as u64, 1)?;
    at_least("connections_per_ip", limits.connections_per_ip as u64, 1)?;
    if limits.memory_per_ip > 0 {
        at_least("memory_per_ip", limits.memory_per_ip as u64, 1024 * 1024)?;
    }
    at_least("header_bytes", u64::from(limits.header_bytes), 8_192)?;
    at_least("header_count", limits.header_count as u64, 16)?;
    at_least("h2_streams", u64::from(limits.h2_streams), 1)?;
    at_least("tls_handshake_timeout_ms", limits.tls_handshake_timeout_ms, 100)?;
    at_least("header_read_timeout_ms", limits.header_read_timeout_ms, 100)?;
    at_least("keep_alive_timeout_ms", limits.keep_alive_timeout_ms, 100)?;
    at_least("body_idle_timeout_ms", limits.body_idle_timeout_ms, 100)?;
    at_least("body_min_rate_grace_ms", limits.body_min_rate_grace_ms, 100)?;
    at_least("write_timeout_ms", limits.write_timeout_ms, 100)?;
    at_least("tunnel_idle_timeout_ms", limits.tunnel_idle_timeout_ms, 100)
}

/// The least rate of a route's request bodies; `rate` is the route's own.
pub(super) fn min_rate(limits: &Limits, rate: Option<u64>) -> Option<MinRate> {
    let rate = rate.unwrap_or(limits.body_min_rate);
    (rate > 0).then(|| MinRate { rate, grace: Duration::from_millis(limits.body_min_rate_grace_ms) })
}

/// Whom a route's allowance belongs to.
pub(super) fn quota_key(key: &str, limit: &RateLimit, has_subject: bool) -> Result<QuotaKey, Invalid> {
    match limit.key.as_deref() {
        None | Some("ip") => Ok(QuotaKey::Ip),
        Some("route") => Ok(QuotaKey::Route),
        Some("subject") if has_subject => Ok(QuotaKey::Subject),
        Some("subject") => invalid(key, "`subject` needs a route with auth = \"token\" or \"browser\""),
        Some(text) => match text.strip_prefix("header:").map(HeaderName::try_from) {
            Some(Ok(name)) => Ok(QuotaKey::Header(name)),
            _ => invalid(key, "must be \"ip\", \"header:NAME\", \"subject\" or \"route\""),
        },
    }
}

/// Who may come, where anybody may not.
pub(super) fn access(key: &str, allow: &[String], deny: &[String]) -> Result<Option<Box<Access>>, Invalid> {
    let networks = |field: &str, texts: &[String]| {
        Networks::parse(texts).or_else(|message| invalid(&format!("{key}.{field}"), &message))
    };
    if allow.is_empty() && deny.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(Access::new(networks("allow", allow)?, networks("deny", deny)?))))
}

pub(super) fn quota(key: &str, limit: &RateLimit) -> Result<Quota, Invalid> {
    let burst = limit.burst.unwrap_or(limit.requests);
    if limit.requests == 0 || limit.window_ms == 0 || burst == 0 {
        return invalid(key, "`requests`, `window_ms` and `burst` must be at least 1");
    }
    Ok(Quota::new(limit.requests, Duration::from_millis(u64::from(limit.window_ms)), burst))
}
