//! A gateway process with its directory.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Gateway {
    dir: TempDir,
    process: Option<Child>,
}

impl Gateway {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let gateway = Self { dir, process: None };
        gateway.configure("path_exact = \"/\"\nrespond = { body = \"hello\" }");
        gateway
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn configure(&self, route: &str) {
        let text = "[service]\nadmin = \"unix:DIR/admin.sock\"\n[listen]\nhttps = \"127.0.0.1:0\"\n\
                    http = \"127.0.0.1:0\"\nhttp_mode = \"proxy\"\nworkers = 1\n[[certificates]]\ncert = \"DIR/cert.pem\"\n\
                    key = \"DIR/key.pem\"\n[[routes]]\nhosts = [\"localhost\"]\n";
        let text = text.replace("DIR", self.dir.path().to_str().unwrap());
        std::fs::write(self.path("gateway.toml"), format!("{text}{route}\n")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-gateway"));
        command.arg("--config").arg(self.path("gateway.toml")).args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    pub(crate) fn start(&mut self) {
        let log = File::create(self.path("log")).unwrap();
        self.process = Some(self.command(&[]).stdout(log).stderr(Stdio::null()).spawn().unwrap());
        self.wait_for_log("\"ready\"");
    }

    /// Files, not pipes: a process that is not read must not block.
    pub(crate) fn wait_for_log(&self, wanted: &str) -> String {
        let began = Instant::now();
        loop {
            let log = std::fs::read_to_string(self.path("log")).unwrap();
            if log.contains(wanted) {
                return log;
            }
            assert!(began.elapsed() < PATIENCE, "{wanted} is not in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn reload(&self) {
        let pid = i32::try_from(self.process.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    }

    /// Sends a request to the plain listener and reads until it closes.
    pub(crate) fn exchange(&self, request: &str) -> String {
        let log = self.wait_for_log("\"ready\"");
        let line = log.lines().find(|line| line.contains("\"listener\":\"http\"")).unwrap();
        let address = line.split("127.0.0.1:").nth(1).unwrap().split('"').next().unwrap();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{address}")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The id of a request that is refused.
    pub(crate) fn refused_request(&self) -> String {
        let answer = self.exchange("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
        let id = answer.split("x-request-id: ").nth(1).unwrap_or_else(|| panic!("{answer}"));
        id.split("\r\n").next().unwrap().to_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself, which the test has then seen.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
