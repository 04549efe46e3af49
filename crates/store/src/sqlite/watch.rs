//! Hearing of other connections' and processes' commits without polling.
//!
//! SQLite counts commits by other connections (`PRAGMA data_version`), but has nothing that wakes
//! a process. The kernel has: a write to the `-wal` file raises an inotify event. The event comes
//! before the commit is visible (SQLite still flushes the file and updates the index), so after
//! an event the counter is read a few times with growing pauses. An idle database costs nothing.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use sqlx::{Row as _, SqliteConnection};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::Error;

/// Pauses after a write to the log until its commit is visible: 255 ms in all, which is far longer
/// than a flush takes on a healthy disk. A slower one is found by the caller's own polling.
const SETTLE: [Duration; 8] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
    Duration::from_millis(32),
    Duration::from_millis(64),
    Duration::from_millis(128),
];

/// How often the counter is read where inotify is not to be had (a limit on watches, say).
const POLL: Duration = Duration::from_millis(25);

pub(crate) struct Watch {
    connection: Box<SqliteConnection>,
    seen: i64,
    log: Option<AsyncFd<OwnedFd>>,
}

impl Watch {
    /// `connection` stays open for as long as the watch, which keeps the `-wal` file in place.
    pub(crate) async fn open(mut connection: SqliteConnection, log: &Path) -> Result<Self, Error> {
        let seen = data_version(&mut connection).await?;
        let log = watch_file(log)
            .inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "no inotify, polling SQLite");
            })
            .ok();
        Ok(Self { connection: Box::new(connection), seen, log })
    }

    pub(crate) async fn changed(&mut self, timeout: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.advance().await? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            if !self.wait_for_write(deadline).await {
                continue;
            }
            for pause in SETTLE {
                if self.advance().await? {
                    return Ok(true);
                }
                sleep_until(deadline.min(Instant::now() + pause)).await;
            }
        }
    }

    /// Whether the counter moved since it was last read.
    async fn advance(&mut self) -> Result<bool, Error> {
        let version = data_version(&mut self.connection).await?;
        Ok(std::mem::replace(&mut self.seen, version) != version)
    }

    /// Waits until the log was written to, or `deadline`; whether it was.
    async fn wait_for_write(&self, deadline: Instant) -> bool {
        let Some(log) = &self.log else {
            sleep_until(deadline.min(Instant::now() + POLL)).await;
            return false;
        };
        let Ok(Ok(mut ready)) = timeout_at(deadline, log.readable()).await else { return false };
        // What the events say does not matter, only that they came.
        let mut events = [0u8; 4096];
        while ready.try_io(|log| Ok(rustix::io::read(log, &mut events)?)).is_ok() {}
        true
    }
}

#[expect(
    deprecated,
    reason = "the successor is unsafe for types whose descriptor may change; an OwnedFd keeps the one it has"
)]
fn watch_file(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&events, path, inotify::WatchFlags::MODIFY)?;
    AsyncFd::new(events)
}

/// SQLite's counter of commits by other connections (<https://www.sqlite.org/pragma.html#pragma_data_version>).
async fn data_version(connection: &mut SqliteConnection) -> Result<i64, Error> {
    Ok(sqlx::query("PRAGMA data_version").fetch_one(connection).await?.try_get(0)?)
}
