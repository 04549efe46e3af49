//! `[cache]`: the memory for stored answers; `cache` of a route: what is stored there.

use std::time::Duration;

use http::HeaderName;
use quintet_service::Invalid;
use serde::Deserialize;

use super::content::Switch;
use super::{Config, RouteSection, invalid};
use crate::cache::Policy;

/// The least that is of use: one shard must hold some objects.
const MIN_BYTES: usize = 1024 * 1024;
const MAX_BYTES: usize = 1 << 40;
/// One year, as RFC 9111 has it for the longest lifetimes that mean anything.
const MAX_SECONDS: u64 = 31_536_000;

/// The memory for stored answers, over all workers and routes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheSection {
    /// Bytes of answers in memory; the least used go first. 1048576 to 1099511627776.
    pub(crate) max_bytes: usize,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self { max_bytes: 256 * 1024 * 1024 }
    }
}

/// What a route stores, and when it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteCacheSection {
    /// Seconds that a 200 is fresh which says nothing about it and was asked for without cookie and credentials; 0
    /// for none. At most 31536000.
    pub(crate) default_ttl_s: u64,
    /// Seconds beyond its freshness that an answer is served while it is asked for anew, where it does not say so
    /// itself. At most 31536000.
    pub(crate) stale_while_revalidate_s: u64,
    /// Seconds beyond its freshness that an answer stands in for an upstream that fails, where it does not say so
    /// itself. At most 31536000.
    pub(crate) stale_if_error_s: u64,
    /// Largest body that is stored, in bytes; at most an eighth of `cache.max_bytes`.
    pub(crate) max_object_bytes: usize,
    /// Longest wait for an answer that another request is fetching; 0 to 60000.
    pub(crate) wait_ms: u64,
    /// Clients may ask for a newer answer than the stored one (`no-cache`, `max-age`, `min-fresh`).
    pub(crate) obey_clients: bool,
}

impl Default for RouteCacheSection {
    fn default() -> Self {
        Self {
            default_ttl_s: 0,
            stale_while_revalidate_s: 0,
            stale_if_error_s: 0,
            max_object_bytes: 4 * 1024 * 1024,
            wait_ms: 3_000,
            obey_clients: true,
        }
    }
}

pub(super) fn check(section: &CacheSection) -> Result<(), Invalid> {
    if !(MIN_BYTES..=MAX_BYTES).contains(&section.max_bytes) {
        return invalid("cache.max_bytes", "must be from 1048576 to 1099511627776");
    }
    Ok(())
}

/// What the route at `at` stores, if anything.
pub(super) fn of_route(
    config: &Config,
    at: usize,
    route: &RouteSection,
) -> Result<Option<Box<Policy>>, Invalid> {
    let section = match &route.cache {
        None | Some(Switch::Off) => return Ok(None),
        Some(Switch::On) => {
            let standard = RouteCacheSection::default();
            let most = config.cache.max_bytes / 8;
            RouteCacheSection { max_object_bytes: standard.max_object_bytes.min(most), ..standard }
        }
        Some(Switch::With(section)) => section.clone(),
    };
    let refuse = |field: &str, message: &str| invalid(&format!("routes.{at}.cache{field}"), message);
    if route.upstream.is_none() && route.split.is_none() {
        return refuse("", "has no effect without an upstream");
    }
    for (field, seconds) in [
        (".default_ttl_s", section.default_ttl_s),
        (".stale_while_revalidate_s", section.stale_while_revalidate_s),
        (".stale_if_error_s", section.stale_if_error_s),
    ] {
        if seconds > MAX_SECONDS {
            return refuse(field, "must be at most 31536000, a year");
        }
    }
    if section.max_object_bytes == 0 || section.max_object_bytes > config.cache.max_bytes / 8 {
        return refuse(".max_object_bytes", "must be from 1 to an eighth of `cache.max_bytes`");
    }
    if section.wait_ms > 60_000 {
        return refuse(".wait_ms", "must be at most 60000");
    }
    Ok(Some(Box::new(Policy {
        default_ttl: section.default_ttl_s,
        stale_while_revalidate: section.stale_while_revalidate_s,
        stale_if_error: section.stale_if_error_s,
        max_object_bytes: section.max_object_bytes,
        wait: Duration::from_millis(section.wait_ms),
        obey_clients: section.obey_clients,
        edited: edited(route),
    })))
}

/// Names of request headers that the route changes, so that an answer which varies by one does not vary by what the
/// client sent.
fn edited(route: &RouteSection) -> Vec<HeaderName> {
    let Some(edits) = &route.request_headers else { return Vec::new() };
    let names = edits.remove.iter().chain(edits.set.keys()).chain(edits.add.keys());
    names.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}
