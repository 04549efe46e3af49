//! The client against servers that behave, and raw ones that do not.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests stop the test right there"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::{any, get};
use bytes::Bytes;
use http_body_util::BodyExt;
use quintet_http::{Address, Client, ClientError, Limits, Origin, serve, standard};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A raw server: `answer` handles each accepted connection; the counter is how many there were.
async fn raw<F, A>(answer: A) -> (Client, Arc<AtomicUsize>, JoinSet<()>)
where
    A: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, count.fetch_add(1, Ordering::SeqCst)));
        }
    });
    (Client::new(origin.parse().unwrap()), accepted, task)
}

async fn read_request(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn connections_are_reused() {
    let (client, accepted, _task) = raw(|mut stream, _| async move {
        while read_request(&mut stream).await {
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().body(), "ok");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_the_server_closed_while_idle_is_replaced_without_an_error() {
    let (client, accepted, _task) = raw(|mut stream, _| async move {
        if read_request(&mut stream).await {
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().body(), "ok");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn a_request_that_may_have_been_received_is_not_sent_again() {
    let (client, accepted, _task) = raw(|mut stream, _| async move {
        if read_request(&mut stream).await {
            stream.write_all(OK).await.unwrap();
        }
        // The second request on this connection is read and left without an answer.
        read_request(&mut stream).await;
    })
    .await;
    client.get("/").await.unwrap();
    let error = client.post_json("/", &json!({})).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    assert!(!error.is_unsent());
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_deadline_covers_a_server_that_never_answers_and_one_that_never_finishes() {
    for beginning in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal"] {
        let (client, _, _task) = raw(move |mut stream, _| async move {
            read_request(&mut stream).await;
            stream.write_all(beginning).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let error = client.timeout(Duration::from_millis(100)).get("/").await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_an_error_whether_declared_or_chunked() {
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{}", "x".repeat(11)),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\n{}\r\n0\r\n\r\n", "x".repeat(11)),
    ] {
        let (client, _, _task) = raw(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                read_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await;
        let error = client.max_body(10).get("/").await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { limit: 10 }), "{error:?}");
    }
}

#[tokio::test]
async fn garbage_and_a_truncated_body_are_protocol_errors() {
    for answer in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", b""] {
        let (client, _, _task) = raw(move |mut stream, _| async move {
            read_request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        })
        .await;
        let error = client.get("/").await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn no_listener_is_a_connect_error_that_names_the_origin() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(origin.parse().unwrap()).get("/").await.unwrap_err();
    assert!(error.is_unsent());
    assert_eq!(error.to_string(), format!("cannot connect to {origin}"));
}

#[tokio::test]
async fn a_path_that_is_no_path_is_refused_before_anything_is_sent() {
    let client = Client::new("http://127.0.0.1:1".parse().unwrap());
    for path in ["/a b", "\r\nhost: evil", ""] {
        assert!(matches!(client.get(path).await, Err(ClientError::Request(_))), "{path:?}");
    }
}

async fn echo(request: Request) -> axum::Json<Value> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    axum::Json(json!({
        "method": parts.method.as_str(), "uri": parts.uri.to_string(),
        "host": parts.headers["host"].to_str().unwrap(),
        "type": parts.headers.get("content-type").map(|value| value.to_str().unwrap()),
        "body": String::from_utf8_lossy(&body),
    }))
}

#[tokio::test]
async fn helpers_send_what_they_say_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("echo.sock"));
    let router =
        Router::new().route("/echo", any(echo)).route("/gone", get(|| async { http::StatusCode::GONE }));
    let limits = Limits::default();
    let mut server = JoinSet::new();
    let listener = address.bind().unwrap();
    server.spawn(serve(listener, standard(router, &limits), limits, CancellationToken::new()));
    let client = Client::new(address.to_string().parse::<Origin>().unwrap());

    let got: Value = client.get_json("/echo?a=1").await.unwrap();
    assert_eq!(
        got,
        json!({"method": "GET", "uri": "/echo?a=1", "host": "localhost", "type": null, "body": ""})
    );
    let posted = client.post_form("/echo", &[("grant type", "a&b"), ("ü", "=")]).await.unwrap();
    let posted: Value = serde_json::from_slice(posted.body()).unwrap();
    assert_eq!(posted["body"], "grant+type=a%26b&%C3%BC=%3D");
    assert_eq!(posted["type"], "application/x-www-form-urlencoded");
    let posted = client.post_json("/echo", &json!({"a": [1]})).await.unwrap();
    let posted: Value = serde_json::from_slice(posted.body()).unwrap();
    assert_eq!(
        (posted["type"].as_str(), posted["body"].as_str()),
        (Some("application/json"), Some("{\"a\":[1]}"))
    );

    let error = client.get("/gone").await.unwrap_err();
    assert!(matches!(error, ClientError::Status { status, .. } if status == 410), "{error:?}");
    let plain = client.request(http::Request::get("/gone").body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(plain.status(), 410);
}

mod tls {
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn server_config(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> rustls::ServerConfig {
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap()
    }

    fn trusting(certificate: &CertificateDer<'static>) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    #[tokio::test]
    async fn a_certificate_is_accepted_only_from_a_trusted_authority_and_for_the_right_name() {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&certified)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(OK).await;
                let _ = stream.shutdown().await;
            }
        });

        let origin = |host: &str| format!("https://{host}:{port}").parse::<Origin>().unwrap();
        let trusted = Client::with_tls(origin("localhost"), trusting(certified.cert.der()));
        assert_eq!(trusted.get("/").await.unwrap().body(), "ok");

        let wrong_name = Client::with_tls(origin("127.0.0.1"), trusting(certified.cert.der()));
        assert!(matches!(wrong_name.get("/").await, Err(ClientError::Connect { .. })));
        let public = Client::new(origin("localhost"));
        assert!(matches!(public.get("/").await, Err(ClientError::Connect { .. })));
    }
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// A server that answers each request with `answer`.
async fn answering(answer: &'static [u8]) -> (Client, Arc<AtomicUsize>, JoinSet<()>) {
    raw(move |mut stream, _| async move {
        while read_request(&mut stream).await {
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_guarded_client_connects_to_admitted_addresses_alone_also_behind_a_name() {
    let (open, accepted, _task) = answering(OK).await;
    let Origin::Http { port, .. } = open.origin() else { panic!("plain HTTP") };
    for (before, host) in ["127.0.0.1", "localhost"].into_iter().enumerate() {
        let origin: Origin = format!("http://{host}:{port}").parse().unwrap();
        let refused = Client::guarded(origin.clone(), tls(), Arc::new(|_| false)).get("/").await;
        assert!(matches!(refused, Err(ClientError::Connect { .. })), "{refused:?}");
        assert_eq!(accepted.load(Ordering::SeqCst), before);
        let admitted = Client::guarded(origin, tls(), Arc::new(|address| address.is_loopback()));
        assert_eq!(admitted.get("/").await.unwrap().body(), "ok");
    }
}

#[tokio::test]
async fn a_cut_answer_is_its_beginning_and_costs_its_connection() {
    let (client, accepted, _task) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabcdef").await;
    let client = client.cut_body(4);
    for connections in 1..=2 {
        assert_eq!(client.get("/").await.unwrap().body(), "abcd");
        assert_eq!(accepted.load(Ordering::SeqCst), connections);
    }
}

#[tokio::test]
async fn an_answer_no_longer_than_the_cut_is_whole_and_its_connection_reused() {
    let (client, accepted, _task) = answering(OK).await;
    let client = client.cut_body(2);
    for _ in 0..3 {
        assert_eq!(client.get("/").await.unwrap().body(), "ok");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}
