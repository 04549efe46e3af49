//! Open sockets, from `/proc/net`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;
use serde_json::{Value, json};

use super::Roots;
use crate::host::read;

const MAX_SOCKETS: usize = 4096;
/// The kernel's states of TCP from 1 on (include/net/tcp_states.h).
const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait_1",
    "fin_wait_2",
    "time_wait",
    "closed",
    "close_wait",
    "last_ack",
    "listening",
    "closing",
    "new_syn_received",
];

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Socket {
    protocol: &'static str,
    local: SocketAddr,
    remote: SocketAddr,
    state: &'static str,
    /// Bytes that wait to be sent, and to be read.
    send_queue: u64,
    receive_queue: u64,
    user_id: u32,
}

pub(super) fn list(roots: &Roots) -> Value {
    let mut found = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let text = read(&roots.proc.join("net").join(protocol)).unwrap_or_default();
        let room = MAX_SOCKETS.saturating_sub(found.len());
        found.extend(text.lines().skip(1).filter_map(|line| socket(protocol, line)).take(room));
    }
    // What listens comes first.
    found.sort_by_key(|socket| (socket.state != "listening", socket.protocol, socket.local));
    json!({ "sockets": found })
}

fn socket(protocol: &'static str, line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
    let state = usize::from_str_radix(words.next()?, 16).ok()?;
    let (send, receive) = words.next()?.split_once(':')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Socket {
        protocol,
        local,
        remote,
        state: STATES.get(state.checked_sub(1)?).copied().unwrap_or("unknown"),
        send_queue: number(send)?,
        receive_queue: number(receive)?,
        user_id: words.nth(2)?.parse().ok()?,
    })
}

/// `0100007F:1F90`: words of the address in the machine's byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let address: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => Ipv4Addr::from(bytes).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into(),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn a_listening_socket_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 123 1";
        let found = socket("tcp", line).unwrap();
        assert_eq!((found.local.to_string().as_str(), found.state), ("127.0.0.1:8080", "listening"));
        assert_eq!((found.receive_queue, found.user_id), (3, 1000));
        let six = address("00000000000000000000000001000000:0050").unwrap();
        assert_eq!(six.to_string(), "[::1]:80");
        assert_eq!(socket("tcp", "garbage"), None);
    }
}
