//! Request bodies that come byte by byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::harness::*;

/// A byte a pause is a tenth of what has to come.
const PAUSE: Duration = Duration::from_millis(10);
const GRACE: Duration = Duration::from_millis(300);
const LIMITS: &str = "[limits]\nbody_min_rate = 1000\nbody_min_rate_grace_ms = 300\n";

const HEAD: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends a byte at a time until there is an answer, which is read to the close of the connection; after `enough` the body
/// ends. No single pause is long.
async fn drip(fixture: &Fixture, head: &str, enough: Duration) -> String {
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    let mut byte = [0u8; 1];
    let mut ended = false;
    loop {
        tokio::select! {
            biased;
            read = stream.read(&mut byte) => {
                assert_eq!(read.unwrap(), 1, "closed without an answer");
                return format!("{}{}", char::from(byte[0]), read_to_close(&mut stream).await);
            }
            () = tokio::time::sleep(PAUSE), if !ended => {
                ended = began.elapsed() > enough;
                let piece: &[u8] = if ended { b"0\r\n\r\n" } else { b"1\r\nx\r\n" };
                // A gateway that has answered may have closed.
                let _ = stream.write_all(piece).await;
                let _ = stream.flush().await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_drips_its_body_is_answered_408_and_closed() {
    let mut fixture = Fixture::start(&format!("{ECHO}{LIMITS}")).await;
    fixture.serve("echo", echo());
    let answer = drip(&fixture, HEAD, PATIENCE).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"body_too_slow\""), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_route_may_let_clients_take_their_time() {
    let mut fixture = Fixture::start(&format!("{ECHO}body_min_rate = 0\n{LIMITS}")).await;
    fixture.serve("echo", echo());
    let closing = HEAD.replace("Host:", "Connection: close\r\nHost:");
    let answer = drip(&fixture, &closing, GRACE * 3).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_answer_that_has_begun_makes_the_body_a_conversation() {
    let mut fixture = Fixture::start(&format!("{ECHO}max_body = 1000000\n{LIMITS}")).await;
    let early = Router::new()
        .fallback(any(|request: AxumRequest| async move { axum::body::Body::new(request.into_body()) }));
    fixture.serve("echo", early);
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    stream.write_all(b"5\r\nfirst\r\n").await.unwrap();
    let mut seen = String::new();
    let mut piece = [0u8; 1024];
    while !seen.contains("first") {
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    tokio::time::sleep(GRACE * 3).await;
    stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
    while !seen.contains("last") {
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_is_not_the_clients_fault() {
    let mut fixture = Fixture::start(&format!("{ECHO}max_body = 10000000\n{LIMITS}")).await;
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let late = Router::new().fallback(any(move |request: AxumRequest| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            request.into_body().collect().await.unwrap().to_bytes().len().to_string()
        }
    }));
    fixture.serve("echo", late);
    let client = fixture.client();
    let sending = client.request(post("/", vec![b'x'; 4_000_000]));
    let answer = async {
        tokio::time::sleep(GRACE * 3).await;
        go_on.notify_one();
    };
    let (response, ()) = tokio::join!(sending, answer);
    let response = response.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"4000000"[..]));
}
