//! The sink as its callers see it: records in on one side, answers out on the other.

mod alerting;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use quintet_testkit::issuer::TestIssuer;
use quintet_types::{SharedClock, SystemClock};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::api::Api;
use crate::config::{QuerySection, Scrape};
use crate::dashboards::Dashboards;
use crate::head::SeriesLimits;
use crate::model::{
    Batch, Labels, LogRecord, MetricBatch, Resource, Sample, Span, SpanKind, SpanStatus, Value, stale,
};
use crate::notify::engine::Notifier;
use crate::notify::settings::Settings as NotifySettings;
use crate::peers::Peers;
use crate::peers::settings::FleetSection;
use crate::scrape::{Target, Targets};
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::{Storage, StorageLimits, SyncMode};

/// A small storage that is ready to be written.
pub(crate) fn storage(directory: &Path, disk: Arc<dyn Disk>) -> Arc<Storage> {
    let limits = StorageLimits {
        directory: directory.to_owned(),
        retention: Duration::from_hours(24),
        max_bytes: 64 << 20,
        memory_budget_bytes: 32 << 20,
        free_bytes_floor: 0,
        sync: SyncMode::Interval,
        series: SeriesLimits { total: 1000, per_metric: 500, late_millis: 60_000 },
        hold: crate::storage::Hold::default(),
    };
    let storage = Storage::open(limits, SystemClock::shared(), disk).unwrap();
    storage.replay();
    Arc::new(storage)
}

mod dashboards;
mod exemplars;
mod grafana_loki;
mod grafana_tempo;
mod peers;
mod small_apis;
mod tail;
mod traces;

struct Sink {
    storage: Arc<Storage>,
    router: Router,
    issuer: TestIssuer,
    token: String,
    shutdown: CancellationToken,
    clock: SharedClock,
    _directory: tempfile::TempDir,
}

fn sink() -> Sink {
    sink_of(TestIssuer::new(), &FleetSection::default())
}

/// A sink that trusts an issuer and asks others.
fn sink_of(issuer: TestIssuer, fleet: &FleetSection) -> Sink {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path(), Arc::new(RealDisk));
    let target = Scrape::new("core-api", "http://127.0.0.1:1".parse().unwrap());
    let shutdown = CancellationToken::new();
    let targets = Arc::new(Targets::new(vec![Arc::new(Target::fixed(target).unwrap().unwrap())]));
    let api = Arc::new(Api::new(
        Arc::clone(&storage),
        targets,
        Arc::default(),
        Arc::new(
            Notifier::open(
                &NotifySettings::default(),
                "",
                &directory.path().join("alerts"),
                SystemClock::shared(),
            )
            .unwrap(),
        ),
        Arc::new(Peers::new(fleet).unwrap()),
        QuerySection::default(),
        shutdown.clone(),
    ));
    let dashboards = Arc::new(Dashboards::open(&directory.path().join("dashboards")).unwrap());
    let router = crate::app::router(api, dashboards, issuer.verifier());
    let token = issuer.bearer("usr_1", &["telemetry:read"]);
    Sink { storage, router, issuer, token, shutdown, clock: SystemClock::shared(), _directory: directory }
}

