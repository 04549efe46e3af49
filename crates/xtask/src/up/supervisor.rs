//! Keeping five processes alive and stopping them in order.
//!
//! A process that dies is started again after a pause that grows while it keeps dying. One that refuses its
//! configuration, or dies before it was ever ready, ends the whole start instead: trying again would not help.
//! Stopping goes from the gateway inwards, one process at a time, so that each still has those it calls.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use crate::process;
use crate::workspace::BINARIES;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A process that ran this long was healthy: its next death begins a new series.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// Longer than the drain deadline written into each configuration.
const KILL_AFTER: Duration = Duration::from_secs(15);

/// What the rest of `up` may know of one process.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    executable: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// 0 while it is not running.
    pid: AtomicU32,
    restarts: AtomicU32,
    was_ready: AtomicBool,
    stop: CancellationToken,
}

impl Program {
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// From now on a death is answered by a restart.
    pub(crate) fn note_ready(&self) {
        self.was_ready.store(true, Ordering::Relaxed);
    }
}

/// The five processes.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) programs: Vec<Arc<Program>>,
    keepers: JoinSet<anyhow::Result<()>>,
}

impl Fleet {
    /// Starts all five; they wait for one another by themselves.
    pub(crate) fn start(layout: &Layout, bin_dir: &Path) -> anyhow::Result<Self> {
        let mut keepers = JoinSet::new();
        let mut programs = Vec::new();
        for name in BINARIES {
            let program = Arc::new(Program {
                name,
                executable: bin_dir.join(name),
                config: layout.config(name),
                log: layout.log(name),
                pid: AtomicU32::new(0),
                restarts: AtomicU32::new(0),
                was_ready: AtomicBool::new(false),
                stop: CancellationToken::new(),
            });
            rotate(&program.log)?;
            keepers.spawn(keep(Arc::clone(&program)));
            programs.push(program);
        }
        Ok(Self { programs, keepers })
    }

    /// Returns only when one of the five cannot be kept running, with the reason.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        loop {
            match self.keepers.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) => return anyhow::Error::new(error).context("a supervising task ended"),
                Some(Ok(Ok(()))) => {}
                None => return anyhow!("all five processes have ended"),
            }
        }
    }

    /// Drains and stops all five, the gateway first.
    pub(crate) async fn stop(mut self) {
        for program in self.programs.iter().rev() {
            program.stop.cancel();
            while program.pid().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        while self.keepers.join_next().await.is_some() {}
    }
}

/// Runs one program until told to stop.
async fn keep(program: Arc<Program>) -> anyhow::Result<()> {
    let mut pause = FIRST_PAUSE;
    while !program.stop.is_cancelled() {
        let begun = Instant::now();
        let mut child = spawn(&program)?;
        program.pid.store(child.id().unwrap_or_default(), Ordering::Relaxed);
        let ended = tokio::select! {
            ended = child.wait() => Some(ended),
            () = program.stop.cancelled() => None,
        };
        let Some(ended) = ended else {
            terminate(&mut child).await;
            program.pid.store(0, Ordering::Relaxed);
            return Ok(());
        };
        program.pid.store(0, Ordering::Relaxed);
        let status = ended.with_context(|| format!("wait for {}", program.name))?;
        if !program.was_ready.load(Ordering::Relaxed) || refuses_its_configuration(status) {
            return Err(failure(&program, status));
        }
        program.restarts.fetch_add(1, Ordering::Relaxed);
        if begun.elapsed() > HEALTHY_AFTER {
            pause = FIRST_PAUSE;
        }
        eprintln!("{} ended ({status}); starting it again in {} ms", program.name, pause.as_millis());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = program.stop.cancelled() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}

fn spawn(program: &Program) -> anyhow::Result<Child> {
    let log = append_to(&program.log)?;
    let errors = log.try_clone().context("share the log file")?;
    Command::new(process::SELF)
        .args(["child", "--parent", &std::process::id().to_string(), "--"])
        .arg(&program.executable)
        .arg("--config")
        .arg(&program.config)
        // A terminal's Ctrl-C goes to its whole process group; the order of stopping is decided here alone.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start {}", program.executable.display()))
}

async fn terminate(child: &mut Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid {
        // Already gone is as good as signalled.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(KILL_AFTER, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// 64 usage, 73 cannot create, 78 configuration (docs/operator/running.md): none is mended by trying again.
fn refuses_its_configuration(status: ExitStatus) -> bool {
    matches!(status.code(), Some(64 | 73 | 78))
}

fn failure(program: &Program, status: ExitStatus) -> anyhow::Error {
    let said = last_lines(&program.log, 3);
    anyhow!("{} ended ({status}): {said}\nits log is {}", program.name, program.log.display())
}

fn append_to(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// Keeps the log of the run before, and no older one.
pub(crate) fn rotate(log: &Path) -> anyhow::Result<()> {
    if log.is_file() {
        std::fs::rename(log, log.with_extension("log.1"))
            .with_context(|| format!("rotate {}", log.display()))?;
    }
    Ok(())
}

/// The end of a file, read from its last kilobytes.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    const TAIL: u64 = 4096;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().filter(|line| !line.is_empty()).take(count).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
