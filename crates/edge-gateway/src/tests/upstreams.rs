//! Balance, affinity, health, retries and DNS of upstreams.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::routing::any;
use http::{Request, StatusCode};
use quintet_http::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::harness::*;

/// An upstream of three addresses and a route to it.
fn three(more: &str) -> String {
    format!(
        "[[upstreams]]\nname = \"all\"\n\
         addresses = [\"unix:DIR/one.sock\", \"unix:DIR/two.sock\", {{ address = \"unix:DIR/three.sock\", weight = 2 }}]\n\
         {more}\n[[routes]]\npath_prefix = \"/\"\nupstream = \"all\"\n"
    )
}

fn saying(text: &'static str) -> Router {
    Router::new().fallback(any(move || async move { text }))
}

fn serve_three(fixture: &mut Fixture) {
    for name in ["one", "two", "three"] {
        fixture.serve(name, saying(name));
    }
}

async fn ask(client: &Client, header: (&'static str, &str)) -> (String, Option<String>) {
    let request = Request::builder().uri("/").header(header.0, header.1).body(bytes::Bytes::new()).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
    (String::from_utf8(response.into_body().to_vec()).unwrap(), cookie)
}

#[tokio::test]
async fn round_robin_gives_each_address_its_weight() {
    let mut fixture = Fixture::start(&three("balance = \"round-robin\"")).await;
    serve_three(&mut fixture);
    let client = fixture.client();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // One connection to the gateway stays on one worker, and so on one turn.
    for _ in 0..40 {
        *counts.entry(ask(&client, ("x-a", "b")).await.0).or_default() += 1;
    }
    let expected = [("one", 10), ("three", 20), ("two", 10)];
    for ((name, count), (of, about)) in counts.iter().zip(expected) {
        assert!(name == of && count.abs_diff(about) <= 1, "{counts:?}");
    }
}

#[tokio::test]
async fn a_hashed_header_stays_and_only_a_dead_address_moves_its_keys() {
    let more = "balance = \"hash\"\nhash_key = \"header:X-User\"";
    let mut fixture = Fixture::start(&three(more)).await;
    fixture.serve("two", saying("two"));
    fixture.serve("three", saying("three"));
    let stop = fixture.serve("one", saying("one"));
    let client = fixture.client();
    let places = async || {
        let mut places = Vec::new();
        for user in 0..60 {
            places.push(ask(&client, ("x-user", &format!("user-{user}"))).await.0);
        }
        places
    };
    let before = places().await;
    assert_eq!(places().await, before);
    for name in ["one", "two", "three"] {
        assert!(before.iter().any(|place| place == name), "{name} has no key: {before:?}");
    }
    stop.cancel();
    std::fs::remove_file(fixture.socket("one")).unwrap();
    let after = places().await;
    for (before, after) in before.iter().zip(after) {
        assert!(after != "one" && (before == "one" || *before == after), "{before} became {after}");
    }
}

#[tokio::test]
async fn a_sticky_cookie_keeps_its_client_and_a_forged_one_does_not() {
    let sticky = "balance = \"round-robin\"\nsticky = { cookie = \"at\", key_file = \"DIR/sticky\" }";
    // The key is read with the configuration, so the gateway begins without it.
    let mut fixture = Fixture::start(&three("")).await;
    let key = fixture.dir.path().join("sticky");
    std::fs::write(&key, "07".repeat(32)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    fixture.reload(&three(sticky)).unwrap();
    serve_three(&mut fixture);
    let client = fixture.client();
    let (first, cookie) = ask(&client, ("x-a", "b")).await;
    let cookie = cookie.unwrap();
    for attribute in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    assert!(pair.starts_with("at=v1.") && !pair.contains("sock"), "{pair}");
    for _ in 0..10 {
        assert_eq!(ask(&client, ("cookie", pair)).await, (first.clone(), None));
    }
    let mut others = 0;
    for _ in 0..8 {
        let (place, cookie) = ask(&client, ("cookie", "at=v1.AAAA")).await;
        assert!(cookie.is_some(), "a client without a valid cookie gets one");
        others += usize::from(place != first);
    }
    assert!(others > 0);
}

/// A server that is well or not, as the test says, and counts who asks.
#[derive(Clone, Default)]
struct Patient {
    sick: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
}

impl Patient {
    fn router(&self, text: &'static str) -> Router {
        let patient = self.clone();
        let check = move || {
            patient.checks.fetch_add(1, Ordering::Relaxed);
            let sick = patient.sick.load(Ordering::Relaxed);
            async move { if sick { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK } }
        };
        Router::new().route("/healthz", any(check)).fallback(any(move || async move { text }))
    }

    /// Waits for `more` checks from now.
    async fn checked(&self, more: usize) {
        let until = self.checks.load(Ordering::Relaxed) + more;
        while self.checks.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let health =
        "health = { path = \"/healthz\", interval_ms = 100, timeout_ms = 10000, unhealthy_after = 2 }";
    let mut fixture = Fixture::start(&three(&format!("balance = \"round-robin\"\n{health}"))).await;
    let patient = Patient::default();
    fixture.serve("one", patient.router("one"));
    let well = Patient::default();
    fixture.serve("two", well.router("two"));
    fixture.serve("three", well.router("three"));
    let client = fixture.client();
    let reaches_one = async || {
        let mut reached = false;
        for _ in 0..12 {
            reached |= ask(&client, ("x-a", "b")).await.0 == "one";
        }
        reached
    };
    patient.checked(3).await;
    assert!(reaches_one().await);
    patient.sick.store(true, Ordering::Relaxed);
    // The third check begins after the second has been counted.
    patient.checked(4).await;
    assert!(!reaches_one().await);
    patient.sick.store(false, Ordering::Relaxed);
    patient.checked(4).await;
    assert!(reaches_one().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_begin_with_a_reload_and_end_with_their_upstream() {
    let health = "health = { path = \"/healthz\", interval_ms = 100, timeout_ms = 10000 }";
    let mut fixture = Fixture::start(&format!("{}[reload]\nwatch_ms = 0\n", three(""))).await;
    let patient = Patient::default();
    fixture.serve("one", patient.router("one"));
    fixture.reload(&format!("{}[reload]\nwatch_ms = 0\n", three(health))).unwrap();
    patient.checked(2).await;
    let checked = std::sync::Arc::downgrade(&fixture.gateway.snapshot().upstreams[0]);
    fixture.reload(&format!("{}[reload]\nwatch_ms = 0\n", three(""))).unwrap();
    let forgotten = async {
        while checked.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
}

/// Two addresses that take turns, and a route with `route` to them.
fn pair(upstream: &str, route: &str) -> String {
    format!(
        "[[upstreams]]\nname = \"pair\"\nbalance = \"round-robin\"\n\
         addresses = [\"unix:DIR/one.sock\", \"unix:DIR/two.sock\"]\n{upstream}\n\
         [[routes]]\npath_prefix = \"/\"\nupstream = \"pair\"\n{route}\n"
    )
}

fn hanging() -> Router {
    Router::new().fallback(any(std::future::pending::<()>))
}

async fn statuses(client: &Client, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(client.request(get("/")).await.unwrap().status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn a_503_goes_to_another_address_where_the_route_says_so() {
    for (route, all_answered) in [("retries = { on = [\"503\"] }", true), ("", false)] {
        let mut fixture = Fixture::start(&pair("", route)).await;
        fixture.serve("one", Router::new().fallback(any(|| async { StatusCode::SERVICE_UNAVAILABLE })));
        fixture.serve("two", saying("two"));
        let statuses = statuses(&fixture.client(), 10).await;
        assert_eq!(statuses.iter().all(|status| *status == 200), all_answered, "{route}: {statuses:?}");
    }
}

#[tokio::test]
async fn a_try_that_takes_too_long_goes_to_another_address() {
    let mut fixture = Fixture::start(&pair("", "retries = { per_try_timeout_ms = 1000 }")).await;
    fixture.serve("one", hanging());
    fixture.serve("two", saying("two"));
    assert_eq!(statuses(&fixture.client(), 4).await, [200; 4]);
}

#[tokio::test]
async fn all_tries_together_end_at_the_routes_deadline() {
    let route = "timeout_ms = 400\nretries = { attempts = 10, per_try_timeout_ms = 150 }";
    let mut fixture = Fixture::start(&pair("", route)).await;
    let requests = Arc::new(AtomicUsize::new(0));
    for name in ["one", "two"] {
        let requests = Arc::clone(&requests);
        let hang = move || {
            requests.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>()
        };
        fixture.serve(name, Router::new().fallback(any(hang)));
    }
    assert_eq!(statuses(&fixture.client(), 1).await, [504]);
    let sent = requests.load(Ordering::Relaxed);
    assert!(sent <= 3, "{sent} tries of 150 ms do not fit into 400 ms");
}

#[tokio::test]
async fn a_slow_get_is_hedged_and_a_post_is_not() {
    let mut fixture = Fixture::start(&pair("", "timeout_ms = 3000\nhedge_after_ms = 50")).await;
    fixture.serve("one", hanging());
    fixture.serve("two", saying("two"));
    let client = fixture.client();
    assert_eq!(statuses(&client, 4).await, [200; 4]);
    let mut posted = Vec::new();
    for _ in 0..2 {
        posted.push(client.request(post("/", "x")).await.unwrap().status().as_u16());
    }
    posted.sort_unstable();
    assert_eq!(posted, [200, 504]);
}

/// An upstream that closes its connection once it has read a request up to `end`, the first `failures` times, and
/// counts the requests.
async fn breaking_after(socket: PathBuf, end: &'static [u8], failures: usize, seen: Arc<AtomicUsize>) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(end) {
            read.push(stream.read_u8().await.unwrap());
        }
        if seen.fetch_add(1, Ordering::Relaxed) >= failures {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone";
            stream.write_all(answer).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_body_is_sent_again_only_if_that_is_harmless_and_it_was_kept() {
    for (method, room, answered) in [("PUT", 100, true), ("PUT", 4, false), ("POST", 100, false)] {
        let route = format!("retries = {{ max_body = {room} }}");
        let fixture = Fixture::start(&format!("{ECHO}{route}\n")).await;
        let seen = Arc::new(AtomicUsize::new(0));
        let upstream = breaking_after(fixture.socket("echo"), b"the-body", 1, Arc::clone(&seen));
        let _upstream = JoinSet::from_iter([upstream]);
        while !fixture.socket("echo").exists() {
            tokio::task::yield_now().await;
        }
        let request = Request::builder().method(method).uri("/").body("the-body".into()).unwrap();
        let status = fixture.client().request(request).await.unwrap().status();
        let expected = if answered { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
        assert_eq!(status, expected, "{method} {room}");
        assert_eq!(seen.load(Ordering::Relaxed), if answered { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_request_beyond_the_bound_waits_and_one_beyond_those_is_refused() {
    let more = "max_in_flight = 1\nmax_pending = 1\npending_timeout_ms = 60000";
    let mut fixture = Fixture::start(&ECHO.replace("[[routes]]", &format!("{more}\n[[routes]]"))).await;
    let (entered, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let router = {
        let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
        Router::new().fallback(any(move || {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            async move {
                entered.add_permits(1);
                leave.acquire().await.unwrap().forget();
            }
        }))
    };
    fixture.serve("echo", router);
    let mut asking = JoinSet::new();
    let client = fixture.client();
    for _ in 0..3 {
        let client = client.clone();
        asking.spawn(async move { client.request(get("/")).await.unwrap().status().as_u16() });
    }
    assert_eq!(asking.join_next().await.unwrap().unwrap(), 503);
    leave.add_permits(2);
    assert_eq!(asking.join_all().await, [200, 200]);
    assert_eq!(entered.available_permits(), 2);
}
