//! Clients that each send one request after the other, none of which may be sent twice.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
const CLIENTS: usize = 8;
/// Requests after which a client opens a new connection, so that queues of listeners are used throughout.
const PER_CONNECTION: usize = 40;

/// Requests of the test; `cargo xtask bench gateway-upgrade` asks for a million.
pub(crate) fn requests() -> usize {
    let given = std::env::var_os("QUINTET_UPGRADE_REQUESTS");
    given.map_or(20_000, |count| count.to_str().unwrap().parse().unwrap())
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn connect(config: &Arc<ClientConfig>, port: u16) -> std::io::Result<Connection> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").unwrap();
    Ok(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), tcp))
}

/// One request; whether the connection serves another.
pub(crate) fn post(connection: &mut Connection, path: &str) -> std::io::Result<bool> {
    let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    connection.flush()?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with(b"\r\n\r\nok") {
        match connection.read(&mut chunk)? {
            0 => {
                let text = String::from_utf8_lossy(&answer).into_owned();
                return Err(std::io::Error::other(format!("{path} was answered {text:?}")));
            }
            count => answer.extend_from_slice(&chunk[..count]),
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            let text = String::from_utf8_lossy(&answer).into_owned();
            return Err(std::io::Error::other(format!("{path} was answered {text:?}")));
        }
    }
    Ok(!String::from_utf8_lossy(&answer).to_ascii_lowercase().contains("connection: close"))
}

pub(crate) struct Load {
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(config: &Arc<ClientConfig>, port: u16, requests: usize) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let client = |number: usize| {
            let (config, answered) = (Arc::clone(config), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mine = (number..requests).step_by(CLIENTS);
                run(mine, &answered, || connect(&config, port))
            })
        };
        Self { clients: (0..CLIENTS).map(client).collect(), answered }
    }

    /// Waits until so many requests have been sent and come to something.
    pub(crate) fn wait_for(&self, count: usize) {
        let (mut moved, mut seen) = (Instant::now(), 0);
        while seen < count {
            let now = self.answered.load(Ordering::Relaxed);
            if now != seen {
                (moved, seen) = (Instant::now(), now);
            }
            assert!(moved.elapsed() < PATIENCE, "the load stands still");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn finish(self) -> Vec<String> {
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn run(
    requests: impl Iterator<Item = usize>,
    answered: &AtomicUsize,
    connect: impl Fn() -> std::io::Result<Connection>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut connection = None;
    let mut left = PER_CONNECTION;
    for number in requests {
        let outcome = match connection.take() {
            Some(open) => Ok(open),
            None => connect(),
        }
        .and_then(|mut open| post(&mut open, &format!("/once/{number}")).map(|more| more.then_some(open)));
        match outcome {
            Ok(open) => connection = open,
            Err(error) => failures.push(format!("{number}: {error}")),
        }
        left -= 1;
        if left == 0 {
            (connection, left) = (None, PER_CONNECTION);
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    failures
}
