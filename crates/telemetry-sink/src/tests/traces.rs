//! Who calls whom, and Jaeger's requests as Grafana sends them.

use super::*;

fn graph_spans(sink: &Sink) {
    let now = sink.now_nanos();
    let mut number = 0u8;
    let mut span = |service: &str, parent: Option<u8>, kind: SpanKind, millis: i64, failed: bool| -> u8 {
        number += 1;
        let resource = Arc::new(Resource { service: service.into(), attributes: Vec::new() });
        let peer = (kind == SpanKind::Client).then(|| ("db.system".to_owned(), Value::Text("sqlite".into())));
        let span = Span {
            trace_id: [7; 16],
            span_id: [number; 8],
            parent: parent.map(|parent| [parent; 8]),
            name: "x".into(),
            kind,
            start: now - 1_000_000_000,
            end: now - 1_000_000_000 + millis * 1_000_000,
            status: if failed { SpanStatus::Error } else { SpanStatus::Unset },
            attributes: peer.into_iter().collect(),
            ..Span::default()
        };
        // Twice, as a batch that is sent again.
        for _ in 0..2 {
            sink.storage
                .append_spans(&Batch { groups: vec![(Arc::clone(&resource), vec![span.clone()])] })
                .unwrap();
        }
        number
    };
    let root = span("gateway", None, SpanKind::Server, 50, false);
    let first = span("api", Some(root), SpanKind::Server, 30, false);
    span("api", Some(first), SpanKind::Internal, 5, false);
    span("api", Some(root), SpanKind::Server, 10, true);
    span("api", Some(first), SpanKind::Client, 2, false);
    span("gone", Some(99), SpanKind::Server, 1, false);
}

#[tokio::test]
async fn the_service_graph_has_calls_between_services_once_each() {
    let sink = sink();
    graph_spans(&sink);
    let now = sink.clock.now().as_second();
    let path = format!("/telemetry/v1/service-graph?start={}&end={}", now - 60, now + 1);
    let graph = sink.ok(&path).await;
    assert_eq!(
        graph["edges"],
        json!([
            { "client": "api", "server": "sqlite", "calls": 1, "errors": 0, "p50_ms": 2.0, "p95_ms": 2.0 },
            { "client": "gateway", "server": "api", "calls": 2, "errors": 1, "p50_ms": 30.0, "p95_ms": 30.0 },
        ])
    );
    let node = |name: &str| {
        graph["nodes"].as_array().unwrap().iter().find(|node| node["service"] == name).unwrap().clone()
    };
    assert_eq!((&node("api")["requests"], &node("api")["errors"]), (&json!(2), &json!(1)));
    assert_eq!((&node("gateway")["requests"], &node("gone")["requests"]), (&json!(1), &json!(1)));
    assert_eq!(graph["truncated"], false);
    let past = sink.ok("/telemetry/v1/service-graph?start=1&end=2").await;
    assert_eq!((&past["nodes"], &past["edges"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn jaegers_dependencies_count_calls() {
    let sink = sink();
    graph_spans(&sink);
    let now = sink.clock.now().as_millisecond() + 1000;
    let answer = sink.ok(&format!("/telemetry/jaeger/api/dependencies?endTs={now}&lookback=3600000")).await;
    assert_eq!(
        answer["data"],
        json!([
            { "parent": "api", "child": "sqlite", "callCount": 1 },
            { "parent": "gateway", "child": "api", "callCount": 2 },
        ])
    );
    let (status, _) = sink.get("/telemetry/jaeger/api/dependencies").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn grafanas_jaeger_requests_are_answered() {
    let sink = sink();
    sink.story();
    let now = sink.clock.now().as_millisecond() * 1000;
    let (start, end) = (now - 3_600_000_000, now + 1_000_000);
    // Search form: tags as an object, durations with units, the operation encoded.
    let search = format!(
        "service=core-api&operation=step%202&tags=%7B%22request.id%22%3A%22req-42%22%7D&minDuration=1ms&maxDuration=1s\
         &limit=20&start={start}&end={end}&lookback=custom"
    );
    let answer = sink.ok(&format!("/telemetry/jaeger/api/traces?{search}")).await;
    assert_eq!(answer["data"][0]["traceID"], TRACE);
    let by_id = sink.ok(&format!("/telemetry/jaeger/api/traces/{TRACE}?start={start}&end={end}")).await;
    assert_eq!(by_id["data"][0]["spans"].as_array().unwrap().len(), 3);
}
