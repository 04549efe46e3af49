//! Closed-loop load over HTTP/3, for which Debian packages no generator.
//!
//! It speaks as little as a measurement needs: one head that never changes, without QPACK's dynamic table (RFC 9204),
//! and answers that are read to their end. It runs in this process, which is on the load's cores.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use quinn::{ClientConfig, Connection, Endpoint, SendStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::HOST;
use super::upstream;

/// No handshake and no answer takes longer unless the proxy has failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// After a request that failed: a proxy that refuses all would be asked a million times.
const PAUSE: Duration = Duration::from_millis(1);
/// Far more than the answers here.
const ANSWER: usize = 4 * 1024;
/// The control stream's type, and SETTINGS that say nothing (RFC 9114 sections 6.2.1 and 7.2.4).
const CONTROL: &[u8] = &[0x00, 0x04, 0x00];
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
/// An empty prefix and `:status: 200`, entry 25 of QPACK's static table (RFC 9204 sections 4.5.1 and 4.5.2).
const SUCCESS: &[u8] = &[0x00, 0x00, 0xd9];

/// A load on its way.
#[derive(Debug)]
pub(super) struct Run {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Run {
    /// Keeps `streams` requests in flight on each of so many connections.
    pub(super) fn start(
        config: ClientConfig,
        (connections, streams): (u32, u32),
        port: u16,
        path: &str,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let load = Load {
            config,
            connections,
            streams,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            request: request(&format!("{HOST}:{port}"), path)?,
            stop: Arc::clone(&stop),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("http3-load".to_owned())
            .spawn(move || runtime.block_on(load.run()))
            .context("start the load's thread")?;
        Ok(Self { stop, thread })
    }

    /// Ends it; how many requests failed.
    pub(super) fn end(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the load's thread panicked"))?
    }
}

struct Load {
    config: ClientConfig,
    connections: u32,
    streams: u32,
    address: SocketAddr,
    request: Arc<[u8]>,
    stop: Arc<AtomicBool>,
}

impl Load {
    async fn run(self) -> anyhow::Result<u64> {
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).context("open a UDP socket")?;
        endpoint.set_default_client_config(self.config);
        let (mut controls, mut asking) = (Vec::new(), JoinSet::new());
        for _ in 0..self.connections {
            let (connection, control) = connect(&endpoint, self.address).await?;
            controls.push(control);
            for _ in 0..self.streams {
                let (request, stop) = (Arc::clone(&self.request), Arc::clone(&self.stop));
                asking.spawn(ask_again_and_again(connection.clone(), request, stop));
            }
        }
        Ok(asking.join_all().await.into_iter().sum())
    }
}

/// A connection and its control stream, which has to stay.
async fn connect(endpoint: &Endpoint, address: SocketAddr) -> anyhow::Result<(Connection, SendStream)> {
    let connecting = endpoint.connect(address, HOST).context("connect")?;
    let connection = timeout(PATIENCE, connecting).await.context("QUIC handshake")?.context("connect")?;
    let mut control = connection.open_uni().await.context("open the control stream")?;
    control.write_all(CONTROL).await.context("write SETTINGS")?;
    Ok((connection, control))
}

/// How many of the requests failed.
async fn ask_again_and_again(connection: Connection, request: Arc<[u8]>, stop: Arc<AtomicBool>) -> u64 {
    let mut failed = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = timeout(PATIENCE, ask(&connection, &request)).await;
        if !answer.is_ok_and(|answer| answer.is_ok_and(|bytes| is_success(&bytes))) {
            failed += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
    failed
}

async fn ask(connection: &Connection, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(request).await?;
    send.finish()?;
    Ok(receive.read_to_end(ANSWER).await?)
}

/// A HEADERS frame with the head of a GET.
fn request(authority: &str, path: &str) -> anyhow::Result<Arc<[u8]>> {
    // `:method: GET` and `:scheme: https`, entries 17 and 23 of the static table; then its names `:authority`, `:path` and `user-agent`
    // with values of ours (RFC 9204 sections 4.5.2 and 4.5.4).
    let mut block = vec![0x00, 0x00, 0xd1, 0xd7];
    for (name, value) in [(&[0x50][..], authority), (&[0x51], path), (&[0x5f, 95 - 15], "quintet-bench")] {
        block.extend_from_slice(name);
        // One byte tells lengths up to this, without Huffman's code.
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 0x7f);
        block.push(length.context("a value of the request is too long")?);
        block.extend_from_slice(value.as_bytes());
    }
    let length = u16::try_from(block.len()).ok().filter(|length| *length < 1 << 14);
    let length = length.context("the request is too long")? | 1 << 14;
    Ok([&[0x01][..], &length.to_be_bytes(), &block].concat().into())
}

/// Whether this is the upstream's small answer, whole.
fn is_success(mut answer: &[u8]) -> bool {
    let (mut succeeded, mut body) = (false, 0);
    while let Some((kind, payload)) = frame(&mut answer) {
        match kind {
            HEADERS => succeeded = succeeded || payload.starts_with(SUCCESS),
            DATA => body += payload.len(),
            _ => {}
        }
    }
    succeeded && body == upstream::SMALL && answer.is_empty()
}

/// Takes a whole frame from the front.
fn frame<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let mut rest = *bytes;
    let kind = varint(&mut rest)?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((kind, payload))
}

/// Takes an integer of QUIC's form (RFC 9000 section 16) from the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let length = 1 << (bytes.first()? >> 6);
    let (integer, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let whole = integer.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Some(whole & (u64::MAX >> (66 - 8 * length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u8, body: usize) -> Vec<u8> {
        let mut answer = vec![0x01, 0x03, 0x00, 0x00, status, 0x40, 0x3f, 0x01, b'-', 0x00];
        answer.push(u8::try_from(body).unwrap());
        answer.resize(answer.len() + body, b'x');
        answer
    }

    #[test]
    fn only_the_whole_small_answer_is_success() {
        let whole = answer(0xd9, upstream::SMALL);
        assert!(is_success(&whole), "a frame of a reserved type does not matter");
        assert!(!is_success(&whole[..whole.len() - 1]), "broken off");
        assert!(!is_success(&answer(0xd9, upstream::SMALL - 1)), "another body");
        assert!(!is_success(&answer(0xdb, upstream::SMALL)), "404");
        assert!(!is_success(&[]));
    }

    #[test]
    fn request_is_a_frame_of_its_announced_length() {
        let request = request("localhost:1", "/small").unwrap();
        let mut bytes = &*request;
        let (kind, block) = frame(&mut bytes).unwrap();
        assert_eq!((kind, bytes.len()), (HEADERS, 0));
        assert!(block.starts_with(b"\0\0\xd1\xd7\x50\x0blocalhost:1\x51\x06/small\x5f\x50\x0d"));
        assert!(super::request("localhost:1", &"/".repeat(127)).is_err());
    }

    #[test]
    fn integers_of_each_length_are_read() {
        for (mut bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!((varint(&mut bytes), bytes.len()), (Some(value), 0));
        }
        assert_eq!(varint(&mut &[0x7b][..]), None);
    }
}
