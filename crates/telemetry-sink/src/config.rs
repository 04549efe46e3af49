//! The configuration file's sections.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quintet_http::{Address, Origin};
use quintet_service::{Invalid, ServiceSection, telemetry};
use serde::Deserialize;

use crate::head::SeriesLimits;
use crate::host::HostSection;
use crate::ingest::naming::label_name;
use crate::journal::JournalSection;
use crate::offload::OffloadSection;
use crate::relabel::{Step, Steps};
use crate::scrape::Target;
use crate::statsd::StatsdSection;
use crate::storage::{Hold, StorageLimits, SyncMode};
use crate::syslog::SyslogSection;

const MIN_MEMORY: usize = 16 * 1024 * 1024;
const MIN_DISK: u64 = 16 * 1024 * 1024;

/// `/etc/quintet/telemetry-sink.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) service: ServiceSection,
    /// The sink reports to itself: point `otlp` at one of its own listeners.
    #[serde(default)]
    pub(crate) telemetry: telemetry::Settings,
    pub(crate) listen: Listen,
    pub(crate) auth: quintet_auth::Settings,
    pub(crate) storage: StorageSection,
    /// What to scrape. Without any, the five binaries are looked for beside the sink's own admin
    /// socket, as `NAME.admin.sock`.
    #[serde(default)]
    pub(crate) scrape: Vec<Scrape>,
    /// Facts about the machine.
    #[serde(default)]
    pub(crate) host: HostSection,
    #[serde(default)]
    pub(crate) journal: JournalSection,
    #[serde(default)]
    pub(crate) syslog: SyslogSection,
    #[serde(default)]
    pub(crate) statsd: StatsdSection,
    #[serde(default)]
    pub(crate) query: QuerySection,
    #[serde(default)]
    pub(crate) rules: crate::rules::Settings,
    #[serde(default)]
    pub(crate) notify: crate::notify::settings::Settings,
    #[serde(default)]
    pub(crate) forward: crate::forward::settings::ForwardSection,
    #[serde(default)]
    pub(crate) fleet: crate::peers::settings::FleetSection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// Queries and console.
    pub(crate) http: Address,
    /// OTLP over HTTP and gRPC, Prometheus remote write and Loki's push: one address or a list.
    pub(crate) otlp: Addresses,
}

/// One address, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "an address such as \"127.0.0.1:4318\" or \"unix:/run/otlp.sock\", or a list of them"
)]
pub(crate) enum Addresses {
    One(Address),
    Many(Vec<Address>),
}

