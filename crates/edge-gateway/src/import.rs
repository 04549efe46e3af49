//! `edge-gateway import nginx FILE`: a configuration of nginx as one of this gateway.
//!
//! What comes out passes `--check-config`. What nginx would do otherwise is reported on standard error, each with the
//! file and line it is about, so that nothing is lost in silence.

mod draft;
mod nginx;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quintet_service::config::Source;
use quintet_service::{Code, StartError};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::nginx::Load;
pub(crate) use self::nginx::convert;
use crate::config::{Config, Plan};

/// A configuration of another program.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Print an nginx configuration as one of this gateway; what differs is reported on standard error
    Nginx {
        /// The main file, such as /etc/nginx/nginx.conf, or a file of server blocks
        file: PathBuf,
    },
}

/// Writes the configuration to `output` and the report to standard error; 78 where the file cannot be read.
pub(crate) fn run(import: &Import, output: &mut dyn Write) -> anyhow::Result<Code> {
    let From::Nginx { file } = &import.from;
    let imported = convert(file, &nginx::Files)
        .map_err(|error| StartError::new(Code::Config, anyhow::Error::new(error)))?;
    write!(output, "{}", imported.toml)?;
    let mut report = std::io::stderr();
    for remark in &imported.remarks {
        writeln!(report, "{remark}")?;
    }
    if let Err(message) = check(&imported.toml) {
        writeln!(report, "{}: the result needs a change before it can be used: {message}", file.display())?;
        return Ok(Code::Config);
    }
    writeln!(
        report,
        "{}: {} remarks; the result passes --check-config",
        file.display(),
        imported.remarks.len()
    )?;
    Ok(Code::Ok)
}

/// What `--check-config` says of a configuration.
pub(crate) fn check(toml: &str) -> Result<(), String> {
    let path = Path::new("imported.toml");
    let source =
        Source::of_text("edge-gateway", path, toml.to_owned(), []).map_err(|error| error.to_string())?;
    let config: Config = source.parse().map_err(|error| error.to_string())?;
    Plan::new(&config).map(drop).map_err(|invalid| invalid.to_string())
}
