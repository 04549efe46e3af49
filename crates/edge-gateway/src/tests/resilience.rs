//! Upstreams that restart, break off, hang or are gone; drain; balance over several addresses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{any, get as route_get, post as route_post};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_can_restart_without_a_failed_get() {
    let mut fixture = Fixture::start(ECHO).await;
    let mut stop = fixture.serve("echo", echo());
    let client = fixture.client();
    let restarting = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (client, restarting) = (client.clone(), restarting.clone());
        load.spawn(async move {
            let mut answered = 0;
            while restarting.load(std::sync::atomic::Ordering::Relaxed) {
                let response = client.request(get("/x")).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK, "{:?}", response.body());
                answered += 1;
            }
            answered
        });
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
        // The old process lets go of the socket before the new one has it.
        std::fs::remove_file(fixture.socket("echo")).unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        stop = fixture.serve("echo", echo());
    }
    restarting.store(false, std::sync::atomic::Ordering::Relaxed);
    let answered: usize = load.join_all().await.into_iter().sum();
    assert!(answered > 50, "{answered}");
}

/// An upstream that closes its connection after reading a request, the first `failures` times.
async fn breaking(socket: std::path::PathBuf, failures: usize) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    for at in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        if at >= failures {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_get_that_breaks_off_is_repeated_and_a_post_is_not() {
    let fixture = Fixture::start(ECHO).await;
    let _upstream = JoinSet::from_iter([breaking(fixture.socket("echo"), 2)]);
    while !fixture.socket("echo").exists() {
        tokio::task::yield_now().await;
    }
    let client = fixture.client();
    let refused = client.request(post("/", "x")).await.unwrap();
    assert_eq!(
        (refused.status(), &*problem_code(&refused)),
        (StatusCode::BAD_GATEWAY, "upstream_unavailable")
    );
    let repeated = client.request(get("/")).await.unwrap();
    assert_eq!((repeated.status(), &repeated.body()[..]), (StatusCode::OK, &b"done"[..]));
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_503_within_its_patience() {
    let more = ECHO.replace("[[routes]]", "restart_patience_ms = 200\n[[routes]]");
    let fixture = Fixture::start(&more).await;
    let client = fixture.client();
    let began = Instant::now();
    let response = client.request(get("/")).await.unwrap();
    assert_eq!(
        (response.status(), &*problem_code(&response)),
        (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable")
    );
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(began.elapsed() >= Duration::from_millis(200));
    let began = Instant::now();
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(began.elapsed() < Duration::from_millis(200), "a known outage is reported at once");
}

#[tokio::test]
async fn an_upstream_that_hangs_is_504() {
    let mut fixture = Fixture::start(&format!("{ECHO}timeout_ms = 200\n")).await;
    fixture.serve("echo", Router::new().fallback(any(std::future::pending::<()>)));
    let response = fixture.client().request(get("/")).await.unwrap();
    assert_eq!(
        (response.status(), &*problem_code(&response)),
        (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
    );
}

#[tokio::test]
async fn the_time_for_an_answer_runs_from_the_end_of_the_upload() {
    // Far below `body_idle_timeout_ms` and the client's patience.
    let mut fixture = Fixture::start(&format!("{ECHO}timeout_ms = 200\n")).await;
    fixture.serve("echo", Router::new().fallback(any(std::future::pending::<()>)));
    let response = fixture.client().request(post("/", "x")).await.unwrap();
    assert_eq!(
        (response.status(), &*problem_code(&response)),
        (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
    );
}

#[tokio::test]
async fn an_upstream_with_too_many_requests_is_not_given_more() {
    second_request_is_refused("max_in_flight = 1").await;
}

#[tokio::test]
async fn an_upstream_whose_bound_is_learnt_begins_with_few_requests() {
    second_request_is_refused("max_in_flight = 100\nadaptive = { min = 1 }").await;
}

async fn second_request_is_refused(bound: &str) {
    let more = ECHO.replace("[[routes]]", &format!("{bound}\n[[routes]]"));
    let mut fixture = Fixture::start(&more).await;
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = {
        let (entered, leave) = (entered.clone(), leave.clone());
        Router::new().fallback(any(move || {
            let (entered, leave) = (entered.clone(), leave.clone());
            async move {
                entered.notify_one();
                leave.notified().await;
            }
        }))
    };
    fixture.serve("echo", router);
    let client = fixture.client();
    let first = {
        let client = client.clone();
        JoinSet::from_iter([async move { client.request(get("/")).await.unwrap().status() }])
    };
    entered.notified().await;
    let refused = client.request(get("/")).await.unwrap();
    assert_eq!(
        (refused.status(), &*problem_code(&refused)),
        (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable")
    );
    leave.notify_one();
    assert_eq!(first.join_all().await, [StatusCode::OK]);
}

#[tokio::test]
async fn requests_spread_over_addresses_and_leave_out_the_dead_one() {
    let more = "[[upstreams]]\nname = \"all\"\naddresses = [\"unix:DIR/one.sock\", \"unix:DIR/two.sock\", \"unix:DIR/dead.sock\"]\n\
                [[routes]]\npath_prefix = \"/\"\nupstream = \"all\"\n";
    let mut fixture = Fixture::start(more).await;
    let (one, two) = (Counter::default(), Counter::default());
    fixture.serve("one", one.router());
    fixture.serve("two", two.router());
    let client = fixture.client();
    for _ in 0..100 {
        assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(one.total() + two.total(), 100);
    assert!(one.total() > 20 && two.total() > 20, "{} and {}", one.total(), two.total());
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_finishes_what_was_accepted_on_both_protocols() {
    let mut fixture = Fixture::start(ECHO).await;
    let release = Arc::new(Notify::new());
    let entered = Arc::new(tokio::sync::Semaphore::new(0));
    let router = {
        let (release, entered) = (release.clone(), entered.clone());
        Router::new().route(
            "/slow",
            route_get(move || {
                let (release, entered) = (release.clone(), entered.clone());
                async move {
                    let waiting = release.notified();
                    entered.add_permits(1);
                    waiting.await;
                    "finished"
                }
            }),
        )
    };
    fixture.serve("echo", router);
    let client = fixture.client();
    let mut http1 = JoinSet::new();
    for _ in 0..5 {
        let client = client.clone();
        http1.spawn(async move { client.request(get("/slow")).await.unwrap().into_body() });
    }
    let mut sender = fixture.http2().await;
    let uri = format!("https://{}/slow", fixture.authority());
    let http2: Vec<_> =
        (0..5).map(|_| sender.send_request(Request::get(&uri).body(Full::default()).unwrap())).collect();
    let mut http2 = http2
        .into_iter()
        .map(|answer| async move { answer.await.unwrap().into_body().collect().await.unwrap().to_bytes() })
        .collect::<JoinSet<_>>();
    entered.acquire_many(10).await.unwrap().forget();
    // These are connected, but have not said anything when the drain begins.
    let mut late = fixture.connect("localhost", &[b"http/1.1"]).await;
    fixture.shutdown.cancel();
    late.write_all(b"GET /.gateway/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = read_to_close(&mut late).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    release.notify_waiters();
    while let Some(body) = http1.join_next().await {
        assert_eq!(body.unwrap(), "finished");
    }
    while let Some(body) = http2.join_next().await {
        assert_eq!(body.unwrap(), "finished");
    }
    fixture.drain().await;
    assert!(tokio::net::TcpStream::connect(fixture.https).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_off_as_complete() {
    let fixture = Fixture::start(ECHO).await;
    let socket = fixture.socket("echo");
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let _upstream = JoinSet::from_iter([async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0u8; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    }]);
    assert!(fixture.client().request(get("/")).await.is_err());
}

#[tokio::test]
async fn a_post_with_a_large_body_arrives_whole_after_a_reused_connection() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve(
        "echo",
        Router::new().route("/", route_post(|body: Bytes| async move { body.len().to_string() })),
    );
    let client = fixture.client();
    for size in [0, 1, 100_000, 5, 900_000] {
        let response = client.request(post("/", vec![b'x'; size])).await.unwrap();
        assert_eq!(&response.body()[..], size.to_string().as_bytes());
    }
}
