//! SQLite: one writer with group commit, several readers.
//!
//! Layout: a database in WAL mode with `synchronous = FULL`. All writes of this process go through
//! one connection; readers have their own and never wait for it. Other processes may have the same
//! file open: SQLite's file lock keeps their writers apart, `busy_timeout` bounds the wait.
//!
//! Group commit: the first write transaction issues `BEGIN IMMEDIATE`; each transaction is a
//! savepoint inside. `commit` releases the savepoint, hands the connection to the next writer and
//! waits for its group's *closer*, a task that queues for the connection (the lock is first come,
//! first served) behind the writers that were already waiting. When the closer's turn comes it
//! issues the one `COMMIT`, whose fsync all members share, and tells each of them. A lone writer
//! thus pays one fsync at once; a crowd pays one between them; nobody waits for a timer.
//!
//! Invariants:
//! - A member hears success only after the physical commit that holds its work.
//! - Whenever the outer transaction is open and nobody holds the lock, a closer is on its way, so
//!   the file lock is never kept by an idle process.
//! - An error that may have made SQLite undo the outer transaction (full disk, I/O) fails every
//!   member of the group; none of them hears success.
//!
//! Crash recovery is SQLite's: a group is in the WAL with its commit frame or not at all.

mod watch;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Executor};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::error::Error;
use crate::settings::Settings;

pub(crate) use watch::Watch;

/// Readers beyond this only add memory: SQLite reads are CPU-bound and short.
const MAX_READERS: u32 = 8;

pub(crate) struct Sqlite {
    writer: Arc<Mutex<Group>>,
    pub(crate) readers: SqlitePool,
    /// The write-ahead log's file.
    pub(crate) log: PathBuf,
    acquire_timeout: Duration,
    runtime: Handle,
}

/// The writing connection and the transactions that share its next commit.
struct Group {
    connection: SqliteConnection,
    state: State,
    members: Vec<oneshot::Sender<Result<(), Arc<str>>>>,
    closer_on_its_way: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No outer transaction.
    Idle,
    /// The outer transaction is open and holds every member's work.
    Open,
    /// A statement was abandoned or failed such that the outer transaction may be gone.
    Doubtful,
}

/// Between two tries to open a file that another process switches to WAL.
const REOPEN: Duration = Duration::from_millis(20);

/// Opens the file, creating it where it is missing. Of two processes that create it at the same moment one is told that it is
/// locked, at once and whatever the timeout: SQLite does not wait for the lock that the switch to WAL takes.
async fn open_writer(
    options: &SqliteConnectOptions,
    patience: Duration,
) -> Result<SqliteConnection, sqlx::Error> {
    let begun = Instant::now();
    loop {
        let opened = options.clone().thread_name(|_| "sqlite-writer".to_owned()).connect().await;
        match opened {
            Err(error) if is_locked(&error) && begun.elapsed() < patience => {
                tokio::time::sleep(REOPEN).await;
            }
            opened => return opened,
        }
    }
}

/// `SQLITE_BUSY`, which the lower byte of its extended codes says too.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

impl Sqlite {
    pub(crate) async fn connect(url: &str, settings: &Settings) -> Result<Self, Error> {
        let acquire_timeout = Duration::from_millis(settings.acquire_timeout_ms);
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| Error::Settings(format!("database.url {url} is not a SQLite URL: {error}")))?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(acquire_timeout)
            .pragma("temp_store", "memory")
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
        // The writer first: it creates the file and switches it to WAL before readers look.
        let connection = open_writer(&options, acquire_timeout).await.map_err(|error| {
            Error::Settings(format!(
                "cannot open the database {}: {error}; check that its directory exists and is writable by this user",
                options.get_filename().display()
            ))
        })?;
        let mut log = options.get_filename().as_os_str().to_owned();
        log.push("-wal");
        let readers = SqlitePoolOptions::new()
            .max_connections(settings.max_connections.clamp(1, MAX_READERS))
            .acquire_timeout(acquire_timeout)
            .idle_timeout(Duration::from_mins(1))
            .connect_lazy_with(
                options.pragma("query_only", "on").thread_name(|_| "sqlite-reader".to_owned()),
            );
        let group = Group { connection, state: State::Idle, members: Vec::new(), closer_on_its_way: false };
        let log = log.into();
        let writer = Arc::new(Mutex::new(group));
        Ok(Self { writer, readers, log, acquire_timeout, runtime: Handle::current() })
    }

    pub(crate) async fn begin(&self) -> Result<WriteTx, Error> {
        let lock = tokio::time::timeout(self.acquire_timeout, Arc::clone(&self.writer).lock_owned());
        let group = lock.await.map_err(|_| Error::Busy(Box::new(sqlx::Error::PoolTimedOut)))?;
        // Built before the first statement, so that being dropped mid-way is cleaned up too.
        let mut tx = WriteTx {
            group: Some(group),
            writer: Arc::clone(&self.writer),
            runtime: self.runtime.clone(),
            savepoint: false,
        };
        if tx.group()?.state == State::Doubtful {
            tx.group()?.abandon("an earlier statement was interrupted").await;
        }
        if tx.group()?.state == State::Idle {
            tx.group()?.state = State::Doubtful;
            tx.group()?.connection.execute("BEGIN IMMEDIATE").await?;
            tx.group()?.state = State::Open;
        }
        tx.savepoint = true;
        tx.group()?.connection.execute("SAVEPOINT member").await?;
        Ok(tx)
    }
}

