//! Running other programs: the command line in every error, and children that cannot outlive their parent.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

/// This very program, also after a build replaced its file: a supervisor outlives many builds.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Runs a program with this terminal's output and fails when it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a program silently and returns what it printed; on failure the error carries its standard error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}: {}", shown(command), output.status, said.trim());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed bytes that are not UTF-8", shown(command)))
}

/// Where a program is on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// Whether this process may install packages and make mounts.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The hidden verb that stands between the supervisor and each of the five.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildOptions {
    /// The process that must stay alive.
    #[arg(long)]
    parent: i32,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

/// Asks the kernel to send SIGTERM when the parent dies, then becomes the given program.
///
/// A supervisor killed with SIGKILL would otherwise leave five processes holding the ports.
pub(crate) fn become_child(options: &ChildOptions) -> anyhow::Result<()> {
    let (program, arguments) = options.command.split_first().context("no program given")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).context("set the death signal")?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent != Some(options.parent) {
        bail!("the supervisor ended before its child began");
    }
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("start {}", program.display()))
}
