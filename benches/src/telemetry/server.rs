//! The servers under test, each fresh in a directory of its own, on loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quintet_http::{Client, Origin};
use xtask::issuer::{AUDIENCE, ISSUER};

use crate::usage::{self, Cpu};

const READY: Duration = Duration::from_secs(30);
/// A stop that writes everything out may take this long.
const STOP: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Sink,
    VictoriaMetrics,
    Prometheus,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::Sink, Self::VictoriaMetrics, Self::Prometheus];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sink => "quintet",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::Prometheus => "Prometheus",
        }
    }
}

pub(super) struct Server {
    peer: Peer,
    directory: PathBuf,
    port: u16,
    child: Child,
}

/// Who may ask the sink; the others ask for nothing.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// Where the sink fetches the keys that [`Self::token`] is checked with: a port on loopback.
    pub(super) keys: u16,
    pub(super) token: String,
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Server {
    /// `reader` is who may ask the sink; without one nobody may.
    pub(super) async fn start(peer: Peer, directory: &Path, reader: Option<&Reader>) -> anyhow::Result<Self> {
        let port = free_port()?;
        let data = directory.join("data");
        let log = std::fs::File::create(directory.join("log"))?;
        let mut command = match peer {
            Peer::Sink => sink(directory, &data, port, reader)?,
            Peer::VictoriaMetrics => {
                let mut command = Command::new("victoria-metrics");
                command.arg(format!("-storageDataPath={}", data.display()));
                command.arg(format!("-httpListenAddr=127.0.0.1:{port}")).arg("-retentionPeriod=1");
                command
            }
            Peer::Prometheus => {
                let config = directory.join("prometheus.yml");
                std::fs::write(&config, "global: {}\n")?;
                let mut command = Command::new("prometheus");
                command.arg(format!("--config.file={}", config.display()));
                command.arg(format!("--storage.tsdb.path={}", data.display()));
                command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
                command.arg("--web.enable-remote-write-receiver");
                command
            }
        };
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| {
            format!("start {}: the Debian packages are victoria-metrics and prometheus", peer.name())
        })?;
        let mut server = Self { peer, directory: directory.to_owned(), port, child };
        server.wait().await?;
        Ok(server)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let (client, path) = match self.peer {
            Peer::Sink => (Client::new(Origin::Unix(self.directory.join("admin.sock"))), "/readyz"),
            Peer::VictoriaMetrics => (self.intake()?, "/health"),
            Peer::Prometheus => (self.intake()?, "/-/ready"),
        };
        let begun = Instant::now();
        while client.get(path).await.is_err() {
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            ensure!(self.child.try_wait()?.is_none(), "{} ended: {}", self.peer.name(), log());
            ensure!(begun.elapsed() < READY, "{} is not ready: {}", self.peer.name(), log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(super) fn name(&self) -> &'static str {
        self.peer.name()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn intake(&self) -> anyhow::Result<Client> {
        let origin: Origin = format!("http://127.0.0.1:{}", self.port).parse()?;
        Ok(Client::new(origin).timeout(Duration::from_secs(30)))
    }

    /// Prometheus' API: where it is asked and what stands before `/query`.
    pub(super) fn questions(&self) -> anyhow::Result<(Client, &'static str)> {
        Ok(match self.peer {
            Peer::Sink => {
                let origin = Origin::Unix(self.directory.join("http.sock"));
                let client = Client::new(origin).timeout(Duration::from_mins(1)).max_body(64 << 20);
                (client, "/telemetry/prometheus/api/v1")
            }
            Peer::VictoriaMetrics | Peer::Prometheus => (self.intake()?.max_body(64 << 20), "/api/v1"),
        })
    }

    /// The most memory it had, from `VmHWM`.
    pub(super) fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }

    /// Makes it write out what memory holds; its processor time after that, where it still lives or was reaped.
    pub(super) async fn write_out(&mut self) -> anyhow::Result<Option<Cpu>> {
        match self.peer {
            Peer::Prometheus => Ok(None),
            Peer::VictoriaMetrics => {
                self.intake()?.get("/internal/force_flush").await.context("flush")?;
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(Some(usage::cpu(&[self.pid()])?))
            }
            Peer::Sink => {
                let pid =
                    rustix::process::Pid::from_raw(self.pid().cast_signed()).context("no process id")?;
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
                let (begun, mut last) = (Instant::now(), None);
                while self.child.try_wait()?.is_none() {
                    // A process that ended and was not reaped still tells its time.
                    last = usage::cpu(&[self.pid()]).ok().or(last);
                    ensure!(begun.elapsed() < STOP, "the sink does not stop");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(last)
            }
        }
    }

    /// The bytes of what is kept; nothing where that is a log of what memory holds.
    pub(super) fn disk_bytes(&self) -> anyhow::Result<Option<u64>> {
        match self.peer {
            Peer::Sink | Peer::VictoriaMetrics => size(&self.directory.join("data")).map(Some),
            Peer::Prometheus => Ok(None),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sink(directory: &Path, data: &Path, port: u16, reader: Option<&Reader>) -> anyhow::Result<Command> {
    let programs =
        std::env::var_os("QUINTET_E2E_BIN_DIR").context("run this by `cargo xtask bench telemetry`")?;
    let socket = |name: &str| format!("unix:{}", directory.join(name).display());
    let config = format!(
        "[service]\nadmin = \"{}\"\n[listen]\nhttp = \"{}\"\notlp = \"127.0.0.1:{port}\"\n\
         [auth]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks = \"{}\"\n[storage]\ndirectory = \"{}\"\n\
         [host]\nenabled = false\n[rules]\ndefaults = false\n",
        socket("admin.sock"),
        socket("http.sock"),
        reader.map_or_else(|| socket("nobody.sock"), |reader| format!("http://127.0.0.1:{}", reader.keys)),
        data.display(),
    );
    let path = directory.join("sink.toml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(Path::new(&programs).join("telemetry-sink"));
    command.arg("--config").arg(path);
    Ok(command)
}

fn size(directory: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}