impl Sink {
    async fn send(&self, request: Request<Body>) -> (StatusCode, Json) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 4 << 20).await.unwrap();
        (
            status,
            serde_json::from_slice(&body)
                .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(&body).into())),
        )
    }

    async fn get(&self, path: &str) -> (StatusCode, Json) {
        let request = Request::get(path).header("authorization", &self.token).body(Body::empty()).unwrap();
        self.send(request).await
    }

    async fn ok(&self, path: &str) -> Json {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    fn now_nanos(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap()
    }

    /// One request through gateway, core-api and worker, with a log line in each.
    fn story(&self) {
        let now = self.now_nanos();
        for (number, (service, kind)) in [
            ("edge-gateway", SpanKind::Server),
            ("core-api", SpanKind::Server),
            ("async-worker", SpanKind::Consumer),
        ]
        .into_iter()
        .enumerate()
        {
            let id = u8::try_from(number + 1).unwrap();
            let resource = Arc::new(Resource {
                service: service.into(),
                attributes: vec![("service.version".into(), Value::Text("0.1.0".into()))],
            });
            let request_id = ("request.id".to_owned(), Value::Text("req-42".into()));
            let attributes = if id < 3 { vec![request_id] } else { vec![] };
            let start = now - 1_000_000_000 + i64::from(id) * 1_000_000;
            let span = Span {
                trace_id: [5; 16],
                span_id: [id; 8],
                parent: (id > 1).then(|| [id - 1; 8]),
                name: format!("step {id}"),
                kind,
                start,
                end: start + 2_000_000,
                status: if id == 3 { SpanStatus::Error } else { SpanStatus::Unset },
                attributes: attributes.clone(),
                ..Span::default()
            };
            self.storage.append_spans(&Batch { groups: vec![(Arc::clone(&resource), vec![span])] }).unwrap();
            let record = LogRecord {
                time: start,
                severity: if id == 3 { 17 } else { 9 },
                body: format!("{service} did step {id}"),
                scope: "access".into(),
                trace_id: Some([5; 16]),
                span_id: Some([id; 8]),
                attributes,
            };
            self.storage.append_logs(&Batch { groups: vec![(resource, vec![record])] }).unwrap();
        }
    }

    fn sample(&self, text: &[(&str, &str)], seconds_ago: i64, value: f64) {
        let labels: Labels = text.iter().copied().collect();
        let time = self.clock.now().as_millisecond() - seconds_ago * 1000;
        let batch = MetricBatch { samples: vec![Sample { labels, time, value }], ..MetricBatch::default() };
        self.storage.append_metrics(&batch).unwrap();
    }
}

const TRACE: &str = "05050505050505050505050505050505";

const ROUTES: [&str; 65] = [
    "/telemetry/v1/fleet",
    "/telemetry/v1/events",
    "/telemetry/v1/traces/req-42",
    "/telemetry/prometheus/api/v1/query?query=up",
    "/telemetry/prometheus/api/v1/query_range?query=up",
    "/telemetry/prometheus/api/v1/series?match[]=up",
    "/telemetry/prometheus/api/v1/labels",
    "/telemetry/prometheus/api/v1/label/job/values",
    "/telemetry/prometheus/api/v1/metadata",
    "/telemetry/prometheus/api/v1/query_exemplars?query=up",
    "/telemetry/prometheus/api/v1/status/buildinfo",
    "/telemetry/prometheus/api/v1/rules",
    "/telemetry/prometheus/api/v1/alerts",
    "/telemetry/prometheus/api/v1/alertmanagers",
    "/telemetry/prometheus/api/v1/targets",
    "/telemetry/prometheus/api/v1/status/config",
    "/telemetry/prometheus/api/v1/status/flags",
    "/telemetry/prometheus/api/v1/status/runtimeinfo",
    "/telemetry/prometheus/api/v1/status/walreplay",
    "/telemetry/prometheus/api/v1/format_query",
    "/telemetry/prometheus/api/v1/parse_query",
    "/telemetry/prometheus/api/v1/scrape_pools",
    "/telemetry/prometheus/api/v1/targets/metadata",
    "/telemetry/prometheus/-/healthy",
    "/telemetry/prometheus/-/ready",
    "/telemetry/alertmanager/api/v2/alerts",
    "/telemetry/alertmanager/api/v2/alerts/groups",
    "/telemetry/alertmanager/api/v2/silences",
    "/telemetry/alertmanager/api/v2/silence/x",
    "/telemetry/alertmanager/api/v2/receivers",
    "/telemetry/alertmanager/api/v2/status",
    "/telemetry/loki/api/v1/query_range",
    "/telemetry/loki/api/v1/query",
    "/telemetry/loki/api/v1/labels",
    "/telemetry/loki/api/v1/label/level/values",
    "/telemetry/jaeger/api/services",
    "/telemetry/jaeger/api/operations?service=a",
    "/telemetry/jaeger/api/traces",
    "/telemetry/loki/api/v1/series",
    "/telemetry/loki/api/v1/index/stats",
    "/telemetry/loki/api/v1/index/volume",
    "/telemetry/loki/api/v1/index/volume_range",
    "/telemetry/loki/api/v1/detected_labels",
    "/telemetry/loki/api/v1/detected_fields",
    "/telemetry/loki/api/v1/detected_field/a/values",
    "/telemetry/loki/api/v1/patterns",
    "/telemetry/loki/api/v1/tail",
    "/telemetry/loki/loki/api/v1/labels",
    "/telemetry/loki/ready",
    "/telemetry/loki/api/v1/format_query",
    "/telemetry/loki/api/v1/status/buildinfo",
    "/telemetry/jaeger/api/dependencies",
    "/telemetry/v1/service-graph",
    "/telemetry/v1/logs/tail",
    "/telemetry/v1/dashboards",
    "/telemetry/v1/dashboards/one",
    "/telemetry/tempo/api/traces/ab",
    "/telemetry/tempo/api/v2/traces/ab",
    "/telemetry/tempo/api/search",
    "/telemetry/tempo/api/search/tags",
    "/telemetry/tempo/api/v2/search/tags",
    "/telemetry/tempo/api/search/tag/a/values",
    "/telemetry/tempo/api/v2/search/tag/a/values",
    "/telemetry/tempo/api/echo",
    "/telemetry/anything/else",
];

