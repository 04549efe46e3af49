//! TLS and HTTP/2 to upstreams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use super::harness::*;
use super::origin::{Authority, Origin, Stream};

/// An upstream at `address` with these keys, and a route to it for everything.
fn upstream(address: impl std::fmt::Display, keys: &str) -> String {
    format!(
        "[[upstreams]]\nname = \"up\"\naddresses = [\"{address}\"]\n{keys}\n\
         [[routes]]\npath_prefix = \"/\"\nupstream = \"up\"\ntimeout_ms = 8000\n"
    )
}

/// HTTP/2 over TLS, with the authority of the test.
const OVER_TLS: &str =
    "protocol = \"h2\"\ntls = { server_name = \"app.internal\", ca_file = \"DIR/ca.pem\" }";

async fn serve(router: Router, stream: Stream) {
    let service = TowerToHyperService::new(router);
    // Its errors reach the requests.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn start(tls: Option<Arc<rustls::ServerConfig>>, router: Router) -> Origin {
    Origin::start(tls, move |_, stream| serve(router.clone(), stream)).await
}

/// Says which version and authority a request came with.
fn versions() -> Router {
    Router::new().fallback(any(|request: axum::extract::Request| async move {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        format!("{:?} {authority} {}", request.version(), host.unwrap_or_default())
    }))
}

/// The reason that the gateway remembers for its answer.
fn reason(fixture: &Fixture, response: &Response<Bytes>) -> String {
    let id = response.headers()["x-request-id"].to_str().unwrap();
    fixture.gateway.recent.find(id).unwrap().reason
}

#[tokio::test]
async fn requests_share_one_verified_http2_connection() {
    let authority = Authority::new();
    let origin = start(Some(authority.server(&["app.internal"], &[b"h2"], None)), versions()).await;

    let mut fixture =
        Fixture::start_with_files(&upstream(origin.address, OVER_TLS), |dir| authority.write(dir, "ca"))
            .await;
    let sender = fixture.http2().await;
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let request = Request::builder()
            .uri(format!("https://{}/", fixture.authority()))
            .body(Full::<Bytes>::default())
            .unwrap();
        let mut sender = sender.clone();
        requests.spawn(async move {
            let response = sender.send_request(request).await.unwrap();
            String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
        });
    }
    let answers = requests.join_all().await;
    let expected = format!("HTTP/2.0 {} ", fixture.authority());
    assert!(answers.iter().all(|answer| *answer == expected), "{answers:?}");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_upstream_that_is_not_who_it_must_be_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (server, protocol, expected) in [
        (authority.server(&["app.internal"], &[b"h2", b"http/1.1"], None), "h1", StatusCode::OK),
        (authority.server(&["other.internal"], &[b"http/1.1"], None), "h1", StatusCode::BAD_GATEWAY),
        (other.server(&["app.internal"], &[b"http/1.1"], None), "h1", StatusCode::BAD_GATEWAY),
        (authority.server(&["app.internal"], &[], None), "h2", StatusCode::BAD_GATEWAY),
        (authority.server(&["app.internal"], &[b"http/1.1"], None), "h2", StatusCode::BAD_GATEWAY),
    ] {
        let origin = start(Some(server), versions()).await;

        let keys = format!(
            "protocol = \"{protocol}\"\ntls = {{ server_name = \"app.internal\", ca_file = \"DIR/ca.pem\" }}"
        );
        let fixture =
            Fixture::start_with_files(&upstream(origin.address, &keys), |dir| authority.write(dir, "ca"))
                .await;
        let response = fixture.client().request(get("/")).await.unwrap();
        assert_eq!(response.status(), expected, "{protocol}");
        if expected != StatusCode::OK {
            assert_eq!(problem_code(&response), "upstream_unavailable");
            assert_eq!(reason(&fixture, &response), "upstream_tls");
        }
    }
}

