//! The workers under test: real processes, which somebody starts again when they end.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use quintet_http::{Client, Origin};
use rustix::process::{Pid, Signal};
use serde_json::json;
use xtask::issuer::{AUDIENCE, ISSUER};

use super::load::{KINDS, POISON, TICK};
use crate::process;
use crate::up::secrets;

pub(super) const NODES: usize = 3;
/// Short, so that a round sees many leases run out.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// How soon a process that ended is started again.
const RESTART: Duration = Duration::from_millis(300);
/// Schedules that are due every minute: each is a race of all nodes.
const SCHEDULES: u64 = 4;

pub(super) struct Node {
    directory: PathBuf,
    name: String,
    /// How much its clock is off, as libfaketime reads it.
    pub(super) skew: Option<&'static str>,
    child: Option<Child>,
}

pub(super) struct Nodes {
    program: PathBuf,
    preload: Option<PathBuf>,
    processes: Mutex<Vec<Node>>,
    pub(super) clients: Vec<Client>,
}

impl Nodes {
    /// Writes their configurations; the keeper starts them.
    pub(super) fn prepare(
        program: &Path,
        directory: &Path,
        database: &str,
        receiver: u16,
    ) -> anyhow::Result<Self> {
        let key = directory.join("webhook-key");
        secrets::write_private(&key, "5a".repeat(32).as_bytes())?;
        let (mut nodes, mut clients) = (Vec::new(), Vec::new());
        for turn in 0..NODES {
            let name = format!("node-{turn}");
            let path = |end: &str| directory.join(format!("{name}.{end}"));
            let config = config(&name, directory, database, receiver);
            let table = toml::Table::try_from(config).context("build a configuration")?;
            std::fs::write(path("toml"), table.to_string())?;
            let origin: Origin = format!("unix:{}", path("sock").display()).parse()?;
            clients.push(Client::new(origin).timeout(Duration::from_secs(5)));
            nodes.push(Node { directory: directory.to_owned(), name, skew: None, child: None });
        }
        let preload = faketime().filter(|_| is_dynamic(program));
        Ok(Self { program: program.to_owned(), preload, processes: Mutex::new(nodes), clients })
    }

