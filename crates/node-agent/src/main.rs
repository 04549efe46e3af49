//! What a sealed system image has in place of a shell: first boot, generations, and a look inside.
//!
//! The service is an HTTP API behind the gateway, run by a user without rights. What needs root is done by commands
//! of this program that systemd runs, each in a unit of its own with a fixed command line; the API asks for them by
//! making a file that a path unit watches ([`requests`]). It is in system images only and is none of the five.

use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches as _, Subcommand};
use quintet_memory as _;
use quintet_service::{Binary, Code, Common, Context, Invalid};

mod api;
mod assess;
mod bundle;
mod certificate;
mod config;
mod entries;
mod fetch;
mod files;
mod journal;
mod paths;
mod prepare;
mod requests;
mod rollback;
mod secrets;
mod sockets;
mod stage;
mod status;
mod version;

struct NodeAgent;

/// What systemd runs as root.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make the secrets that are missing and write the configurations for this boot
    Prepare,
    /// Wait until the five are ready and answer through the gateway; fail if they do not
    Assess,
    /// Note why this generation is given up
    GiveUp,
    /// Fetch and verify the update that was asked for
    Stage,
    /// Note that what was staged is installed
    Settle,
    /// Make the previous generation the next one to boot
    Rollback,
}

impl Binary for NodeAgent {
    const NAME: &'static str = "node-agent";
    const ABOUT: &'static str = "Sets a sealed node up, updates it, and shows its state";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = config::Config;

    fn common(config: &Self::Config) -> Common<'_> {
        Common { service: &config.service, telemetry: &config.telemetry }
    }

    fn validate(config: &Self::Config) -> Result<(), Invalid> {
        config.validate()
    }

    fn commands(command: clap::Command) -> clap::Command {
        Command::augment_subcommands(command)
    }

    fn run_command(
        config: Self::Config,
        matches: &ArgMatches,
        _output: &mut dyn std::io::Write,
    ) -> anyhow::Result<Code> {
        match Command::from_arg_matches(matches)? {
            Command::Assess => assess::run(&config),
            Command::GiveUp => assess::give_up(),
            Command::Stage => stage::run(&config),
            Command::Settle => stage::settle(),
            Command::Rollback => rollback::run(),
            // Done before there is a configuration, by `run_alone`.
            Command::Prepare => Ok(Code::Internal),
        }
    }

    fn run_alone(matches: &ArgMatches, output: &mut dyn std::io::Write) -> Option<anyhow::Result<Code>> {
        match Command::from_arg_matches(matches) {
            Ok(Command::Prepare) => Some(prepare::run(output)),
            _ => None,
        }
    }

    async fn start(config: Self::Config, cx: &Context) -> anyhow::Result<()> {
        api::start(config, cx)
    }
}

fn main() -> ExitCode {
    quintet_service::run::<NodeAgent>()
}
