//! Bytes that no well-behaved client sends.

use std::fmt::Write as _;

use http::StatusCode;
use tokio::io::AsyncWriteExt as _;

use super::harness::*;

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {answer:?}"))
}

/// A second request hidden in the body must never reach the upstream.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn requests_with_two_lengths_or_a_broken_framing_are_refused_and_nothing_is_smuggled() {
    let mut fixture = Fixture::start(ECHO).await;
    let counter = Counter::default();
    fixture.serve("echo", counter.router());
    let refused = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Content-Length: 4\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "Content-Length: 0, 44\r\n\r\n",
        "Content-Length: +44\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0x2c\r\n\r\n",
        "Content-Length: 4 4\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length\r\n\r\n",
        "X\0: y\r\n\r\n",
    ];
    for framing in refused {
        let answer = fixture
            .raw(format!("POST /victim HTTP/1.1\r\nHost: localhost\r\n{framing}{SMUGGLED}").as_bytes())
            .await;
        assert_eq!(status(&answer), 400, "{framing:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{framing:?}: {answer}");
    }
    let old = fixture.raw(format!("POST /victim HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}").as_bytes()).await;
    assert_eq!(status(&old), 400);
    // Chunks with a bad size break the request off; whatever follows is not a request.
    for chunk in ["zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "3\r\nabcd\r\n", "3\rabc\r\n"] {
        let answer = fixture.raw(format!("POST /victim HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n{SMUGGLED}").as_bytes()).await;
        assert_eq!(status(&answer), 400, "{chunk:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{chunk:?}: {answer}");
    }
    assert_eq!(counter.of("/smuggled"), 0);
}

#[tokio::test]
async fn a_request_after_a_body_is_its_own_request_and_is_inspected_too() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 35\r\n\r\nContent-Length: 1\r\nTransfer-Encoding").await.unwrap();
    let mut seen = String::new();
    while !seen.contains("\"length\":35") {
        let mut chunk = [0u8; 1024];
        let count = tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut stream, &mut chunk))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(count, 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    stream.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await.unwrap();
    let second = read_to_close(&mut stream).await;
    assert_eq!(status(&second), 400);
    assert!(second.contains("length_conflict"), "{second}");
}

#[tokio::test]
async fn ambiguous_hosts_and_targets_are_refused() {
    let mut fixture = Fixture::start(ECHO).await;
    let counter = Counter::default();
    fixture.serve("echo", counter.router());
    let refused = [
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n", 400),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: b.test\r\n", 421),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n", 400),
        ("GET /a/../b HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /a/%2e%2e/b HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /a/..%2fb HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /a//b HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET //evil.test/ HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /a\\b HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /a%00 HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /a%0d%0aX:y HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: localhost\r\n", 400),
    ];
    for (head, expected) in refused {
        let answer = fixture.raw(format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), expected, "{head:?}: {answer}");
    }
    assert_eq!(counter.total(), 0);
    let absolute = fixture
        .raw(b"GET https://localhost/abs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!((status(&absolute), counter.of("/abs")), (200, 1), "{absolute}");
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_431() {
    let fixture = Fixture::start(&format!("{ECHO}[limits]\nheader_bytes = 8192\nheader_count = 20\n")).await;
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9_000));
    assert_eq!(status(&fixture.raw(long.as_bytes()).await), 431);
    let mut many = "GET / HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for n in 0..30 {
        let _ = write!(many, "X-{n}: y\r\n");
    }
    assert_eq!(status(&fixture.raw(format!("{many}\r\n").as_bytes()).await), 431);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_and_closes() {
    let mut fixture = Fixture::start(&format!("{ECHO}max_body = 1000\n")).await;
    fixture.serve("echo", echo());
    let declared = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n{}",
        "x".repeat(300_000)
    );
    let answer = fixture.raw(declared.as_bytes()).await;
    assert_eq!(status(&answer), 413);
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
    let mut chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..100 {
        let _ = write!(chunked, "3e8\r\n{}\r\n", "x".repeat(1_000));
    }
    chunked.push_str("0\r\n\r\n");
    let answer = fixture.raw(chunked.as_bytes()).await;
    assert_eq!(status(&answer), 413, "{answer}");
    let response = fixture.client().request(post("/", "x".repeat(1_000))).await.unwrap();
    assert_eq!((response.status(), Seen::of(response.body()).length), (StatusCode::OK, 1_000));
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let limits = "[limits]\nheader_read_timeout_ms = 500\nkeep_alive_timeout_ms = 500\nbody_idle_timeout_ms = 500\ntls_handshake_timeout_ms = 500\n";
    let mut fixture = Fixture::start(&format!("{ECHO}{limits}")).await;
    fixture.serve("echo", echo());
    let nothing = fixture.raw(b"").await;
    assert_eq!(nothing, "");
    let half = fixture.raw(b"GET / HTTP/1.1\r\nHost: local").await;
    assert_eq!(half, "");
    let idle = fixture.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(status(&idle), 200);
    let half_body = fixture.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(status(&half_body), 408, "{half_body}");
    let mut plain = tokio::net::TcpStream::connect(fixture.https).await.unwrap();
    plain.write_all(b"\x16\x03").await.unwrap();
    let mut rest = Vec::new();
    let closed =
        tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut rest)).await;
    assert!(closed.is_ok(), "an unfinished handshake is ended");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let mut fixture = Fixture::start(&format!("{ECHO}[limits]\nconnections_per_ip = 2\n")).await;
    fixture.serve("echo", echo());
    let first = fixture.connect("localhost", &[b"http/1.1"]).await;
    let _second = fixture.connect("localhost", &[b"http/1.1"]).await;
    let third = tokio::net::TcpStream::connect(fixture.https).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(fixture.tls(&[b"http/1.1"])));
    assert!(connector.connect("localhost".try_into().unwrap(), third).await.is_err());
    drop(first);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let again = tokio::net::TcpStream::connect(fixture.https).await.unwrap();
        if connector.connect("localhost".try_into().unwrap(), again).await.is_ok() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the place of a closed connection was not given back");
    }
}
