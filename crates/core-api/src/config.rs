//! The configuration file `core-api.toml`.

use quintet_http::{Address, Limits};
use quintet_service::{Common, ServiceSection};
use serde::Deserialize;

/// Its sections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What every binary has.
    pub(crate) service: ServiceSection,
    /// Logs, metrics and traces.
    #[serde(default)]
    pub(crate) telemetry: quintet_telemetry::Settings,
    /// Where requests come in.
    pub(crate) listen: Listen,
    /// The database that all modules and the job queue share.
    pub(crate) database: quintet_store::Settings,
    /// Whose tokens are accepted.
    pub(crate) auth: quintet_auth::Settings,
    /// Where files are kept.
    pub(crate) storage: quintet_blobs::Settings,
    /// Who may act in which organization.
    #[serde(default)]
    pub(crate) tenancy: quintet_module::Settings,
    /// Jobs that nobody reads in the database; the same as the workers'.
    pub(crate) sealing: Option<quintet_jobs::Sealing>,
}

/// The `[listen]` section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// `127.0.0.1:9000` or `unix:/run/quintet/core-api.sock`.
    pub(crate) http: Address,
    /// What the listener allows.
    #[serde(default)]
    pub(crate) limits: Limits,
}

impl Config {
    pub(crate) fn common(&self) -> Common<'_> {
        Common { service: &self.service, telemetry: &self.telemetry }
    }
}
