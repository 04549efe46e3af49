//! How requests and connections end, and what becomes of a client that moves.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3_quinn::quinn::crypto::rustls::QuicClientConfig;
use h3_quinn::quinn::udp::{RecvMeta, Transmit};
use h3_quinn::quinn::{
    AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, Runtime as _, TokioRuntime, UdpPoller,
};
use http::Request;
use tokio::sync::mpsc;

use super::client::{Client, connect, read};
use super::{start, start_alone};
use crate::tests::harness::*;

/// An upstream that reports when a request begins and when it is given up, and never answers.
fn silent() -> (Router, mpsc::Receiver<&'static str>) {
    struct Reports(mpsc::Sender<&'static str>);
    impl Drop for Reports {
        fn drop(&mut self) {
            // The test may have what it waits for.
            let _ = self.0.try_send("gone");
        }
    }
    let (reports, reported) = mpsc::channel(64);
    let router = Router::new().fallback(any(move || {
        let reports = Reports(reports.clone());
        async move {
            reports.0.try_send("begun").unwrap();
            std::future::pending::<()>().await;
        }
    }));
    (router, reported)
}

async fn next(reported: &mut mpsc::Receiver<&'static str>) -> &'static str {
    tokio::time::timeout(PATIENCE, reported.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_request_that_its_client_takes_back_is_given_up() {
    let mut fixture = start_alone("").await;
    let (router, mut reported) = silent();
    fixture.serve("echo", router);
    let mut client = Client::start(&fixture).await;
    let mut stream = client.begin(Request::builder().uri("/").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(next(&mut reported).await, "begun");
    stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    assert_eq!(next(&mut reported).await, "gone");
}

#[tokio::test]
async fn requests_of_a_connection_that_ends_are_given_up() {
    let mut fixture = start_alone("").await;
    let (router, mut reported) = silent();
    fixture.serve("echo", router);
    let mut client = Client::start(&fixture).await;
    let mut stream = client.begin(Request::builder().uri("/").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(next(&mut reported).await, "begun");
    client.connection.close(0u32.into(), b"");
    assert_eq!(next(&mut reported).await, "gone");
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_takes_none() {
    let mut fixture = start_alone("").await;
    let (begun, mut reported) = mpsc::channel(64);
    let proceed = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&proceed);
    fixture.serve(
        "echo",
        Router::new().fallback(any(move || {
            let (begun, wait) = (begun.clone(), Arc::clone(&wait));
            async move {
                begun.try_send("begun").unwrap();
                wait.notified().await;
                "finished"
            }
        })),
    );
    let mut client = Client::start(&fixture).await;
    let mut stream = client.begin(Request::builder().uri("/").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(next(&mut reported).await, "begun");
    fixture.shutdown.cancel();
    // The client learns of it by GOAWAY, which the library tells with its next request.
    let asking = async {
        loop {
            match client.begin(Request::builder().uri("/late").body(()).unwrap()).await {
                Err(error) => break error,
                Ok(mut late) => {
                    let _ = late.finish().await;
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, asking).await.unwrap();
    assert!(matches!(refused, StreamError::RemoteClosing { .. }), "{refused:?}");
    assert!(connect(&fixture, "localhost").await.is_err(), "nobody new is served");
    let waking = async {
        loop {
            proceed.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    let (answer, _) = tokio::select! {
        answer = read(&mut stream) => answer.unwrap(),
        () = waking => unreachable!(),
    };
    assert_eq!(answer.body(), "finished");
    fixture.drain().await;
    let end = tokio::time::timeout(PATIENCE, client.driver.join_next()).await.unwrap().unwrap().unwrap();
    assert!(end.is_h3_no_error(), "{end:?}");
}

/// Most of these moves bring the client's datagrams to the other worker's socket.
#[tokio::test]
async fn a_client_whose_port_changes_goes_on() {
    let fixture = start("").await;
    let mut client = Client::start(&fixture).await;
    for at in 0..8 {
        let response = client.send(get(&format!("/{at}"))).await.unwrap();
        assert_eq!(Seen::of(response.body()).target, format!("/{at}"));
        client.endpoint.rebind(UdpSocket::bind(("127.0.0.1", 0)).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_client_that_moves_to_another_address_has_to_connect_anew() {
    let fixture = start("").await;
    let mut client = Client::start(&fixture).await;
    assert_eq!(client.send(get("/")).await.unwrap().status(), 200);
    client.endpoint.rebind(UdpSocket::bind(("127.0.0.2", 0)).unwrap()).unwrap();
    let asking = async {
        loop {
            // The first packets from there may still count for the old address.
            match client.send(get("/")).await {
                Ok(response) => assert_eq!(response.status(), 200),
                Err(error) => break error,
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, asking).await.expect("it should be told to leave");
    // What the library tells depends on which it sees first: the request's end, GOAWAY, or the connection's end.
    if let StreamError::RemoteTerminate { code, .. } = error {
        assert_eq!(code, Code::H3_REQUEST_REJECTED);
    }
    assert_eq!(Client::start(&fixture).await.send(get("/")).await.unwrap().status(), 200);
}

/// A socket that sends and notes what it gets, but hands nothing on.
#[derive(Debug)]
struct Deaf {
    udp: Arc<dyn AsyncUdpSocket>,
    received: Arc<Mutex<Vec<u8>>>,
}

impl AsyncUdpSocket for Deaf {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.udp).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> std::io::Result<()> {
        self.udp.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<std::io::Result<usize>> {
        loop {
            let count = std::task::ready!(self.udp.poll_recv(cx, buffers, metas))?;
            let firsts = buffers.iter().zip(&*metas).take(count).map(|(buffer, _)| buffer[0]);
            self.received.lock().unwrap().extend(firsts);
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

#[tokio::test]
async fn addresses_have_to_be_proved_when_many_handshakes_are_half_open() {
    let fixture = start("").await;
    let udp = TokioRuntime.wrap_udp_socket(UdpSocket::bind(("127.0.0.1", 0)).unwrap()).unwrap();
    let received = Arc::default();
    let deaf = Deaf { udp, received: Arc::clone(&received) };
    let mut endpoint = Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        None,
        Arc::new(deaf),
        Arc::new(TokioRuntime),
    )
    .unwrap();
    let crypto = QuicClientConfig::try_from(fixture.tls(&[b"h3"])).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    let handshakes: Vec<_> = (0..80).map(|_| endpoint.connect(fixture.https, "localhost").unwrap()).collect();
    let is_retry = |first: &u8| first & 0xf0 == 0xf0;
    let sent_back = async {
        while !received.lock().unwrap().iter().any(is_retry) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, sent_back).await.expect("somebody should have to prove his address");
    // Who can is served, even on the worker with all those handshakes.
    let mut client = Client::start(&fixture).await;
    client.endpoint.rebind(UdpSocket::bind(("127.0.0.1", 0)).unwrap()).unwrap();
    assert_eq!(client.send(get("/")).await.unwrap().status(), 200);
    drop(handshakes);
}

#[tokio::test]
async fn an_idle_connection_is_ended() {
    let fixture = start("[limits]\nkeep_alive_timeout_ms = 300").await;
    let mut client = Client::start(&fixture).await;
    assert_eq!(client.send(get("/")).await.unwrap().status(), 200);
    tokio::time::timeout(PATIENCE, client.connection.closed()).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_its_client_does_not_take_ends_the_connection() {
    let mut fixture = start_alone("[limits]\nwrite_timeout_ms = 300").await;
    let large = Bytes::from(vec![0; 4_000_000]);
    fixture.serve("echo", Router::new().fallback(any(move || async move { large })));
    let mut client = Client::start(&fixture).await;
    // The library reads nothing by itself, so that the stream's window stays full.
    let mut stream = client.begin(Request::builder().uri("/").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    tokio::time::timeout(PATIENCE, client.connection.closed()).await.unwrap();
}
