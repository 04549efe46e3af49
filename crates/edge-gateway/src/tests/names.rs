//! Upstreams that are known by DNS names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::{Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;

use super::harness::*;
use super::origin::{Authority, Origin};

/// An upstream of this name and a route to it. The port of the name is nobody's: addresses bring theirs.
fn named(keys: &str) -> String {
    format!(
        "[[upstreams]]\nname = \"app\"\naddresses = [\"app.internal:1\"]\nresolve_interval_ms = 100\n{keys}\n\
         [[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\ntimeout_ms = 8000\n"
    )
}

/// An upstream that answers with `text`.
async fn saying(text: &'static str, tls: Option<Arc<rustls::ServerConfig>>) -> Origin {
    let router = Router::new().fallback(any(move || async move { text }));
    Origin::start(tls, move |_, stream| {
        let service = TowerToHyperService::new(router.clone());
        async move {
            // Its errors reach the requests.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn text(response: &Response<Bytes>) -> String {
    String::from_utf8(response.body().to_vec()).unwrap()
}

/// Asks until the answer is this one; every answer must be 200.
async fn until_it_says(fixture: &Fixture, expected: &str) {
    let begun = Instant::now();
    let client = fixture.client();
    loop {
        let response = client.request(get("/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        if text(&response) == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", text(&response));
    }
}

#[tokio::test]
async fn addresses_come_and_go_with_the_name_and_no_request_is_lost() {
    let (one, two) = (saying("one", None).await, saying("two", None).await);
    let fixture = Fixture::start(&named("")).await;
    fixture.names.set("app.internal", &[one.address]);
    let mut clients = JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for _ in 0..4 {
        let (client, stopped) = (fixture.client(), stopped.clone());
        clients.spawn(async move {
            let mut failed = Vec::new();
            while !*stopped.borrow() {
                let response = client.request(get("/")).await.unwrap();
                if response.status() != StatusCode::OK {
                    failed.push(text(&response));
                }
            }
            failed
        });
    }
    for (address, says) in [(&one, "one"), (&two, "two"), (&one, "one"), (&two, "two")] {
        fixture.names.set("app.internal", &[address.address]);
        until_it_says(&fixture, says).await;
    }
    fixture.names.set("app.internal", &[one.address, two.address]);
    until_it_says(&fixture, "one").await;
    until_it_says(&fixture, "two").await;
    stop.send(true).unwrap();
    assert_eq!(clients.join_all().await.concat(), Vec::<String>::new());
}

#[tokio::test]
async fn what_was_known_stays_while_the_name_has_no_answer() {
    let one = saying("one", None).await;
    let fixture = Fixture::start(&named("")).await;
    fixture.names.set("app.internal", &[one.address]);
    until_it_says(&fixture, "one").await;
    let looked_up = fixture.names.asked();
    fixture.names.set("app.internal", &[]);
    fixture.names.asked_again(looked_up + 2).await;
    until_it_says(&fixture, "one").await;
}

#[tokio::test]
async fn a_request_waits_for_the_first_answer_and_without_one_is_told_why() {
    let one = saying("one", None).await;
    let fixture = Fixture::start(&named("restart_patience_ms = 60000")).await;
    let client = fixture.client();
    let request = get("/");
    let (response, ()) = tokio::join!(client.request(request), async {
        fixture.names.asked_again(1).await;
        fixture.names.set("app.internal", &[one.address]);
    });
    assert_eq!(text(&response.unwrap()), "one");

    let fixture = Fixture::start(&named("restart_patience_ms = 0")).await;
    let response = fixture.client().request(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem_code(&response), "upstream_unavailable");
    let id = response.headers()["x-request-id"].to_str().unwrap();
    assert_eq!(fixture.gateway.recent.find(id).unwrap().reason, "upstream_unresolved");
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_a_name() {
    let one = saying("one", None).await;
    let fixture = Fixture::start(&named("")).await;
    fixture.names.set("app.internal", &[one.address]);
    until_it_says(&fixture, "one").await;
    fixture.names.set("app.internal", &[]);
    fixture.reload(&named("max_idle = 7\nrestart_patience_ms = 0")).unwrap();
    until_it_says(&fixture, "one").await;
}

#[tokio::test]
async fn an_address_that_refuses_is_passed_over_for_the_others_of_the_name() {
    let one = saying("one", None).await;
    let fixture = Fixture::start(&named("")).await;
    fixture.names.set("app.internal", &[nobody().await, one.address, nobody().await]);
    for _ in 0..10 {
        assert_eq!(text(&fixture.client().request(get("/")).await.unwrap()), "one");
    }
}

#[tokio::test]
async fn with_tls_the_name_is_what_the_certificate_must_have() {
    let authority = Authority::new();
    for (certificate, expected) in
        [("app.internal", StatusCode::OK), ("other.internal", StatusCode::BAD_GATEWAY)]
    {
        let tls = authority.server(&[certificate], &[b"http/1.1"], None);
        let origin = saying("one", Some(tls)).await;
        let keys = named("tls = { ca_file = \"DIR/ca.pem\" }");
        let fixture = Fixture::start_with_files(&keys, |dir| authority.write(dir, "ca")).await;
        fixture.names.set("app.internal", &[origin.address]);
        let response = fixture.client().request(get("/")).await.unwrap();
        assert_eq!(response.status(), expected, "{certificate}");
    }
}
