//! A disk that fails: the kernel answers EIO where the sink writes or syncs its logs, planted by `strace`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::process;

/// How long the disk fails.
const FAILING: Duration = Duration::from_millis(700);
/// Until strace holds every thread.
const ATTACH: Duration = Duration::from_millis(300);
const ENOUGH: Duration = Duration::from_secs(10);

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// Every sync of a file's data.
    Syncs,
    /// Every write to the logs there are.
    Writes,
}

pub(super) fn is_possible() -> bool {
    process::find("strace").is_some()
}

struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        // It lets go of the sink when it ends.
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// Lets the disk of a process fail for a while.
pub(super) async fn fail(pid: u32, data: &Path, what: Failing) -> anyhow::Result<()> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    match what {
        Failing::Syncs => command.args(["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]),
        Failing::Writes => {
            // Other writes are those of sockets and wake-ups, on which the process lives.
            let logs = logs(&data.join("wal"))?;
            ensure!(!logs.is_empty(), "the sink has no log yet");
            command.args(logs.iter().flat_map(|log| [Path::new("-P"), log.as_path()]));
            command.args(["-e", "trace=write", "-e", "inject=write:error=EIO"])
        }
    };
    command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tracer = Tracer(command.spawn().context("start strace (the Debian package is strace)")?);
    tokio::time::sleep(ATTACH + FAILING).await;
    let ended = tracer.0.try_wait()?;
    ensure!(ended.is_none(), "strace could not attach to the sink: {ended:?}");
    drop(tracer);
    Ok(())
}

/// Waits until a process is traced no more.
pub(super) async fn is_free(pid: u32) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the sink ended")?;
        if status.lines().any(|line| line == "TracerPid:\t0") {
            return Ok(());
        }
        ensure!(begun.elapsed() < ENOUGH, "strace does not let go of the sink");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn logs(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(logs(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "wal") {
            found.push(path);
        }
    }
    Ok(found)
}
