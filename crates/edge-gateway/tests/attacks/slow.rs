//! Clients that take a large answer slowly: what the gateway reads ahead for each is bounded, and others are served.
//! `cargo xtask bench gateway --only slow-readers` does so with 2,000.

use std::io::{Read as _, Write as _};

use crate::edge::{Connection, Edge};
use crate::frames::{get, preface};
use crate::upstream::{Act, obliging};

const READERS: usize = 100;
/// What one may make the gateway hold: 64 KB read ahead, 128 KB queued, 64 KB encrypted, and both connections.
const EACH: usize = 320 << 10;
const GIGABYTE: u64 = 1 << 30;

fn conduct(path: &str) -> Act {
    match path {
        "/large" => {
            Act::Stream(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n").into(), GIGABYTE)
        }
        _ => obliging(path),
    }
}

fn readers(edge: &Edge, protocol: &str, request: &[u8]) -> Vec<Connection> {
    let reader = |_| {
        let mut connection = edge.connect(protocol);
        connection.write_all(request).and_then(|()| connection.flush()).unwrap();
        connection
    };
    (0..READERS).map(reader).collect()
}

#[test]
fn slow_readers_of_a_gigabyte_hold_little() {
    let http1 = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    for (protocol, request) in [("http/1.1", http1), ("h2", [preface(&[]), get(1, "/large")].concat())] {
        let mut edge = Edge::start("", conduct);
        edge.ensure_serving("nothing");
        let before = edge.resident();
        let mut all = readers(&edge, protocol, &request);
        for _ in 0..5 {
            for reader in &mut all {
                reader.read_exact(&mut [0; 100]).unwrap();
            }
            edge.ensure_serving("slow readers");
            let each = edge.resident().saturating_sub(before) / READERS;
            assert!(each < EACH, "{protocol}: each slow reader holds {} KB", each >> 10);
        }
    }
}
