//! Pebble, the test server of Let's Encrypt, and the name server that it asks.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quintet_http::{Client, Origin};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::harness::*;

/// An authority with its directory and the storage of whoever deals with it; ends with the test.
pub(super) struct Pebble {
    pub(super) dir: TempDir,
    pub(super) port: u16,
    management: u16,
    names: u16,
    /// Further keys of its configuration.
    pub(super) config: Value,
    pub(super) environment: Vec<(&'static str, String)>,
    process: Option<Child>,
}

impl Pebble {
    /// Not running yet.
    pub(super) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        write_certificate(dir.path(), "pebble", &["127.0.0.1", "localhost"]);
        Self {
            dir,
            port: free_port(),
            management: free_port(),
            names: answer_names(),
            config: json!({}),
            environment: [
                ("PEBBLE_VA_NOSLEEP", "1"),
                ("PEBBLE_WFE_NONCEREJECT", "0"),
                ("PEBBLE_AUTHZREUSE", "0"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec(),
            process: None,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn storage(&self) -> PathBuf {
        self.path("storage")
    }

    /// The gateway's `[acme]` section, with failures tried again at once.
    pub(super) fn section(&self, challenge: &str) -> String {
        self.section_at(challenge, self.port)
    }

    pub(super) fn section_at(&self, challenge: &str, port: u16) -> String {
        format!(
            "[acme]\ndirectory = \"https://127.0.0.1:{port}/dir\"\ncontact = [\"mailto:ops@shop.test\"]\n\
             terms_of_service_agreed = true\nchallenge = \"{challenge}\"\nstorage = \"{}\"\nca_file = \"{}\"\n\
             retry_min_ms = 100\nretry_max_ms = 500\n",
            self.storage().display(),
            self.path("pebble.pem").display(),
        )
    }

    /// Starts it; names are verified at these ports of this machine.
    pub(super) fn start(&mut self, http: u16, https: u16) {
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.path("pebble.pem"),
            "privateKey": self.path("pebble.key"),
            "httpPort": http,
            "tlsPort": https,
        });
        config.as_object_mut().unwrap().extend(self.config.as_object().unwrap().clone());
        let path = self.path("pebble.json");
        std::fs::write(&path, json!({ "pebble": config }).to_string()).unwrap();
        let log = std::fs::File::create(self.path("pebble.log")).unwrap();
        let started = Command::new("pebble")
            .arg("-config")
            .arg(path)
            .args(["-strict", "-dnsserver", &format!("127.0.0.1:{}", self.names)])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(started.unwrap_or_else(|error| {
            panic!(
                "cannot run pebble ({error}); install the Debian package `pebble`, as `cargo xtask test` does"
            )
        }));
    }

    /// Waits until it answers. Needed where the clock stands still, so that a failed order would not be tried again.
    pub(super) async fn answers(&self) {
        let client = self.client();
        let waiting = async {
            while client.get("/dir").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let timely = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(timely, "{}", self.log());
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.path("pebble.log")).unwrap_or_default()
    }

    /// A client of its ACME listener.
    pub(super) fn client(&self) -> Client {
        client(self.port, &self.path("pebble.pem"))
    }

    /// The root that it signs with, which it makes anew at each start.
    pub(super) async fn root(&self) -> CertificateDer<'static> {
        let answer = client(self.management, &self.path("pebble.pem")).get("/roots/0").await.unwrap();
        CertificateDer::from_pem_slice(answer.body()).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

fn client(port: u16, trusted: &Path) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Client::with_tls(Origin::Https { host: "127.0.0.1".to_owned(), port }, tls).timeout(PATIENCE)
}

/// Pebble cannot be given a socket, nor asked for its port.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A name server on a thread of its own that has 127.0.0.1 for every name; returns its port.
fn answer_names() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut packet = [0u8; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut packet) {
            if let Some(answer) = name_answer(&packet[..length]) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    port
}

/// RFC 1035 section 4.1: one question, and one address for questions of type A.
fn name_answer(query: &[u8]) -> Option<Vec<u8>> {
    let end = 12 + query.get(12..)?.iter().position(|&byte| byte == 0)? + 5;
    let question = query.get(12..end)?;
    let is_address = question.ends_with(&[0, 1, 0, 1]);
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
