//! An upstream as it is at this moment, for the admin listener.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Upstream;
use super::endpoint::Endpoint;

/// Load and health of an upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UpstreamStatus {
    pub(crate) upstream: String,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_limit: usize,
    /// Requests that wait for a place.
    pub(crate) pending: usize,
    pub(crate) endpoints: Vec<EndpointStatus>,
}

/// Load and health of one of its addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EndpointStatus {
    pub(crate) address: String,
    pub(crate) health: Condition,
    pub(crate) weight: u32,
    pub(crate) in_flight: usize,
    /// What balancing knows of its latency; none before its first answer and where `balance` does not ask.
    pub(crate) latency_ms: Option<f64>,
    /// Ejections since it last answered.
    pub(crate) ejections: u32,
}

/// Whether an address gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    Up,
    /// Left out for a while after failures.
    Ejected,
    /// Its health checks fail.
    Unhealthy,
}

impl Condition {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Upstream {
    /// What is known of it at `now`.
    pub(crate) fn status(&self, now: Instant) -> UpstreamStatus {
        let now = self.millis(now);
        UpstreamStatus {
            upstream: self.name.clone(),
            in_flight: self.in_flight(),
            in_flight_limit: self.admission.limit(),
            pending: self.admission.pending(),
            endpoints: self.endpoints.iter().filter_map(|endpoint| endpoint.status(now)).collect(),
        }
    }
}

impl Endpoint {
    /// None for a place without an address.
    fn status(&self, now: u64) -> Option<EndpointStatus> {
        let nanos = self.latency.read(now);
        Some(EndpointStatus {
            address: self.address()?.to_string(),
            health: match self.is_available(now) {
                true => Condition::Up,
                false if self.is_ejected(now) => Condition::Ejected,
                false => Condition::Unhealthy,
            },
            weight: self.weight,
            in_flight: self.load(),
            latency_ms: (nanos > 0.0).then_some(nanos / 1e6),
            ejections: self.ejections(),
        })
    }
}
