//! The configuration sections that several binaries have.

use std::num::NonZeroUsize;
use std::time::Duration;

use quintet_http::Address;
use serde::Deserialize;

/// The `[service]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSection {
    /// Where `/healthz`, `/readyz` and `/metrics` are served. Not for the public.
    pub admin: Address,
    /// How long requests in progress may take after SIGTERM, in milliseconds.
    #[serde(default = "drain_timeout_ms")]
    pub drain_timeout_ms: u64,
    /// Threads that run the process's tasks; one for each core, at most four, unless set.
    #[serde(default)]
    pub worker_threads: Option<NonZeroUsize>,
}

/// The time systemd leaves before SIGKILL is 90 s; ten are enough for requests limited to less.
fn drain_timeout_ms() -> u64 {
    10_000
}

impl ServiceSection {
    /// [`Self::drain_timeout_ms`] as a duration.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

/// The `[listen]` section of a service behind the gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSection {
    /// Where requests come in: `127.0.0.1:9000` or `unix:/run/quintet/NAME.sock`.
    pub http: Address,
}

/// The sections that every binary has, borrowed from its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// The `[service]` section.
    pub service: &'a ServiceSection,
    /// The `[telemetry]` section.
    pub telemetry: &'a quintet_telemetry::Settings,
}
