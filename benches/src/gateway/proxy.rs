//! One proxy under measurement: started on a core of its own with a configuration written for this run.
//!
//! All four get the same certificate, one thread, kept connections to the upstream, and the same headers to
//! add. What each configuration says, and why it is fair, stands in it as comments; the report carries it.

mod caddy;
mod haproxy;
mod nginx;
mod ours;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal};

use super::certificate::Certificate;
use super::client::Client;
use super::cores::Cores;
use super::tools::{self, Tool};
use super::upstream;

const READY_WITHIN: Duration = Duration::from_secs(10);
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Ours,
    Nginx,
    Haproxy,
    Caddy,
}

/// A peer that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Peer {
    Nginx,
    Haproxy,
    Caddy,
}

impl From<Peer> for Proxy {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Nginx => Self::Nginx,
            Peer::Haproxy => Self::Haproxy,
            Peer::Caddy => Self::Caddy,
        }
    }
}

/// Whether a line is written for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessLog {
    Off,
    /// Into a file, by whatever way the proxy has for it.
    File,
}

/// What a configuration is made of.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) directory: &'a Path,
    pub(super) certificate: &'a Certificate,
    pub(super) upstream: SocketAddr,
    pub(super) access_log: AccessLog,
    /// Whether HTTP/3 is spoken as well, by those that can.
    pub(super) http3: bool,
    pub(super) cores: &'a Cores,
}

/// How a proxy is started.
struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    config: String,
}

/// The ports a proxy is told to listen on.
#[derive(Debug, Clone, Copy)]
struct Ports {
    https: u16,
    http: u16,
}

impl Proxy {
    pub(super) const ALL: [Self; 4] = [Self::Ours, Self::Nginx, Self::Haproxy, Self::Caddy];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "edge-gateway",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }

    /// The package of a peer; ours is built, not installed.
    pub(super) const fn tool(self) -> Option<Tool> {
        match self {
            Self::Ours => None,
            Self::Nginx => Some(Tool { program: "nginx", package: "nginx" }),
            Self::Haproxy => Some(Tool { program: "haproxy", package: "haproxy" }),
            Self::Caddy => Some(Tool { program: "caddy", package: "caddy" }),
        }
    }

    /// Why it does not speak HTTP/3, unless it does.
    pub(super) fn lacks_http3(self, setting: &Setting<'_>) -> anyhow::Result<Option<&'static str>> {
        Ok(match self {
            Self::Ours => (!ours::has_http3(setting)?).then_some("this build has no HTTP/3"),
            Self::Nginx => Some("Debian's nginx 1.22 has no QUIC"),
            Self::Haproxy => Some("Debian's HAProxy 2.6 is built without QUIC"),
            Self::Caddy => None,
        })
    }

    pub(super) fn version(self) -> anyhow::Result<String> {
        match self {
            Self::Ours => ours::version(),
            Self::Nginx => tools::version("nginx", "-v"),
            Self::Haproxy => tools::version("haproxy", "-v"),
            Self::Caddy => tools::version("caddy", "version"),
        }
    }

    fn launch(self, setting: &Setting<'_>, ports: Ports) -> anyhow::Result<Launch> {
        match self {
            Self::Ours => ours::launch(setting, ports),
            Self::Nginx => nginx::launch(setting, ports),
            Self::Haproxy => haproxy::launch(setting, ports),
            Self::Caddy => caddy::launch(setting, ports),
        }
    }
}

/// A started proxy, ended when dropped.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) proxy: Proxy,
    pub(super) https: u16,
    pub(super) http: u16,
    pub(super) config: String,
    child: Child,
}

impl Running {
    /// Starts it and waits until it answers through TLS with what the upstream sends.
    pub(super) fn start(proxy: Proxy, setting: &Setting<'_>, client: &Client) -> anyhow::Result<Self> {
        let ports = Ports { https: free_port()?, http: free_port()? };
        let launch = proxy.launch(setting, ports)?;
        let output = |name: &str| {
            let path = setting.directory.join(format!("{}.{name}", proxy.name()));
            File::create(&path).with_context(|| format!("create {}", path.display()))
        };
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &setting.cores.proxy])
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(launch.environment)
            .stdin(Stdio::null())
            .stdout(output("stdout")?)
            .stderr(output("stderr")?)
            .spawn()
            .with_context(|| format!("start {}", proxy.name()))?;
        let mut running = Self { proxy, https: ports.https, http: ports.http, config: launch.config, child };
        running.wait_until_ready(client, setting.directory)?;
        Ok(running)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self, client: &Client, directory: &Path) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut buffer = Vec::new();
        loop {
            let refused = match client.connect(self.https).and_then(|mut it| it.get("/small", &mut buffer)) {
                Ok(upstream::SMALL) => return Ok(()),
                Ok(length) => bail!("{} sent a body of {length} bytes", self.proxy.name()),
                Err(error) => error,
            };
            let ended = self.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > READY_WITHIN {
                let said = std::fs::read_to_string(directory.join(format!("{}.stderr", self.proxy.name())))?;
                bail!("{} does not serve: {refused}; it said: {}", self.proxy.name(), said.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < STOPPED_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All proxies of a comparison, each idle unless it is measured.
pub(super) fn start_all(
    proxies: &[Proxy],
    setting: &Setting<'_>,
    client: &Client,
) -> anyhow::Result<Vec<Running>> {
    make(setting.directory)?;
    proxies.iter().map(|&proxy| Running::start(proxy, setting, client)).collect()
}

/// A port that was free a moment ago; programs that cannot report a port of their own need a number.
fn free_port() -> anyhow::Result<u16> {
    let port =
        std::net::TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?.local_addr()?.port();
    ensure!(port != 0, "the kernel gave port 0");
    Ok(port)
}

fn make(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
