//! `retries` and `hedge_after_ms` of a route.

use std::time::Duration;

use quintet_service::Invalid;
use serde::Deserialize;

use super::invalid;
use crate::proxy::Retries;

const MAX_ATTEMPTS: u32 = 10;
/// Bytes of a body that is kept while its request runs.
const MAX_KEPT: usize = 1024 * 1024;

/// When a request is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetriesSection {
    /// Tries after the first one; 0 to 10.
    pub(crate) attempts: u32,
    /// What is tried again.
    pub(crate) on: Vec<RetryOn>,
    /// Time for the head of the answer to each try; below `timeout_ms`, which holds for all together.
    pub(crate) per_try_timeout_ms: Option<u64>,
    /// Bytes of a request body that is kept for another try; at most 1048576.
    pub(crate) max_body: usize,
}

/// What a retry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum RetryOn {
    /// No connection: nothing was sent, so any method is tried again.
    #[serde(rename = "connect-failure")]
    ConnectFailure,
    /// The upstream broke off, or ran out of a try's time, before the head of its answer.
    #[serde(rename = "reset-before-response")]
    ResetBeforeResponse,
    /// The upstream answered 503.
    #[serde(rename = "503")]
    Unavailable,
}

impl Default for RetriesSection {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec![RetryOn::ConnectFailure, RetryOn::ResetBeforeResponse],
            per_try_timeout_ms: None,
            max_body: 64 * 1024,
        }
    }
}

/// Checks both keys of the route whose other keys begin with `route`.
pub(super) fn check(
    route: &str,
    section: Option<&RetriesSection>,
    hedge_after_ms: Option<u64>,
    timeout_ms: u64,
) -> Result<Retries, Invalid> {
    let below = |key: &str, value: Option<u64>| match value {
        Some(value) if value == 0 || value >= timeout_ms => {
            invalid(&format!("{route}.{key}"), "must be at least 1 and below the route's `timeout_ms`")
        }
        _ => Ok(value.map(Duration::from_millis)),
    };
    let hedge_after = below("hedge_after_ms", hedge_after_ms)?;
    let Some(section) = section else { return Ok(Retries { hedge_after, ..Retries::default() }) };
    if section.attempts > MAX_ATTEMPTS {
        return invalid(&format!("{route}.retries.attempts"), &format!("must be at most {MAX_ATTEMPTS}"));
    }
    if section.max_body > MAX_KEPT {
        return invalid(&format!("{route}.retries.max_body"), &format!("must be at most {MAX_KEPT}"));
    }
    let has = |on| section.on.contains(&on);
    Ok(Retries {
        sends: section.attempts + 1,
        on_connect_failure: has(RetryOn::ConnectFailure),
        on_reset: has(RetryOn::ResetBeforeResponse),
        on_503: has(RetryOn::Unavailable),
        per_try: below("retries.per_try_timeout_ms", section.per_try_timeout_ms)?,
        max_body: Some(section.max_body),
        hedge_after,
    })
}
