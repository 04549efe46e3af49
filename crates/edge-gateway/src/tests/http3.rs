//! HTTP/3 on real sockets, with a client of another implementation.

mod client;
mod life;
mod malformed;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::{Buf as _, Bytes};
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::client::{Client, connect, read};
use super::harness::*;

const HTTP3: &str = "http3 = true";

async fn start(more: &str) -> Fixture {
    let mut fixture = start_alone(more).await;
    fixture.serve("echo", echo());
    fixture
}

/// Without the upstream.
async fn start_alone(more: &str) -> Fixture {
    let clock = quintet_types::SystemClock::shared();
    Fixture::start_with(HTTP3, &format!("{ECHO}{more}"), clock).await
}

#[tokio::test]
async fn requests_reach_the_upstream_as_those_over_tcp_do() {
    let fixture = start("").await;
    let mut client = Client::start(&fixture).await;
    let request = Request::builder()
        .uri("/a?b=c")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-forwarded-for", "10.0.0.1");
    let response = client.send(request.body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key("date"));
    assert_eq!(response.headers()["x-upstream"], "echo");
    assert!(!response.headers().contains_key("connection"));
    let seen = Seen::of(response.body());
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.length), ("GET", "/a?b=c", 0));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("transfer-encoding"), None, "a GET has no body");
    let host = format!("localhost:{}", fixture.https.port());
    assert_eq!(seen.header("host"), Some(host.as_str()));
}

