use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use quintet_http::listen::BindError;
use quintet_http::{Address, Limits, Listener, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{TestServer, read_head, read_to_close};

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

fn impatient() -> Limits {
    Limits { header_read_timeout: Duration::from_millis(100), ..Limits::default() }
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_disconnected() {
    let server = TestServer::start(hello(), impatient());
    assert_eq!(server.exchange("").await, "");
}

#[tokio::test]
async fn a_head_that_never_ends_is_disconnected() {
    let server = TestServer::start(hello(), impatient());
    let answer = server.exchange("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn half_an_http2_preface_is_disconnected() {
    let server = TestServer::start(hello(), impatient());
    assert_eq!(server.exchange("PRI * HTTP/2.0\r\n").await, "");
}

#[tokio::test]
async fn an_idle_keep_alive_connection_is_closed() {
    let server = TestServer::start(hello(), impatient());
    let answer = server.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_request_shorter_than_the_http2_preface_may_take_longer_than_the_head_timeout() {
    let slow = get(|| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "late"
    });
    let server = TestServer::start(Router::new().route("/", slow), impatient());
    let answer = server.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("late"), "{answer}");
}

#[tokio::test]
async fn garbage_gets_400_and_a_closed_connection() {
    let server = TestServer::start(hello(), Limits::default());
    for garbage in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}"]
    {
        let answer = server.exchange(garbage).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{garbage:?}: {answer}");
    }
}

#[tokio::test]
async fn conflicting_content_lengths_and_smuggled_framing_are_refused() {
    let server = TestServer::start(hello(), Limits::default());
    for framing in [
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 1x\r\n",
        "transfer-encoding: gzip\r\n",
        "content-length : 1\r\n",
    ] {
        let answer = server.exchange(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\nx")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{framing:?}: {answer}");
    }
}

#[tokio::test]
async fn a_head_beyond_64_kib_is_refused() {
    let server = TestServer::start(hello(), Limits::default());
    let mut stream = server.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n", "x".repeat(100 * 1024));
    // The server may close while the rest is still being written.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = read_head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_wait_until_one_ends() {
    let server = TestServer::start(hello(), Limits { max_connections: 1, ..Limits::default() });
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_head(&mut first).await;

    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), second.read_u8()).await;
    assert!(early.is_err(), "the second connection was served beside the first");

    drop(first);
    assert!(read_to_close(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_listener() {
    let server = TestServer::start(hello(), Limits::default());
    let io = hyper_util::rt::TokioIo::new(server.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let request = http::Request::get("http://a/").body(String::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
}

async fn peer(Extension(peer): Extension<Peer>) -> &'static str {
    match peer {
        Peer::Tcp(_) => "tcp",
        Peer::Unix => "unix",
    }
}

#[tokio::test]
async fn handlers_see_the_peer_on_tcp_and_on_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let socket = Address::Unix(directory.path().join("server.sock"));
    for (address, expected) in [("127.0.0.1:0".parse().unwrap(), "tcp"), (socket, "unix")] {
        let server = TestServer::start_on(&address, Router::new().route("/", get(peer)), Limits::default());
        assert_eq!(server.client().get("/").await.unwrap().body(), expected);
    }
}

#[tokio::test]
async fn a_socket_left_by_a_dead_process_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = Address::Unix(path);

    let server = TestServer::start_on(&address, hello(), Limits::default());
    assert_eq!(server.client().get("/").await.unwrap().body(), "hello");

    let error = address.bind().unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error:?}");
    assert!(error.to_string().contains("server.sock"), "{error}");
    assert_eq!(server.client().get("/").await.unwrap().body(), "hello");
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "content").unwrap();
    assert!(matches!(Address::Unix(path.clone()).bind(), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "content");
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_error() {
    let server = TestServer::start(hello(), Limits::default());
    let error = server.address.bind().unwrap_err();
    assert_eq!(error.to_string(), format!("address {} is in use by another process", server.address));
}

#[tokio::test]
async fn a_unix_path_longer_than_the_system_allows_is_a_clear_error() {
    let text = format!("unix:/{}", "x".repeat(107));
    let error = text.parse::<Address>().unwrap_err();
    assert!(error.to_string().contains("longer than 107 bytes"), "{error}");
    assert!(format!("unix:/{}", "x".repeat(106)).parse::<Address>().is_ok());
    assert!("unix:relative".parse::<Address>().is_err());
    assert!("localhost:80".parse::<Address>().is_err());
}

#[tokio::test]
async fn inherited_listeners_are_served_and_other_descriptors_refused() {
    let directory = tempfile::tempdir().unwrap();
    let unix = std::os::unix::net::UnixListener::bind(directory.path().join("s.sock")).unwrap();
    assert!(matches!(Listener::from_fd(OwnedFd::from(unix)), Ok(Listener::Unix(_))));
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(matches!(Listener::from_fd(OwnedFd::from(tcp)), Ok(Listener::Tcp(_))));

    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(Listener::from_fd(OwnedFd::from(udp)), Err(BindError::Inherited(_))));
    let file = std::fs::File::open(directory.path()).unwrap();
    assert!(matches!(Listener::from_fd(OwnedFd::from(file)), Err(BindError::Inherited(_))));
}