#[tokio::test]
async fn the_gateway_shows_its_certificate_and_verifies_by_address_without_a_name() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = authority.server(&["127.0.0.1"], &[b"http/1.1"], Some(&clients));
    let origin = start(Some(server), versions()).await;
    let certificate =
        "tls = { ca_file = \"DIR/ca.pem\", cert_file = \"DIR/own.pem\", key_file = \"DIR/own.key\" }";
    for (keys, expected) in
        [(certificate, StatusCode::OK), ("tls = { ca_file = \"DIR/ca.pem\" }", StatusCode::BAD_GATEWAY)]
    {
        let fixture = Fixture::start_with_files(&upstream(origin.address, keys), |dir| {
            authority.write(dir, "ca");
            clients.write_leaf(dir, "own", &["gateway.internal"]);
        })
        .await;
        let response = fixture.client().request(get("/")).await.unwrap();
        assert_eq!(response.status(), expected, "{keys}");
    }
}

#[tokio::test]
async fn a_new_authority_file_is_used_without_a_reload() {
    let (before, after) = (Authority::new(), Authority::new());
    let origin = start(Some(after.server(&["app.internal"], &[b"h2"], None)), versions()).await;
    let fixture =
        Fixture::start_with_files(&upstream(origin.address, OVER_TLS), |dir| before.write(dir, "ca")).await;
    let client = fixture.client();
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::BAD_GATEWAY);
    let transport = &fixture.gateway.snapshot().upstreams[0].transport;
    assert!(!transport.refresh().unwrap());
    std::fs::write(fixture.dir.path().join("ca.pem"), "no certificate").unwrap();
    assert!(transport.refresh().is_err());
    std::fs::write(fixture.dir.path().join("ca.pem"), format!("{}{}", before.pem, after.pem)).unwrap();
    assert!(transport.refresh().unwrap());
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_upstream_without_tls_is_asked_by_prior_knowledge() {
    let origin = start(None, versions()).await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let response = fixture.client().request(get("/")).await.unwrap();
    assert_eq!(response.body(), &format!("HTTP/2.0 {} ", fixture.authority()));
}

#[tokio::test]
async fn a_streamed_upload_and_an_http2_answer_pass_an_http1_client() {
    let echo = Router::new().fallback(any(|body: Bytes| async move { body }));
    let origin = start(None, echo).await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let body: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).take(900_000).collect();
    let response = fixture.client().request(post("/", body.clone())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(*response.body() == body);
}

#[tokio::test]
async fn an_upgrade_reaches_an_http2_upstream_over_http1() {
    let authority = Authority::new();
    let router = Router::new().fallback(any(|request: axum::extract::Request| async move {
        let upgrade = request.headers().contains_key("upgrade");
        (StatusCode::IM_A_TEAPOT, format!("{:?} {upgrade}", request.version()))
    }));
    let server = authority.server(&["app.internal"], &[b"http/1.1"], None);
    let origin = start(Some(server), router).await;

    let fixture =
        Fixture::start_with_files(&upstream(origin.address, OVER_TLS), |dir| authority.write(dir, "ca"))
            .await;
    let answer = fixture
        .raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 418") && answer.contains("HTTP/1.1 true"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_asked_in_the_upstreams_own_protocol() {
    let authority = Authority::new();
    let server = |router| {
        let tls = authority.server(&["app.internal"], &[b"h2"], None);
        start(Some(tls), router)
    };
    let checks = Arc::new(AtomicUsize::new(0));
    let checked = Arc::clone(&checks);
    let sick = Router::new()
        .route(
            "/healthz",
            any(move || {
                checked.fetch_add(1, Ordering::SeqCst);
                async { StatusCode::SERVICE_UNAVAILABLE }
            }),
        )
        .fallback(any(|| async { "sick" }));
    let sick = server(sick).await;
    let check = any(|request: axum::extract::Request| async move {
        if request.version() == Version::HTTP_2 {
            StatusCode::OK
        } else {
            StatusCode::HTTP_VERSION_NOT_SUPPORTED
        }
    });
    let well = Router::new().route("/healthz", check).fallback(any(|| async { "well" }));
    let well = server(well).await;
    let both = format!("{}\", \"{}", sick.address, well.address);
    let keys = format!(
        "{OVER_TLS}\npanic_percent = 0\nhealth = {{ path = \"/healthz\", interval_ms = 100, timeout_ms = 10000 }}"
    );
    let fixture = Fixture::start_with_files(&upstream(both, &keys), |dir| authority.write(dir, "ca")).await;
    // The third check begins after the first has been counted.
    while checks.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    let client = fixture.client();
    for _ in 0..10 {
        assert_eq!(client.request(get("/")).await.unwrap().body(), "well");
    }
}

mod streams;