#[tokio::test]
async fn bodies_pass_in_both_directions() {
    let mut fixture = start_alone("[limits]\nmax_body = 4000000").await;
    let router = Router::new().fallback(any(|body: Bytes| async move { body }));
    fixture.serve("echo", router.layer(axum::extract::DefaultBodyLimit::disable()));
    let mut client = Client::start(&fixture).await;
    let body: Bytes = (0..3_000_000usize).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let response = client.send(post("/", body.clone())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(*response.body() == body, "{} bytes came back changed", response.body().len());
    let head = Request::builder().method(Method::HEAD).uri("/").body(Bytes::new()).unwrap();
    let response = client.send(head).await.unwrap();
    assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_call_streams_both_ways_and_both_sides_end_it_with_trailers() {
    let config = ECHO.replace("[[routes]]", "protocol = \"h2c\"\n[[routes]]");
    let clock = quintet_types::SystemClock::shared();
    let mut fixture = Fixture::start_with(HTTP3, &config, clock).await;
    // Gives each piece back at once, and the request's trailers as the answer's.
    fixture.serve(
        "echo",
        Router::new()
            .fallback(any(|request: axum::extract::Request| async { Body::new(request.into_body()) })),
    );
    let mut client = Client::start(&fixture).await;
    let request = Request::post("/").header("te", "trailers").header("content-type", "application/grpc");
    let mut stream = client.begin(request.body(()).unwrap()).await.unwrap();
    stream.send_data(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), StatusCode::OK);
    let mut piece = stream.recv_data().await.unwrap().unwrap();
    assert_eq!(piece.copy_to_bytes(piece.remaining()), "first");
    drop(piece);
    stream.send_data(Bytes::from_static(b"second")).await.unwrap();
    let sum = [(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("11"))];
    stream.send_trailers(http::HeaderMap::from_iter(sum)).await.unwrap();
    stream.finish().await.unwrap();
    let mut piece = stream.recv_data().await.unwrap().unwrap();
    assert_eq!(piece.copy_to_bytes(piece.remaining()), "second");
    drop(piece);
    assert!(stream.recv_data().await.unwrap().is_none());
    assert_eq!(stream.recv_trailers().await.unwrap().unwrap()["x-sum"], "11");
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let fixture = start("").await;
    let mut client = Client::start(&fixture).await;
    let mut streams = Vec::new();
    for at in 0..60 {
        let mut stream =
            client.begin(Request::builder().uri(format!("/{at}")).body(()).unwrap()).await.unwrap();
        stream.finish().await.unwrap();
        streams.push(stream);
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        let (response, _) = read(stream).await.unwrap();
        assert_eq!(Seen::of(response.body()).target, format!("/{at}"));
    }
}

#[tokio::test]
async fn clients_over_tls_are_told_of_http3() {
    let fixture = start("").await;
    let port = fixture.https.port();
    let response = fixture.client().request(get("/")).await.unwrap();
    assert_eq!(response.headers()["alt-svc"], format!("h3=\":{port}\"; ma=86400").as_str());
    let mut stream = tokio::net::TcpStream::connect(fixture.http).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut plain = String::new();
    stream.read_to_string(&mut plain).await.unwrap();
    assert!(plain.starts_with("HTTP/1.1 308"), "{plain}");
    assert!(!plain.to_ascii_lowercase().contains("alt-svc"), "{plain}");
    fixture.reload_listening("http3 = true\nhttp3_max_age_s = 0", ECHO).unwrap();
    let response = fixture.client().request(get("/")).await.unwrap();
    assert_eq!(response.headers()["alt-svc"], "clear");
    let error = fixture.reload_listening("", ECHO).unwrap_err();
    assert!(error.to_string().contains("`listen.http3` cannot change"), "{error}");
}

#[tokio::test]
async fn a_host_that_the_connection_was_not_made_for_is_refused() {
    let fixture = start("[[client_auth]]\nhosts = [\"b.test\"]\nca_file = \"DIR/a.pem\"\n").await;
    let mut client = Client::start_for(&fixture, "a.test").await;
    let ask = |host: &str| Request::builder().uri(format!("https://{host}/")).body(Bytes::new()).unwrap();
    assert_eq!(client.send(ask("a.test")).await.unwrap().status(), StatusCode::OK);
    let response = client.send(ask("localhost")).await.unwrap();
    assert_eq!(
        (response.status(), problem_code(&response).as_str()),
        (StatusCode::MISDIRECTED_REQUEST, "misdirected")
    );
    // A host whose clients are asked for a certificate is served over TCP alone.
    let mut client = Client::start_for(&fixture, "b.test").await;
    assert_eq!(client.send(ask("b.test")).await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn heads_and_bodies_that_are_too_large_are_refused() {
    let fixture = start("[limits]\nheader_bytes = 8192\nheader_count = 16\nmax_body = 1000").await;
    let mut client = Client::start(&fixture).await;
    let long = Request::builder().uri("/").header("x-long", "a".repeat(9_000)).body(Bytes::new()).unwrap();
    assert_eq!(client.send(long).await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let mut many = Request::builder().uri("/");
    for at in 0..17 {
        many = many.header(format!("x-{at}"), "a");
    }
    let many = many.body(Bytes::new()).unwrap();
    assert_eq!(client.send(many).await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let response = client.send(post("/", vec![0; 1_001])).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.send(get("/")).await.unwrap().status(), StatusCode::OK, "the connection goes on");
}

#[tokio::test]
async fn limits_go_by_the_address_of_the_client() {
    let fixture =
        start("[limits]\nconnections_per_ip = 1\n[limits.rate_limit]\nrequests = 1\nwindow_ms = 3600000")
            .await;
    let mut client = Client::start(&fixture).await;
    assert_eq!(client.send(get("/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(client.send(get("/")).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(connect(&fixture, "localhost").await.is_err());
}

#[tokio::test]
async fn access_lists_hold() {
    let fixture = start("[limits]\ndeny = [\"127.0.0.1/32\"]").await;
    let mut client = Client::start(&fixture).await;
    assert_eq!(client.send(get("/")).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn connect_is_refused() {
    let fixture = start("").await;
    let mut client = Client::start(&fixture).await;
    let request = Request::builder().method(Method::CONNECT).uri("https://localhost/");
    // The client's library sends `:authority` alone.
    let response = client.send(request.body(Bytes::new()).unwrap()).await;
    assert!(response.as_ref().map_or(true, |response| response.status().is_client_error()), "{response:?}");
    assert_eq!(client.send(get("/")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn new_certificates_are_shown_to_new_connections() {
    let fixture = start("").await;
    let mut old = Client::start(&fixture).await;
    write_certificate(fixture.dir.path(), "a", &["localhost"]);
    fixture.gateway.certificates.reload().unwrap();
    assert!(connect(&fixture, "localhost").await.is_err(), "the new certificate signs itself");
    assert_eq!(old.send(get("/")).await.unwrap().status(), StatusCode::OK);
}
