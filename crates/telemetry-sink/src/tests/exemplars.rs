//! From a metric to a trace: Prometheus' `query_exemplars`, as Grafana asks for it.

use axum::routing::get;
use quintet_http::health::{self, MetricsForm};
use quintet_http::{Address, Limits, Origin};
use quintet_service::telemetry;

use super::*;
use crate::ingest::Receiver;
use crate::model::Exemplar;
use crate::scrape;

impl Sink {
    /// A bucket's sample and exemplar, so many seconds ago.
    fn exemplar(&self, le: &str, trace: &str, seconds_ago: i64, value: f64) -> i64 {
        let series: Labels =
            [("__name__", "http_seconds_bucket"), ("job", "core-api"), ("le", le)].into_iter().collect();
        let time = self.clock.now().as_millisecond() - seconds_ago * 1000;
        let exemplar = Exemplar {
            series: series.clone(),
            labels: [("trace_id", trace)].into_iter().collect(),
            value,
            time,
            timed: true,
        };
        let batch = MetricBatch {
            samples: vec![Sample { labels: series, time, value: 1.0 }],
            exemplars: vec![exemplar],
            ..MetricBatch::default()
        };
        self.storage.append_metrics(&batch).unwrap();
        time
    }
}

const PATH: &str = "/telemetry/prometheus/api/v1/query_exemplars";
/// `histogram_quantile(0.95, sum(rate(http_seconds_bucket{job="core-api"}[5m])) by (le))`, as a form has it.
const QUANTILE: &str = "histogram_quantile%280.95%2C+sum%28rate%28http_seconds_bucket%7Bjob%3D%22core-api%22%7D%5B5m%5D%29%29+by+%28le%29%29";

#[tokio::test]
async fn exemplars_of_an_expressions_series_are_given_as_prometheus_gives_them() {
    let sink = sink();
    let first = sink.exemplar("0.1", "aa", 30, 0.05);
    sink.exemplar("0.1", "bb", 20, 1e-7);
    sink.exemplar("+Inf", "cc", 20, 7.0);
    let now = sink.clock.now().as_millisecond();
    let seconds = |millis: i64| format!("{}.{:03}", millis / 1000, millis % 1000);
    // Grafana asks with a form and times in seconds with a fraction.
    let form = format!("query={QUANTILE}&start={}&end={}", seconds(first), seconds(now));
    let request = Request::post(PATH)
        .header("authorization", &sink.token)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.clone()))
        .unwrap();
    let (status, posted) = sink.send(request).await;
    assert_eq!(status, StatusCode::OK, "{posted}");
    assert_eq!(posted["status"], "success");
    assert_eq!(posted["data"].as_array().unwrap().len(), 2, "{posted}");
    let series = json!({ "__name__": "http_seconds_bucket", "job": "core-api", "le": "0.1" });
    assert_eq!(posted["data"][1]["seriesLabels"], series);
    let exemplars = &posted["data"][1]["exemplars"];
    assert_eq!(exemplars[0]["labels"], json!({ "trace_id": "aa" }));
    assert_eq!(exemplars[0]["value"], "0.05");
    assert_eq!(
        exemplars[0]["timestamp"].to_string(),
        seconds(first).trim_end_matches('0').trim_end_matches('.')
    );
    assert_eq!(exemplars[1]["value"], "0.0000001");
    assert_eq!(sink.ok(&format!("{PATH}?{form}")).await, posted);
    let later = seconds(first + 1);
    let late = sink.ok(&format!("{PATH}?query={QUANTILE}&start={later}")).await;
    assert_eq!(late["data"][1]["exemplars"].as_array().unwrap().len(), 1, "the start counts");
    let limited = sink.ok(&format!("{PATH}?query={QUANTILE}&start={later}&limit=1")).await;
    assert!(limited["warnings"][0].as_str().unwrap().contains("left out"), "{limited}");
    let other = sink.ok(&format!("{PATH}?query=up&start=0")).await;
    assert_eq!(other, json!({ "status": "success", "data": [] }));
    let none = sink.ok(&format!("{PATH}?query=1")).await;
    assert_eq!(none["data"], json!([]));
}

