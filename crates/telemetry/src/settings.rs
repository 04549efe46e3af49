//! The `[telemetry]` section, and the two filters that it sets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quintet_http::Origin;
use serde::de::{Deserialize, Deserializer, Error as _};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter};

/// What a process reports, and where to. Every key has a default.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which events are logged: `info` (unless set), or `info,sqlx=warn` with levels per module.
    pub log_level: LogLevel,
    /// The form of the lines on standard output.
    pub log_format: LogFormat,
    /// The sink, `unix:/path` or `http://host:port`. Without it nothing leaves the process.
    pub otlp: Option<Origin>,
    /// The share of new traces that are recorded, from 0 to 1. A caller's decision is kept.
    #[serde(deserialize_with = "ratio")]
    pub sample_ratio: f64,
    /// Attributes added to everything that is sent, such as `deployment.environment.name`.
    pub attributes: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
            otlp: None,
            sample_ratio: 1.0,
            attributes: BTreeMap::new(),
        }
    }
}

fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&ratio) {
        Ok(ratio)
    } else {
        Err(D::Error::custom("expected a number from 0.0 to 1.0"))
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people: time, level, target, message, fields.
    Text,
}

/// A level for all events, and levels for single modules.
#[derive(Clone)]
pub struct LogLevel(Targets);

impl Default for LogLevel {
    fn default() -> Self {
        Self(Targets::new().with_default(Level::INFO))
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for LogLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "expected a level (error, warn, info, debug, trace or off), and after commas \
                            MODULE=LEVEL for single modules";
        let mut targets = Targets::new().with_default(Level::INFO);
        for directive in text.split(',').map(str::trim) {
            let (module, level) = match directive.split_once('=') {
                Some((module, level)) if !module.trim().is_empty() => (Some(module.trim()), level),
                Some(_) => return Err(FORM),
                None => (None, directive),
            };
            // `LevelFilter` also takes numbers, which the documentation does not promise.
            let level: LevelFilter = match level.trim().to_ascii_lowercase().as_str() {
                name @ ("error" | "warn" | "info" | "debug" | "trace" | "off") => {
                    name.parse().map_err(|_| FORM)?
                }
                _ => return Err(FORM),
            };
            targets = match module {
                Some(module) => targets.with_target(module, level),
                None => targets.with_default(level),
            };
        }
        Ok(Self(targets))
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Spans at `info` and above are traced, whatever the log level: a quiet log must not cut traces.
/// Errors pass too, because they mark their span as failed.
pub(crate) struct SpanFilter;

impl<S> Filter<S> for SpanFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        traced(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        interest(traced(metadata))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

fn traced(metadata: &Metadata<'_>) -> bool {
    if metadata.is_span() { *metadata.level() <= Level::INFO } else { *metadata.level() == Level::ERROR }
}

/// Events by `log_level`; spans as [`SpanFilter`] takes them, for the ids that lines carry.
/// Clones share the level, which can be changed while the process runs.
#[derive(Clone)]
pub(crate) struct LogFilter(Arc<ArcSwap<Targets>>);

impl LogFilter {
    pub(crate) fn new(level: &LogLevel) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(level.0.clone())))
    }

    pub(crate) fn set(&self, level: &LogLevel) {
        self.0.store(Arc::new(level.0.clone()));
        // Every call site has remembered whether it was wanted.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether events of this target and level are logged at present.
    pub(crate) fn admits_event(&self, target: &str, level: Level) -> bool {
        self.0.load().would_enable(target, &level)
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            traced(metadata)
        } else {
            self.admits_event(metadata.target(), *metadata.level())
        }
    }
}

impl<S> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.admits(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        interest(self.admits(metadata))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let targets = self.0.load();
        let events = targets.iter().map(|(_, level)| level).chain(targets.default_level()).max();
        events.max(Some(LevelFilter::INFO))
    }
}

fn interest(enabled: bool) -> Interest {
    if enabled { Interest::always() } else { Interest::never() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_apply_to_everything_and_to_single_modules() {
        let level: LogLevel = "warn, quintet_store=debug,sqlx=off".parse().unwrap();
        let enabled = |target, level_of| level.0.would_enable(target, &level_of);
        assert!(enabled("quintet_store::tx", Level::DEBUG));
        assert!(!enabled("quintet_http", Level::INFO));
        assert!(enabled("quintet_http", Level::WARN));
        assert!(!enabled("sqlx::query", Level::ERROR));
    }

    #[test]
    fn a_module_without_a_general_level_leaves_the_rest_at_info() {
        let level: LogLevel = "sqlx=warn".parse().unwrap();
        assert!(level.0.would_enable("quintet_http", &Level::INFO));
    }

    #[test]
    fn words_that_are_no_levels_are_refused() {
        for bad in ["", "loud", "info,", "sqlx=loud", "=info", "3"] {
            assert!(bad.parse::<LogLevel>().is_err(), "{bad:?}");
        }
    }
}
