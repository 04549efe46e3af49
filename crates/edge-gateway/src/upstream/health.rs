//! Active health checks: asks each address at its own pace whether it is well.
//!
//! One task for each upstream and process, however many workers there are; the result is one atomic per
//! address. Checks have a thread of their own, so that a busy worker makes no upstream look slow. A check makes a connection of its own, because a server that accepts none is not well. The first
//! check of an address decides at once; later ones need several in a row, so that one lost packet moves nothing.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Limited};
use quintet_http::listen::Address;
use tokio_util::task::LocalPoolHandle;

use super::{Transport, Upstream};
use crate::body::RequestBody;
use crate::interim::Interim;
use crate::wire::Wire;

/// Bytes of an answer; what does not fit is no answer to a health check.
const MAX_ANSWER: usize = 256 * 1024;

/// How the addresses of an upstream are checked.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) path: PathAndQuery,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) healthy_after: u32,
    pub(crate) unhealthy_after: u32,
    /// Empty for all from 200 to 299.
    pub(crate) status: Vec<u16>,
}

/// What earlier checks of an address found.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    /// Of the address; another one begins anew.
    generation: u32,
    healthy: Option<bool>,
    /// Checks in a row that said otherwise.
    against: u32,
}

impl Record {
    /// Takes a check into account; returns the new state if it changed.
    fn note(&mut self, passed: bool, health: &Health) -> Option<bool> {
        if self.healthy == Some(passed) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if passed { health.healthy_after } else { health.unhealthy_after };
        if self.healthy.is_some() && self.against < needed {
            return None;
        }
        (self.healthy, self.against) = (Some(passed), 0);
        Some(passed)
    }
}

/// Checks the upstream until nothing uses it any more; `checks` run there.
pub(super) async fn run(upstream: Weak<Upstream>, health: Health, checks: LocalPoolHandle) {
    let mut records = Vec::new();
    loop {
        let Some(checked) = upstream.upgrade() else { return };
        check_all(&checked, &health, &checks, &mut records).await;
        drop(checked);
        tokio::time::sleep(jittered(health.interval)).await;
    }
}

/// A tenth more or less, so that gateways and upstreams do not ask in step.
pub(super) fn jittered(interval: Duration) -> Duration {
    let mut random = [0u8; 2];
    quintet_types::Entropy::fill(&quintet_types::SystemEntropy, &mut random);
    let part = f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX);
    interval.mul_f64(0.9 + 0.2 * part)
}

async fn check_all(
    upstream: &Arc<Upstream>,
    health: &Health,
    checks: &LocalPoolHandle,
    records: &mut Vec<Record>,
) {
    records.resize(upstream.endpoints.len(), Record::default());
    let mut running = Vec::new();
    for (at, endpoint) in upstream.endpoints.iter().enumerate() {
        let Some(address) = endpoint.address() else { continue };
        let (upstream, health, generation) = (Arc::clone(upstream), health.clone(), endpoint.generation());
        let check = move || async move { passes(&address, &upstream, &health).await };
        running.push((at, generation, checks.spawn_pinned(check)));
    }
    // Each ends in time by itself.
    for (at, generation, check) in running {
        // A check that panicked says nothing about the address.
        let Ok(outcome) = check.await else { continue };
        let (Some(endpoint), Some(record)) = (upstream.endpoints.get(at), records.get_mut(at)) else {
            continue;
        };
        if generation != endpoint.generation() {
            continue;
        }
        if record.generation != generation {
            *record = Record { generation, ..Record::default() };
        }
        upstream.metrics.checked(outcome.is_ok());
        if let Some(healthy) = record.note(outcome.is_ok(), health) {
            endpoint.set_healthy(healthy, upstream.millis(Instant::now()));
            report(upstream, at, outcome.err());
        }
    }
}

fn report(upstream: &Upstream, at: usize, failure: Option<String>) {
    let address = upstream.endpoints.get(at).and_then(super::Endpoint::address);
    let address = address.as_deref().map(ToString::to_string).unwrap_or_default();
    let upstream = upstream.name.as_str();
    match failure {
        None => tracing::info!(upstream, address, "address is healthy"),
        Some(reason) => tracing::warn!(upstream, address, reason, "address is unhealthy"),
    }
}

/// Asks once. The error says why the address is not well.
async fn passes(address: &Address, upstream: &Upstream, health: &Health) -> Result<(), String> {
    let exchange = exchange(address, upstream, health);
    let status = match tokio::time::timeout(health.timeout, exchange).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(crate::proxy::chain(&*error)),
        Err(_) => return Err("no answer in time".to_owned()),
    };
    let expected =
        if health.status.is_empty() { status.is_success() } else { health.status.contains(&status.as_u16()) };
    if expected { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Asks over a connection of its own, which ends with this future.
async fn exchange(address: &Address, upstream: &Upstream, health: &Health) -> Result<StatusCode, Failed> {
    let wire = Wire::alone(address, upstream, health.timeout).await?;
    let mut request = request(address, &upstream.transport, health)?;
    let (head, body) = wire.send(&mut request, &Interim::none()).await?.into_parts();
    Limited::new(body, MAX_ANSWER).collect().await?;
    Ok(head.status)
}

fn request(
    address: &Address,
    transport: &Transport,
    health: &Health,
) -> Result<Request<RequestBody>, http::Error> {
    let host = health.host.clone().or_else(|| match address {
        Address::Tcp(tcp) => HeaderValue::from_str(&tcp.to_string()).ok(),
        Address::Unix(_) => None,
    });
    let host = host.unwrap_or_else(|| HeaderValue::from_static("localhost"));
    let mut request = Request::builder().header(USER_AGENT, "edge-gateway health check");
    request = if transport.is_http2() {
        let scheme = if transport.is_secure() { "https" } else { "http" };
        let target = Uri::builder().scheme(scheme).authority(host.as_bytes());
        request.version(Version::HTTP_2).uri(target.path_and_query(health.path.clone()).build()?)
    } else {
        request.uri(Uri::from(health.path.clone())).header(HOST, host)
    };
    request.body(RequestBody::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health {
            path: PathAndQuery::from_static("/"),
            host: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
            status: Vec::new(),
        }
    }

    #[test]
    fn the_first_check_decides_and_later_ones_need_several_in_a_row() {
        let mut record = Record::default();
        let checks = [
            (false, Some(false)),
            (true, None),
            (false, None),
            (true, None),
            (true, Some(true)),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(false)),
        ];
        for (n, (passed, change)) in checks.into_iter().enumerate() {
            assert_eq!(record.note(passed, &health()), change, "check {n}");
        }
    }

    #[test]
    fn intervals_vary_by_a_tenth() {
        for _ in 0..100 {
            let drawn = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&drawn), "{drawn:?}");
        }
    }
}
