//! What clients may take: allowances by key, and networks.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use quintet_http::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::harness::*;

fn limited(route: &str) -> String {
    format!("{ECHO}{route}\n")
}

async fn ask(client: &Client, header: (&'static str, &str)) -> StatusCode {
    let request = Request::builder().uri("/").header(header.0, header.1).body(Bytes::new()).unwrap();
    client.request(request).await.unwrap().status()
}

const ONE: &str = "rate_limit = { requests = 1, window_ms = 600000, key = ";

#[tokio::test]
async fn each_value_of_a_header_has_its_own_allowance() {
    let mut fixture = Fixture::start(&limited(&format!("{ONE}\"header:X-Api-Key\" }}"))).await;
    fixture.serve("echo", echo());
    let client = fixture.client();
    for (key, expected) in [("a", 200), ("b", 200), ("a", 429), ("b", 429), ("c", 200)] {
        assert_eq!(ask(&client, ("x-api-key", key)).await, expected, "{key}");
    }
    // Without the header the client's address counts.
    assert_eq!(ask(&client, ("x-other", "d")).await, 200);
    assert_eq!(ask(&client, ("x-other", "e")).await, 429);
}

#[tokio::test]
async fn an_allowance_of_the_route_is_shared_by_all() {
    let mut fixture = Fixture::start(&limited(&format!("{ONE}\"route\" }}"))).await;
    fixture.serve("echo", echo());
    let client = fixture.client();
    assert_eq!(ask(&client, ("x-api-key", "a")).await, 200);
    assert_eq!(ask(&client, ("x-api-key", "b")).await, 429);
}

#[tokio::test]
async fn clients_of_a_denied_network_get_a_problem_that_says_so() {
    for (more, path, expected) in [
        (format!("{}[limits]\ndeny = [\"127.0.0.0/8\"]\n", limited("")), "/", Some("network_denied")),
        (format!("{}[limits]\nallow = [\"10.0.0.0/8\", \"127.0.0.1\"]\n", limited("")), "/", None),
        (limited("allow = [\"10.0.0.0/8\"]"), "/", Some("network_denied")),
        (limited("deny = [\"127.0.0.1/32\"]"), "/", Some("network_denied")),
        (limited("deny = [\"127.0.0.1/32\"]"), "/.gateway/healthz", None),
    ] {
        let mut fixture = Fixture::start(&more).await;
        fixture.serve("echo", echo());
        let answer = fixture.client().request(get(path)).await.unwrap();
        match expected {
            None => assert_eq!(answer.status(), StatusCode::OK, "{more}"),
            Some(code) => {
                assert_eq!(
                    (answer.status(), &*problem_code(&answer)),
                    (StatusCode::FORBIDDEN, code),
                    "{more}"
                );
            }
        }
    }
}

#[tokio::test]
async fn each_subject_has_its_own_allowance() {
    let more = "auth = \"token\"\nrate_limit = { requests = 1, window_ms = 600000, key = \"subject\" }\n\
                [identity]\nissuer = \"https://localhost/identity\"\njwks = \"unix:DIR/identity.sock\"\n";
    let mut fixture = Fixture::start(&limited(more)).await;
    fixture.serve("echo", echo());
    let issuer = fixture.issuer.clone();
    fixture.serve("identity", issuer.router());
    let client = fixture.client();
    let (one, two) = (issuer.bearer("usr_1", &[]), issuer.bearer("usr_2", &[]));
    // Until the keys have been fetched nobody is anybody.
    let first = loop {
        let status = ask(&client, ("authorization", &one)).await;
        if status != StatusCode::SERVICE_UNAVAILABLE {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(first, 200);
    for (bearer, expected) in [(&one, 429), (&two, 200), (&two, 429)] {
        assert_eq!(ask(&client, ("authorization", bearer)).await, expected);
    }
}

/// Room for eight requests, or two with the window of a body.
const MEMORY: &str = "[limits]\nmemory_per_ip = 1048576\n";

/// An upstream that answers when it may.
fn held(may: &Arc<Semaphore>) -> Router {
    let may = Arc::clone(may);
    Router::new().fallback(any(move |request: AxumRequest| {
        let may = Arc::clone(&may);
        async move {
            drop(request.into_body().collect().await);
            drop(may.acquire().await);
        }
    }))
}

async fn wait_until(what: impl Fn() -> bool) {
    let met = async {
        while !what() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap();
}

#[tokio::test]
async fn requests_beyond_the_memory_of_their_address_are_refused_until_others_are_over() {
    let mut fixture = Fixture::start(&format!("{ECHO}{MEMORY}")).await;
    let may = Arc::new(Semaphore::new(0));
    fixture.serve("echo", held(&may));
    let client = fixture.client();
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        waiting.spawn(async move { client.request(get("/")).await.unwrap().status() });
    }
    let gateway = Arc::clone(&fixture.gateway);
    let upstream = Arc::clone(&gateway.snapshot().upstreams[0]);
    wait_until(|| upstream.in_flight() == 8).await;
    assert_eq!(gateway.connections.memory(), (1 << 20, 1 << 20));
    let refused = client.request(get("/")).await.unwrap();
    assert_eq!(
        (refused.status(), problem_code(&refused).as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "client_memory")
    );
    assert!(refused.headers().contains_key("retry-after"));
    may.add_permits(8);
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    // What connections kept for their next requests is given back by the sweep.
    wait_until(|| gateway.connections.memory().0 == 0).await;
    assert_eq!(client.request(get("/")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn bodies_over_http2_count_with_their_windows() {
    let mut fixture = Fixture::start(&format!("{ECHO}{MEMORY}")).await;
    let may = Arc::new(Semaphore::new(0));
    fixture.serve("echo", held(&may));
    let mut sender = fixture.http2().await;
    let uri = format!("https://{}/", fixture.authority());
    let mut ask = |size: usize| {
        let body = http_body_util::Full::new(Bytes::from(vec![b'x'; size]));
        sender.send_request(Request::post(&uri).body(body).unwrap())
    };
    let (first, second) = (ask(300_000), ask(300_000));
    let mut both = JoinSet::new();
    both.spawn(first);
    both.spawn(second);
    let gateway = Arc::clone(&fixture.gateway);
    let upstream = Arc::clone(&gateway.snapshot().upstreams[0]);
    wait_until(|| upstream.in_flight() == 2).await;
    assert_eq!(gateway.connections.memory().0, 2 * (128 + 256) * 1024);
    assert_eq!(ask(300_000).await.unwrap().status(), 429);
    let small = ask(1_000);
    both.spawn(small);
    wait_until(|| upstream.in_flight() == 3).await;
    may.add_permits(3);
    while let Some(answer) = both.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    wait_until(|| gateway.connections.memory().0 == 0).await;
}

#[tokio::test]
async fn a_body_that_is_kept_for_a_retry_counts_while_it_is_kept() {
    let routed = format!("{ECHO}retries = {{ max_body = 65536 }}\n{MEMORY}");
    let mut fixture = Fixture::start(&routed).await;
    let may = Arc::new(Semaphore::new(0));
    fixture.serve("echo", held(&may));
    let client = fixture.client();
    let request = Request::put("/").body(Bytes::from(vec![b'x'; 50_000])).unwrap();
    let gateway = Arc::clone(&fixture.gateway);
    let kept = async {
        wait_until(|| gateway.connections.memory().0 == 128 * 1024 + 50_000).await;
        may.add_permits(1);
    };
    let (answer, ()) = tokio::join!(client.request(request), kept);
    assert_eq!(answer.unwrap().status(), 200);
    wait_until(|| gateway.connections.memory().0 == 0).await;
}

#[tokio::test]
async fn the_memory_of_an_address_may_be_unbounded_or_too_small() {
    let fixture = Fixture::start(&format!("{ECHO}[limits]\nmemory_per_ip = 0\n")).await;
    let config = fixture.config(&format!("{ECHO}[limits]\nmemory_per_ip = 1000\n"));
    let error = crate::config::Plan::new(&config).unwrap_err();
    assert!(error.to_string().contains("limits.memory_per_ip"), "{error}");
}
