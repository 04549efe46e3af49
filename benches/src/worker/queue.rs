//! The queues that are compared, their programs, and one run of one load.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::load::{Answer, Load};
use crate::usage;

/// A queue as it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Queue {
    Ours,
    /// Completed jobs are forgotten, as graphile-worker does.
    OursWithoutHistory,
    Graphile1,
    Graphile2,
    Graphile4,
    /// The port to Rust on crates.io.
    GraphileRs,
    PgBoss,
}

impl Queue {
    pub(super) const ALL: [Self; 7] = [
        Self::Ours,
        Self::OursWithoutHistory,
        Self::Graphile1,
        Self::Graphile2,
        Self::Graphile4,
        Self::GraphileRs,
        Self::PgBoss,
    ];
    /// graphile-worker of npm, of which the best counts.
    pub(super) const GRAPHILE: [Self; 3] = [Self::Graphile1, Self::Graphile2, Self::Graphile4];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "quintet",
            Self::OursWithoutHistory => "quintet, no history",
            Self::Graphile1 => "graphile-worker",
            Self::Graphile2 => "graphile-worker, 2 processes",
            Self::Graphile4 => "graphile-worker, 4 processes",
            Self::GraphileRs => "graphile_worker of crates.io",
            Self::PgBoss => "pg-boss",
        }
    }

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Ours | Self::OursWithoutHistory => "quintet",
            Self::Graphile1 | Self::Graphile2 | Self::Graphile4 => "graphile-worker",
            Self::GraphileRs => "graphile_worker",
            Self::PgBoss => "pg-boss",
        }
    }

    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursWithoutHistory)
    }

    pub(super) const fn processes(self) -> usize {
        match self {
            Self::Graphile2 => 2,
            Self::Graphile4 => 4,
            _ => 1,
        }
    }

    /// Jobs at once in a drain of batches: what each one's own benchmark uses, and enough for full batches in ours.
    pub(super) const fn concurrency(self) -> usize {
        match self {
            Self::Ours | Self::OursWithoutHistory => 4_000,
            Self::GraphileRs | Self::PgBoss => 500,
            _ => 24,
        }
    }

    fn command(self, load: &str) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::Ours | Self::OursWithoutHistory => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("queue");
                command
            }
            Self::GraphileRs => Command::new(graphile_rs_target()?.join("release/graphile-worker-peer")),
            Self::Graphile1 | Self::Graphile2 | Self::Graphile4 | Self::PgBoss => {
                let mut command = Command::new("node");
                command.arg(peers().join("peer.js"));
                command
            }
        };
        command.arg(load).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(command)
    }

    /// Fetches or builds what it needs; an error says what to install.
    pub(super) fn prepare(self) -> anyhow::Result<()> {
        const SKIP: &str = "; --skip leaves a queue out";
        match self {
            Self::Ours | Self::OursWithoutHistory => Ok(()),
            Self::GraphileRs => {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--locked", "--release", "--quiet", "--manifest-path"]);
                cargo.arg(peers().join("graphile_worker/Cargo.toml"));
                cargo.arg("--target-dir").arg(graphile_rs_target()?);
                succeed(&mut cargo)
                    .with_context(|| format!("{} needs cargo and crates.io{SKIP}", self.name()))
            }
            Self::Graphile1 | Self::Graphile2 | Self::Graphile4 | Self::PgBoss => {
                if peers().join("node_modules/.package-lock.json").is_file() {
                    return succeed(Command::new("node").arg("--version").stdout(Stdio::null()))
                        .with_context(|| format!("{} needs Node.js{SKIP}", self.name()));
                }
                let mut npm = Command::new("npm");
                npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(peers());
                succeed(&mut npm).with_context(|| {
                    format!("{} needs Node.js 20 or later with npm and its registry{SKIP}", self.name())
                })
            }
        }
    }
}

/// The peers' own sources, in the checkout this program was built from.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Beside what this program was built into, so that its crates are compiled once.
fn graphile_rs_target() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program is in a build directory")?;
    Ok(target.join("peers"))
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// What one run of one load gave.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) answer: Answer,
    /// Processor time of the queue's processes while they worked.
    pub(super) cpu: Duration,
    /// Processor time of the database's server in the same time.
    pub(super) server_cpu: Option<Duration>,
}

/// Runs one load in processes of its own. `before` is called when the queue is ready.
pub(super) fn run(
    queue: Queue,
    load: &Load,
    server: Option<u32>,
    before: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Ran> {
    let mut process = Process::start(queue, load)?;
    ensure!(process.hear()?.get("ready").is_some(), "{} said something else than ready", queue.name());
    before()?;
    let cpu = process.cpu()?;
    let server_before = server.map(usage::with_reaped).transpose()?;
    process.say_go()?;
    let answer: Answer = serde_json::from_value(process.hear()?)?;
    let ran = Ran {
        answer,
        cpu: process.cpu()?.since(cpu).total(),
        server_cpu: match (server, server_before) {
            (Some(server), Some(earlier)) => Some(usage::with_reaped(server)?.since(earlier).total()),
            _ => None,
        },
    };
    process.end()?;
    Ok(ran)
}

struct Process {
    queue: Queue,
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(queue: Queue, load: &Load) -> anyhow::Result<Self> {
        let text = serde_json::to_string(load)?;
        let mut child = queue.command(&text)?.spawn().with_context(|| format!("start {}", queue.name()))?;
        let lines = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        Ok(Self { queue, child, lines })
    }

    fn hear(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        // Peers may print what is no answer.
        while self.lines.read_line(&mut line).context("read its answer")? > 0 {
            if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                return Ok(value);
            }
            line.clear();
        }
        bail!("{} ended without an answer: {}", self.queue.name(), self.child.wait()?)
    }

    fn say_go(&mut self) -> anyhow::Result<()> {
        self.child.stdin.as_mut().context("its input is a pipe")?.write_all(b"go\n").context("say go")
    }

    fn cpu(&self) -> anyhow::Result<usage::Cpu> {
        usage::cpu(&usage::family(self.child.id()))
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().context("wait for its end")?;
        ensure!(status.success(), "{} ended with {status}", self.queue.name());
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After an error; one that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
