//! A gateway that is upgraded again and again, watched as systemd would watch it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::counter::Counter;
use crate::load::{Load, PATIENCE, connect, post};

pub(crate) struct Fleet {
    pub(crate) upstream: Counter,
    notifications: UnixDatagram,
    tls: Arc<ClientConfig>,
    /// Every process there has been, the serving one last.
    processes: Vec<u32>,
    first: std::process::Child,
    /// Further keys of `[listen]`.
    listen: &'static str,
    dir: TempDir,
}

impl Fleet {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// `listen` are further keys of that section.
    pub(crate) fn start_with(listen: &'static str) -> Self {
        let dir = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let upstream = Counter::start(&dir.path().join("upstream.sock"));
        let notifications = UnixDatagram::bind(dir.path().join("notify.sock")).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        configure(&dir, listen, 2, "");
        let log = File::create(dir.path().join("log")).unwrap();
        let first = Command::new(program())
            .arg("--config")
            .arg(dir.path().join("gateway.toml"))
            .env("NOTIFY_SOCKET", dir.path().join("notify.sock"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let processes = vec![first.id()];
        let fleet = Self { upstream, notifications, tls: Arc::new(tls), processes, first, listen, dir };
        fleet.wait_for_notification("READY=1");
        fleet
    }

    pub(crate) fn configure(&self, workers: usize, more: &str) {
        configure(&self.dir, self.listen, workers, more);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    pub(crate) fn wait_for_log(&self, wanted: &str) {
        let began = Instant::now();
        while !self.log().contains(wanted) {
            assert!(began.elapsed() < PATIENCE, "{wanted} is not in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the service's manager is told, up to and with `wanted`, which begins a line.
    fn wait_for_notification(&self, wanted: &str) -> String {
        let mut datagram = [0; 1024];
        loop {
            let count = self.notifications.recv(&mut datagram).unwrap_or_else(|error| {
                panic!("no {wanted}: {error}\n{}", self.log());
            });
            let text = String::from_utf8_lossy(&datagram[..count]).into_owned();
            assert!(!text.contains("STOPPING"), "the service says that it stops:\n{}", self.log());
            if let Some(line) = text.lines().find(|line| line.starts_with(wanted)) {
                return line.to_owned();
            }
        }
    }

    /// The process that serves.
    pub(crate) fn current(&self) -> u32 {
        *self.processes.last().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.current()), signal).unwrap();
    }

    /// Upgrades and waits for the successor.
    pub(crate) fn upgrade(&mut self) {
        self.signal(Signal::USR2);
        let line = self.wait_for_notification("MAINPID=");
        self.processes.push(line.strip_prefix("MAINPID=").unwrap().parse().unwrap());
    }

    pub(crate) fn wait_for_end(&mut self, process: u32) {
        let began = Instant::now();
        // The first is a child of this test and has to be collected.
        while self.first.try_wait().unwrap().is_none() || test_kill_process(pid(process)).is_ok() {
            assert!(began.elapsed() < PATIENCE, "{process} does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("\"listener\":\"https\"")).unwrap();
        line.split("127.0.0.1:").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
    }

    /// The listening sockets of the TLS port and of the admin listener that the serving process holds, by inode.
    pub(crate) fn sockets(&self) -> BTreeSet<u64> {
        let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{:04X}", self.port());
        let listening = tcp.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        // Fields: local address, state (0A listens), inode.
        let tcp = listening
            .filter(|line| line[1].ends_with(&port) && line[3] == "0A")
            .map(|line| line[9].to_owned());
        let unix = std::fs::read_to_string("/proc/net/unix").unwrap();
        let path = self.path("admin.sock");
        // Flag 00010000 listens; connections of the socket have its path too.
        let unix =
            unix.lines().filter(|line| line.ends_with(path.to_str().unwrap()) && line.contains(" 00010000 "));
        let unix = unix.map(|line| line.split_ascii_whitespace().nth(6).unwrap().to_owned());
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.current())).unwrap();
        let open: BTreeSet<PathBuf> = open.filter_map(|file| file.unwrap().path().read_link().ok()).collect();
        let held = tcp.chain(unix).filter(|inode| open.contains(&PathBuf::from(format!("socket:[{inode}]"))));
        held.map(|inode| inode.parse().unwrap()).collect()
    }

    #[cfg(feature = "http3")]
    pub(crate) fn tls(&self) -> &ClientConfig {
        &self.tls
    }

    pub(crate) fn load(&self, requests: usize) -> Load {
        Load::start(&self.tls, self.port(), requests)
    }

    /// So many new connections that each socket of a group gets some.
    pub(crate) fn get_often(&self) {
        for _ in 0..50 {
            let mut connection = connect(&self.tls, self.port()).unwrap();
            post(&mut connection, "/any").unwrap();
        }
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.path("admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// The gateway that is upgraded: of the directory that `QUINTET_E2E_BIN_DIR` names, else of this build.
fn program() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_edge-gateway"));
    std::env::var_os("QUINTET_E2E_BIN_DIR")
        .map_or_else(built, |directory| PathBuf::from(directory).join("edge-gateway"))
}

fn configure(dir: &TempDir, listen: &str, workers: usize, more: &str) {
    let text = "[service]\nadmin = \"unix:DIR/admin.sock\"\n[listen]\nhttps = \"127.0.0.1:0\"\n\
                workers = WORKERS\nLISTEN\n[[certificates]]\ncert = \"DIR/cert.pem\"\nkey = \"DIR/key.pem\"\n\
                [[upstreams]]\nname = \"counter\"\naddresses = [\"unix:DIR/upstream.sock\"]\n\
                [[routes]]\npath_prefix = \"/\"\nupstream = \"counter\"\n";
    let text = text.replace("DIR", dir.path().to_str().unwrap()).replace("WORKERS", &workers.to_string());
    let text = text.replace("LISTEN", listen);
    std::fs::write(dir.path().join("gateway.toml"), format!("{text}{more}\n")).unwrap();
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in &self.processes {
            // Most have ended.
            let _ = kill_process(pid(*process), Signal::KILL);
        }
        let _ = self.first.wait();
    }
}
