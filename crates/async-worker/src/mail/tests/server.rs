//! The SMTP server of the tests: a process that is not ours.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::config::{Smtp as Settings, Tls};

/// Only so that a server that hangs fails the test instead of the whole run.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) struct Server {
    pub(super) port: u16,
    dir: tempfile::TempDir,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// A message it took.
pub(super) struct Taken {
    pub(super) to: String,
    pub(super) message: Vec<u8>,
    pub(super) tls: bool,
    /// The port it came from: which connection it was.
    pub(super) peer: u64,
}

pub(super) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/mail/tests").join(name)
}

impl Server {
    pub(super) async fn start(mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut process = Command::new("/usr/bin/python3")
            .arg(script("smtpd.py"))
            .arg(mode)
            .args([dir.path().join("cert.pem"), dir.path().join("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut server = Self { port: 0, dir, lines, _process: process };
        server.port = u16::try_from(server.line().await["port"].as_u64().unwrap()).unwrap();
        server
    }

    pub(super) fn settings(&self, tls: Tls) -> Settings {
        Settings {
            host: "localhost".to_owned(),
            port: self.port,
            tls,
            ca_file: Some(self.dir.path().join("cert.pem")),
            username: None,
            password_file: None,
            timeout_ms: 60_000,
            connections: 2,
        }
    }

    pub(super) async fn taken(&mut self) -> Taken {
        let line = self.line().await;
        Taken {
            to: line["to"][0].as_str().unwrap().to_owned(),
            message: STANDARD.decode(line["message"].as_str().unwrap()).unwrap(),
            tls: line["tls"].as_bool().unwrap(),
            peer: line["peer"].as_u64().unwrap(),
        }
    }

    async fn line(&mut self) -> serde_json::Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line.expect("the server goes on")).unwrap()
    }
}
