//! The access log: a line for each request, in the configured form, to the configured place.
//!
//! A worker formats lines into a buffer of its own and hands them on many at a time ([`Lines`]), so that nobody waits
//! for a disk or a reader: what does not fit is dropped and counted in `quintet_telemetry_dropped_total`. Lines
//! go where the running configuration says, whichever their request began with.

mod combined;
mod file;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use quintet_telemetry::access::{AccessLog as Structured, Lines};

pub(crate) use self::combined::{Combined, Line, Said};
use self::file::LogFile;
use crate::config::{AccessLogFormat, AccessLogOutput, AccessLogSection};

/// The label of lost lines.
const SIGNAL: &str = "access_log";
/// For the last lines of a process that ends.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The place that lines of all workers go to; the same as long as the section is.
#[derive(Debug)]
pub(crate) struct Output {
    section: AccessLogSection,
    /// None for the process's own lines.
    lines: Option<Lines>,
}

impl Output {
    /// Opens the place, unless `previous` is it.
    pub(crate) fn open(
        section: &AccessLogSection,
        previous: Option<&Arc<Self>>,
    ) -> anyhow::Result<Arc<Self>> {
        if let Some(same) = previous.filter(|previous| previous.section == *section) {
            return Ok(Arc::clone(same));
        }
        let lines = match section.output() {
            _ if section.format == AccessLogFormat::Off => None,
            AccessLogOutput::Stdout => None,
            AccessLogOutput::Stderr => Some(Lines::to(Box::new(std::io::stderr()), SIGNAL)?),
            AccessLogOutput::File(path) => {
                let file = LogFile::open(path).with_context(|| {
                    format!("key `access_log.output`: cannot open {} for appending", path.display())
                })?;
                Some(Lines::to(Box::new(file), SIGNAL)?)
            }
        };
        Ok(Arc::new(Self { section: section.clone(), lines }))
    }
}

/// A worker's part of the access log.
pub(crate) struct AccessLog {
    output: Arc<Output>,
    /// Lines in the process's form, and what leaves for the sink.
    pub(crate) structured: Structured,
    combined: Option<Combined>,
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").field("output", &self.output).finish_non_exhaustive()
    }
}

impl AccessLog {
    pub(crate) fn new(output: &Arc<Output>) -> Self {
        let lines = output.lines.clone().or_else(Lines::of_process);
        let (structured, combined) = match output.section.format {
            AccessLogFormat::Json => (Structured::with_lines(lines), None),
            AccessLogFormat::Combined => {
                let combined = lines.map(|lines| Combined::new(lines, output.section.queries));
                (Structured::with_lines(None), combined)
            }
            AccessLogFormat::Off => (Structured::with_lines(None), None),
        };
        Self { output: Arc::clone(output), structured, combined }
    }

    /// Whether it writes to this place.
    pub(crate) fn is_of(&self, output: &Arc<Output>) -> bool {
        Arc::ptr_eq(&self.output, output)
    }

    /// Who writes lines that need more of a request than others.
    pub(crate) fn combined(&self) -> Option<&Combined> {
        self.combined.as_ref().filter(|_| self.structured.is_wanted())
    }

    /// Hands on what has gathered. To be called a few times a second.
    pub(crate) fn flush(&self) {
        self.structured.flush();
        if let Some(combined) = &self.combined {
            combined.flush();
        }
    }

    /// Waits a moment for the last lines to be written; for a worker that ends.
    pub(crate) fn finish(&self) {
        self.flush();
        if let Some(lines) = &self.output.lines {
            lines.flush(LAST_LINES);
        }
    }
}
