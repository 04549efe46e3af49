//! Idle connections give their buffers back, and nobody notices.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quintet_types::SystemClock;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::harness::*;

async fn until_parked(fixture: &Fixture, count: usize) {
    let parked = async {
        while fixture.gateway.parked.load(Ordering::Relaxed) != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, parked).await.expect("idle connections should be parked");
}

/// Reads one answer of the echo upstream.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains("\"target\"") || !seen.ends_with('}') {
            let mut chunk = [0u8; 4096];
            let count = stream.read(&mut chunk).await.unwrap();
            assert_ne!(count, 0, "closed after {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer");
    seen
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    answer(stream).await
}

#[tokio::test]
async fn a_parked_connection_serves_its_next_request() {
    let mut fixture = Fixture::start_with("http_mode = \"proxy\"", ECHO, SystemClock::shared()).await;
    fixture.serve("echo", echo());
    let mut tls = fixture.connect("localhost", &[b"http/1.1"]).await;
    let mut plain = tokio::net::TcpStream::connect(fixture.http).await.unwrap();
    for round in ["/one", "/two", "/three"] {
        assert!(ask(&mut tls, round).await.contains(round));
        assert!(ask(&mut plain, round).await.contains(round));
        until_parked(&fixture, 2).await;
    }
    drop(tls);
    drop(plain);
    until_parked(&fixture, 0).await;
}

#[tokio::test]
async fn a_request_that_has_begun_in_its_predecessors_packet_survives_the_idle_time() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let mut watched = fixture.connect("localhost", &[b"http/1.1"]).await;
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream
        .write_all(b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\nGET /second HTTP/1.1\r\nHo")
        .await
        .unwrap();
    assert!(answer(&mut stream).await.contains("/first"));
    // Once a connection that became idle later is parked, the sweep has looked at this one too.
    ask(&mut watched, "/later").await;
    until_parked(&fixture, 1).await;
    stream.write_all(b"st: localhost\r\n\r\n").await.unwrap();
    assert!(answer(&mut stream).await.contains("/second"));
}

#[tokio::test]
async fn drain_closes_a_parked_connection_in_order() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    ask(&mut stream, "/").await;
    until_parked(&fixture, 1).await;
    fixture.drain().await;
    // An end without close_notify would be an error.
    assert_eq!(stream.read(&mut [0u8; 1]).await.unwrap(), 0);
}
