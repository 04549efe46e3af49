//! The databases under test, on a small file system of their own where this user may mount one.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use crate::process;
use crate::test::postgres::{self, USER};

const NAME: &str = "quintet";
/// Small enough to be filled at once, large enough for a cluster and its log.
const VOLUME: &str = "size=400m,mode=755";
/// A server that recovers from a crash, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Few, so that they can be used up.
pub(super) const CONNECTIONS: u32 = 40;

/// A tmpfs, unmounted when dropped; only a directory where this user may not mount.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) path: PathBuf,
    pub(super) mounted: bool,
}

impl Volume {
    pub(super) fn make(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", VOLUME, "tmpfs"]).arg(&path);
        let mounted = process::is_root() && process::output(&mut mount).is_ok();
        Ok(Self { path, mounted })
    }

    /// Writes until nothing more fits.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = File::create(self.ballast()).context("create the ballast")?;
        loop {
            match ballast.write_all(&[b'x'; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("write the ballast"),
            }
        }
    }

    pub(super) fn relieve(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.ballast()).context("remove the ballast")
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            let _ = process::output(Command::new("umount").arg("--lazy").arg(&self.path));
        }
    }
}

/// A PostgreSQL server that can be ended in every way.
#[derive(Debug)]
pub(super) struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Its files are below `directory`.
    pub(super) fn create(directory: &Path) -> anyhow::Result<Self> {
        let programs =
            postgres::programs().context("PostgreSQL is not installed: `apt-get install postgresql`")?;
        postgres::give_to_server(directory)?;
        postgres::init(&programs, &directory.join("cluster"))?;
        let port = postgres::free_port()?;
        let mut cluster = Self { programs, directory: directory.to_owned(), port, child: None };
        cluster.start()?;
        cluster.query("postgres", &format!("CREATE DATABASE {NAME}"))?;
        Ok(cluster)
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{NAME}", self.port)
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            // After a crash the old server's last processes may still be there, and it says so and ends.
            if self.ended()? {
                self.child = Some(self.spawn()?);
            }
            let mut ask = Command::new(self.programs.join("pg_isready"));
            ask.args(["--quiet", "-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string()]);
            if process::output(&mut ask).is_ok() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!(
                    "postgres is not ready after {PATIENCE:?}; see {}",
                    self.directory.join("log").display()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ended(&mut self) -> anyhow::Result<bool> {
        self.child.as_mut().map_or(Ok(true), |child| Ok(child.try_wait()?.is_some()))
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.directory.join("log"))?;
        let connections = format!("max_connections={CONNECTIONS}");
        let settings =
            [connections.as_str(), "max_wal_size=96MB", "min_wal_size=32MB", "shared_buffers=32MB"];
        postgres::as_server(&self.programs.join("postgres"))?
            .arg("-D")
            .arg(self.directory.join("cluster"))
            .arg("-k")
            .arg(&self.directory)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start postgres")
    }

    /// Ends the server: SIGINT is its fast shutdown, SIGQUIT its immediate one, SIGKILL nobody's.
    pub(super) fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
        child.wait().context("wait for postgres")?;
        self.child = None;
        Ok(())
    }

    pub(super) fn query(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        process::output(self.psql(database).args(["-c", sql]))
    }

    /// A session that does these things one after the other and then ends.
    pub(super) fn session(&self, statements: &[&str]) -> anyhow::Result<Child> {
        let mut psql = self.psql(NAME);
        psql.args(statements.iter().flat_map(|statement| ["-c", statement]));
        let psql = psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        psql.spawn().context("start psql")
    }

    pub(super) fn terminate_sessions(&self) -> anyhow::Result<()> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.query("postgres", sql).map(|_| ())
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-d", database]);
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        psql
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.end(Signal::INT);
    }
}

/// What the workers store in.
#[derive(Debug)]
pub(super) enum Database {
    Sqlite(PathBuf),
    Postgres(Cluster),
}

impl Database {
    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::Postgres(cluster) => cluster.url(),
        }
    }
}
