//! `[webhooks]`: how events are told to other people's servers.

use std::path::PathBuf;
use std::time::Duration;

use quintet_service::{Invalid, Secret, SecretFile};
use serde::Deserialize;

use crate::webhook::{Sealer, Sender};

/// Webhooks to endpoints that operators add. Without it there are none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhooks {
    /// The key that seals the endpoints' secrets in the database: 32 bytes in hexadecimal (`openssl rand -hex 32`).
    pub(crate) key_file: SecretFile,
    /// Keys that secrets were sealed with before.
    #[serde(default)]
    pub(crate) previous_key_files: Vec<SecretFile>,
    /// Networks of your own that webhooks may go to, such as `"10.20.0.0/16"`, besides the public internet.
    #[serde(default)]
    pub(crate) allowed_networks: Vec<String>,
    /// Whether an endpoint's URL may begin with `http://`.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// PEM file with the roots to trust besides the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// How long an attempt may take, in milliseconds. 1000 to 60000.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// An endpoint whose attempts all fail for this long is disabled.
    #[serde(default = "default_disable_after_hours")]
    pub(crate) disable_after_hours: u64,
}

fn default_timeout_ms() -> u64 {
    20_000
}

fn default_disable_after_hours() -> u64 {
    120
}

impl Webhooks {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if !(1_000..=60_000).contains(&self.timeout_ms) {
            return Err(Invalid::new("webhooks.timeout_ms", "from 1000 to 60000"));
        }
        if !(1..=24 * 365).contains(&self.disable_after_hours) {
            return Err(Invalid::new("webhooks.disable_after_hours", "from 1 to 8760"));
        }
        self.sealer().map_err(|error| Invalid::new("webhooks.key_file", error.to_string()))?;
        // What it reads besides is the files of roots and the networks, and its error names which.
        Sender::new(self).map(|_| ()).map_err(|error| Invalid::new("webhooks", error.to_string()))
    }

    pub(crate) fn sealer(&self) -> Result<Sealer, Box<dyn std::error::Error + Send + Sync>> {
        let mut keys: Vec<Secret> = vec![self.key_file.read("webhooks.key_file")?];
        for file in &self.previous_key_files {
            keys.push(file.read("webhooks.previous_key_files")?);
        }
        Ok(Sealer::new(&keys)?)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_hours(self.disable_after_hours)
    }
}