#[tokio::test]
async fn every_selector_of_an_expression_counts() {
    let sink = sink();
    sink.exemplar("0.1", "aa", 30, 0.05);
    for query in [
        "http_seconds_bucket",
        "-http_seconds_bucket%5B5m%3A1m%5D",
        "up+or+http_seconds_bucket",
        "topk%28scalar%28http_seconds_bucket%29%2Cup%29",
        "max_over_time%28rate%28http_seconds_bucket%5B5m%5D%29%5B1h%3A1m%5D%29",
        "http_seconds_bucket+offset+1d",
    ] {
        let (status, found) = sink.get(&format!("{PATH}?query={query}")).await;
        if query.starts_with('-') {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {found}");
            continue;
        }
        assert_eq!(found["data"][0]["exemplars"][0]["labels"]["trace_id"], "aa", "{query}: {found}");
    }
    for (query, word) in
        [("query=%28", "parse error"), ("query=up&start=x", "start"), ("query=up&start=5&end=4", "end")]
    {
        let (status, failed) = sink.get(&format!("{PATH}?{query}")).await;
        assert_eq!((status, &failed["errorType"]), (StatusCode::BAD_REQUEST, &json!("bad_data")), "{query}");
        assert!(failed["error"].as_str().unwrap().contains(word), "{failed}");
    }
}

/// Serves a router on a socket until the sink ends.
fn serve(sink: &Sink, directory: &Path, name: &str, router: Router) -> Origin {
    let path = directory.join(name);
    let listener = Address::Unix(path.clone()).bind().unwrap();
    let server = quintet_http::serve(listener, router, Limits::default(), sink.shutdown.clone());
    drop(tokio::runtime::Handle::current().spawn(server));
    Origin::Unix(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_services_slow_request_is_found_from_its_metric() {
    let (sink, directory) = (sink(), tempfile::tempdir().unwrap());
    let intake = serve(
        &sink,
        directory.path(),
        "otlp.sock",
        Receiver::new(Arc::clone(&sink.storage), 8 << 20).router(),
    );
    // One process: this service's telemetry, as each of the five sets it up.
    let settings = telemetry::Settings { otlp: Some(intake), ..telemetry::Settings::default() };
    let output = Box::new(std::io::sink());
    let telemetry =
        telemetry::init_with("core-api", "1.2.3", &settings, SystemClock::shared(), output).unwrap();
    let orders = Router::new().route("/orders/{id}", get(|| async { "ok" }));
    let orders = orders.layer(telemetry::http::HttpLayer::default());
    orders.oneshot(Request::get("/orders/7").body(Body::empty()).unwrap()).await.unwrap();
    let shown = telemetry.clone();
    let metrics = move |form| match form {
        MetricsForm::Prometheus => shown.render_metrics(),
        MetricsForm::OpenMetrics => shown.render_openmetrics(),
    };
    let admin = serve(&sink, directory.path(), "core-api.admin.sock", health::router(Vec::new, metrics));

    let health = scrape::once(Scrape::new("core-api", admin), &sink.storage).await;
    assert!(health.up && health.ready, "{health:?}");
    telemetry.shutdown(Duration::from_secs(10)).await;

    let query =
        "rate(http_server_request_duration_seconds_bucket%7Broute%3D%22/orders/%7Bid%7D%22%7D%5B5m%5D)";
    let found = sink.ok(&format!("{PATH}?query={query}")).await;
    let series = &found["data"][0]["seriesLabels"];
    assert_eq!((&series["job"], &series["method"]), (&json!("core-api"), &json!("GET")), "{found}");
    let exemplar = &found["data"][0]["exemplars"][0]["labels"];
    let trace = exemplar["trace_id"].as_str().unwrap();
    let shown = sink.ok(&format!("/telemetry/v1/traces/{trace}")).await;
    assert!(shown.to_string().contains("GET /orders/{id}"), "{shown}");
    assert!(shown.to_string().contains(exemplar["span_id"].as_str().unwrap()), "{shown}");
    let counted = sink.ok("/telemetry/prometheus/api/v1/query?query=http_server_requests_total").await;
    assert_eq!(counted["data"]["result"][0]["value"][1], "1", "{counted}");
    let described = sink.ok("/telemetry/prometheus/api/v1/metadata?metric=http_server_requests_total").await;
    assert_eq!(described["data"]["http_server_requests_total"][0]["type"], "counter", "{described}");
}
