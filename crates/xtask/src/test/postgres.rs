//! A PostgreSQL server of the tests' own, in a temporary directory, ended with the run.
//!
//! Its server refuses to run as root, so as root it runs as the user that its package makes.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use crate::process;

/// Whose the clusters made here are.
pub(crate) const USER: &str = "quintet";
const READY_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    // Removed when the server is dropped, after the server has ended.
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// With settings of its configuration, such as `shared_buffers=1GB`.
    pub(crate) fn start_with(settings: &[&str]) -> anyhow::Result<Self> {
        let programs = programs().context("PostgreSQL is not installed: `apt-get install postgresql`")?;
        let directory =
            tempfile::Builder::new().prefix("quintet-postgres-").tempdir().context("make a directory")?;
        let cluster = directory.path().join("cluster");
        give_to_server(directory.path())?;
        init(&programs, &cluster)?;
        let (certificate, key) = certificate(directory.path())?;
        let port = free_port()?;
        let log = std::fs::File::create(directory.path().join("log")).context("create the server's log")?;
        let child = as_server(&programs.join("postgres"))?
            .arg("-D")
            .arg(&cluster)
            .arg("-k")
            .arg(directory.path())
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "max_connections=400", "-c", "ssl=on"])
            .args(["-c", &format!("ssl_cert_file={}", certificate.display())])
            .args(["-c", &format!("ssl_key_file={}", key.display())])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start postgres")?;
        let mut server = Self { child, port, _directory: directory };
        server.wait_until_ready(&programs)?;
        Ok(server)
    }

    /// Without a database name: the tests make their own.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}", self.port)
    }

    /// The server's first process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self, programs: &Path) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let mut ask = Command::new(programs.join("pg_isready"));
            ask.args(["--quiet", "-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string()]);
            if process::output(&mut ask).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("postgres ended: {status}");
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("postgres is not ready after {READY_WITHIN:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown: it ends sessions and does not wait for them.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::INT);
        }
        let _ = self.child.wait();
    }
}

/// The directory of the newest installed server's programs.
pub(crate) fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = debian.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin"))).filter(|(_, bin)| bin.join("initdb").is_file())
    });
    let newest = versions.max_by_key(|(version, _)| *version).map(|(_, bin)| bin);
    newest.or_else(|| process::find("initdb")?.parent().map(Path::to_path_buf))
}

/// Whether a server is installed.
pub(crate) fn is_installed() -> bool {
    programs().is_some()
}

/// Makes the files of a server that lets everybody in, in a directory of its user's.
pub(crate) fn init(programs: &Path, cluster: &Path) -> anyhow::Result<()> {
    let mut initdb = as_server(&programs.join("initdb"))?;
    initdb.arg("--pgdata").arg(cluster).args(["--username", USER, "--auth", "trust"]);
    process::output(initdb.args(["--encoding", "UTF8", "--no-locale"])).map(|_| ())
}

pub(crate) fn as_server(program: &Path) -> anyhow::Result<Command> {
    if !process::is_root() {
        return Ok(Command::new(program));
    }
    let setpriv = process::find("setpriv").context("setpriv (package util-linux) is missing")?;
    let mut command = Command::new(setpriv);
    // With the death signal a killed test run leaves no server behind.
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=INT", "--"])
        .arg(program);
    command.current_dir("/");
    Ok(command)
}

pub(crate) fn give_to_server(directory: &Path) -> anyhow::Result<()> {
    if !process::is_root() {
        return Ok(());
    }
    let id = |flag: &str| -> anyhow::Result<u32> {
        let text = process::output(Command::new("id").args([flag, "postgres"]))?;
        text.trim().parse().context("id printed no number")
    };
    chown(directory, Some(id("-u")?), Some(id("-g")?)).context("give the directory to the server's user")
}

/// A certificate for 127.0.0.1 that is its own authority, and its key, as the server wants them.
fn certificate(directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).context("make a certificate")?;
    let written = |name: &str, text: String, mode: u32| -> anyhow::Result<PathBuf> {
        let path = directory.join(name);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .with_context(|| format!("create {}", path.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
        give_to_server(&path)?;
        Ok(path)
    };
    Ok((
        written("server.crt", made.cert.pem(), 0o644)?,
        written("server.key", made.signing_key.serialize_pem(), 0o600)?,
    ))
}

pub(crate) fn free_port() -> anyhow::Result<u16> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(probe.local_addr()?.port())
}