#[tokio::test]
async fn every_api_route_is_denied_without_a_token_and_without_the_scope() {
    let sink = sink();
    let weak = sink.issuer.bearer("usr_1", &["orders:read"]);
    let expired =
        format!("Bearer {}", sink.issuer.token("usr_1").scopes(&["telemetry:read"]).expires_in(-120).mint());
    for route in ROUTES {
        let (status, body) = sink.send(Request::get(route).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{route}: {body}");
        for (token, expected) in [(&weak, StatusCode::FORBIDDEN), (&expired, StatusCode::UNAUTHORIZED)] {
            let request = Request::get(route).header("authorization", token).body(Body::empty()).unwrap();
            let (status, body) = sink.send(request).await;
            assert_eq!(status, expected, "{route}: {body}");
        }
    }
}

#[tokio::test]
async fn the_console_needs_no_token_and_unknown_api_paths_do_not_become_pages() {
    let sink = sink();
    let page = Request::get("/logs").header("accept", "text/html").body(Body::empty()).unwrap();
    assert_eq!(sink.send(page).await.0, StatusCode::OK);
    let (status, body) = sink.get("/telemetry/anything/else").await;
    assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("route_not_found")));
}

#[tokio::test]
async fn a_trace_is_found_by_its_id_and_by_the_request_id() {
    let sink = sink();
    sink.story();
    for id in [TRACE, "req-42"] {
        let answer = sink.ok(&format!("/telemetry/v1/traces/{id}")).await;
        assert_eq!(answer["trace_ids"], json!([TRACE]));
        assert_eq!(answer["services"], json!(["async-worker", "core-api", "edge-gateway"]));
        let names: Vec<_> =
            answer["spans"].as_array().unwrap().iter().map(|span| span["name"].clone()).collect();
        assert_eq!(names, ["step 1", "step 2", "step 3"]);
        assert_eq!(answer["logs"], 3);
    }
    assert_eq!(sink.get("/telemetry/v1/traces/none").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn jaeger_answers_in_its_own_shape() {
    let sink = sink();
    sink.story();
    let services = sink.ok("/telemetry/jaeger/api/services").await;
    assert_eq!(services["data"], json!(["async-worker", "core-api", "edge-gateway"]));
    let operations = sink.ok("/telemetry/jaeger/api/operations?service=core-api").await;
    assert_eq!(operations["data"], json!([{ "name": "step 2", "spanKind": "server" }]));
    let operations = sink.ok("/telemetry/jaeger/api/services/core-api/operations").await;
    assert_eq!(operations["data"], json!(["step 2"]));
    let trace = sink.ok(&format!("/telemetry/jaeger/api/traces/{TRACE}")).await;
    let spans = trace["data"][0]["spans"].as_array().unwrap().clone();
    assert_eq!(spans.len(), 3);
    assert_eq!(spans[0]["references"], json!([]));
    let parent = json!([{ "refType": "CHILD_OF", "traceID": TRACE, "spanID": "0101010101010101" }]);
    assert_eq!((&spans[1]["references"], &spans[1]["duration"]), (&parent, &json!(2000)));
    assert!(
        spans[2]["tags"]
            .as_array()
            .unwrap()
            .contains(&json!({ "key": "error", "type": "bool", "value": true }))
    );
    let process = spans[1]["processID"].as_str().unwrap();
    assert_eq!(trace["data"][0]["processes"][process]["serviceName"], "core-api");
    let (status, missing) = sink.get("/telemetry/jaeger/api/traces/ff").await;
    assert_eq!((status, &missing["errors"][0]["msg"]), (StatusCode::NOT_FOUND, &json!("trace not found")));
}

#[tokio::test]
async fn jaeger_searches_by_service_tags_duration_and_error() {
    let sink = sink();
    sink.story();
    for (query, found) in [
        ("service=core-api", 1),
        ("service=core-api&operation=step%202", 1),
        ("service=core-api&operation=step%203", 0),
        ("tags=%7B%22request.id%22%3A%22req-42%22%7D&lookback=1h", 1),
        ("tags=%7B%22request.id%22%3A%22other%22%7D", 0),
        ("service=async-worker&tags=%7B%22error%22%3A%22true%22%7D", 1),
        ("service=core-api&tags=%7B%22error%22%3A%22true%22%7D", 0),
        ("service=core-api&minDuration=1ms&maxDuration=3ms", 1),
        ("service=core-api&minDuration=1s", 0),
        ("service=core-api&start=0&end=1", 0),
    ] {
        let answer = sink.ok(&format!("/telemetry/jaeger/api/traces?{query}")).await;
        assert_eq!(answer["data"].as_array().unwrap().len(), found, "{query}");
    }
    assert_eq!(sink.get("/telemetry/jaeger/api/traces").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(sink.get("/telemetry/jaeger/api/traces?tags=x").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn loki_selects_lines_by_stream_text_and_field() {
    let sink = sink();
    sink.story();
    for (query, found) in [
        (r#"{service_name=~".+"}"#, 3),
        (r#"{service_name="core-api"}"#, 1),
        (r#"{service_name=~".+",level="error"}"#, 1),
        (r#"{service_name=~".+"} |= "step 2""#, 1),
        (r#"{service_name=~".+"} != "step 2""#, 2),
        (r#"{service_name=~".+"} |~ "step [12]""#, 2),
        (r#"{service_name=~".+"} !~ "step [12]""#, 1),
        // The worker's line has no request id of its own and belongs to the request by its trace.
        (r#"{service_name=~".+"} | request_id="req-42""#, 3),
        (r#"{service_name="async-worker"} | request_id="req-42""#, 1),
        (r#"{service_name=~".+"} | request_id="other""#, 0),
        (r#"{service_name=~".+"} | trace_id="05050505050505050505050505050505""#, 3),
        (r#"{service_name=~".+"} | scope_name="access" | service_version="0.1.0""#, 3),
        (r#"{service_name=~".+"} | scope_name!="access""#, 0),
    ] {
        let encoded = serde_urlencoded::to_string([("query", query)]).unwrap();
        let answer = sink.ok(&format!("/telemetry/loki/api/v1/query_range?{encoded}")).await;
        assert_eq!(
            (&answer["status"], &answer["data"]["resultType"]),
            (&json!("success"), &json!("streams"))
        );
        let lines: usize = answer["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stream| stream["values"].as_array().unwrap().len())
            .sum();
        assert_eq!(lines, found, "{query}");
    }
}

#[tokio::test]
async fn loki_orders_limits_and_describes() {
    let sink = sink();
    sink.story();
    let query = serde_urlencoded::to_string([("query", r#"{service_name=~".+"}"#)]).unwrap();
    let first = |answer: &Json| answer["data"]["result"][0]["values"][0][1].as_str().unwrap().to_owned();
    let newest = sink.ok(&format!("/telemetry/loki/api/v1/query_range?{query}&limit=1")).await;
    assert_eq!(first(&newest), "async-worker did step 3");
    assert_eq!(newest["data"]["result"].as_array().unwrap().len(), 1);
    let stream = &newest["data"]["result"][0]["stream"];
    assert_eq!(
        (&stream["service_name"], &stream["level"], &stream["trace_id"]),
        (&json!("async-worker"), &json!("error"), &json!(TRACE))
    );
    let oldest =
        sink.ok(&format!("/telemetry/loki/api/v1/query_range?{query}&limit=1&direction=forward")).await;
    assert_eq!(first(&oldest), "edge-gateway did step 1");
    let past = sink.ok(&format!("/telemetry/loki/api/v1/query_range?{query}&start=1&end=2")).await;
    assert_eq!(past["data"]["result"], json!([]));
    let labels = sink.ok("/telemetry/loki/api/v1/labels").await;
    assert_eq!(labels["data"], json!(["level", "service_name", "service_version"]));
    let levels = sink.ok("/telemetry/loki/api/v1/label/level/values").await;
    assert_eq!(levels["data"], json!(["error", "info"]));
    let probe = serde_urlencoded::to_string([("query", "vector(1)+vector(1)")]).unwrap();
    let probe = sink.ok(&format!("/telemetry/loki/api/v1/query?{probe}")).await;
    assert_eq!(probe["data"]["result"][0]["value"][1], "2");
    for bad in ["query=%7B", "query=rate(%7Ba%3D%22b%22%7D)", "query=%7Ba%3D%22b%22%7D&limit=100000"] {
        assert_eq!(
            sink.get(&format!("/telemetry/loki/api/v1/query_range?{bad}")).await.0,
            StatusCode::BAD_REQUEST
        );
    }
}

#[tokio::test]
async fn prometheus_answers_in_its_own_shape() {
    let sink = sink();
    for ago in [30, 20, 10] {
        sink.sample(&[("__name__", "up"), ("job", "core-api")], ago, 1.0);
    }
    sink.sample(&[("__name__", "gone"), ("job", "core-api")], 20, 1.0);
    sink.sample(&[("__name__", "gone"), ("job", "core-api")], 10, stale());
    let api = "/telemetry/prometheus/api/v1";
    let vector = sink.ok(&format!("{api}/query?query=up")).await;
    assert_eq!(vector["data"]["resultType"], "vector");
    assert_eq!(vector["data"]["result"][0]["metric"], json!({ "__name__": "up", "job": "core-api" }));
    assert_eq!(vector["data"]["result"][0]["value"][1], "1");
    let scalar = sink.ok(&format!("{api}/query?query=1%2B1&time=5.5")).await;
    assert_eq!(scalar["data"], json!({ "resultType": "scalar", "result": [5.5, "2"] }));
    assert_eq!(sink.ok(&format!("{api}/query?query=gone")).await["data"]["result"], json!([]));
    let matrix = sink.ok(&format!("{api}/query?query=up%5B1m%5D")).await;
    assert_eq!(matrix["data"]["result"][0]["values"].as_array().unwrap().len(), 3);
    let now = sink.clock.now().as_second();
    let range = format!("{api}/query_range?query=sum(up)&start={}&end={now}&step=10s", now - 60);
    let range = sink.ok(&range).await;
    assert_eq!(
        (&range["data"]["resultType"], &range["data"]["result"][0]["metric"]),
        (&json!("matrix"), &json!({}))
    );
    let series = sink.ok(&format!("{api}/series?match[]=%7Bjob%3D%22core-api%22%7D")).await;
    assert_eq!(series["data"].as_array().unwrap().len(), 2);
    assert_eq!(sink.ok(&format!("{api}/labels")).await["data"], json!(["__name__", "job"]));
    assert_eq!(sink.ok(&format!("{api}/label/__name__/values")).await["data"], json!(["gone", "up"]));
    assert_eq!(sink.ok(&format!("{api}/label/job/values?match[]=up")).await["data"], json!(["core-api"]));
    assert!(sink.ok(&format!("{api}/status/buildinfo")).await["data"]["version"].is_string());
}

#[tokio::test]
async fn prometheus_tells_what_the_series_are_made_of() {
    let sink = sink();
    sink.sample(&[("__name__", "up"), ("zone", "a")], 1, 1.0);
    sink.sample(&[("__name__", "up"), ("zone", "b")], 1, 1.0);
    let api = "/telemetry/prometheus/api/v1/status/tsdb";
    let (status, body) = sink.get(&format!("{api}?limit=1")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["data"]["headStats"]["numSeries"], 2);
    assert_eq!(body["data"]["seriesCountByMetricName"], json!([{ "name": "up", "value": 2 }]));
    assert_eq!(body["data"]["labelValueCountByLabelName"], json!([{ "name": "zone", "value": 2 }]));
    assert_eq!(sink.get(&format!("{api}?limit=x")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn prometheus_takes_forms_and_reports_errors_in_its_own_shape() {
    let sink = sink();
    sink.sample(&[("__name__", "up")], 1, 1.0);
    let api = "/telemetry/prometheus/api/v1";
    let form = Request::post(format!("{api}/query"))
        .header("authorization", &sink.token)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("query=up"))
        .unwrap();
    let (status, body) = sink.send(form).await;
    assert_eq!((status, body["data"]["result"].as_array().unwrap().len()), (StatusCode::OK, 1));
    for (path, status, kind, message) in [
        ("query?query=sum(", 400, "bad_data", "parse error"),
        ("query?query=limitk(1,up)", 400, "bad_data", "not supported"),
        ("query?query=up&time=x", 400, "bad_data", "time"),
        ("query_range?query=up&start=0&end=10&step=0", 400, "bad_data", "step"),
        ("query_range?query=up&start=10&end=0&step=1", 400, "bad_data", "end"),
        ("query_range?query=up&start=0&end=100000&step=1", 400, "bad_data", "11,000 points"),
        ("query_range?query=up%5B5m%5D&start=0&end=10&step=1", 400, "bad_data", "range vector"),
        ("series", 400, "bad_data", "match[]"),
        ("query?query=label_replace(up,%22%22,%22%22,%22%22,%22%22)", 422, "execution", "label name"),
    ] {
        let (found, body) = sink.get(&format!("{api}/{path}")).await;
        assert_eq!(
            (found.as_u16(), &body["status"], &body["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{path}"
        );
        assert!(body["error"].as_str().unwrap().contains(message), "{path}: {body}");
    }
}

#[tokio::test]
async fn prometheus_answers_say_what_may_not_be_meant_so() {
    let sink = sink();
    sink.sample(&[("__name__", "depth")], 60, 1.0);
    sink.sample(&[("__name__", "depth")], 1, 2.0);
    let api = "/telemetry/prometheus/api/v1";
    let (_, plain) = sink.get(&format!("{api}/query?query=depth")).await;
    assert_eq!((plain.get("warnings"), plain.get("infos")), (None, None));
    let (status, body) = sink.get(&format!("{api}/query?query=quantile(2,%20rate(depth%5B5m%5D))")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body["warnings"],
        json!(["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"])
    );
    assert!(body["infos"][0].as_str().unwrap().ends_with(": \"depth\" (1:18)"), "{body}");
}

#[tokio::test]
async fn the_fleet_shows_figures_from_the_services_own_metrics() {
    let sink = sink();
    let job = ("job", "core-api");
    let now = sink.clock.now().as_second();
    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    let started = (now - 100) as f64;
    for (ago, count) in [(20, 0.0), (10, 50.0), (0, 100.0)] {
        sink.sample(&[("__name__", "http_server_requests_total"), ("status", "200"), job], ago, count);
        sink.sample(
            &[("__name__", "http_server_request_duration_seconds_bucket"), ("le", "0.1"), job],
            ago,
            count,
        );
        sink.sample(
            &[("__name__", "http_server_request_duration_seconds_bucket"), ("le", "+Inf"), job],
            ago,
            count,
        );
        sink.sample(&[("__name__", "process_resident_memory_bytes"), job], ago, 1e7);
        sink.sample(&[("__name__", "process_cpu_seconds_total"), job], ago, count / 100.0);
        sink.sample(&[("__name__", "process_start_time_seconds"), job], ago, started);
        sink.sample(&[("__name__", "quintet_build_info"), ("version", "0.1.0"), job], ago, 1.0);
    }
    let fleet = sink.ok("/telemetry/v1/fleet").await;
    let service = &fleet["services"][0];
    assert_eq!(
        (&service["name"], &service["version"], &service["ready"]),
        (&json!("core-api"), &json!("0.1.0"), &json!(false))
    );
    assert_eq!(service["reason"], "not scraped yet");
    assert_eq!(
        (&service["resident_memory_bytes"], &service["errors_per_second"]),
        (&json!(1e7), &json!(0.0))
    );
    let figure = |name: &str| service[name].as_f64().unwrap();
    assert!((3.3..6.0).contains(&figure("requests_per_second")), "{service}");
    assert!((3.0..6.0).contains(&figure("cpu_percent")), "{service}");
    assert!((40.0..60.0).contains(&figure("p50_ms")), "{service}");
    assert_eq!(service["sparklines"]["resident_memory_bytes"].as_array().unwrap().len(), 31);
}

#[tokio::test]
async fn live_updates_share_one_source_and_end_with_the_drain() {
    use futures_util::StreamExt;
    let sink = sink();
    let open = || async {
        let request = Request::get("/telemetry/v1/events")
            .header("authorization", &sink.token)
            .body(Body::empty())
            .unwrap();
        let response = sink.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.into_body().into_data_stream()
    };
    let (mut one, mut two) = (open().await, open().await);
    for stream in [&mut one, &mut two] {
        let event = stream.next().await.unwrap().unwrap();
        let text = std::str::from_utf8(&event).unwrap();
        let json: Json =
            serde_json::from_str(text.strip_prefix("event: fleet\ndata: ").unwrap().trim_end()).unwrap();
        assert_eq!(json["services"][0]["name"], "core-api");
    }
    sink.shutdown.cancel();
    assert!(one.next().await.is_none() && two.next().await.is_none());
}
