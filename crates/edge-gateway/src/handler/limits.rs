//! Whether a client may make a request, by its network, allowance and memory.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use quintet_http::problem::Problem;

use super::Extra;
use crate::connection::ConnectionState;
use crate::limits::{Access, ClientKey, Quota, QuotaKey};

/// For a client that cancels its requests or has too many of them.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn check_access(state: &ConnectionState, access: Option<&Access>) -> Result<(), Problem> {
    match access {
        Some(access) if !access.permits(state.client.ip) => {
            let detail = "this address is not open to your network";
            Err(Problem::new(StatusCode::FORBIDDEN, "network_denied", detail))
        }
        _ => Ok(()),
    }
}

/// The client's requests hold all of the memory that it may have.
pub(super) fn no_room(state: &ConnectionState) -> Problem {
    state.worker.gateway.metrics.memory_limited.increment(1);
    let detail = "your network has too many requests in progress at the same time";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "client_memory", detail).with_retry_after(RETRY_AFTER)
}

/// Whose allowance a request takes from; None where that is known only after authorization.
pub(super) fn quota_client(
    state: &ConnectionState,
    key: &QuotaKey,
    headers: &HeaderMap,
) -> Option<ClientKey> {
    match key {
        QuotaKey::Ip => Some(state.client.key),
        QuotaKey::Route => Some(ClientKey::EVERYONE),
        QuotaKey::Subject => None,
        QuotaKey::Header(name) => Some(
            headers
                .get(name)
                .map_or(state.client.key, |value| state.worker.gateway.rate_limiter.key_of(value.as_bytes())),
        ),
    }
}

pub(super) fn take_quota(
    state: &ConnectionState,
    client: ClientKey,
    bucket: u32,
    quota: &Quota,
    now: Instant,
    extra: &mut Extra,
) -> Result<(), Problem> {
    let gateway = &state.worker.gateway;
    let decision = gateway.rate_limiter.take(client, bucket, quota, now);
    extra.rate_limit = Some((*quota, decision));
    if decision.allowed {
        return Ok(());
    }
    gateway.metrics.rate_limited.increment(1);
    Err(Problem::too_many(decision.retry_after))
}
