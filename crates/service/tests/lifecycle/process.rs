//! A fixture: the example binary as a child process with its own directory and sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes seconds; this is for a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a configuration.
pub(crate) struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    /// A valid configuration with `extra` at the end, inside of `[listen]`.
    pub(crate) fn new(extra: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Self { directory };
        let config = format!(
            "[service]\nadmin = \"unix:{}\"\n\n[listen]\npublic = \"unix:{}\"\n{extra}",
            fixture.admin().display(),
            fixture.public().display()
        );
        std::fs::write(fixture.config(), config).unwrap();
        fixture
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory().join("minimal.toml")
    }

    pub(crate) fn admin(&self) -> PathBuf {
        self.directory().join("admin.sock")
    }

    pub(crate) fn public(&self) -> PathBuf {
        self.directory().join("public.sock")
    }

    /// Replaces a text in the configuration.
    pub(crate) fn rewrite(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from));
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    pub(crate) fn start(&self) -> Process {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, variables: &[(&str, &str)]) -> Process {
        let mut command = self.command(&[]);
        command.envs(variables.iter().copied());
        self.spawn(command)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Process {
        self.spawn(self.command(arguments))
    }

    /// Starts it with two sockets as descriptors 3 and 4, the way systemd does.
    pub(crate) fn start_activated(&self, first: OwnedFd, second: OwnedFd, names: &str) -> Process {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("exec 3<&0 4>&1 </dev/null >\"$0\"; LISTEN_PID=$$ exec \"$@\"")
            .arg(self.stdout())
            .arg(binary())
            .arg("--config")
            .arg(self.config())
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", names)
            .stdin(Stdio::from(first))
            .stdout(Stdio::from(second))
            .stderr(File::create(self.stderr()).unwrap());
        Process {
            child: command.spawn().unwrap(),
            admin: self.admin(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    fn stdout(&self) -> PathBuf {
        self.directory().join("stdout")
    }

    fn stderr(&self) -> PathBuf {
        self.directory().join("stderr")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--config").arg(self.config());
        if arguments.first().is_some_and(|first| !first.starts_with("--check")) {
            command = Command::new(binary());
        }
        command.args(arguments);
        command
    }

    fn spawn(&self, mut command: Command) -> Process {
        // Files, not pipes: a process that is not read must not block.
        command
            .stdin(Stdio::null())
            .stdout(File::create(self.stdout()).unwrap())
            .stderr(File::create(self.stderr()).unwrap());
        Process {
            child: command.spawn().unwrap(),
            admin: self.admin(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

/// The example next to this test in the build directory.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/minimal");
    assert!(path.exists(), "{} is not built; run: cargo build -p quintet-service --examples", path.display());
    path
}

/// A running child; killed when dropped.
pub(crate) struct Process {
    child: Child,
    admin: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    pub(crate) fn wait_until_ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        while try_get(&self.admin, "/readyz").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}{}", self.stderr(), self.stdout());
            }
            assert!(Instant::now() < end, "it did not become ready: {}", self.stdout());
            pause();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or_else(|| panic!("{status}: {}", self.stdout()));
            }
            assert!(Instant::now() < end, "it did not end: {}", self.stdout());
            pause();
        }
    }

    pub(crate) fn logged(&self, message: &str) -> bool {
        self.stdout().contains(&format!(r#""message":"{message}""#))
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where systemd would listen for notifications.
pub(crate) struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notifications {
    pub(crate) fn bind(fixture: &Fixture) -> Self {
        let path = fixture.directory().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads until a notification has the line `wanted`.
    pub(crate) fn wait_for(&self, wanted: &str) {
        self.lines_until(wanted);
    }

    /// All lines up to and with the notification that has the line `wanted`.
    pub(crate) fn lines_until(&self, wanted: &str) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut lines = Vec::new();
        loop {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            lines.extend(text.lines().map(str::to_owned));
            if text.lines().any(|line| line == wanted) {
                return lines;
            }
        }
    }
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        pause();
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

pub(crate) fn get(socket: &Path, path: &str) -> (u16, String) {
    try_get(socket, path).unwrap()
}

/// `None` if nobody listens there or the answer is none.
pub(crate) fn try_get(socket: &Path, path: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE / 2)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    parse(&answer)
}

/// Sends the head of a request whose body has `length` bytes.
pub(crate) fn request(socket: &Path, method: &str, path: &str, length: usize) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    stream
}

pub(crate) fn read_response(stream: &mut impl Read) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    parse(&answer).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if chunked { dechunk(body) } else { body.to_owned() }))
}

fn dechunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        text.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    text
}
