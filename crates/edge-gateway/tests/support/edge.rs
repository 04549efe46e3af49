//! A gateway process between a raw TLS client and a recording upstream.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::upstream::{Conduct, Upstream};

/// For what must come; nothing is concluded from how long it took.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

/// One worker, so that an attacker and everybody else share a thread.
const CONFIG: &str = "[service]\nadmin = \"unix:DIR/admin.sock\"\n\
    [listen]\nhttps = \"127.0.0.1:0\"\nworkers = 1\n\
    [[certificates]]\ncert = \"DIR/cert.pem\"\nkey = \"DIR/key.pem\"\n\
    [[upstreams]]\nname = \"recorder\"\naddresses = [\"unix:DIR/upstream.sock\"]\n\
    [[routes]]\npath_prefix = \"/\"\nupstream = \"recorder\"\n";

pub(crate) struct Edge {
    pub(crate) upstream: Upstream,
    port: u16,
    roots: RootCertStore,
    process: Child,
    /// Last, so that it outlives what is in it.
    dir: TempDir,
}

impl Edge {
    /// A gateway whose `[limits]` are `limits`, in front of an upstream that does `conduct`.
    pub(crate) fn start(limits: &str, conduct: Conduct) -> Self {
        let dir = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = format!("{CONFIG}[limits]\n{limits}\n").replace("DIR", dir.path().to_str().unwrap());
        std::fs::write(dir.path().join("gateway.toml"), config).unwrap();
        let upstream = Upstream::start(&dir.path().join("upstream.sock"), conduct);
        let log = File::create(dir.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_edge-gateway"))
            .arg("--config")
            .arg(dir.path().join("gateway.toml"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut edge = Self { upstream, port: 0, roots, process, dir };
        edge.port = edge.wait_until_ready();
        edge
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn wait_until_ready(&mut self) -> u16 {
        let began = Instant::now();
        loop {
            let log = self.log();
            if log.contains("\"ready\"") {
                let line = log.lines().find(|line| line.contains("\"listener\":\"https\"")).unwrap();
                let port = line.split("127.0.0.1:").nth(1).unwrap();
                return port.split('"').next().unwrap().parse().unwrap();
            }
            assert!(self.process.try_wait().unwrap().is_none(), "the gateway ended:\n{log}");
            assert!(began.elapsed() < PATIENCE, "the gateway is not ready:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A TLS connection that speaks `protocol`, for the host `localhost`.
    pub(crate) fn connect(&self, protocol: &str) -> Connection {
        self.connect_to("localhost", protocol)
    }

    /// A connection to an address sends no server name, so its host is checked by nothing but the request.
    pub(crate) fn connect_to(&self, name: &'static str, protocol: &str) -> Connection {
        let mut config =
            ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let tls = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(tls, tcp)
    }

    /// Sends bytes on an HTTP/1.1 connection of their own and reads until the gateway closes it.
    pub(crate) fn exchange(&self, name: &'static str, bytes: &[u8]) -> Vec<u8> {
        let mut connection = self.connect_to(name, "http/1.1");
        // The gateway may answer and close before it has read everything.
        let _ = connection.write_all(bytes).and_then(|()| connection.flush());
        read_to_close(&mut connection)
    }

    /// An ordinary client's request; what the upstream saw of it is not recorded.
    pub(crate) fn ensure_serving(&mut self, after: &str) {
        let answer = self
            .exchange("localhost", b"GET /other HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.starts_with("HTTP/1.1 200 "),
            "after {after:?} another client got {text:?}\n{}",
            self.log()
        );
        assert!(self.process.try_wait().unwrap().is_none(), "{after:?} ended the gateway");
        assert!(!self.log().contains("panic"), "{after:?} made the gateway panic:\n{}", self.log());
        self.upstream.forget();
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has then seen.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything until the peer closes; a reset counts as a close.
pub(crate) fn read_to_close(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        match connection.read(&mut chunk) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the gateway neither answers nor closes; so far: {:?}", String::from_utf8_lossy(&all))
            }
            Err(_) => return all,
        }
    }
}
