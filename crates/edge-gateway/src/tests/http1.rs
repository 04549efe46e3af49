//! HTTP/1.1 towards clients: what comes before, with and behind an answer.

mod early_end;

use std::sync::Arc;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::harness::*;

/// Reads up to and with an empty line.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("a head");
    String::from_utf8(head).unwrap()
}

/// An upstream that does `conduct` with its first connection, once a request's head has been read.
fn upstream<F>(fixture: &Fixture, conduct: impl FnOnce(UnixStream) -> F + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send,
{
    let listener = UnixListener::bind(fixture.socket("echo")).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        conduct(stream).await;
    });
    tasks
}

const HINTS: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Inner: 1\r\nConnection: x-hop\r\n\
                       X-Hop: 1\r\nContent-Length: 3\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn early_hints_reach_the_client_before_there_is_an_answer() {
    let fixture = Fixture::start(&format!("{ECHO}response_headers = {{ remove = [\"x-inner\"] }}\n")).await;
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let _upstream = upstream(&fixture, |mut stream| async move {
        stream.write_all(HINTS).await.unwrap();
        wait.notified().await;
        stream.write_all(OK).await.unwrap();
    });
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let hints = read_head(&mut stream).await;
    assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
    go_on.notify_one();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_interim_answer() {
    let fixture = Fixture::start(ECHO).await;
    let _upstream = upstream(&fixture, |mut stream| async move {
        stream.write_all(&[HINTS, OK].concat()).await.unwrap();
    });
    let answer = fixture.raw(b"GET / HTTP/1.0\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_with_its_body_is_told_to_go_on_only_when_it_is_wanted() {
    let mut fixture = Fixture::start(&format!("{ECHO}max_body = 1000\n")).await;
    fixture.serve("echo", echo());
    let head = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream.write_all(head(3).as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    let answer = read_to_close(&mut stream).await;
    let seen = Seen::of(answer.split("\r\n\r\n").nth(1).unwrap().as_bytes());
    assert_eq!((seen.length, seen.header("expect")), (3, None), "{answer}");
    let refused = fixture.raw(head(1_001).as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
}

/// What the upstream sees when its client leaves: the end of its connection.
async fn upstream_notices(before: &'static [u8]) {
    let fixture = Fixture::start(ECHO).await;
    let there = Arc::new(Notify::new());
    let tell = Arc::clone(&there);
    let mut upstream = upstream(&fixture, move |mut stream| async move {
        stream.write_all(before).await.unwrap();
        tell.notify_one();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /next").await.unwrap();
    there.notified().await;
    if !before.is_empty() {
        read_head(&mut stream).await;
    }
    drop(stream);
    tokio::time::timeout(PATIENCE, upstream.join_next()).await.expect("it notices").unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_back() {
    upstream_notices(b"").await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_an_answer_that_is_silent() {
    upstream_notices(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
}

#[tokio::test]
async fn trailers_go_to_clients_that_take_them() {
    for (asks, end) in
        [("TE: trailers\r\n", "2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"), ("", "2\r\nok\r\n0\r\n\r\n")]
    {
        let fixture = Fixture::start(ECHO).await;
        let _upstream = upstream(&fixture, |mut stream| async move {
            let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        });
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{asks}Connection: close\r\n\r\n");
        let answer = fixture.raw(request.as_bytes()).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{end}")), "{asks:?}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_of_unknown_length_ends_with_the_connection_of_an_old_client() {
    let fixture = Fixture::start(ECHO).await;
    let _upstream = upstream(&fixture, |mut stream| async move {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let answer = fixture.raw(b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(answer.ends_with("connection: close\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("transfer-encoding") && !answer.contains("content-length"), "{answer}");
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_one_request() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    let request = "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n";
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let answer = read_to_close(&mut stream).await;
    let seen = Seen::of(answer.split("\r\n\r\n").nth(1).unwrap().as_bytes());
    assert_eq!((seen.length, &*seen.target), (3, "/a"));
}

#[tokio::test]
async fn a_head_that_is_refused_is_a_request_that_operators_can_look_up() {
    let fixture = Fixture::start(ECHO).await;
    let answer = fixture.raw(b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close\r\n"), "{answer}");
    let id = answer.split("x-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let incident = fixture.gateway.recent.find(id).unwrap();
    assert_eq!(
        (&*incident.code, incident.status),
        ("head_malformed", Some(StatusCode::BAD_REQUEST.as_u16()))
    );
}
