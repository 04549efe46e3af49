//! The agent's configuration file.

use std::time::Duration;

use quintet_http::{Limits, Origin};
use quintet_service::{Invalid, ListenSection, ServiceSection};
use serde::Deserialize;

use crate::fetch::Source;

/// `/etc/quintet/node-agent.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) service: ServiceSection,
    #[serde(default)]
    pub(crate) telemetry: quintet_telemetry::Settings,
    pub(crate) listen: ListenSection,
    #[serde(default)]
    pub(crate) limits: Limits,
    pub(crate) auth: quintet_auth::Settings,
    pub(crate) assess: Assess,
    #[serde(default)]
    pub(crate) update: Update,
}

/// When a generation counts as good.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Assess {
    /// How long the five may take, in seconds.
    within_s: u64,
    /// The gateway on this machine.
    pub(crate) gateway: Origin,
    /// What is asked of it, which must be answered with success.
    pub(crate) path: String,
    /// Whose readiness counts.
    pub(crate) ready: Vec<Probe>,
}

impl Assess {
    pub(crate) fn within(&self) -> Duration {
        Duration::from_secs(self.within_s)
    }
}

/// One of the five.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    /// Its unit.
    pub(crate) unit: String,
    /// Its admin listener.
    pub(crate) address: Origin,
}

/// Where updates come from.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Update {
    /// The directory of the newest bundle, such as `https://updates.example/quintet`.
    pub(crate) source: Option<String>,
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        // The unit that judges is ended after 15 minutes.
        if !(10..=840).contains(&self.assess.within_s) {
            return Err(Invalid::new("assess.within_s", "is 10 to 840"));
        }
        if !self.assess.path.starts_with('/') {
            return Err(Invalid::new("assess.path", "begins with /"));
        }
        if let Some(source) = &self.update.source {
            Source::parse(source).map_err(|error| Invalid::new("update.source", error.to_string()))?;
        }
        Ok(())
    }
}
