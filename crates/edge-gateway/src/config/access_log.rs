//! `[access_log]`: a line for each request.

use std::path::Path;

use quintet_service::Invalid;
use serde::Deserialize;

use super::invalid;

/// A line for each request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccessLogSection {
    /// The form of a line. `"json"` is the form of all lines of the process, so `telemetry.log_format` applies.
    pub(crate) format: AccessLogFormat,
    /// `"stdout"`, `"stderr"`, or the absolute path of a file.
    pub(crate) output: String,
    /// Whether `"combined"` lines have the queries of requests and referrers. They may hold secrets.
    pub(crate) queries: bool,
}

/// The form of a line of the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// That of nginx and Apache.
    Combined,
    /// No lines.
    Off,
}

/// Where lines go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AccessLogOutput<'a> {
    Stdout,
    Stderr,
    File(&'a Path),
}

impl Default for AccessLogSection {
    fn default() -> Self {
        Self { format: AccessLogFormat::default(), output: "stdout".to_owned(), queries: false }
    }
}

impl AccessLogSection {
    pub(crate) fn output(&self) -> AccessLogOutput<'_> {
        match self.output.as_str() {
            "stdout" => AccessLogOutput::Stdout,
            "stderr" => AccessLogOutput::Stderr,
            path => AccessLogOutput::File(Path::new(path)),
        }
    }
}

pub(super) fn check(section: &AccessLogSection) -> Result<(), Invalid> {
    match section.output() {
        AccessLogOutput::File(path) if !path.is_absolute() => {
            invalid("access_log.output", "must be \"stdout\", \"stderr\" or the absolute path of a file")
        }
        _ if section.queries && section.format != AccessLogFormat::Combined => {
            invalid("access_log.queries", "needs `format = \"combined\"`; other lines never have queries")
        }
        _ => Ok(()),
    }
}
