//! The life of a Quintet process, the same for all five: arguments, configuration, telemetry,
//! sockets, readiness, reload, drain and exit code.
//!
//! A binary implements [`Binary`] and its `main` is `quintet_service::run::<It>()`. What it does
//! between start and drain goes through [`Context`].
//!
//! This crate knows nothing of databases, tokens or business rules.
//!
//! Invariants:
//! - One failure is reported once: before the process is ready on standard error, afterwards in
//!   the log.
//! - Every task that a binary spawns is tracked. One that fails ends the process, in order.
//! - The process ends by returning from `main`; nothing calls `exit`.
//! - `/readyz` is 200 only between the end of start and the beginning of the drain.

mod args;
pub mod config;
mod context;
pub mod exit;
mod lifecycle;
mod manual;
mod notify;
mod pulse;
pub mod secret;
mod settings;
mod sockets;
mod upgrade;

pub use quintet_telemetry as telemetry;

pub use self::config::Invalid;
pub use self::context::{Context, ReadinessHandle};
pub use self::exit::{Code, OrExit, StartError};
pub use self::lifecycle::run;
pub use self::pulse::Pulse;
pub use self::secret::{Secret, SecretFile};
pub use self::settings::{Common, ListenSection, ServiceSection};

/// What is particular to one binary.
pub trait Binary: Sized + 'static {
    /// The name of the binary and of its configuration file, such as `core-api`.
    const NAME: &'static str;
    /// One line for `--help` and the manual.
    const ABOUT: &'static str;
    /// The version: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// Whether SIGUSR2 starts the program file anew with all listening sockets and, once it is ready, ends this
    /// process. The binary must then [`Context::pass_on`] the sockets it binds itself, and two of its processes must be
    /// able to work side by side while the older one drains.
    const UPGRADES: bool = false;
    /// The sections of the configuration file, `deny_unknown_fields`.
    type Config: serde::de::DeserializeOwned + Send + Sync + 'static;

    /// The sections that every binary has.
    fn common(config: &Self::Config) -> Common<'_>;

    /// What types cannot check: values that exclude each other, secrets that must be readable.
    /// `--check-config` runs it too, so it must change nothing.
    fn validate(config: &Self::Config) -> Result<(), Invalid> {
        let _ = config;
        Ok(())
    }

    /// Adds commands of the binary's own to its command line.
    fn commands(command: clap::Command) -> clap::Command {
        command
    }

    /// Runs a command from [`Self::commands`], which `matches` names, and writes its result to `output`.
    /// The configuration has been checked.
    fn run_command(
        config: Self::Config,
        matches: &clap::ArgMatches,
        output: &mut dyn std::io::Write,
    ) -> anyhow::Result<Code> {
        let _ = (config, output);
        anyhow::bail!("the command {:?} is not made for {}", matches.subcommand_name(), Self::NAME)
    }

    /// Runs a command from [`Self::commands`] that needs no configuration; None for any other.
    fn run_alone(
        matches: &clap::ArgMatches,
        output: &mut dyn std::io::Write,
    ) -> Option<anyhow::Result<Code>> {
        let _ = (matches, output);
        None
    }

    /// Starts the binary's work through `cx` and returns when it is ready to take requests.
    ///
    /// Mark errors with [`OrExit::or_exit`] where another exit code than 70 is right.
    fn start(config: Self::Config, cx: &Context) -> impl Future<Output = anyhow::Result<()>> + Send;
}
