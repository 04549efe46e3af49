//! `telemetry-sink rules check FILE…` and `telemetry-sink rules test FILE…`.

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, FromArgMatches as _, Subcommand};
use quintet_service::Code;

use super::{file, unit};

#[derive(Debug, Subcommand)]
enum Command {
    /// Check and test rule files
    Rules {
        #[command(subcommand)]
        verb: Verb,
    },
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check rule files in Prometheus' format
    Check {
        /// Rule files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run unit tests of rules, in the format of `promtool test rules`
    Test {
        /// Files of tests
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub(crate) fn add(command: clap::Command) -> clap::Command {
    Command::augment_subcommands(command)
}

/// Runs the command, if it is one of these; 78 where a file is wrong or a test fails.
pub(crate) fn run_alone(matches: &ArgMatches, output: &mut dyn Write) -> Option<anyhow::Result<Code>> {
    match Command::from_arg_matches(matches) {
        Ok(Command::Rules { verb: Verb::Check { files } }) => Some(check(&files, output)),
        Ok(Command::Rules { verb: Verb::Test { files } }) => Some(test(&files, output)),
        Err(_) => None,
    }
}

fn check(files: &[PathBuf], output: &mut dyn Write) -> anyhow::Result<Code> {
    let mut code = Code::Ok;
    for path in files {
        match file::read(path) {
            Ok(groups) => {
                let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
                writeln!(output, "{}: {} groups, {rules} rules", path.display(), groups.len())?;
            }
            Err(error) => {
                writeln!(output, "{error}")?;
                code = Code::Config;
            }
        }
    }
    Ok(code)
}

fn test(files: &[PathBuf], output: &mut dyn Write) -> anyhow::Result<Code> {
    let mut code = Code::Ok;
    for path in files {
        match unit::run(path) {
            Ok(report) if report.failures.is_empty() => {
                writeln!(output, "{}: {} checks passed", path.display(), report.checks)?;
            }
            Ok(report) => {
                for failure in &report.failures {
                    writeln!(output, "{}: {failure}", path.display())?;
                }
                writeln!(
                    output,
                    "{}: {} failures in {} checks",
                    path.display(),
                    report.failures.len(),
                    report.checks
                )?;
                code = Code::Config;
            }
            Err(error) => {
                writeln!(output, "{error}")?;
                code = Code::Config;
            }
        }
    }
    Ok(code)
}
