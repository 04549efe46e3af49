//! What the server layer records of requests that do not go the usual way.

#[cfg(test)]
#[path = "support/memory.rs"]
mod memory;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use http::Request;
use memory::{Memory, value};
use quintet_telemetry::Settings;
use quintet_telemetry::http::{Detail, HttpLayer};
use quintet_types::SystemClock;
use tower::ServiceExt as _;

#[tokio::test]
async fn cut_off_odd_and_quiet_requests_are_recorded_as_such() {
    let output = Memory::default();
    let telemetry = quintet_telemetry::init_with(
        "core-api",
        "1.2.3",
        &Settings::default(),
        SystemClock::shared(),
        Box::new(output.clone()),
    )
    .unwrap();
    let router = |detail| {
        Router::new()
            .route("/stuck", get(std::future::pending::<()>))
            .route("/any", any(|| async { "ok" }))
            .layer(HttpLayer::new(detail))
    };
    let request =
        |method: &str, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).unwrap();

    let stuck = router(Detail::Full).oneshot(request("GET", "/stuck"));
    assert!(tokio::time::timeout(Duration::from_millis(10), stuck).await.is_err());
    router(Detail::Full).oneshot(request("BREW", "/any")).await.unwrap();
    router(Detail::MetricsOnly).oneshot(request("GET", "/any")).await.unwrap();

    let metrics = telemetry.render_metrics();
    let count = |labels: &str| value(&metrics, &format!("http_server_requests_total{{{labels}}}"));
    assert_eq!(count(r#"route="/stuck",method="GET",status="499""#), 1);
    assert_eq!(count(r#"route="/any",method="OTHER",status="200""#), 1);
    assert_eq!(count(r#"route="/any",method="GET",status="200""#), 1);
    assert_eq!(value(&metrics, "http_server_active_requests"), 0);
    telemetry.flush_logs(Duration::from_secs(10));
    let lines: Vec<serde_json::Value> =
        output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<_> = lines.iter().map(|line| &line["fields"]["status"]).collect();
    assert_eq!(statuses, [499, 200]);
    assert!(lines.iter().all(|line| line["trace_id"].is_string()));
}
