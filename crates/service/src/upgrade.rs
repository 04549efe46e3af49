//! An upgrade in place: the program file is started anew beside this process, with every listening socket.
//!
//! Sockets travel as systemd passes them (sd_listen_fds(3): descriptors from 3 on, `LISTEN_FDS`,
//! `LISTEN_FDNAMES`), each of a SO_REUSEPORT group by itself, so that no connection is lost in a queue that nobody
//! accepts from. One more socket, called [`PREDECESSOR`], tells this process that the new one is ready. A successor that
//! ends, or is not ready in time, is killed and changes nothing: this process has not stopped to accept.
//!
//! `LISTEN_PID` is left out, because a process's number is not known before it runs; so is `WATCHDOG_PID`, which makes
//! the successor answer the watchdog of its own accord.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

use crate::context::Context;
use crate::sockets::PREDECESSOR;

/// What a successor says.
pub(crate) const READY: &[u8] = b"READY=1";
/// How long it may take to be able to.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("cannot pass the listening sockets on")]
    Sockets(#[source] io::Error),
    #[error("cannot start {}", .program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the new process ended before it was ready ({0}); its own messages say why")]
    Ended(ExitStatus),
    #[error("the new process was not ready within {} s and was killed", READY_WITHIN.as_secs())]
    Late,
    #[error("cannot wait for the new process")]
    Wait(#[source] io::Error),
}

/// Starts the successor and waits until it is ready; its process id. Dropped earlier, it kills the successor.
pub(crate) async fn run(cx: &Context) -> Result<u32, UpgradeError> {
    let (ready, theirs) = StdDatagram::pair().map_err(UpgradeError::Sockets)?;
    ready.set_nonblocking(true).map_err(UpgradeError::Sockets)?;
    let ready = UnixDatagram::from_std(ready).map_err(UpgradeError::Sockets)?;
    let mut sockets = cx.sockets().map_err(UpgradeError::Sockets)?;
    sockets.push((PREDECESSOR.to_owned(), theirs.into()));
    let mut successor = Successor { child: start(sockets)?, accepted: false };
    let Some(pid) = successor.child.id() else { return Err(UpgradeError::Late) };
    tracing::info!(process = pid, "a new process was started for an upgrade");
    let mut said = [0; READY.len()];
    tokio::select! {
        biased;
        received = ready.recv(&mut said) => received.map(drop).map_err(UpgradeError::Wait),
        ended = successor.child.wait() => Err(ended.map_or_else(UpgradeError::Wait, UpgradeError::Ended)),
        () = tokio::time::sleep(READY_WITHIN) => Err(UpgradeError::Late),
    }?;
    successor.accepted = true;
    Ok(pid)
}

/// A new process, killed when it is dropped before it was ready.
struct Successor {
    child: Child,
    accepted: bool,
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.accepted {
            // It may have ended by itself.
            let _ = self.child.start_kill();
        }
    }
}

fn start(sockets: Vec<(String, OwnedFd)>) -> Result<Child, UpgradeError> {
    let program = program().map_err(UpgradeError::Sockets)?;
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    let mut command = std::process::Command::new(&program);
    command
        .args(std::env::args_os().skip(1))
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env_remove("LISTEN_PID")
        .env_remove("WATCHDOG_PID");
    let mappings = (FIRST..).zip(sockets).map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
    command
        .fd_mappings(mappings.collect())
        .map_err(|error| UpgradeError::Sockets(io::Error::other(error)))?;
    Command::from(command).spawn().map_err(|source| UpgradeError::Start { program, source })
}

/// The file that this process was started from, by the name it was started by: that may be a link to the current
/// release, which has moved on since.
fn program() -> io::Result<PathBuf> {
    match std::env::args_os().next() {
        Some(name) if has_directory(&name) => std::path::absolute(name),
        _ => std::env::current_exe().map(|path| {
            match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
                // Linux says so of a file that has been replaced.
                Some(replaced) => replaced.into(),
                None => path,
            }
        }),
    }
}

fn has_directory(name: &OsString) -> bool {
    Path::new(name).components().nth(1).is_some()
}
