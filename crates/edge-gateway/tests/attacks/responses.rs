//! Upstreams that answer ambiguously, twice, or not to the end: one client must never get what is for another.

use std::io::Write as _;

use crate::edge::{Edge, read_to_close};
use crate::message::statuses;
use crate::upstream::{Act, obliging};

const LIMITS: &str = "keep_alive_timeout_ms = 500";

/// Path, what the upstream sends for it.
const ANSWERS: &[(&str, &str)] = &[
    (
        "/both",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "/both-turned",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("/two-lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\nok"),
    ("/signed", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("/xchunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    (
        "/twice",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ),
    ("/tail", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"),
    (
        "/early-hints",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("/continue", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("/switch", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\npoison"),
    ("/fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    ("/rubbish", "rubbish\r\n\r\n"),
    ("/nul", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    ("/status", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("/no-content", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison"),
    ("/not-modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"),
    ("/hops", "HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: 1\r\nKeep-Alive: 9\r\nContent-Length: 2\r\n\r\nok"),
];

fn conduct(path: &str) -> Act {
    match ANSWERS.iter().find(|(one, _)| *one == path) {
        Some((_, bytes)) => Act::Send(bytes.as_bytes().to_vec()),
        None if path == "/close-delimited" => Act::SendAndClose(b"HTTP/1.1 200 OK\r\n\r\nok".to_vec()),
        None if path == "/short" => {
            Act::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok".to_vec())
        }
        None if path == "/half" => {
            Act::SendAndClose(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n".to_vec())
        }
        None => obliging(path),
    }
}

/// Path, the statuses that its client gets.
const CASES: &[(&str, &[u16])] = &[
    ("/both", &[502]),
    ("/both-turned", &[502]),
    ("/two-lengths", &[502]),
    ("/signed", &[502]),
    ("/xchunked", &[502]),
    ("/twice", &[200]),
    ("/tail", &[200]),
    ("/early-hints", &[103, 200]),
    ("/continue", &[200]),
    ("/switch", &[502]),
    ("/fold", &[502]),
    ("/rubbish", &[502]),
    ("/nul", &[502]),
    ("/status", &[502]),
    ("/no-content", &[204]),
    ("/not-modified", &[304]),
    ("/hops", &[200]),
    ("/close-delimited", &[200]),
];

#[test]
fn an_upstreams_ambiguous_answer_is_refused_and_never_reaches_another_client() {
    let mut edge = Edge::start(LIMITS, conduct);
    let mut wrong = Vec::new();
    for (path, expected) in CASES {
        let got = edge.exchange(
            "localhost",
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        let text = String::from_utf8_lossy(&got).into_owned();
        if statuses(&got) != *expected
            || text.contains("poison")
            || text.to_ascii_lowercase().contains("x-a:")
        {
            wrong.push(format!("{path}: {text:?}, not {expected:?}"));
        }
        // The upstream's connection is next in line; what it left there is for nobody.
        let next =
            edge.exchange("localhost", b"GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        if !next.ends_with(b"ok") || next.windows(6).any(|part| part == b"poison") {
            wrong.push(format!("after {path}: {:?}", String::from_utf8_lossy(&next)));
        }
        edge.ensure_serving(path);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let mut edge = Edge::start(LIMITS, conduct);
    for path in ["/short", "/half"] {
        let sent = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        let got = edge.exchange("localhost", sent.as_bytes());
        let text = String::from_utf8_lossy(&got).into_owned();
        assert!(!text.ends_with("0\r\n\r\n") && text.matches("HTTP/1.1 ").count() <= 1, "{path}: {text:?}");
        edge.ensure_serving(path);
    }
}

/// `Upgrade` does not open a way past the gateway: what the client sends before the answer waits for a 101.
#[test]
fn bytes_behind_an_upgrade_wait_for_its_answer() {
    let mut edge = Edge::start(LIMITS, conduct);
    let upgrade = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    };
    let behind =
        "GET /behind HTTP/1.1\r\nHost: localhost\r\nX-Quintet-Subject: root\r\nConnection: close\r\n\r\n";
    let got = edge.exchange("localhost", format!("{}{behind}", upgrade("/refused")).as_bytes());
    assert_eq!(statuses(&got), [200, 200]);
    let recorded = edge.upstream.take().concat();
    let recorded = String::from_utf8_lossy(&recorded).into_owned();
    assert!(recorded.contains("GET /behind ") && !recorded.contains("root"), "passed unchecked: {recorded}");
    let mut connection = edge.connect("http/1.1");
    connection.write_all(format!("{}tunnelled", upgrade("/switch")).as_bytes()).unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"poison") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut connection, &mut byte).unwrap();
        got.extend(byte);
    }
    assert!(got.starts_with(b"HTTP/1.1 101 "));
    drop(connection);
    edge.ensure_serving("an upgrade");
}

#[test]
fn a_client_that_closes_its_side_early_gets_its_answer_or_nothing() {
    let mut edge = Edge::start(LIMITS, conduct);
    let mut connection = edge.connect("http/1.1");
    connection.write_all(b"GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    connection.conn.send_close_notify();
    let _ = connection.flush();
    let got = read_to_close(&mut connection);
    assert!(got.is_empty() || statuses(&got) == [200], "{:?}", String::from_utf8_lossy(&got));
    edge.ensure_serving("an early close");
}
