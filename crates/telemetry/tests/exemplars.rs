//! Exemplars lead from a bucket to the trace of a request in it, and to sampled traces alone.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use quintet_telemetry::Settings;
use quintet_telemetry::http::HttpLayer;
use quintet_types::SystemClock;
use tower::ServiceExt as _;
use tracing::Instrument as _;

const SAMPLED: &str = "0af7651916cd43dd8448eb211c80319c";
const UNSAMPLED: &str = "1bf7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn buckets_show_the_newest_sampled_request_in_them() {
    let telemetry = quintet_telemetry::init_with(
        "core-api",
        "1.2.3",
        &Settings::default(),
        SystemClock::shared(),
        Box::new(std::io::sink()),
    )
    .unwrap();
    let slow = || async { tokio::time::sleep(Duration::from_millis(30)).await };
    let router = || {
        Router::new()
            .route("/quick/{id}", get(|| async {}))
            .route("/slow", get(slow))
            .layer(HttpLayer::default())
    };
    let call = async |path: &str, trace: &str, flags: &str| {
        let request =
            Request::get(path).header("traceparent", format!("00-{trace}-b7ad6b7169203331-{flags}"));
        router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    };
    call("/quick/1", SAMPLED, "01").await;
    call("/quick/1", UNSAMPLED, "00").await;
    call("/slow", UNSAMPLED, "00").await;
    // A handle that is kept, as the worker keeps those of its jobs.
    let kept = metrics::histogram!("job_bytes", "kind" => "a\\b\"c");
    kept.record(1.0);
    async { kept.record(5000.0) }.instrument(tracing::info_span!("job")).await;

    let text = telemetry.render_openmetrics();
    let exemplars: Vec<_> = text.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(exemplars.len(), 2, "{exemplars:#?}");
    let of = |series: &str| *exemplars.iter().find(|line| line.starts_with(series)).unwrap();
    let request = of(r#"http_server_request_duration_seconds_bucket{route="/quick/{id}",method="GET",le="#);
    assert!(request.contains(&format!("# {{trace_id=\"{SAMPLED}\",span_id=\"")), "{request}");
    let job = of(r#"job_bytes_bucket{kind="a\\b\"c",le="16384"} 2 # {trace_id=""#);
    assert!(job.contains("\"} 5000 "), "{job}");
    assert!(text.ends_with("\n# EOF\n") && !text.contains("\n\n"), "{text}");
    assert!(text.contains("# TYPE http_server_requests counter\n"), "{text}");
    assert!(text.contains("# UNIT http_server_request_duration_seconds seconds\n"), "{text}");
    assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
    assert!(!telemetry.render_metrics().contains(" # {"), "Prometheus' own text knows none");
}
