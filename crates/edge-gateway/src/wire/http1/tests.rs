//! A connection against a peer that writes its answers byte for byte.
#![expect(clippy::disallowed_methods, reason = "the peer ends with its test")]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use quintet_http::listen::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::Http1;
use crate::body::RequestBody;
use crate::interim::Interim;
use crate::wire::{Io, WireError};

fn pair() -> (Http1, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Http1::new(Io::Plain(Stream::Unix(ours)), None), theirs)
}

fn request(method: Method, body: RequestBody) -> Request<RequestBody> {
    Request::builder().method(method).uri("/a").header("host", "a").body(body).unwrap()
}

async fn frame(connection: &mut Http1) -> Option<Result<Frame<Bytes>, WireError>> {
    std::future::poll_fn(|cx| connection.poll_frame(cx)).await
}

async fn read_head(peer: &mut UnixStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.unwrap());
    }
    head
}

#[tokio::test]
async fn an_answer_that_begins_early_does_not_hold_up_the_rest_of_the_request() {
    // More than the socket takes while nobody reads.
    const LENGTH: usize = 1 << 20;
    let (mut connection, mut peer) = pair();
    let server = tokio::spawn(async move {
        read_head(&mut peer).await;
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1").await.unwrap();
        let mut body = vec![0; LENGTH];
        peer.read_exact(&mut body).await.unwrap();
        peer.write_all(b"2").await.unwrap();
        peer
    });
    let exchange = async {
        let mut request = request(Method::PUT, RequestBody::Whole(vec![b'x'; LENGTH].into()));
        connection.send(&mut request, &Interim::none()).await.unwrap();
        let mut body = Vec::new();
        while let Some(next) = frame(&mut connection).await {
            body.extend_from_slice(&next.unwrap().into_data().unwrap());
        }
        body
    };
    let body = tokio::time::timeout(Duration::from_mins(1), exchange).await.expect("it ends");
    assert_eq!(body, b"12");
    let _peer = server.await.unwrap();
    assert!(connection.is_reusable());
}

/// Sends a request that is answered with `answer`, of which all is read; whether another one could follow.
async fn reusable_after(method: Method, answer: &'static [u8]) -> bool {
    let (mut connection, mut peer) = pair();
    let server = tokio::spawn(async move {
        read_head(&mut peer).await;
        peer.write_all(answer).await.unwrap();
        peer
    });
    connection.send(&mut request(method, RequestBody::Empty), &Interim::none()).await.unwrap();
    while let Some(next) = frame(&mut connection).await {
        next.unwrap();
    }
    let _peer = server.await.unwrap();
    connection.is_reusable()
}

#[tokio::test]
async fn a_connection_serves_another_request_only_when_nothing_is_left_of_the_last() {
    assert!(reusable_after(Method::GET, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").await);
    assert!(reusable_after(Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n").await);
    assert!(reusable_after(Method::GET, b"HTTP/1.1 103 A\r\n\r\nHTTP/1.1 204 B\r\n\r\n").await);
    let rests: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ];
    for answer in rests {
        assert!(!reusable_after(Method::GET, answer).await, "{}", String::from_utf8_lossy(answer));
    }
    assert!(!reusable_after(Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").await);
}

#[tokio::test]
async fn a_close_or_an_answer_that_nobody_asked_for_ends_an_idle_connection() {
    let (mut connection, peer) = pair();
    assert!(connection.is_reusable());
    drop(peer);
    tokio::task::yield_now().await;
    assert!(!connection.is_reusable());

    let (mut connection, mut peer) = pair();
    peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let answers: [&[u8]; 4] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ];
    for answer in answers {
        let (mut connection, mut peer) = pair();
        let server = tokio::spawn(async move {
            read_head(&mut peer).await;
            peer.write_all(answer).await.unwrap();
        });
        let mut outcome =
            connection.send(&mut request(Method::GET, RequestBody::Empty), &Interim::none()).await.map(drop);
        while outcome.is_ok() {
            match frame(&mut connection).await {
                Some(next) => outcome = next.map(drop),
                None => break,
            }
        }
        server.await.unwrap();
        let shown = String::from_utf8_lossy(answer);
        assert!(matches!(outcome, Err(WireError::Closed)), "{shown}: {outcome:?}");
        assert!(!connection.is_reusable(), "{shown}");
    }
}

#[tokio::test]
async fn a_request_that_could_not_be_sent_stays_whole() {
    let (mut connection, peer) = pair();
    drop(peer);
    let mut request = request(Method::GET, RequestBody::Empty);
    let error = connection.send(&mut request, &Interim::none()).await.unwrap_err();
    assert!(error.is_unsent(), "{error:?}");
    assert_eq!(request.headers()["host"], "a");
}

#[tokio::test]
async fn interim_answers_without_end_are_cut_off() {
    let (mut connection, mut peer) = pair();
    let server = tokio::spawn(async move {
        read_head(&mut peer).await;
        peer.write_all(&b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100)).await.unwrap();
        peer
    });
    let outcome = connection.send(&mut request(Method::GET, RequestBody::Empty), &Interim::none()).await;
    assert!(matches!(outcome, Err(WireError::Answer(_))));
    drop(server.await);
}

#[tokio::test]
async fn interim_answers_reach_whoever_waits_for_the_final_one() {
    let (mut connection, mut peer) = pair();
    let server = tokio::spawn(async move {
        read_head(&mut peer).await;
        peer.write_all(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
        peer.write_all(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        peer
    });
    let interim = Interim::queued();
    let mut request = request(Method::GET, RequestBody::Empty);
    let response = connection.send(&mut request, &interim).await.unwrap();
    assert_eq!(response.status(), 204);
    let hints = interim.take().unwrap();
    assert_eq!((hints.status().as_u16(), hints.headers().len()), (103, 1));
    assert_eq!(hints.headers()["link"], "</a>");
    assert_eq!(interim.take().unwrap().status(), 102);
    assert!(interim.take().is_none());
    drop(server.await);
    assert!(connection.is_reusable(), "an interim answer's `Connection` says nothing of the connection");
}
