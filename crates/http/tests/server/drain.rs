use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use quintet_http::Limits;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, TestServer, read_head, read_to_close};

/// A route that says when it has begun and answers when told to.
#[derive(Clone, Default)]
struct Gate {
    begun: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    fn router(&self) -> Router {
        let gate = self.clone();
        let slow = get(move || async move {
            gate.begun.notify_one();
            gate.open.notified().await;
            "finished"
        });
        Router::new().route("/slow", slow).route("/", get(|| async { "hello" }))
    }
}

#[tokio::test]
async fn a_drain_finishes_the_request_in_flight_then_closes_its_connection() {
    let gate = Gate::default();
    let server = TestServer::start(gate.router(), Limits::default());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    gate.begun.notified().await;

    server.shutdown.cancel();
    server.listener_closed().await;
    gate.open.notify_one();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.ends_with("finished"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn a_drain_accepts_nothing_more_and_closes_idle_connections() {
    let server = TestServer::start(Gate::default().router(), Limits::default());
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_head(&mut idle).await;
    let mut silent = server.connect().await;

    server.shutdown.cancel();
    assert_eq!(read_to_close(&mut idle).await, "hello");
    assert_eq!(read_to_close(&mut silent).await, "");
    server.listener_closed().await;
    server.stopped().await;
}

#[tokio::test]
async fn connections_still_in_the_queue_at_the_drain_are_answered() {
    let server = TestServer::start(Gate::default().router(), Limits::default());
    let mut queued = Vec::new();
    for _ in 0..50 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        queued.push(stream);
    }
    server.shutdown.cancel();
    for mut stream in queued {
        assert!(read_to_close(&mut stream).await.ends_with("hello"));
    }
    server.stopped().await;
}

#[tokio::test]
async fn an_http2_stream_in_flight_is_finished_and_new_ones_are_refused() {
    let gate = Gate::default();
    let server = TestServer::start(gate.router(), Limits::default());
    let io = hyper_util::rt::TokioIo::new(server.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });

    let request = |path: &str| http::Request::get(format!("http://a{path}")).body(String::new()).unwrap();
    let slow = sender.send_request(request("/slow"));
    gate.begun.notified().await;
    server.shutdown.cancel();
    // GOAWAY has arrived once the client no longer takes requests.
    let refused = async {
        while let Ok(response) = sender.send_request(request("/")).await {
            drop(response);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("GOAWAY reaches the client");
    gate.open.notify_one();
    assert_eq!(slow.await.unwrap().status(), 200);
    server.stopped().await;
}

#[tokio::test]
async fn dropping_the_server_aborts_what_does_not_finish() {
    let gate = Gate::default();
    let server = TestServer::start(gate.router(), Limits::default());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    gate.begun.notified().await;
    drop(server);
    assert_eq!(read_to_close(&mut stream).await, "");
}
