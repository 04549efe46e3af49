use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CONNECTION, UPGRADE};
use quintet_http::{Limits, Upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::sync::Notify;

use crate::harness::{TestServer, read_head, read_to_close};

const ASK: &[u8] = b"GET /echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// Switches to a protocol in which everything comes back.
async fn echo(mut request: Request) -> Response {
    let Some(upgrade) = Upgrade::take(request.extensions_mut()) else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    upgrade.then(|tunnel| async move {
        let (mut from, mut to) = split(tunnel);
        let _ = copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, "echo")]).into_response()
}

fn router() -> Router {
    Router::new().route("/echo", get(echo)).route("/", get(|| async { "hello" }))
}

#[tokio::test]
async fn bytes_go_both_ways_after_an_upgrade() {
    let server = TestServer::start(router(), Limits::default());
    let mut stream = server.connect().await;
    // What follows the request at once belongs to the tunnel.
    stream.write_all(&[ASK, b"early"].concat()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: echo"), "{head}");
    stream.write_all(b" late").await.unwrap();
    let mut back = [0; 10];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"early late");
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn a_request_that_asks_for_nothing_else_stays_in_http() {
    let server = TestServer::start(router(), Limits::default());
    let answer = server.exchange("GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
}

#[tokio::test]
async fn a_drain_waits_for_a_tunnel_and_dropping_the_server_ends_it() {
    let open = || async {
        let server = TestServer::start(router(), Limits::default());
        let mut stream = server.connect().await;
        stream.write_all(ASK).await.unwrap();
        read_head(&mut stream).await;
        server.shutdown.cancel();
        server.listener_closed().await;
        stream.write_all(b"still here").await.unwrap();
        let mut back = [0; 10];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"still here");
        (server, stream)
    };
    let (server, mut stream) = open().await;
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
    server.stopped().await;

    let (server, mut stream) = open().await;
    drop(server);
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_among_the_connections() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = TestServer::start(router(), limits);
    let mut stream = server.connect().await;
    stream.write_all(ASK).await.unwrap();
    read_head(&mut stream).await;
    let mut waiting = server.connect().await;
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let answered = Arc::new(Notify::new());
    let answer = async {
        let answer = read_to_close(&mut waiting).await;
        answered.notify_one();
        answer
    };
    let tunnel = async {
        for _ in 0..20 {
            stream.write_all(b"x").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
        }
        let was_answered = tokio::select! {
            biased;
            () = answered.notified() => true,
            () = std::future::ready(()) => false,
        };
        drop(stream);
        was_answered
    };
    let (answer, was_answered) = tokio::join!(answer, tunnel);
    assert!(!was_answered, "the only place was given away");
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_that_is_answered_otherwise_is_dropped_uncalled() {
    let refuse = get(|mut request: Request| async move {
        let upgrade = Upgrade::take(request.extensions_mut()).expect("it was asked for");
        upgrade.then(|_| async { panic!("the connection is still one of HTTP") });
        "no"
    });
    let server = TestServer::start(Router::new().route("/echo", refuse), Limits::default());
    let ask = String::from_utf8_lossy(ASK).replace("connection: upgrade", "connection: upgrade, close");
    let answer = server.exchange(ask).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("no"), "{answer}");
    server.shutdown.cancel();
    server.stopped().await;
}
