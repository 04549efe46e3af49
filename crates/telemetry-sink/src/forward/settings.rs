//! `[forward]`: what is passed on, and where to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quintet_service::Invalid;
use serde::Deserialize;

use crate::ingest::naming::label_name;
use crate::model::Matcher;
use crate::outbound::Access;
use crate::promql;
use crate::storage::{Hold, Signal};

const MAX_TARGETS: usize = 16;

/// Other engines that get what the sink takes in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ForwardSection {
    /// How much of each signal's log is kept for targets that lag, bytes, beside `storage.max_bytes`. The oldest beyond that is given up.
    pub(crate) hold_bytes: u64,
    pub(crate) otlp: Vec<OtlpTarget>,
    pub(crate) remote_write: Vec<RemoteWriteTarget>,
}

impl Default for ForwardSection {
    fn default() -> Self {
        Self { hold_bytes: 1024 * 1024 * 1024, otlp: Vec::new(), remote_write: Vec::new() }
    }
}

/// An engine that takes OTLP over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtlpTarget {
    /// Names the target in metrics and its cursors on the disk.
    pub(crate) name: String,
    /// What `/v1/logs`, `/v1/traces` and `/v1/metrics` stand below.
    pub(crate) url: String,
    #[serde(default = "all_signals")]
    pub(crate) signals: BTreeSet<OtlpSignal>,
    #[serde(default)]
    pub(crate) compression: Compression,
    /// How long one attempt may take.
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    #[serde(default)]
    pub(crate) access: Access,
}

/// An engine that takes Prometheus' remote write.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoteWriteTarget {
    /// Names the target in metrics and its cursor on the disk.
    pub(crate) name: String,
    /// The whole address, such as `https://mimir/api/v1/push`.
    pub(crate) url: String,
    /// 1 or 2; 2 is smaller and says what each metric is.
    #[serde(default = "one")]
    pub(crate) version: u8,
    /// Labels that every series gets which lacks them.
    #[serde(default)]
    pub(crate) external_labels: BTreeMap<String, String>,
    /// Selectors of the series that are passed on; all without any.
    #[serde(default)]
    pub(crate) keep: Vec<String>,
    /// Selectors of the series that are not.
    #[serde(default)]
    pub(crate) drop: Vec<String>,
    /// How long one attempt may take.
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    #[serde(default)]
    pub(crate) access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtlpSignal {
    Logs,
    Traces,
    Metrics,
}

impl OtlpSignal {
    pub(crate) fn stored(self) -> Signal {
        match self {
            Self::Logs => Signal::Logs,
            Self::Traces => Signal::Spans,
            Self::Metrics => Signal::Metrics,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    None,
    #[default]
    Gzip,
    Zstd,
}

fn all_signals() -> BTreeSet<OtlpSignal> {
    [OtlpSignal::Logs, OtlpSignal::Traces, OtlpSignal::Metrics].into()
}

fn timeout_ms() -> u64 {
    10_000
}

fn one() -> u8 {
    1
}

pub(crate) fn timeout(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Selectors as conditions; a series meets them when it meets all of one.
pub(crate) fn selectors(texts: &[String], key: &str) -> Result<Vec<Vec<Matcher>>, Invalid> {
    texts
        .iter()
        .map(|text| {
            promql::parse_selector(text).map_err(|error| Invalid::new(key, format!("`{text}`: {error}")))
        })
        .collect()
}

impl ForwardSection {
    /// How much of each log must stay for the targets that there are.
    pub(crate) fn hold(&self) -> Hold {
        let of = |signal: OtlpSignal| {
            let otlp = self.otlp.iter().any(|target| target.signals.contains(&signal));
            let wanted = otlp || (signal == OtlpSignal::Metrics && !self.remote_write.is_empty());
            if wanted { self.hold_bytes } else { 0 }
        };
        Hold { metrics: of(OtlpSignal::Metrics), logs: of(OtlpSignal::Logs), spans: of(OtlpSignal::Traces) }
    }

    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.hold_bytes < 1024 * 1024 {
            return Err(Invalid::new("forward.hold_bytes", "must be at least 1048576"));
        }
        if self.otlp.len() + self.remote_write.len() > MAX_TARGETS {
            return Err(Invalid::new("forward", format!("there may be {MAX_TARGETS} targets")));
        }
        let mut names = BTreeSet::new();
        let otlp = self.otlp.iter().map(|target| (&target.name, "forward.otlp.name"));
        let writes = self.remote_write.iter().map(|target| (&target.name, "forward.remote_write.name"));
        for (name, key) in otlp.chain(writes) {
            let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                return Err(Invalid::new(key, "needs 1 to 64 letters, digits, `-` and `_`"));
            }
            if !names.insert(name) {
                return Err(Invalid::new(
                    key,
                    format!("`{name}` is there twice; its cursor would be shared"),
                ));
            }
        }
        for target in &self.otlp {
            target.validate()?;
        }
        self.remote_write.iter().try_for_each(RemoteWriteTarget::validate)
    }
}

fn timeout_fits(millis: u64, key: &str) -> Result<(), Invalid> {
    if (100..=120_000).contains(&millis) {
        return Ok(());
    }
    Err(Invalid::new(format!("{key}.timeout_ms"), "must be between 100 and 120000"))
}

impl OtlpTarget {
    fn validate(&self) -> Result<(), Invalid> {
        if self.signals.is_empty() {
            return Err(Invalid::new("forward.otlp.signals", "needs one of `logs`, `traces` and `metrics`"));
        }
        timeout_fits(self.timeout_ms, "forward.otlp")?;
        self.access.validate(&self.url, "forward.otlp")
    }
}

impl RemoteWriteTarget {
    fn validate(&self) -> Result<(), Invalid> {
        if !matches!(self.version, 1 | 2) {
            return Err(Invalid::new("forward.remote_write.version", "must be 1 or 2"));
        }
        if let Some(name) = self.external_labels.keys().find(|name| label_name(name) != **name) {
            return Err(Invalid::new(
                "forward.remote_write.external_labels",
                format!("`{name}` is no label name"),
            ));
        }
        selectors(&self.keep, "forward.remote_write.keep")?;
        selectors(&self.drop, "forward.remote_write.drop")?;
        timeout_fits(self.timeout_ms, "forward.remote_write")?;
        self.access.validate(&self.url, "forward.remote_write")
    }
}
