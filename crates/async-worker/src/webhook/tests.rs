use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use quintet_service::SecretFile;
use quintet_testkit::{FakeClock, TestDatabase, databases};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::*;
use crate::config::Webhooks as Settings;

mod delivering;
mod failing;
mod operating;
mod refusing;

/// Only so that a receiver that hangs fails the test instead of the whole run.
const PATIENCE: Duration = Duration::from_mins(2);

/// A receiver in a process that is not ours.
struct Receiver {
    port: u16,
    dir: tempfile::TempDir,
    lines: Lines<BufReader<ChildStdout>>,
    secrets: ChildStdin,
    _process: Child,
}

impl Receiver {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut process = Command::new("/usr/bin/python3")
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/webhook/tests/receiver.py"))
            .args([dir.path().join("cert.pem"), dir.path().join("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let secrets = process.stdin.take().unwrap();
        let mut receiver = Self { port: 0, dir, lines, secrets, _process: process };
        receiver.port = u16::try_from(receiver.received().await["port"].as_u64().unwrap()).unwrap();
        receiver
    }

    /// Tells it a secret to verify with.
    async fn learn(&mut self, secret: &str) {
        self.secrets.write_all(format!("{secret}\n").as_bytes()).await.unwrap();
        assert!(self.received().await["known"].is_u64());
    }

    async fn received(&mut self) -> serde_json::Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line.expect("the receiver goes on")).unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    fn settings(&self) -> Settings {
        Settings {
            key_file: SecretFile::Path(PathBuf::new()),
            previous_key_files: Vec::new(),
            allowed_networks: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
            allow_http: false,
            ca_file: Some(self.dir.path().join("cert.pem")),
            timeout_ms: 60_000,
            disable_after_hours: 120,
        }
    }
}

async fn endpoints(database: &TestDatabase, clock: &FakeClock) -> Endpoints {
    database.store.migrate(&[&quintet_jobs::MODULE, &SCHEMA]).await.unwrap();
    let key = quintet_service::Secret::new("07".repeat(32));
    Endpoints::new(database.store.clone(), clock.shared(), Sealer::new(&[key]).unwrap())
}

fn deliver(endpoints: &Endpoints, settings: &Settings) -> Deliver {
    Deliver {
        endpoints: endpoints.clone(),
        sender: Arc::new(Sender::new(settings).unwrap()),
        timeout: settings.timeout(),
        patience: settings.patience(),
    }
}

fn message(endpoint_id: EndpointId) -> Args {
    let body = r#"{"type":"order.placed","data":{"id":"ord_1"}}"#.to_owned();
    Args { endpoint_id, message_id: MessageId::new(), event_type: "order.placed".to_owned(), body }
}
