//! Starting, watching and hurting one fleet.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use xtask::gateway::Gateway;

use crate::disk::{self, Disk};
use crate::left_out;

/// The five, by their executables' names.
pub const BINARIES: [&str; 5] =
    ["telemetry-sink", "identity-provider", "core-api", "async-worker", "edge-gateway"];

/// Where the binaries under test are: `QUINTET_E2E_BIN_DIR`, or where cargo put those of this profile.
pub fn bin_dir() -> anyhow::Result<PathBuf> {
    match std::env::var_os("QUINTET_E2E_BIN_DIR") {
        Some(given) => Ok(PathBuf::from(given)),
        None => target_dir(),
    }
}

/// `target/PROFILE`, from `target/PROFILE/deps/THIS-TEST`.
fn target_dir() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("find this test")?;
    test.ancestors().nth(2).map(Path::to_path_buf).context("the test is not in cargo's target directory")
}

/// How a fleet is to be started.
#[derive(Debug, Default)]
pub struct Settings {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// The size of the file system that core-api's database has to itself.
    disk_bytes: Option<u64>,
}

impl Settings {
    /// Adds an argument of `xtask up`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a configuration key of a binary: `QUINTET_<BINARY>__<SECTION>__<KEY>`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Uses this PostgreSQL database.
    #[must_use]
    pub fn database(self, url: impl Into<OsString>) -> Self {
        self.argument("--database").argument(url)
    }

    /// Puts the embedded database of core-api and the worker on a file system of its own, of this size.
    #[must_use]
    pub fn core_database_on_a_disk_of(self, bytes: u64) -> Self {
        Self { disk_bytes: Some(bytes), ..self }
    }

    /// Starts a fleet in a directory of its own and waits until it is ready.
    ///
    /// With `QUINTET_E2E_FLEET` the tests are of a fleet that runs somewhere: the variable names a directory with its
    /// authority and secrets, laid out like a data directory, and `QUINTET_E2E_FLEET_PORT` its gateway's port here.
    pub fn start(self) -> anyhow::Result<Fleet> {
        if let Some(data) = std::env::var_os("QUINTET_E2E_FLEET") {
            return self.running_elsewhere(PathBuf::from(data));
        }
        let directory =
            tempfile::Builder::new().prefix("quintet-e2e-").tempdir().context("make a directory")?;
        let (https_port, http_port) = (free_port()?, free_port()?);
        let fleet = Fleet { directory, https_port, http_port, settings: self, elsewhere: None };
        std::fs::create_dir(fleet.mount_point()).context("make a directory")?;
        fleet.up()?;
        Ok(fleet)
    }

    fn running_elsewhere(self, data: PathBuf) -> anyhow::Result<Fleet> {
        let port = std::env::var_os("QUINTET_E2E_FLEET_PORT").and_then(|port| port.to_str()?.parse().ok());
        Ok(Fleet {
            directory: tempfile::tempdir().context("make a directory")?,
            https_port: port.context("QUINTET_E2E_FLEET_PORT is no port")?,
            http_port: 0,
            settings: self,
            elsewhere: Some(data),
        })
    }
}

/// A running fleet; stopped when dropped.
#[derive(Debug)]
pub struct Fleet {
    directory: TempDir,
    https_port: u16,
    http_port: u16,
    settings: Settings,
    /// Authority and secrets of a fleet that runs elsewhere and is not started or stopped here.
    elsewhere: Option<PathBuf>,
}

