//! Reload: what a new configuration replaces, what it leaves alone, and when it is taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::any;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::harness::*;
use crate::gateway::{ReloadError, Verdict};

/// Everything to the upstream `name`, which refuses at once when nobody listens.
fn all_to(name: &str) -> String {
    format!(
        "[[upstreams]]\nname = \"{name}\"\naddresses = [\"unix:DIR/{name}.sock\"]\nrestart_patience_ms = 0\n\
         [[routes]]\npath_prefix = \"/\"\nupstream = \"{name}\"\n"
    )
}

fn saying(text: &'static str) -> Router {
    Router::new().fallback(any(move || async move { text }))
}

async fn body_of(fixture: &Fixture, path: &str) -> Bytes {
    fixture.client().request(get(path)).await.unwrap().into_body()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_where_it_began_and_the_next_request_goes_the_new_way() {
    let mut fixture = Fixture::start(&all_to("old")).await;
    let (pieces, source) = mpsc::channel::<&'static str>(4);
    let source = Arc::new(tokio::sync::Mutex::new(Some(source)));
    let streaming = Router::new().fallback(any(move || {
        let source = source.clone();
        async move {
            let source = source.lock().await.take().unwrap();
            let pieces = stream::unfold(source, |mut source| async move {
                source.recv().await.map(|piece| (Ok::<_, std::convert::Infallible>(piece), source))
            });
            Response::new(Body::from_stream(pieces))
        }
    }));
    fixture.serve("old", streaming);
    fixture.serve("new", saying("new"));
    let mut sender = fixture.http2().await;
    let uri = format!("https://{}/stream", fixture.authority());
    let request = http::Request::get(uri).body(http_body_util::Full::default()).unwrap();
    let mut answer = sender.send_request(request).await.unwrap().into_body();
    pieces.send("before, ").await.unwrap();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "before, ");
    let changes = fixture.reload(&all_to("new")).unwrap();
    assert_eq!((changes.upstreams_new, changes.upstreams_removed), (vec!["new".into()], vec!["old".into()]));
    assert_eq!(changes.routes_changed, ["/"]);
    assert_eq!(body_of(&fixture, "/").await, "new");
    pieces.send("after").await.unwrap();
    drop(pieces);
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "after");
}

