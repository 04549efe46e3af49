//! `[upstreams.health]`: how addresses are asked whether they are well.

use std::time::Duration;

use http::header::HeaderValue;
use http::uri::PathAndQuery;
use quintet_service::Invalid;
use serde::Deserialize;

use super::At;
use crate::upstream::Health;

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthSection {
    /// Path and query of the GET request.
    pub(crate) path: String,
    /// `Host` of the request; the name or address in `addresses` where unset.
    pub(crate) host: Option<String>,
    /// Time between two checks of an address, a tenth more or less; 100 to 3600000.
    #[serde(default = "default_interval_ms")]
    pub(crate) interval_ms: u64,
    /// Time for the whole answer; 1 to 60000. The next check waits for it.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// Checks in a row that an unhealthy address must pass; 1 to 100.
    #[serde(default = "default_healthy_after")]
    pub(crate) healthy_after: u32,
    /// Checks in a row that a healthy address must fail; 1 to 100.
    #[serde(default = "default_unhealthy_after")]
    pub(crate) unhealthy_after: u32,
    /// Status codes that pass; 200 to 299 where empty.
    #[serde(default)]
    pub(crate) status: Vec<u16>,
}

const fn default_interval_ms() -> u64 {
    5_000
}
const fn default_timeout_ms() -> u64 {
    1_000
}
const fn default_healthy_after() -> u32 {
    2
}
const fn default_unhealthy_after() -> u32 {
    3
}

pub(super) fn check(place: At, section: &HealthSection) -> Result<(), Invalid> {
    place.within("health.interval_ms", section.interval_ms, 100, 3_600_000)?;
    place.within("health.timeout_ms", section.timeout_ms, 1, 60_000)?;
    place.within("health.healthy_after", u64::from(section.healthy_after), 1, 100)?;
    place.within("health.unhealthy_after", u64::from(section.unhealthy_after), 1, 100)?;
    for (n, status) in section.status.iter().enumerate() {
        place.within(&format!("health.status.{n}"), u64::from(*status), 200, 599)?;
    }
    if path(section).is_none() {
        return place.refuse("health.path", "must be a path such as \"/healthz\"");
    }
    if section.host.as_deref().is_some_and(|host| HeaderValue::from_str(host).is_err()) {
        return place.refuse("health.host", "must be a host name such as \"app.example\"");
    }
    Ok(())
}

fn path(section: &HealthSection) -> Option<PathAndQuery> {
    section.path.starts_with('/').then(|| PathAndQuery::try_from(section.path.as_str()).ok()).flatten()
}

impl HealthSection {
    /// The checks; none only for a section that was not checked.
    pub(crate) fn plan(&self) -> Option<Health> {
        Some(Health {
            path: path(self)?,
            host: self.host.as_deref().and_then(|host| HeaderValue::from_str(host).ok()),
            interval: Duration::from_millis(self.interval_ms),
            timeout: Duration::from_millis(self.timeout_ms),
            healthy_after: self.healthy_after,
            unhealthy_after: self.unhealthy_after,
            status: self.status.clone(),
        })
    }
}