impl Fleet {
    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.elsewhere.clone().unwrap_or_else(|| self.directory.path().join("data"))
    }

    /// The file system of [`Settings::core_database_on_a_disk_of`].
    pub fn disk(&self) -> anyhow::Result<Disk> {
        let process = self.process("core-api").context("core-api does not run")?;
        Disk::of(process, &self.mount_point())
    }

    fn mount_point(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// The gateway's TLS port.
    pub fn https_port(&self) -> u16 {
        self.https_port
    }

    /// The gateway's plain port.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// `xtask up --detach` on this fleet's data directory.
    pub fn up(&self) -> anyhow::Result<String> {
        if self.elsewhere.is_some() {
            return Ok(String::new());
        }
        let output = self.run_up()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("up failed: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
        ensure!(
            said.lines().any(|line| line.starts_with("fleet ready")),
            "up did not say `fleet ready`: {said}"
        );
        Ok(said)
    }

    /// The same, whatever comes of it.
    pub fn run_up(&self) -> anyhow::Result<Output> {
        let mut command = xtask()?;
        command
            .args(["up", "--detach", "--https-port", &self.https_port.to_string()])
            .args(["--http-port", &self.http_port.to_string(), "--data-dir"])
            .arg(self.data())
            .arg("--bin-dir")
            .arg(bin_dir()?)
            .args(&self.settings.arguments);
        if let Some(bytes) = self.settings.disk_bytes {
            command = disk::with_disk(&command, &self.mount_point(), bytes);
            let url = format!("sqlite:{}", self.mount_point().join("core.db").display());
            command.env("QUINTET_CORE_API__DATABASE__URL", &url);
            command.env("QUINTET_ASYNC_WORKER__DATABASE__URL", &url);
        }
        command.envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).output().context("run xtask up")
    }

    /// `xtask down`: drains all five and waits.
    pub fn down(&self) -> anyhow::Result<()> {
        if self.elsewhere.is_some() {
            return Ok(());
        }
        let output =
            xtask()?.args(["down", "--data-dir"]).arg(self.data()).output().context("run xtask down")?;
        ensure!(output.status.success(), "down failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// A client without a token.
    pub fn gateway(&self) -> anyhow::Result<Gateway> {
        Gateway::new(self.https_port, &self.data().join("tls/ca.pem"))
    }

    /// A client signed in as the demo service.
    pub async fn signed_in(&self) -> anyhow::Result<Gateway> {
        let secret = self.secret("demo-client-secret")?;
        self.gateway()?.sign_in("demo", &secret).await
    }

    /// A file of the fleet's secrets.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.data().join("secrets").join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Kills one of the five without warning and returns the process that is gone.
    pub fn kill(&self, binary: &str) -> anyhow::Result<i32> {
        let id = self.process(binary).with_context(|| format!("{binary} does not run"))?;
        let pid = Pid::from_raw(id).context("a process has a number above zero")?;
        rustix::process::kill_process(pid, Signal::KILL).with_context(|| format!("kill {binary}"))?;
        Ok(id)
    }

    /// The process of one of the five, found by its executable and configuration.
    pub fn process(&self, binary: &str) -> Option<i32> {
        let config = self.data().join(format!("config/{binary}.toml"));
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let program = words.next().unwrap_or_default();
            program.ends_with(binary.as_bytes())
                && words.any(|word| word == config.as_os_str().as_encoded_bytes())
        })
    }

    /// Every message that was delivered: from the mail directory, or as the worker's API shows it of a fleet elsewhere.
    pub async fn mail(&self) -> anyhow::Result<Vec<String>> {
        if self.elsewhere.is_some() {
            return self.mail_of_api().await;
        }
        let mut messages = Vec::new();
        for part in ["new", "cur"] {
            let Ok(entries) = std::fs::read_dir(self.data().join("mail").join(part)) else { continue };
            for entry in entries {
                messages.push(String::from_utf8_lossy(&std::fs::read(entry?.path())?).into_owned());
            }
        }
        Ok(messages)
    }

    async fn mail_of_api(&self) -> anyhow::Result<Vec<String>> {
        let gateway = self.signed_in().await?;
        let listed = gateway.get("/jobs/v1/mail").await?.success()?.json();
        let listed = listed.get("data").and_then(serde_json::Value::as_array).into_iter().flatten();
        let mut messages = Vec::new();
        for id in listed.filter_map(|message| message.get("id").and_then(serde_json::Value::as_str)) {
            let message = gateway.get(&format!("/jobs/v1/mail/{id}")).await?.success()?;
            messages.push(String::from_utf8_lossy(&message.body).into_owned());
        }
        Ok(messages)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A test that stopped the fleet itself finds nothing left to stop.
        let _ = self.down();
    }
}

/// A command that runs the tasks' program: `QUINTET_XTASK`, or the one cargo built beside this test.
pub fn xtask() -> anyhow::Result<Command> {
    let program = match std::env::var_os("QUINTET_XTASK") {
        Some(given) => PathBuf::from(given),
        None => target_dir()?.join("xtask"),
    };
    ensure!(program.is_file(), "{} is missing: run the tests with `cargo xtask test`", program.display());
    Ok(Command::new(program))
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> anyhow::Result<u16> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(probe.local_addr()?.port())
}

/// A new database on the server of `QUINTET_TEST_POSTGRES`. `None` where there is no server, except on CI, where that
/// is an error.
pub fn postgres(name: &str) -> anyhow::Result<Option<String>> {
    let Some(server) = std::env::var_os("QUINTET_TEST_POSTGRES") else {
        left_out("QUINTET_TEST_POSTGRES is not set (cargo xtask test sets it)")?;
        return Ok(None);
    };
    let server = server.into_string().ok().context("QUINTET_TEST_POSTGRES is not UTF-8")?;
    let name = format!("e2e_{name}_{}", std::process::id());
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--command", &format!("CREATE DATABASE {name}")])
        .arg(format!("{server}/postgres"))
        .output()
        .context("run psql")?;
    ensure!(output.status.success(), "psql failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(format!("{server}/{name}")))
}