    /// Logs outlive the run.
    pub(super) fn keep_logs(&self, from: &Path, to: &Path) {
        for node in self.nodes().iter() {
            let name = format!("{}.log", node.name);
            // Where there is none, the node was never started.
            let _ = std::fs::copy(from.join(&name), to.join(&name));
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts those that are not there, for as long as it is polled.
    pub(super) async fn keep(&self) -> anyhow::Result<()> {
        loop {
            for node in self.nodes().iter_mut() {
                if node.ended()? {
                    node.child = Some(node.start(&self.program, self.preload.as_deref())?);
                }
            }
            tokio::time::sleep(RESTART).await;
        }
    }

    /// Kills all of them; nobody keeps them any more.
    pub(super) fn end(&self) {
        for mut child in self.nodes().iter_mut().filter_map(|node| node.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(super) fn signal(&self, node: usize, signal: Signal) {
        if let Some(node) = self.nodes().get(node) {
            node.signal(signal);
        }
    }

    pub(super) fn signal_all(&self, signal: Signal) {
        self.nodes().iter().for_each(|node| node.signal(signal));
    }

    /// Whether clocks can be set wrong here.
    pub(super) fn can_skew(&self) -> bool {
        self.preload.is_some()
    }

    /// A node whose clock was off starts again with the right one.
    pub(super) fn set_right(&self, node: usize) {
        let off = self.nodes().get(node).is_some_and(|node| node.skew.is_some());
        if off {
            self.skew(node, None);
        }
    }

    /// From its next start on, which is now.
    pub(super) fn skew(&self, node: usize, skew: Option<&'static str>) {
        if let Some(node) = self.nodes().get_mut(node) {
            node.skew = skew;
            node.signal(Signal::KILL);
        }
    }

    /// A node whose clock is right, near the one asked for: what a client enqueues through another is due by its clock.
    pub(super) fn client(&self, near: usize) -> Option<&Client> {
        let right = {
            let nodes = self.nodes();
            (near..near + NODES)
                .map(|turn| turn % NODES)
                .find(|turn| nodes.get(*turn).is_some_and(|n| n.skew.is_none()))
        };
        self.clients.get(right.unwrap_or_default())
    }

    /// Kills the process that has this end of a connection, as a job does that brings its worker down.
    pub(super) fn kill_owner(&self, port: u16) -> anyhow::Result<()> {
        let Some(inode) = socket_of(port)? else { return Ok(()) };
        for node in self.nodes().iter() {
            if node.holds(&inode) {
                node.signal(Signal::KILL);
            }
        }
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.end();
    }
}

impl Node {
    fn ended(&mut self) -> anyhow::Result<bool> {
        let Some(child) = self.child.as_mut() else { return Ok(true) };
        let Some(status) = child.try_wait()? else { return Ok(false) };
        if status.signal().is_none() {
            println!("{} ended by itself: {status}", self.name);
        }
        Ok(true)
    }

    fn start(&self, program: &Path, preload: Option<&Path>) -> anyhow::Result<Child> {
        let path = |end: &str| self.directory.join(format!("{}.{end}", self.name));
        let log = File::options().create(true).append(true).open(path("log"))?;
        let parent = std::process::id().to_string();
        let mut command = Command::new(process::SELF);
        // Children end with this process, whatever ends it.
        command.args(["child", "--parent", &parent, "--"]).arg(program).arg("--config").arg(path("toml"));
        if let (Some(skew), Some(preload)) = (self.skew, preload) {
            // Timers go by the monotonic clock, which no administrator sets.
            command.env("LD_PRELOAD", preload).env("FAKETIME", skew).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("start {}", program.display()))
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed())) {
            // It may have ended, and is not reaped before the keeper sees it: the id is still its own.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn holds(&self, inode: &str) -> bool {
        let Some(child) = &self.child else { return false };
        let files = std::fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
        let wanted = format!("socket:[{inode}]");
        files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|link| link.as_os_str() == wanted.as_str())
    }
}

/// The inode of the loopback socket with this local port.
fn socket_of(port: u16) -> anyhow::Result<Option<String>> {
    let table = std::fs::read_to_string("/proc/net/tcp").context("read /proc/net/tcp")?;
    let local = format!("0100007F:{port:04X}");
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(line
        .filter(|words| words.get(1) == Some(&&*local))
        .find_map(|words| words.get(9).map(|inode| (*inode).to_owned())))
}

/// Whether a library can be put before the system's: not with the static binaries that ship.
fn is_dynamic(program: &Path) -> bool {
    let mut head = [0; 4096];
    let read = File::open(program).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|length| {
        head.get(..length).is_some_and(|head| head.windows(9).any(|part| part == b"/ld-linux"))
    })
}

pub(super) fn faketime() -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    places.iter().map(|place| Path::new(place).join("faketime/libfaketime.so.1")).find(|path| path.is_file())
}

fn config(name: &str, directory: &Path, database: &str, receiver: u16) -> serde_json::Value {
    let socket = |end: &str| format!("unix:{}", directory.join(format!("{name}.{end}")).display());
    let schedule = |turn: u64| json!({ "name": format!("tick-{turn}"), "cron": "* * * * *", "kind": TICK, "args": { "schedule": turn } });
    let enqueued: Vec<&str> = KINDS.into_iter().chain(["webhook.publish"]).collect();
    let worked: Vec<&str> = KINDS.into_iter().chain([TICK]).collect();
    json!({
        "service": { "admin": socket("admin"), "drain_timeout_ms": 3_000 },
        "telemetry": { "log_level": "info" },
        "listen": { "http": socket("sock") },
        "database": { "url": database, "max_connections": 6, "acquire_timeout_ms": 3_000 },
        "auth": { "issuer": ISSUER, "audience": AUDIENCE, "jwks": format!("http://127.0.0.1:{receiver}") },
        "storage": { "blobs": directory.join("blobs") },
        "mail": { "from": "Chaos <chaos@localhost.test>", "maildir": { "dir": directory.join("mail") } },
        "worker": { "name": name, "lease_ms": LEASE.as_millis(), "poll_ms": 200 },
        "kinds": [
            { "name": "webhook.deliver", "max_attempts": 4, "retry_delays_ms": [300] },
            { "name": "chaos.limited", "global_concurrency": 2 },
            { "name": POISON, "max_attempts": 2 },
        ],
        "schedules": (0..SCHEDULES).map(schedule).collect::<Vec<_>>(),
        "remote": { "enqueue_kinds": enqueued, "work_kinds": worked },
        "webhooks": {
            "key_file": directory.join("webhook-key"), "allowed_networks": ["127.0.0.0/8"], "allow_http": true,
            "timeout_ms": 5_000,
        },
    })
}