#[tokio::test]
async fn a_tunnel_survives_a_reload_that_removes_its_route() {
    let mut fixture = Fixture::start(&all_to("old")).await;
    let listener = tokio::net::UnixListener::bind(fixture.socket("old")).unwrap();
    let _upstream = JoinSet::from_iter([async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            .await
            .unwrap();
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    }]);
    fixture.serve("new", saying("new"));
    let mut tunnel = fixture.connect("localhost", &[b"http/1.1"]).await;
    tunnel
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tunnel.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    fixture.reload(&all_to("new")).unwrap();
    assert_eq!(body_of(&fixture, "/").await, "new");
    tunnel.write_all(b"still here").await.unwrap();
    let mut echoed = [0u8; 10];
    tokio::time::timeout(PATIENCE, tunnel.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(&echoed, b"still here");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_leaves_the_old_one() {
    let mut fixture = Fixture::start(&all_to("old")).await;
    fixture.serve("old", saying("old"));
    let mut gone = fixture.config(&all_to("new"));
    gone.certificates[0].key = Some(fixture.dir.path().join("nowhere.key"));
    let refused = fixture.gateway.apply(gone, Instant::now()).unwrap_err();
    assert!(matches!(refused, ReloadError::Certificates(_)), "{refused:?}");
    let mut moved = fixture.config(&all_to("new"));
    moved.listen.workers = std::num::NonZeroUsize::new(7);
    let refused = fixture.gateway.apply(moved, Instant::now()).unwrap_err().to_string();
    assert!(refused.contains("`listen.workers`") && refused.contains("restart"), "{refused}");
    let mut nowhere = fixture.config(&all_to("new"));
    nowhere.routes[0].upstream = Some("nobody".to_owned());
    let refused = fixture.gateway.apply(nowhere, Instant::now()).unwrap_err();
    assert!(matches!(refused, ReloadError::Build(_)), "{refused:?}");
    assert_eq!(body_of(&fixture, "/").await, "old");
}

/// Serves `text` on a unix socket and counts the connections it accepts.
async fn counting(socket: std::path::PathBuf, accepted: Arc<AtomicUsize>) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        accepted.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            let service = TowerToHyperService::new(saying("counted"));
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // How its connections end is not what is tested.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[tokio::test]
async fn an_unchanged_upstream_keeps_its_connections_and_a_changed_one_gets_new_ones() {
    let more = all_to("old");
    let fixture = Fixture::start(&more).await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let _upstream = JoinSet::from_iter([counting(fixture.socket("old"), accepted.clone())]);
    while !fixture.socket("old").exists() {
        tokio::task::yield_now().await;
    }
    // One connection to the gateway stays on one worker, so one connection behind it is enough.
    let client = fixture.client();
    let ask = async |connections: usize| {
        for _ in 0..3 {
            assert_eq!(client.request(get("/")).await.unwrap().into_body(), "counted");
        }
        assert_eq!(accepted.load(Ordering::Relaxed), connections);
    };
    ask(1).await;
    let unchanged = format!("{more}timeout_ms = 7000\n{}", all_to("new").replace("\"/\"", "\"/new\""));
    let changes = fixture.reload(&unchanged).unwrap();
    assert_eq!(changes.upstreams_kept, ["old"]);
    assert_eq!((changes.routes_added, changes.routes_changed), (vec!["/new".into()], vec!["/".into()]));
    ask(1).await;
    let changed = more.replace("restart_patience_ms = 0", "restart_patience_ms = 1");
    assert_eq!(fixture.reload(&changed).unwrap().upstreams_new, ["old"]);
    ask(2).await;
}

#[tokio::test]
async fn an_allowance_that_is_used_up_is_not_renewed_by_a_reload() {
    let limited = format!("{}rate_limit = {{ requests = 2, window_ms = 600000 }}\n", all_to("old"));
    let mut fixture = Fixture::start(&limited).await;
    fixture.serve("old", saying("old"));
    let client = fixture.client();
    let before = format!("{}{limited}", all_to("new").replace("\"/\"", "\"/new\""));
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::OK);
    fixture.reload(&before).unwrap();
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

const WATCH: Duration = Duration::from_secs(30);

async fn ask_times(fixture: &Fixture, times: usize, status: StatusCode) {
    let client = fixture.client();
    for _ in 0..times {
        assert_eq!(client.request(get("/")).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn a_configuration_that_makes_requests_fail_is_taken_back() {
    let watch = "[reload]\nmin_requests = 10\n";
    let mut fixture = Fixture::start(&format!("{}{watch}", all_to("good"))).await;
    fixture.serve("good", saying("good"));
    ask_times(&fixture, 10, StatusCode::OK).await;
    fixture.reload(&format!("{}{watch}", all_to("bad"))).unwrap();
    ask_times(&fixture, 9, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(fixture.gateway.judge(Instant::now()), Verdict::Open, "nine requests are too few");
    // Another one that is no better does not make the first the standard.
    fixture.reload(&format!("{}{watch}", all_to("worse"))).unwrap();
    ask_times(&fixture, 10, StatusCode::SERVICE_UNAVAILABLE).await;
    let verdict = fixture.gateway.judge(Instant::now());
    assert_eq!(verdict, Verdict::RolledBack { share: 1.0, before: 0.0 });
    ask_times(&fixture, 10, StatusCode::OK).await;
    assert_eq!(fixture.gateway.judge(Instant::now() + 2 * WATCH), Verdict::Open, "once is enough");
}

#[tokio::test]
async fn a_configuration_that_does_well_or_no_worse_stays() {
    let watch = "[reload]\nmin_requests = 10\n";
    let mut fixture = Fixture::start(&format!("{}{watch}", all_to("bad"))).await;
    ask_times(&fixture, 5, StatusCode::SERVICE_UNAVAILABLE).await;
    fixture.reload(&format!("{}{watch}", all_to("worse"))).unwrap();
    ask_times(&fixture, 10, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(fixture.gateway.judge(Instant::now()), Verdict::Open, "as bad as before is no regression");
    assert_eq!(fixture.gateway.judge(Instant::now() + WATCH), Verdict::Kept);
    fixture.serve("good", saying("good"));
    fixture.reload(&format!("{}{watch}", all_to("good"))).unwrap();
    ask_times(&fixture, 10, StatusCode::OK).await;
    assert_eq!(fixture.gateway.judge(Instant::now() + WATCH), Verdict::Kept);
}
