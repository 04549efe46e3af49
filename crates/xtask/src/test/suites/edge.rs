//! The gateway under test, and an ordinary client of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use super::upstream;

/// For what must come; nothing is concluded from how long it took.
const PATIENCE: Duration = Duration::from_mins(1);
/// The socket of the WebSocket server that one suite starts.
pub(super) const ECHO_SOCKET: &str = "echo.sock";

/// One worker, so that an attacker and everybody else share a thread. Limits of time are longer than a suite: what
/// is seen is the load, not how the gateway gets rid of it.
const CONFIG: &str = r#"
[service]
admin = "unix:DIR/admin.sock"
worker_threads = 1

[telemetry]
log_level = "warn"

[listen]
https = "127.0.0.1:PORT"
workers = 1

[[certificates]]
cert = "DIR/cert.pem"
key = "DIR/key.pem"

[[upstreams]]
name = "echo"
addresses = ["unix:DIR/echo.sock"]

[[upstreams]]
name = "plain"
addresses = ["unix:DIR/upstream.sock"]

[[routes]]
path_prefix = "/echo"
upstream = "echo"

[[routes]]
path_prefix = "/"
upstream = "plain"
"#;

/// A running gateway, ended when dropped.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) port: u16,
    pub(super) directory: PathBuf,
    pub(super) runtime: Runtime,
    /// What serves beside the gateway, as long as the runtime lives.
    pub(super) tasks: TaskTracker,
    certificate: CertificateDer<'static>,
    process: Child,
}

impl Edge {
    pub(super) fn start(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost", "127.0.0.1"].map(str::to_owned))?;
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text);
        write("cert.pem", &made.cert.pem())?;
        write("key.pem", &made.signing_key.serialize_pem())?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let config =
            CONFIG.replace("DIR", &directory.display().to_string()).replace("PORT", &port.to_string());
        write("gateway.toml", &config)?;
        let tasks = TaskTracker::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async { upstream::listen(&tasks, &directory.join("upstream.sock")) })?;
        let log = File::create(directory.join("log"))?;
        let process = Command::new(program)
            .arg("--config")
            .arg(directory.join("gateway.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let certificate = made.cert.der().clone();
        let mut edge = Self { port, directory: directory.to_owned(), runtime, tasks, certificate, process };
        edge.wait_until_serving()?;
        Ok(edge)
    }

    fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.get() {
            if self.process.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.directory.join("log"))?;
                bail!("the gateway does not serve: {error:#}; it said: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How a client connects that speaks this protocol.
    pub(super) fn tls(&self, protocol: &str) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(tls)
    }

    /// A whole visit of an ordinary client: a new connection, a request, its answer.
    pub(super) fn get(&self) -> anyhow::Result<()> {
        let name = ServerName::try_from("localhost")?;
        let tls = ClientConnection::new(Arc::new(self.tls("http/1.1")?), name)?;
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let mut connection = StreamOwned::new(tls, tcp);
        connection.write_all(b"GET /other HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        connection.flush()?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        ensure!(
            answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"xxxxx"),
            "the answer is {:?}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    }

    /// Resident memory in bytes.
    pub(super) fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
    }

    /// Files and sockets that it holds.
    pub(super) fn open_files(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It may have ended by itself, which the suites have then seen.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
