//! Routes on real sockets: what they match, and what they make of a request.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::harness::*;

const UPSTREAMS: &str = "[[upstreams]]\nname = \"echo\"\naddresses = [\"unix:DIR/echo.sock\"]\n\
                         [[upstreams]]\nname = \"other\"\naddresses = [\"unix:DIR/other.sock\"]\n";

fn routes(routes: &str) -> String {
    format!("{UPSTREAMS}{routes}")
}

fn saying(text: &'static str) -> Router {
    Router::new().fallback(any(move || async move { text }))
}

#[tokio::test]
async fn captures_end_up_in_the_path_and_in_headers_of_both_sides() {
    let more = routes(
        r#"
        [[routes]]
        path_template = "/users/{id}/{rest*}"
        upstream = "echo"
        rewrite_path = "/v2/{rest}"
        request_headers = { remove = ["x-gone"], set = { x-user = "{id} at {client_ip}", host = "inner" }, add = { via = "edge" } }
        response_headers = { remove = ["x-upstream"], set = { x-request = "{request_id}", cache-control = "no-cache" } }
        "#,
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve("echo", echo());
    let request = Request::builder()
        .uri("/users/7/orders/1?q=%7e")
        .header("x-gone", "1")
        .header("x-user", "forged")
        .header("via", "client")
        .body(Bytes::new())
        .unwrap();
    let response = fixture.client().request(request).await.unwrap();
    let seen = Seen::of(response.body());
    assert_eq!(seen.target, "/v2/orders/1?q=%7e");
    assert_eq!(seen.header("x-user"), Some("7 at 127.0.0.1"));
    assert_eq!(seen.header("host"), Some("inner"));
    assert_eq!(seen.header("x-forwarded-host"), Some(&*fixture.authority()));
    assert_eq!(seen.header("x-gone"), None);
    assert_eq!(seen.headers["via"], ["client", "edge"]);
    assert_eq!(response.headers()["x-request"], response.headers()["x-request-id"]);
    assert_eq!(response.headers()["cache-control"], "no-cache");
    assert!(!response.headers().contains_key("x-upstream"));
}

#[tokio::test]
async fn redirects_and_fixed_answers_need_no_upstream() {
    let more = routes(
        r#"
        [[routes]]
        path_prefix = "/old"
        redirect = { to = "https://new.example/{tail}", status = 301 }
        [[routes]]
        path_exact = "/robots.txt"
        respond = { body = "User-agent: *\n" }
        response_headers = { set = { cache-control = "max-age=60" } }
        [[routes]]
        path_prefix = "/closed"
        respond = { status = 503, body = "{}", content_type = "application/json" }
        "#,
    );
    let fixture = Fixture::start(&more).await;
    let client = fixture.client();
    let moved = client.request(get("/old/a/b?x=1")).await.unwrap();
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(moved.headers()["location"], "https://new.example/a/b?x=1");
    let robots = client.request(get("/robots.txt")).await.unwrap();
    assert_eq!((robots.status(), &robots.body()[..]), (StatusCode::OK, &b"User-agent: *\n"[..]));
    assert_eq!(robots.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(robots.headers()["cache-control"], "max-age=60");
    let closed = client.request(post("/closed/x", "a body that nobody reads")).await.unwrap();
    assert_eq!((closed.status(), &closed.body()[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"{}"[..]));
    assert_eq!(closed.headers()["content-type"], "application/json");
    let head = Request::builder().method(Method::HEAD).uri("/robots.txt").body(Bytes::new()).unwrap();
    let head = client.request(head).await.unwrap();
    assert_eq!((head.status(), head.body().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn conditions_choose_between_routes_and_a_wrong_method_is_405() {
    let more = routes(
        r#"
        [[routes]]
        path_prefix = "/"
        methods = ["GET", "PUT"]
        upstream = "echo"
        [[routes]]
        path_prefix = "/"
        methods = ["GET", "PUT"]
        headers = [{ name = "x-canary", pattern = "^v[0-9]+$" }]
        upstream = "other"
        [[routes]]
        path_prefix = "/"
        methods = ["GET"]
        query = [{ name = "side", value = "b" }, { name = "not", present = false }]
        upstream = "other"
        "#,
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve("echo", saying("first"));
    fixture.serve("other", saying("other"));
    let client = fixture.client();
    let canary =
        |value: &str| Request::builder().uri("/").header("x-canary", value).body(Bytes::new()).unwrap();
    for (request, expected) in [
        (get("/"), "first"),
        (canary("v12"), "other"),
        (canary("v"), "first"),
        (get("/x?side=b"), "other"),
        (get("/x?side=b&not"), "first"),
        (get("/x?side=c"), "first"),
    ] {
        let asked = format!("{request:?}");
        assert_eq!(client.request(request).await.unwrap().into_body(), expected, "{asked}");
    }
    let refused = client.request(post("/", "")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(problem_code(&refused), "method_not_allowed");
    assert_eq!(refused.headers()["allow"], "GET, PUT");
}

#[tokio::test]
async fn a_wildcard_serves_the_hosts_below_it() {
    let more = routes(
        "[[routes]]\npath_prefix = \"/\"\nupstream = \"echo\"\n\
         [[routes]]\npath_prefix = \"/\"\nhosts = [\"*.wild.test\"]\nupstream = \"other\"\n",
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve("echo", saying("any host"));
    fixture.serve("other", saying("wildcard"));
    for (host, expected) in [("x.wild.test", "wildcard"), ("a.test", "any host")] {
        let mut stream = fixture.connect(host, &[b"http/1.1"]).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(answer.ends_with(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_client_stays_on_its_side_of_a_split() {
    let more = routes(
        "[[routes]]\npath_prefix = \"/\"\nsplit_by = { cookie = \"who\" }\n\
         split = [{ upstream = \"echo\", weight = 50 }, { upstream = \"other\", weight = 50 }]\n",
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve("echo", saying("a"));
    fixture.serve("other", saying("b"));
    let client = fixture.client();
    let ask = async |who: usize| {
        let request = Request::builder().uri("/").header("cookie", format!("who=user-{who}"));
        client.request(request.body(Bytes::new()).unwrap()).await.unwrap().into_body()
    };
    let mut sides = std::collections::BTreeMap::new();
    for who in 0..40 {
        let side = ask(who).await;
        assert_eq!(ask(who).await, side, "user-{who}");
        *sides.entry(side).or_insert(0) += 1;
    }
    assert!(sides.len() == 2 && sides.values().all(|&count| count > 5), "{sides:?}");
}

/// An upstream that tells what it got, and answers when told to.
fn telling(told: mpsc::Sender<String>, may_answer: Arc<tokio::sync::Semaphore>) -> Router {
    Router::new().fallback(any(move |request: AxumRequest| {
        let (told, may_answer) = (told.clone(), may_answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let text = format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
            told.send(text).await.unwrap();
            may_answer.acquire().await.unwrap().forget();
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }))
}

#[tokio::test]
async fn a_mirror_gets_copies_that_never_matter_to_the_client() {
    let more = routes(
        "[[routes]]\npath_prefix = \"/\"\nupstream = \"echo\"\n\
         mirror = { upstream = \"other\", max_in_flight = 1, max_body = 10 }\n",
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve("echo", saying("first"));
    let (told, mut copies) = mpsc::channel(16);
    let may_answer = Arc::new(tokio::sync::Semaphore::new(0));
    fixture.serve("other", telling(told, may_answer.clone()));
    let client = fixture.client();
    let ask = async |request| {
        let answer = client.request(request).await.unwrap();
        assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"first"[..]));
    };
    let snapshot = fixture.gateway.snapshot();
    let mirror = snapshot.router.routes()[0].mirror.as_ref().unwrap();
    let a_place_is_free = async || {
        while mirror.permit().is_none() {
            tokio::task::yield_now().await;
        }
    };
    ask(post("/much", "12345678901")).await;
    ask(post("/little", "1234567890")).await;
    assert_eq!(copies.recv().await.unwrap(), "POST /little 1234567890", "the larger body is not copied");
    // The mirror does not answer yet, so its one place is taken.
    ask(get("/full")).await;
    may_answer.add_permits(1);
    a_place_is_free().await;
    ask(get("/after")).await;
    assert_eq!(copies.recv().await.unwrap(), "GET /after ", "there was no place for the one before");
    may_answer.add_permits(1);
    a_place_is_free().await;
    // Drain does not wait for a copy that nobody answers.
    ask(get("/last")).await;
    assert_eq!(copies.recv().await.unwrap(), "GET /last ");
    fixture.drain().await;
}