impl Addresses {
    pub(crate) fn as_slice(&self) -> &[Address] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Many(addresses) => addresses,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StorageSection {
    /// Where the logs and parts of the three signals are kept.
    #[serde(alias = "dir")]
    pub(crate) directory: PathBuf,
    /// How long everything is kept.
    #[serde(default = "retention_hours")]
    pub(crate) retention_hours: u32,
    /// All logs and parts together, bytes.
    #[serde(default = "max_bytes")]
    pub(crate) max_bytes: u64,
    /// What is held in memory and what is being decoded, together, bytes.
    #[serde(default = "memory_budget_bytes")]
    pub(crate) memory_budget_bytes: usize,
    /// Below this many free bytes on the file system, writes are refused.
    #[serde(default = "free_bytes_floor")]
    pub(crate) free_bytes_floor: u64,
    /// `interval`: synced within 200 ms. `always`: before each acknowledgement.
    #[serde(default)]
    pub(crate) sync: SyncMode,
    /// Series at a time, and series of one metric: new ones beyond that are refused.
    #[serde(default = "max_series")]
    pub(crate) max_series: usize,
    #[serde(default = "max_series_per_metric")]
    pub(crate) max_series_per_metric: usize,
    /// How much older than the newest sample of its series a sample may be.
    #[serde(default = "out_of_order_minutes")]
    pub(crate) out_of_order_minutes: u32,
    /// A bucket of S3-compatible object storage that parts are copied to.
    #[serde(default)]
    pub(crate) s3: Option<quintet_s3::Settings>,
    /// What is copied there, and when it is dropped here.
    #[serde(default)]
    pub(crate) offload: OffloadSection,
}

fn out_of_order_minutes() -> u32 {
    30
}

fn retention_hours() -> u32 {
    24 * 7
}

fn max_bytes() -> u64 {
    2 * 1024 * 1024 * 1024
}

fn memory_budget_bytes() -> usize {
    128 * 1024 * 1024
}

fn free_bytes_floor() -> u64 {
    64 * 1024 * 1024
}

fn max_series() -> usize {
    20_000
}

fn max_series_per_metric() -> usize {
    5_000
}

impl StorageSection {
    pub(crate) fn limits(&self) -> StorageLimits {
        StorageLimits {
            directory: self.directory.clone(),
            retention: Duration::from_hours(self.retention_hours.into()),
            max_bytes: self.max_bytes,
            memory_budget_bytes: self.memory_budget_bytes,
            free_bytes_floor: self.free_bytes_floor,
            sync: self.sync,
            series: SeriesLimits {
                total: self.max_series,
                per_metric: self.max_series_per_metric,
                late_millis: i64::from(self.out_of_order_minutes) * 60_000,
            },
            hold: Hold::default(),
        }
    }
}

/// A target that answers in the Prometheus text format.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scrape {
    /// The label `job`.
    pub(crate) name: String,
    /// One target, unless `files` name them.
    #[serde(default)]
    pub(crate) target: Option<Origin>,
    /// Files with targets as Prometheus' `file_sd_configs` have them, JSON or YAML, read every five seconds; the last
    /// part of a path may have `*` and `?`.
    #[serde(default)]
    pub(crate) files: Vec<PathBuf>,
    /// For targets of `files`: `http` or `https`.
    #[serde(default = "scheme")]
    pub(crate) scheme: String,
    #[serde(default = "metrics_path", alias = "metrics_path")]
    pub(crate) path: String,
    /// What is asked for after the path, such as `{ module = ["http_2xx"] }`.
    #[serde(default)]
    pub(crate) params: BTreeMap<String, Vec<String>>,
    /// The label `instance`, the name unless set.
    #[serde(default)]
    pub(crate) instance: Option<String>,
    #[serde(default = "interval_ms")]
    pub(crate) interval_ms: u64,
    /// Labels that every series of the target gets.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether the target's own `job`, `instance` and `labels` stand; otherwise they become `exported_…`.
    #[serde(default)]
    pub(crate) honor_labels: bool,
    /// Whether times that the target gives stand; otherwise samples get the time of the scrape.
    #[serde(default = "yes")]
    pub(crate) honor_timestamps: bool,
    /// What becomes of the target's labels before it is scraped, in Prometheus' `relabel_configs`.
    #[serde(default, alias = "relabel_configs")]
    pub(crate) relabel: Vec<Step>,
    /// What becomes of the labels of its series before they are stored.
    #[serde(default, alias = "metric_relabel_configs")]
    pub(crate) metric_relabel: Vec<Step>,
    /// A scrape with more samples fails.
    #[serde(default = "sample_limit")]
    pub(crate) sample_limit: usize,
    /// A file with the token that is sent as `Authorization: Bearer`.
    #[serde(default)]
    pub(crate) bearer_token_file: Option<PathBuf>,
    /// The name for `Authorization: Basic`, with `password_file`.
    #[serde(default)]
    pub(crate) username: Option<String>,
    #[serde(default)]
    pub(crate) password_file: Option<PathBuf>,
    /// The authorities that an `https` target's certificate must come from, PEM; the public ones unless set.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A target with more belongs to a database of its own.
fn sample_limit() -> usize {
    20_000
}

fn yes() -> bool {
    true
}

fn scheme() -> String {
    "http".to_owned()
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

fn interval_ms() -> u64 {
    2000
}

impl Scrape {
    pub(crate) fn new(name: &str, target: Origin) -> Self {
        Self {
            name: name.to_owned(),
            target: Some(target),
            files: Vec::new(),
            scheme: scheme(),
            path: metrics_path(),
            params: BTreeMap::new(),
            instance: None,
            interval_ms: interval_ms(),
            labels: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            sample_limit: sample_limit(),
            bearer_token_file: None,
            username: None,
            password_file: None,
            ca_file: None,
        }
    }

    fn validate(&self) -> Result<(), Invalid> {
        if self.interval_ms < 1000 {
            return Err(Invalid::new("scrape.interval_ms", "must be at least 1000"));
        }
        if self.name.is_empty() || !self.path.starts_with('/') {
            return Err(Invalid::new("scrape", "needs a name, and a path that starts with a slash"));
        }
        if self.target.is_some() != self.files.is_empty() {
            return Err(Invalid::new("scrape.target", "needs a `target` or `files`, and not both"));
        }
        if !matches!(self.scheme.as_str(), "http" | "https") {
            return Err(Invalid::new("scrape.scheme", "must be http or https"));
        }
        Steps::new(&self.relabel).map_err(|error| Invalid::new("scrape.relabel", error))?;
        Steps::new(&self.metric_relabel).map_err(|error| Invalid::new("scrape.metric_relabel", error))?;
        Target::fixed(self.clone()).map_err(|error| Invalid::new("scrape.relabel", error))?;
        if self.username.is_some() != self.password_file.is_some() {
            return Err(Invalid::new("scrape.password_file", "goes with scrape.username, and that with it"));
        }
        if self.bearer_token_file.is_some() && self.username.is_some() {
            return Err(Invalid::new("scrape.bearer_token_file", "cannot be used with scrape.username"));
        }
        if let Some(name) = self.labels.keys().find(|name| label_name(name) != **name) {
            return Err(Invalid::new("scrape.labels", format!("`{name}` is no label name")));
        }
        Ok(())
    }
}

/// What one query may cost.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QuerySection {
    /// Points of a matrix (series times steps) or samples of a range vector that a query may hold at once. What an expression reads
    /// on the way is bounded by its time alone.
    pub(crate) max_samples: usize,
    /// A query that takes longer is ended.
    pub(crate) timeout_ms: u64,
    /// Queries that are worked out at a time; others wait.
    pub(crate) concurrency: usize,
}

impl Default for QuerySection {
    fn default() -> Self {
        Self { max_samples: 2_000_000, timeout_ms: 20_000, concurrency: 4 }
    }
}

/// The five of a fleet, in the order in which requests meet them.
pub(crate) const MEMBERS: [&str; 5] =
    ["edge-gateway", "core-api", "async-worker", "identity-provider", "telemetry-sink"];

impl Config {
    /// The configured targets, or the fleet's own beside this process' admin socket.
    pub(crate) fn targets(&self) -> Vec<Scrape> {
        if !self.scrape.is_empty() {
            return self.scrape.clone();
        }
        let Address::Unix(admin) = &self.service.admin else { return Vec::new() };
        let Some(directory) = admin.parent() else { return Vec::new() };
        MEMBERS
            .iter()
            .map(|name| Scrape::new(name, Origin::Unix(directory.join(format!("{name}.admin.sock")))))
            .collect()
    }

    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let storage = &self.storage;
        if storage.memory_budget_bytes < MIN_MEMORY {
            return Err(Invalid::new(
                "storage.memory_budget_bytes",
                format!("must be at least {MIN_MEMORY} bytes"),
            ));
        }
        if storage.max_bytes < MIN_DISK {
            return Err(Invalid::new("storage.max_bytes", format!("must be at least {MIN_DISK} bytes")));
        }
        if storage.retention_hours == 0 {
            return Err(Invalid::new("storage.retention_hours", "must be at least 1"));
        }
        storage.offload.validate()?;
        if self.listen.otlp.as_slice().is_empty() {
            return Err(Invalid::new("listen.otlp", "needs at least one address"));
        }
        self.host.validate()?;
        self.journal.validate()?;
        self.syslog.validate()?;
        self.statsd.validate()?;
        if self.query.concurrency == 0 {
            return Err(Invalid::new("query.concurrency", "must be at least 1"));
        }
        for scrape in &self.scrape {
            scrape.validate()?;
        }
        self.rules.validate()?;
        self.forward.validate()?;
        self.fleet.validate()?;
        self.notify.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &str) -> Config {
        let text = format!(
            "[service]\nadmin = \"unix:/run/quintet/telemetry-sink.admin.sock\"\n\
             [listen]\nhttp = \"127.0.0.1:9000\"\notlp = \"unix:/run/otlp.sock\"\n\
             [auth]\nissuer = \"https://localhost/identity\"\njwks = \"unix:/run/idp.sock\"\n{extra}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn without_targets_the_fleet_is_found_beside_the_admin_socket() {
        let config = parse("[storage]\ndirectory = \"/var/lib/quintet/telemetry\"\n");
        let targets = config.targets();
        assert_eq!(targets.len(), 5);
        assert_eq!(targets[1].target, Some(Origin::Unix("/run/quintet/core-api.admin.sock".into())));
        assert!(config.validate().is_ok());
    }

    #[test]
    fn impossible_values_name_their_key() {
        for (extra, key) in [
            ("[storage]\ndirectory = \"/d\"\nmemory_budget_bytes = 1\n", "storage.memory_budget_bytes"),
            ("[storage]\ndirectory = \"/d\"\nmax_bytes = 1\n", "storage.max_bytes"),
            ("[storage]\ndirectory = \"/d\"\nretention_hours = 0\n", "storage.retention_hours"),
            (
                "[storage]\ndirectory = \"/d\"\n[[scrape]]\nname = \"a\"\ntarget = \"http://h:1\"\ninterval_ms = 10\n",
                "scrape.interval_ms",
            ),
            ("[storage]\ndirectory = \"/d\"\n[[scrape]]\nname = \"a\"\n", "scrape.target"),
            (
                "[storage]\ndirectory = \"/d\"\n[[scrape]]\nname = \"a\"\nfiles = [\"/t.json\"]\n[[scrape.relabel]]\nregex = \"(\"\n",
                "scrape.relabel",
            ),
        ] {
            assert_eq!(parse(extra).validate().unwrap_err().key, key);
        }
    }
}