impl Group {
    /// Undoes the outer transaction and fails everyone in it.
    async fn abandon(&mut self, why: &str) {
        // "no transaction is active" is fine: SQLite undid it by itself.
        let undone = self.connection.execute("ROLLBACK").await;
        tracing::warn!(
            why,
            members = self.members.len(),
            rolled_back = undone.is_ok(),
            "a group commit was abandoned"
        );
        let why: Arc<str> = why.into();
        for member in self.members.drain(..) {
            // A member that stopped waiting needs no answer.
            let _ = member.send(Err(Arc::clone(&why)));
        }
        self.state = State::Idle;
    }

    async fn close(&mut self) {
        self.closer_on_its_way = false;
        match self.state {
            State::Idle => {}
            State::Doubtful => self.abandon("an earlier statement was interrupted").await,
            State::Open => match self.connection.execute("COMMIT").await {
                Ok(_) => {
                    self.state = State::Idle;
                    for member in self.members.drain(..) {
                        let _ = member.send(Ok(()));
                    }
                }
                Err(error) => self.abandon(&error.to_string()).await,
            },
        }
    }

    /// Undoes one member's work and, when it was alone, the outer transaction.
    async fn undo_member(&mut self, savepoint: bool) {
        if self.state == State::Open && savepoint {
            let undo = self.connection.execute("ROLLBACK TO member; RELEASE member").await;
            if undo.is_err() {
                self.state = State::Doubtful;
            }
        }
        if self.state == State::Doubtful {
            self.abandon("the disk or the connection failed during the group").await;
        } else if self.state == State::Open && !self.closer_on_its_way {
            self.abandon_empty().await;
        }
    }

    async fn abandon_empty(&mut self) {
        if self.connection.execute("ROLLBACK").await.is_ok() {
            self.state = State::Idle;
        } else {
            self.state = State::Doubtful;
        }
    }
}

/// One member of a group; see the module's description.
pub(crate) struct WriteTx {
    group: Option<OwnedMutexGuard<Group>>,
    writer: Arc<Mutex<Group>>,
    runtime: Handle,
    savepoint: bool,
}

impl WriteTx {
    fn group(&mut self) -> Result<&mut Group, Error> {
        self.group.as_deref_mut().ok_or(Error::Busy(Box::new(sqlx::Error::WorkerCrashed)))
    }

    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, Error> {
        self.group().map(|group| &mut group.connection)
    }

    /// Notes a statement's error: some of them make SQLite undo the whole outer transaction.
    pub(crate) fn observe<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        result.map_err(|error| {
            let error = Error::from(error);
            if matches!(error, Error::Full(_) | Error::Unavailable(_) | Error::Busy(_))
                && let Some(group) = self.group.as_deref_mut()
            {
                group.state = State::Doubtful;
            }
            error
        })
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if self.group()?.state != State::Open {
            return Err(Error::Busy(Box::new(sqlx::Error::WorkerCrashed)));
        }
        self.group()?.connection.execute("RELEASE member").await?;
        let Some(mut group) = self.group.take() else {
            return Err(Error::Busy(Box::new(sqlx::Error::WorkerCrashed)));
        };
        let (done, committed) = oneshot::channel();
        group.members.push(done);
        if !group.closer_on_its_way {
            group.closer_on_its_way = true;
            let writer = Arc::clone(&self.writer);
            // Not tied to this caller: the group's other members rely on it. It ends by itself.
            self.runtime.spawn(async move { writer.lock_owned().await.close().await });
        }
        drop(group);
        match committed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Error::Full(why.as_ref().into())),
            Err(_closed) => Err(Error::Unavailable(Box::new(sqlx::Error::WorkerCrashed))),
        }
    }
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        if let Some(mut group) = self.group.take() {
            let savepoint = self.savepoint;
            // The lock goes along, so nobody writes between the caller's failure and its undoing.
            self.runtime.spawn(async move { group.undo_member(savepoint).await });
        }
    }
}
