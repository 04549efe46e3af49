//! Connections that end while their client still sends.
//!
//! Closed with unread bytes, a socket sends a reset, and what it has not delivered yet is gone. So the clients here have a
//! window that is much smaller than their answers, and bytes on their way that nobody reads.

use quintet_types::SystemClock;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

/// Most of it is at the gateway's end when the gateway has written it.
const ANSWER: usize = 200_000;
/// More than the gateway reads ahead, and less than it throws away.
const UNREAD: usize = 400_000;

async fn start() -> Fixture {
    let more = format!("{ECHO}max_body = 2000000\n");
    Fixture::start_with("http_mode = \"proxy\"\n", &more, SystemClock::shared()).await
}

/// A client whose kernel takes little of an answer before the client reads it.
async fn narrow(fixture: &Fixture) -> (ReadHalf<TcpStream>, WriteHalf<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    split(socket.connect(fixture.http).await.unwrap())
}

/// Reads to the end; an error is an end that came too early.
async fn read(mut from: ReadHalf<TcpStream>) -> String {
    let mut all = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, from.read_to_end(&mut all));
    let end = reading.await.expect("the connection ends");
    assert!(end.is_ok(), "{end:?} after {} bytes", all.len());
    String::from_utf8(all).unwrap()
}

fn large() -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; ANSWER]].concat()
}

fn post(length: usize) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_there_arrives_whole() {
    let fixture = start().await;
    let hold = Arc::new(Notify::new());
    let held = Arc::clone(&hold);
    let _upstream = upstream(&fixture, |mut stream| async move {
        stream.write_all(&large()).await.unwrap();
        held.notified().await;
    });
    let (from, mut to) = narrow(&fixture).await;
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        to.write_all(&[post(2 * UNREAD), vec![b'y'; 2 * UNREAD - 1]].concat()).await.unwrap();
        to
    });
    let answer = read(from).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:.200}");
    let length = answer.split_once("\r\n\r\n").unwrap().1.len();
    assert_eq!(length, ANSWER);
    hold.notify_one();
}

#[tokio::test]
async fn the_refusal_of_a_head_arrives_whatever_follows_it() {
    let fixture = start().await;
    let _upstream = upstream(&fixture, |mut stream| async move {
        stream.write_all(&large()).await.unwrap();
    });
    let (from, mut to) = narrow(&fixture).await;
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        let heads = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost : localhost\r\n\r\n";
        to.write_all(&[&heads[..], &vec![b'y'; UNREAD]].concat()).await.unwrap();
        to
    });
    let answers = read(from).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 1);
    assert!(answers.contains("xHTTP/1.1 400 Bad Request\r\n"), "{}", &answers[ANSWER..]);
}

#[tokio::test]
async fn an_upload_whose_answer_is_over_reaches_the_upstream_without_a_gap_as_far_as_it_does() {
    const PIECES: usize = 40;
    let body: Vec<u8> = (0..2 * UNREAD).map(|at| u8::try_from(at / 8 * 31 % 251).unwrap()).collect();
    let fixture = start().await;
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let listener = UnixListener::bind(fixture.socket("echo")).unwrap();
    let mut upstream: JoinSet<Vec<u8>> = JoinSet::new();
    upstream.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        // Behind an answer of unknown length the gateway goes on with the request.
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        wait.notified().await;
        let mut got = Vec::new();
        // The end may be a reset.
        let _ = stream.read_to_end(&mut got).await;
        got
    });
    let (from, mut to) = narrow(&fixture).await;
    let (before, behind) = body.split_at(body.len() - UNREAD / 4);
    to.write_all(&post(body.len())).await.unwrap();
    let answer = tokio::join!(read(from), async { to.write_all(before).await.unwrap() }).0;
    assert!(answer.ends_with("2\r\nok\r\n0\r\n\r\n"), "{answer}");
    // From here on the gateway throws away what comes, and the upstream takes what it was sent before.
    go_on.notify_one();
    for piece in behind.chunks(behind.len() / PIECES) {
        // The gateway may have closed.
        let _ = to.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    let _ = to.shutdown().await;
    let got = tokio::time::timeout(PATIENCE, upstream.join_next()).await.unwrap().unwrap().unwrap();
    assert!(body.starts_with(&got), "{} bytes arrived, but not the first ones", got.len());
}
