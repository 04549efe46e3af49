//! The command line, the same for every binary.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::Binary;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and exit: 0 if it is valid, 78 if not
    #[arg(long)]
    pub(crate) check_config: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
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
        Self::from_arg_matches(&matches)
    }

    pub(crate) fn config_path<B: Binary>(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from(default_path::<B>()))
    }
}

pub(crate) fn command<B: Binary>() -> clap::Command {
    let help = format!("Configuration file [default: {}]", default_path::<B>());
    Args::command()
        .name(B::NAME)
        .bin_name(B::NAME)
        .about(B::ABOUT)
        .long_about(None)
        .version(B::VERSION)
        .disable_help_subcommand(true)
        .mut_arg("config", |argument| argument.help(help))
}

pub(crate) fn default_path<B: Binary>() -> String {
    format!("/etc/quintet/{}.toml", B::NAME)
}
