//! The commands besides serving: `explain`, `why`, `top` and `import`.

use std::io::Write;

use clap::{ArgMatches, FromArgMatches as _, Subcommand};
use quintet_service::Code;

use crate::config::Config;
use crate::explain::{self, Explain};
use crate::import::{self, Import};
use crate::top::{self, Top};
use crate::why::{self, Why};

#[derive(Debug, Subcommand)]
enum Command {
    /// Say which listener, certificate, route, limits and upstream would serve a request, and why
    Explain(Explain),
    /// Say why the running gateway refused a request or failed it
    Why(Why),
    /// Watch what the running gateway does
    Top(Top),
    /// Convert a configuration of another program
    Import(Import),
}

pub(crate) fn add(command: clap::Command) -> clap::Command {
    Command::augment_subcommands(command)
}

pub(crate) fn run(config: &Config, matches: &ArgMatches, output: &mut dyn Write) -> anyhow::Result<Code> {
    match Command::from_arg_matches(matches)? {
        Command::Explain(request) => explain::run(config, &request, output),
        Command::Why(question) => why::run(config, &question, output),
        Command::Top(view) => top::run(config, &view, output),
        Command::Import(source) => import::run(&source, output),
    }
}

/// Runs a command that needs no configuration, if it is one.
pub(crate) fn run_alone(matches: &ArgMatches, output: &mut dyn Write) -> Option<anyhow::Result<Code>> {
    match Command::from_arg_matches(matches) {
        Ok(Command::Import(source)) => Some(import::run(&source, output)),
        _ => None,
    }
}
