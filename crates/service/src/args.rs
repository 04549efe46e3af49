//! The command line, the same for every binary but for commands of its own.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::Binary;

#[derive(Debug)]
pub(crate) struct Args {
    options: Options,
    pub(crate) task: Task,
}

#[derive(Debug, Parser)]
struct Options {
    /// Configuration file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration and exit: 0 if it is valid, 78 if not
    #[arg(long)]
    check_config: bool,
}

/// What the process is asked to do.
#[derive(Debug)]
pub(crate) enum Task {
    Serve,
    CheckConfig,
    /// Something about the binary itself, which needs no configuration.
    Manual(Command),
    /// A command of the binary's own.
    Own(ArgMatches),
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// Print a completion script for a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

impl Args {
    pub(crate) fn parse<B: Binary>(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = command::<B>().try_get_matches_from(arguments)?;
        let options = Options::from_arg_matches(&matches)?;
        let task = match matches.subcommand_name() {
            Some(name) if Command::has_subcommand(name) => Task::Manual(Command::from_arg_matches(&matches)?),
            Some(_) => Task::Own(matches),
            None if options.check_config => Task::CheckConfig,
            None => Task::Serve,
        };
        Ok(Self { options, task })
    }

    pub(crate) fn config_path<B: Binary>(&self) -> PathBuf {
        self.options.config.clone().unwrap_or_else(|| PathBuf::from(default_path::<B>()))
    }
}

pub(crate) fn command<B: Binary>() -> clap::Command {
    let help = format!("Configuration file [default: {}]", default_path::<B>());
    let command = Command::augment_subcommands(Options::command());
    B::commands(command)
        .name(B::NAME)
        .bin_name(B::NAME)
        .about(B::ABOUT)
        .long_about(None)
        .version(B::VERSION)
        .subcommand_required(false)
        .arg_required_else_help(false)
        .disable_help_subcommand(true)
        .mut_arg("config", |argument| argument.help(help))
}

pub(crate) fn default_path<B: Binary>() -> String {
    format!("/etc/quintet/{}.toml", B::NAME)
}
