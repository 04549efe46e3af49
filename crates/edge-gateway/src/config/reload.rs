//! `[reload]`: how a new configuration has to prove itself.

use quintet_service::Invalid;
use serde::Deserialize;

use super::invalid;

/// When a reloaded configuration is taken back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reload {
    /// How long a new configuration is watched, and how far back the old one is looked at for
    /// comparison; 0 never takes one back. At most 600000.
    pub(crate) watch_ms: u64,
    /// By how much the share of requests that the gateway itself answers with 502, 503 or 504 may grow;
    /// 0.05 is five percentage points.
    pub(crate) max_error_increase: f64,
    /// Requests under the new configuration before it is judged.
    pub(crate) min_requests: u64,
}

impl Default for Reload {
    fn default() -> Self {
        Self { watch_ms: 30_000, max_error_increase: 0.05, min_requests: 50 }
    }
}

pub(super) fn check(reload: &Reload) -> Result<(), Invalid> {
    if reload.watch_ms > 600_000 {
        return invalid("reload.watch_ms", "must be at most 600000 (ten minutes)");
    }
    if !(0.0..=1.0).contains(&reload.max_error_increase) {
        return invalid("reload.max_error_increase", "must be a share from 0.0 to 1.0");
    }
    if reload.min_requests == 0 {
        return invalid("reload.min_requests", "must be at least 1");
    }
    Ok(())
}
