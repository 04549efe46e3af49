//! What stands behind every proxy: a server with three fixed answers, which counts the requests it got.
//!
//! It costs one read and one write a request, less than any proxy does, so that the proxy is what a
//! measurement is about. It understands no more of HTTP/1.1 than where a GET request ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(super) const SMALL: usize = 50;
pub(super) const LARGE: usize = 64 * 1024;
/// In pieces of [`LARGE`].
const HUGE: usize = 1 << 30;
/// Longer heads than any proxy makes of the requests here.
const HEAD: usize = 16 * 1024;

/// A running upstream; it serves as long as the process lives.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    served: Arc<AtomicU64>,
}

impl Upstream {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("bind the upstream")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let served = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&served);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        std::thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || runtime.block_on(serve(listener, counter)))
            .context("start the upstream's thread")?;
        Ok(Self { address, served })
    }

    /// Requests answered since the start.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

async fn serve(listener: std::net::TcpListener, served: Arc<AtomicU64>) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let answers = Arc::new(Answers { small: answer(SMALL), large: answer(LARGE), piece: vec![b'x'; LARGE] });
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(converse(stream, Arc::clone(&answers), Arc::clone(&served)));
        while connections.try_join_next().is_some() {}
    }
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    piece: Vec<u8>,
}

fn head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

fn answer(length: usize) -> Vec<u8> {
    let mut answer = head(length);
    answer.resize(answer.len() + length, b'x');
    answer
}

async fn converse(
    mut stream: TcpStream,
    answers: Arc<Answers>,
    served: Arc<AtomicU64>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut heads = Vec::with_capacity(HEAD);
    while stream.read_buf(&mut heads).await? > 0 {
        while let Some(end) = end_of_head(&heads) {
            served.fetch_add(1, Ordering::Relaxed);
            if heads.starts_with(b"GET /huge ") {
                // What is measured is how much a proxy takes, not how much the kernel keeps for this end.
                SockRef::from(&stream).set_send_buffer_size(LARGE)?;
                stream.write_all(&head(HUGE)).await?;
                for _ in 0..HUGE / LARGE {
                    stream.write_all(&answers.piece).await?;
                }
            } else {
                let large = heads.starts_with(b"GET /large ");
                stream.write_all(if large { &answers.large } else { &answers.small }).await?;
            }
            heads.drain(..end);
        }
    }
    Ok(())
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    Some(bytes.windows(END.len()).position(|window| window == END)? + END.len())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn every_request_is_answered_and_counted() {
        let upstream = Upstream::start().unwrap();
        let mut stream = std::net::TcpStream::connect(upstream.address).unwrap();
        stream.write_all(b"GET /small HTTP/1.1\r\n\r\nGET /large HTTP/1.1\r\nA: b\r\n\r\n").unwrap();
        let mut answers = vec![0; answer(SMALL).len() + answer(LARGE).len()];
        stream.read_exact(&mut answers).unwrap();
        assert_eq!(upstream.served(), 2);
        assert!(answers.starts_with(&answer(SMALL)) && answers.ends_with(&answer(LARGE)));
    }
}
