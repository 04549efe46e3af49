//! Export to a real sink on a unix socket: what it receives is decoded and compared.

#[cfg(test)]
#[path = "support/sink.rs"]
mod sink;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use quintet_http::Limits;
use quintet_telemetry::access::AccessLog;
use quintet_telemetry::http::HttpLayer;
use quintet_telemetry::{Settings, trace};
use quintet_types::SystemClock;
use sink::{Sink, attribute};
use tower::ServiceExt as _;
use tracing::Instrument as _;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

async fn handler() -> String {
    async {
        tracing::info!(item = "itm_1", "reserving");
        let mut headers = http::HeaderMap::new();
        trace::inject(&mut headers);
        let injected = headers.get("traceparent").and_then(|value| value.to_str().ok());
        assert_eq!(injected, trace::current_traceparent().as_deref());
        trace::current_traceparent().unwrap_or_default()
    }
    .instrument(tracing::info_span!("reserve"))
    .await
}

fn router() -> Router {
    let limits = Limits::default();
    let router = Router::new().route("/items/{id}", get(handler));
    quintet_http::middleware::identify(
        quintet_http::middleware::guard(router, &limits).layer(HttpLayer::default()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_becomes_spans_and_records_with_the_right_ids() {
    let sink = Sink::start();
    // The first answer is a refusal that asks to be tried again.
    sink.refuse(1, StatusCode::SERVICE_UNAVAILABLE);
    let settings = Settings { otlp: Some(sink.origin()), ..Settings::default() };
    let telemetry = quintet_telemetry::init_with(
        "core-api",
        "1.2.3",
        &settings,
        SystemClock::shared(),
        Box::new(std::io::sink()),
    )
    .unwrap();

    let request = Request::get("/items/7?token=hunter2")
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .header("x-request-id", "req-42")
        .body(Body::empty())
        .unwrap();
    let response = router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let traceparent = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
    let missing = router().oneshot(Request::get("/nothing").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);

    AccessLog::new().log("request", "req-43", |fields| {
        fields.text("upstream", "core-api");
        fields.number("bytes", 7);
    });

    let spans = sink.spans(3).await;
    let logs = sink.logs(4).await;
    telemetry.shutdown(Duration::from_secs(5)).await;

    let server = spans.iter().find(|span| span.name == "GET /items/{id}").expect("a server span");
    let inner = spans.iter().find(|span| span.name == "reserve").expect("an inner span");
    assert_eq!(sink::hex(&server.trace_id), TRACE);
    assert_eq!(sink::hex(&server.parent_span_id), CALLER);
    assert_eq!(inner.trace_id, server.trace_id);
    assert_eq!(inner.parent_span_id, server.span_id);
    assert_eq!(server.kind, 2, "SPAN_KIND_SERVER");
    assert_eq!(attribute(&server.attributes, "http.route").as_deref(), Some("/items/{id}"));
    assert_eq!(attribute(&server.attributes, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(&server.attributes, "request.id").as_deref(), Some("req-42"));
    let expected = format!("00-{TRACE}-{}-01", sink::hex(&inner.span_id));
    assert_eq!(traceparent, expected.as_bytes());
    assert!(spans.iter().any(|span| span.name == "GET unmatched" && span.parent_span_id.is_empty()));

    let reserving = logs.iter().find(|log| sink::body(log) == "reserving").expect("the handler's event");
    assert_eq!(sink::hex(&reserving.trace_id), TRACE);
    assert_eq!(reserving.span_id, inner.span_id);
    assert_eq!(attribute(&reserving.attributes, "item").as_deref(), Some("itm_1"));
    assert_eq!(attribute(&reserving.attributes, "request.id").as_deref(), Some("req-42"));
    let access =
        logs.iter().find(|log| attribute(&log.attributes, "route").as_deref() == Some("/items/{id}"));
    let access = access.expect("an access log record");
    assert_eq!(access.span_id, server.span_id);
    assert_eq!(attribute(&access.attributes, "status").as_deref(), Some("200"));
    let line = logs.iter().find(|log| attribute(&log.attributes, "bytes").as_deref() == Some("7"));
    let line = line.expect("a record of the batched access log");
    assert_eq!((sink::body(line).as_str(), line.severity_text.as_str()), ("request", "INFO"));
    assert_eq!(attribute(&line.attributes, "upstream").as_deref(), Some("core-api"));
    assert_eq!(attribute(&sink.resource(), "service.name").as_deref(), Some("core-api"));
    assert!(!sink.received_text("hunter2"), "a query string was exported");

    let metrics = telemetry.render_metrics();
    for line in [
        r#"http_server_requests_total{route="/items/{id}",method="GET",status="200"} 1"#,
        r#"http_server_requests_total{route="unmatched",method="GET",status="404"} 1"#,
        r#"http_server_request_duration_seconds_bucket{route="/items/{id}",method="GET",le="10"} 1"#,
        r#"quintet_build_info{service="core-api",version="1.2.3"} 1"#,
        r#"quintet_telemetry_exported_total{signal="spans"} 3"#,
        "http_server_active_requests 0",
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    // The exporter's own requests made neither spans nor records.
    assert_eq!((sink.span_count(), sink.log_count()), (3, 4));
}
