//! Several sinks that answer as one, over sockets.

mod spread;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::routing::post;
use tokio::task::JoinHandle;

use super::*;
use crate::model::Matcher;
use crate::promql::Source as _;

/// A sink that listens.
struct Other {
    sink: Sink,
    socket: PathBuf,
    server: JoinHandle<()>,
}

fn serve(router: Router, socket: &Path) -> JoinHandle<()> {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

fn other(directory: &Path, name: &str, fleet: &str) -> Other {
    let sink = sink_of(TestIssuer::new(), &toml::from_str(fleet).unwrap());
    let socket = directory.join(format!("{name}.sock"));
    std::fs::write(directory.join(format!("{name}.token")), sink.token.trim_start_matches("Bearer "))
        .unwrap();
    let server = serve(sink.router.clone(), &socket);
    Other { sink, socket, server }
}

/// The section for a peer whose socket and token are in the directory.
fn peer(directory: &Path, name: &str) -> String {
    let directory = directory.display();
    format!(
        "[[peers]]\nname = \"{name}\"\nurl = \"unix:{directory}/{name}.sock\"\n\
         access = {{ bearer_token_file = \"{directory}/{name}.token\" }}\n"
    )
}

/// A sink that asks these.
fn asking(directory: &Path, names: &[&str]) -> Sink {
    let fleet: String = names.iter().map(|name| peer(directory, name)).collect();
    let fleet: FleetSection = toml::from_str(&fleet).unwrap();
    fleet.validate().unwrap();
    sink_of(TestIssuer::new(), &fleet)
}

const QUERY: &str = "/telemetry/prometheus/api/v1/query?query=";

fn found(answer: &Json) -> Vec<(String, String)> {
    let series = answer["data"]["result"].as_array().unwrap();
    series
        .iter()
        .map(|one| (one["metric"].to_string(), one["value"][1].as_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test]
async fn samples_of_all_are_answered_as_if_one_sink_had_them() {
    let directory = tempfile::tempdir().unwrap();
    let (b, c) = (other(directory.path(), "b", ""), other(directory.path(), "c", ""));
    let (a, whole) = (asking(directory.path(), &["b", "c"]), sink());
    for ago in (0..60).rev() {
        for instance in ["x", "y", "z"] {
            let labels = [("__name__", "requests_total"), ("instance", instance), ("job", "shop")];
            let value = f64::from(60 - i32::try_from(ago).unwrap()) * 3.0;
            // Each has a part of x; some of it twice. Only b has y, only c has z.
            let holders: &[&Sink] = match (instance, ago) {
                ("y", _) => &[&b.sink],
                ("z", _) => &[&c.sink],
                (_, 0..20) => &[&a, &b.sink],
                (_, 20..40) => &[&b.sink],
                _ => &[&b.sink, &c.sink],
            };
            for sink in holders.iter().copied().chain([&whole]) {
                let time = 1_700_000_000_000 + (60 - ago) * 15_000;
                let labels: Labels = labels.into_iter().collect();
                let batch =
                    MetricBatch { samples: vec![Sample { labels, time, value }], ..MetricBatch::default() };
                assert_eq!(sink.storage.append_metrics(&batch).unwrap().kept, 1);
            }
        }
    }
    let window = "start=1700000000&end=1700000900";
    for path in [
        format!("query_range?query=requests_total&{window}&step=15"),
        format!("query_range?query=sum(rate(requests_total[1m]))&{window}&step=30"),
        format!("query_range?query=count_over_time(requests_total[2m])&{window}&step=60"),
        "query?query=sum by (instance) (increase(requests_total[10m]))&time=1700000900".replace(' ', "%20"),
        "query?query=requests_total[2m]&time=1700000900".to_owned(),
        format!("series?match[]=requests_total&{window}"),
        format!("labels?{window}"),
        format!("label/instance/values?match[]=requests_total&{window}"),
    ] {
        let path = format!("/telemetry/prometheus/api/v1/{path}");
        let (joined, one) = (a.ok(&path).await, whole.ok(&path).await);
        assert!(!joined["data"].to_string().contains("[]"), "{path}: {joined}");
        assert_eq!(joined, one, "{path}");
    }
}

#[tokio::test]
async fn series_under_one_name_are_told_apart_by_the_fleets_labels() {
    let directory = tempfile::tempdir().unwrap();
    let b = other(directory.path(), "b", "labels = { node = \"b\" }");
    let fleet = format!("labels = {{ node = \"a\" }}\n{}", peer(directory.path(), "b"));
    let a = sink_of(TestIssuer::new(), &toml::from_str(&fleet).unwrap());
    a.sample(&[("__name__", "up"), ("job", "core-api")], 1, 1.0);
    b.sink.sample(&[("__name__", "up"), ("job", "core-api")], 1, 0.0);
    b.sink.sample(&[("__name__", "up"), ("job", "own"), ("node", "elsewhere")], 1, 2.0);
    let at = |node: &str, job: &str| format!(r#"{{"__name__":"up","job":"{job}","node":"{node}"}}"#);
    let (one, other, third) = (at("a", "core-api"), at("b", "core-api"), at("elsewhere", "own"));
    let all = found(&a.ok(&format!("{QUERY}up")).await);
    assert_eq!(all, [(one, "1".into()), (other.clone(), "0".into()), (third.clone(), "2".into())]);
    let ask = async |matcher: &str| found(&a.ok(&format!("{QUERY}up%7Bnode{matcher}%7D")).await);
    assert_eq!(ask("=%22b%22").await, [(other, "0".into())]);
    assert_eq!(ask("!~%22a%7Cb%22").await, [(third, "2".into())]);
    let values = a.ok("/telemetry/prometheus/api/v1/label/node/values").await;
    assert_eq!(values["data"], json!(["a", "b", "elsewhere"]));
}

#[tokio::test]
async fn a_trace_and_its_lines_are_found_wherever_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let (b, c) = (other(directory.path(), "b", ""), other(directory.path(), "c", ""));
    let a = asking(directory.path(), &["b", "c"]);
    b.sink.story();
    let resource = Arc::new(Resource { service: "shop".into(), attributes: Vec::new() });
    let now = a.now_nanos() - 1_000_000_000;
    let line =
        |body: &str, time: i64| LogRecord { time, body: body.into(), severity: 9, ..LogRecord::default() };
    for (sink, bodies) in [(&a, vec!["here", "both"]), (&c.sink, vec!["both", "there", "not asked for"])] {
        for body in bodies {
            let time = now + i64::try_from(body.len()).unwrap();
            let groups = vec![(Arc::clone(&resource), vec![line(body, time)])];
            sink.storage.append_logs(&Batch { groups }).unwrap();
        }
    }
    let own = a.ok(&format!("/telemetry/v1/traces/{TRACE}")).await;
    assert_eq!(own["spans"].as_array().unwrap().len(), 3, "{own}");
    let jaeger = a.ok(&format!("/telemetry/jaeger/api/traces/{TRACE}")).await;
    assert_eq!(jaeger["data"][0]["spans"].as_array().unwrap().len(), 3);
    let tempo = a.ok(&format!("/telemetry/tempo/api/v2/traces/{TRACE}")).await;
    assert!(tempo["trace"]["resourceSpans"].as_array().unwrap().len() >= 3, "{tempo}");
    let (status, _) = a.get("/telemetry/jaeger/api/traces/06060606060606060606060606060606").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let query = "query=%7Bservice_name%3D%22shop%22%7D%20%7C~%20%22here%7Cboth%22";
    for (direction, expected) in
        [("forward", ["here", "both", "there"]), ("backward", ["there", "both", "here"])]
    {
        let lines = a.ok(&format!("/telemetry/loki/api/v1/query_range?{query}&direction={direction}")).await;
        let values = lines["data"]["result"][0]["values"].as_array().unwrap();
        let mut bodies: Vec<_> = values.iter().map(|value| value[1].as_str().unwrap()).collect();
        bodies.dedup();
        let mut expected = expected.to_vec();
        // "here" and "both" are of one nanosecond.
        for list in [&mut bodies, &mut expected] {
            list.sort_unstable();
        }
        assert_eq!(bodies, expected, "{lines}");
        assert_eq!(values.len(), 3, "a line of two sinks counts once: {lines}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_answer_makes_an_answer_partial_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (b, c) = (other(directory.path(), "b", ""), other(directory.path(), "c", ""));
    let a = asking(directory.path(), &["b", "c"]);
    for (sink, instance) in [(&a, "a"), (&b.sink, "b"), (&c.sink, "c")] {
        sink.sample(&[("__name__", "up"), ("instance", instance)], 1, 1.0);
    }
    let before = a.ok(&format!("{QUERY}sum(up)")).await;
    assert_eq!((found(&before), &before["warnings"]), (vec![("{}".into(), "3".into())], &Json::Null));
    c.server.abort();
    let _ = c.server.await;
    std::fs::remove_file(&c.socket).unwrap();
    let after = a.ok(&format!("{QUERY}sum(up)")).await;
    assert_eq!(found(&after), [("{}".into(), "2".into())]);
    assert_eq!(after["warnings"], json!(["the answer is partial: another sink of the fleet did not answer"]));
    let request = Request::get("/telemetry/jaeger/api/traces/06060606060606060606060606060606");
    let request = request.header("authorization", &a.token).body(Body::empty()).unwrap();
    let response = a.router.clone().oneshot(request).await.unwrap();
    assert!(response.headers().contains_key("quintet-partial"), "where an answer has no place for warnings");
}

#[tokio::test]
async fn sinks_that_ask_each_other_come_to_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let ring = |name: &str, next: &str| other(directory.path(), name, &peer(directory.path(), next));
    let (a, b) = (ring("a", "b"), ring("b", "a"));
    for (one, instance) in [(&a, "a"), (&b, "b")] {
        one.sink.sample(&[("__name__", "up"), ("instance", instance)], 1, 1.0);
    }
    let queries = (0..24).map(|turn| if turn % 2 == 0 { &a.sink } else { &b.sink });
    let path = format!("{QUERY}sum(up)");
    let answers = futures_util::future::join_all(queries.map(|sink| sink.ok(&path))).await;
    for answer in answers {
        assert_eq!(found(&answer), [("{}".into(), "2".into())], "{answer}");
        assert_eq!(answer["warnings"], Json::Null);
    }
}

#[tokio::test]
async fn a_page_is_full_although_two_sinks_have_the_same_lines() {
    let directory = tempfile::tempdir().unwrap();
    let b = other(directory.path(), "b", "");
    let a = asking(directory.path(), &["b"]);
    let resource = Arc::new(Resource { service: "shop".into(), attributes: Vec::new() });
    let now = a.now_nanos() - 1_000_000_000;
    for number in 0..10 {
        let record = LogRecord {
            time: now + number,
            body: format!("line {number}"),
            severity: 9,
            ..LogRecord::default()
        };
        for sink in [&a, &b.sink] {
            let groups = vec![(Arc::clone(&resource), vec![record.clone()])];
            sink.storage.append_logs(&Batch { groups }).unwrap();
        }
    }
    let path = "/telemetry/loki/api/v1/query_range?query=%7Bservice_name%3D%22shop%22%7D&limit=5";
    let lines = a.ok(path).await;
    let values = lines["data"]["result"][0]["values"].as_array().unwrap();
    let bodies: Vec<_> = values.iter().map(|value| value[1].as_str().unwrap()).collect();
    assert_eq!(bodies, ["line 9", "line 8", "line 7", "line 6", "line 5"]);
}

#[tokio::test]
async fn series_that_the_fleets_labels_make_equal_are_one() {
    let fleet: FleetSection = toml::from_str("labels = { node = \"a\" }").unwrap();
    let a = sink_of(TestIssuer::new(), &fleet);
    for (ago, labels) in [
        (30, &[("__name__", "x_total")][..]),
        (20, &[("__name__", "x_total"), ("node", "a")]),
        (10, &[("__name__", "x_total")]),
        (10, &[("__name__", "x_total"), ("node", "b")]),
    ] {
        a.sample(labels, ago, 1.0);
    }
    let counts = found(&a.ok(&format!("{QUERY}count_over_time(x_total%5B1m%5D)")).await);
    assert_eq!(counts, [(r#"{"node":"a"}"#.into(), "3".into()), (r#"{"node":"b"}"#.into(), "1".into())]);
}

#[tokio::test]
async fn a_slow_peer_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    // It takes connections and never answers.
    let silent = tokio::net::UnixListener::bind(directory.path().join("b.sock")).unwrap();
    std::fs::write(directory.path().join("b.token"), "token").unwrap();
    let fleet = peer(directory.path(), "b") + "timeout_ms = 100\n";
    let a = sink_of(TestIssuer::new(), &toml::from_str(&fleet).unwrap());
    a.sample(&[("__name__", "up")], 1, 1.0);
    let answer = a.ok(&format!("{QUERY}sum(up)")).await;
    assert_eq!(found(&answer), [("{}".into(), "1".into())]);
    assert!(answer["warnings"].to_string().contains("partial"));
    drop(silent);
}

#[tokio::test]
async fn tokens_are_fetched_kept_and_fetched_anew_when_they_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let b = other(directory.path(), "b", "");
    b.sink.sample(&[("__name__", "up"), ("instance", "b")], 1, 1.0);
    let fetched = Arc::new(AtomicUsize::new(0));
    let good = b.sink.token.trim_start_matches("Bearer ").to_owned();
    let bad = b.sink.issuer.token("usr_1").scopes(&["telemetry:read"]).expires_in(-120).mint();
    let endpoint = Router::new()
        .route(
            "/token",
            post(
                |State((fetched, bad, good)): State<(Arc<AtomicUsize>, String, String)>,
                 headers: http::HeaderMap,
                 form: String| async move {
                    assert_eq!(headers["authorization"], "Basic c2luay1hOnNlY3JldA==");
                    assert_eq!(form, "grant_type=client_credentials&scope=telemetry%3Aread");
                    let token = if fetched.fetch_add(1, Ordering::SeqCst) == 0 { bad } else { good };
                    axum::Json(
                        json!({ "access_token": token, "token_type": "Bearer", "expires_in": u64::MAX }),
                    )
                },
            ),
        )
        .with_state((Arc::clone(&fetched), bad, good));
    // An endpoint needs a path, which a unix socket's address has not.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
    let _endpoint = tokio::spawn(async move { axum::serve(listener, endpoint).await.unwrap() });
    std::fs::write(directory.path().join("secret"), "secret\n").unwrap();
    let fleet = format!(
        "[[peers]]\nname = \"b\"\nurl = \"unix:{0}/b.sock\"\n[peers.token]\nurl = \"http://127.0.0.1:{port}/token\"\n\
         access = {{ username = \"sink-a\", password_file = \"{0}/secret\" }}\n",
        directory.path().display()
    );
    let fleet: FleetSection = toml::from_str(&fleet).unwrap();
    fleet.validate().unwrap();
    let a = sink_of(TestIssuer::new(), &fleet);
    for _ in 0..3 {
        assert_eq!(found(&a.ok(&format!("{QUERY}sum(up)")).await), [("{}".into(), "1".into())]);
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 2, "the first was refused, the second is kept");
}

#[tokio::test]
async fn what_peers_hold_counts_against_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let b = other(directory.path(), "b", "");
    for ago in 0..10 {
        b.sink.sample(&[("__name__", "up"), ("instance", "b")], 20 - ago, 1.0);
    }
    let fleet: FleetSection = toml::from_str(&peer(directory.path(), "b")).unwrap();
    let (peers, storage) = (Peers::new(&fleet).unwrap(), sink().storage);
    let counts = tokio::task::spawn_blocking(move || {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let joined = peers.joined(&storage, deadline);
        let up = [Matcher::equal("__name__", "up")];
        [10, 9].map(|most| {
            let mut found = 0;
            let visited = joined.each(&up, 0, i64::MAX, most, &mut |series| {
                found += series.samples.len();
                Ok(())
            });
            visited.ok().map(|()| found)
        })
    });
    assert_eq!(counts.await.unwrap(), [Some(10), None]);
}

#[tokio::test]
async fn questions_of_others_need_the_scope_and_sense() {
    let sink = sink();
    let ask = async |what: &str, token: &str, body: &str| {
        let request = Request::post(format!("/telemetry/v1/read/{what}")).header("authorization", token);
        sink.send(request.body(Body::from(body.to_owned())).unwrap()).await.0
    };
    let weak = sink.issuer.bearer("usr_1", &["orders:read"]);
    for what in ["samples", "series", "exemplars", "catalog", "traces", "spans", "calls", "logs", "measures"]
    {
        assert_eq!(ask(what, "", "{}").await, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(what, &weak, "{}").await, StatusCode::FORBIDDEN);
        for body in ["", "{}", "[1]", r#"{"query":"{","from":0,"to":1,"limit":1,"forward":true}"#] {
            assert_eq!(ask(what, &sink.token, body).await, StatusCode::BAD_REQUEST, "{what} {body}");
        }
    }
    let regex = r#"{"matchers":[{"name":"a","op":"=~","value":"("}],"from":0,"to":1,"max_samples":1}"#;
    assert_eq!(ask("samples", &sink.token, regex).await, StatusCode::BAD_REQUEST);
}
