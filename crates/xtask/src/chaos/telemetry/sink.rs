//! The sink under test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quintet_http::{Client, Origin};
use serde_json::json;
use xtask::issuer::{AUDIENCE, ISSUER};

use super::RECOVERY;
use crate::process;

/// The least there may be, so that heads are written out all the time.
pub(super) const MEMORY_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Sink {
    program: PathBuf,
    directory: PathBuf,
    child: Option<Child>,
}

impl Sink {
    /// A sink whose data is below the directory, with the least memory there may be.
    pub(super) fn prepare(program: &Path, directory: &Path, keys: u16) -> anyhow::Result<Self> {
        let socket = |name: &str| format!("unix:{}", directory.join(name).display());
        let config = json!({
            "service": { "admin": socket("admin.sock") },
            "listen": { "http": socket("http.sock"), "otlp": socket("otlp.sock") },
            "auth": { "issuer": ISSUER, "audience": AUDIENCE, "jwks": format!("http://127.0.0.1:{keys}") },
            "storage": { "directory": directory.join("data"), "memory_budget_bytes": MEMORY_BYTES },
        });
        let table = toml::Table::try_from(config).context("build the configuration")?;
        std::fs::write(directory.join("sink.toml"), table.to_string())?;
        Ok(Self { program: program.to_owned(), directory: directory.to_owned(), child: None })
    }

    fn client(&self, socket: &str) -> anyhow::Result<Client> {
        let origin: Origin = format!("unix:{}", self.directory.join(socket).display()).parse()?;
        Ok(Client::new(origin).timeout(Duration::from_secs(20)).max_body(256 << 20))
    }

    pub(super) fn intake(&self) -> Origin {
        Origin::Unix(self.directory.join("otlp.sock"))
    }

    pub(super) fn queries(&self) -> anyhow::Result<Client> {
        self.client("http.sock")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The process, once it runs: what started it became it.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.as_ref().map(Child::id).context("the sink does not run")
    }

    /// The most memory it had, bytes.
    pub(super) fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("sink.log")
    }

    /// Starts it and waits until it is ready.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let parent = std::process::id().to_string();
        let mut command = Command::new(process::SELF);
        command.args(["child", "--parent", &parent, "--"]).arg(&self.program);
        command.arg("--config").arg(self.directory.join("sink.toml"));
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("start {}", self.program.display()))?);
        let admin = self.client("admin.sock")?;
        let begun = Instant::now();
        while admin.get("/readyz").await.is_err() {
            ensure!(begun.elapsed() < RECOVERY, "the sink is not ready within {RECOVERY:?}");
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            ensure!(ended.is_none(), "the sink ended by itself: {ended:?}; see {}", self.log().display());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
