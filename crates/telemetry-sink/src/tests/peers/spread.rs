//! What is spread over sinks is found and listed as if one had it.

use super::*;
use crate::model::{Exemplar, MetricKind, MetricMeta};

const MINUTE_NANOS: i64 = 60_000_000_000;

/// A sink that asks two others, and one that has everything.
struct Spread {
    _directory: tempfile::TempDir,
    a: Sink,
    b: Other,
    c: Other,
    whole: Sink,
}

impl Spread {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (b, c) = (other(directory.path(), "b", ""), other(directory.path(), "c", ""));
        let a = asking(directory.path(), &["b", "c"]);
        Self { _directory: directory, a, b, c, whole: sink() }
    }

    fn holder(&self, number: usize) -> &Sink {
        [&self.a, &self.b.sink, &self.c.sink][number % 3]
    }

    /// Asks both, whose answers have to be the same and have something in them.
    async fn same(&self, path: &str) {
        let (joined, one) = (self.a.ok(path).await, self.whole.ok(path).await);
        assert_eq!(joined, one, "{path}");
        let own = self.b.sink.ok(path).await;
        assert_ne!(own, one, "{path} asks for nothing that is elsewhere");
    }

    /// Traces whose every span is in another sink than its parent, some in two, and one that only the last has.
    fn traces(&self) {
        let now = self.whole.now_nanos() - MINUTE_NANOS;
        for number in 0..40u8 {
            for (place, (service, kind)) in [
                ("edge-gateway", SpanKind::Server),
                ("core-api", SpanKind::Server),
                ("core-api", SpanKind::Client),
            ]
            .into_iter()
            .enumerate()
            {
                let id = u8::try_from(place + 1).unwrap();
                let start = now + i64::from(number) * 1_000_000_000 + i64::from(id) * 1_000_000;
                let text = |value: String| Value::Text(value);
                let mut attributes = vec![
                    ("customer".to_owned(), text(format!("c{}", number % 9))),
                    (format!("seen_by_{}", place + usize::from(number)), Value::Bool(true)),
                ];
                if kind == SpanKind::Client {
                    attributes.push(("db.system".to_owned(), text("postgresql".into())));
                } else {
                    attributes.push(("request.id".to_owned(), text(format!("req-{number}"))));
                }
                let span = Span {
                    trace_id: [number + 1; 16],
                    span_id: [id; 8],
                    parent: (id > 1).then(|| [id - 1; 8]),
                    name: format!("step {id} of {}", number % 12),
                    kind,
                    start,
                    end: start + 2_000_000 * i64::from(number + 1),
                    attributes,
                    ..Span::default()
                };
                let resource = Arc::new(Resource { service: service.into(), attributes: Vec::new() });
                let first = usize::from(number) + place;
                let twice = if number % 7 == 0 { first + 1 } else { first };
                for sink in (first..=twice).map(|holder| self.holder(holder)).chain([&self.whole]) {
                    let groups = vec![(Arc::clone(&resource), vec![span.clone()])];
                    sink.storage.append_spans(&Batch { groups }).unwrap();
                }
            }
        }
        let resource = Arc::new(Resource { service: "mailer".into(), attributes: Vec::new() });
        let span = Span {
            trace_id: [99; 16],
            span_id: [1; 8],
            name: "send".into(),
            start: now,
            end: now + 1,
            attributes: vec![("customer".into(), Value::Text("nobody".into()))],
            ..Span::default()
        };
        for sink in [&self.c.sink, &self.whole] {
            let groups = vec![(Arc::clone(&resource), vec![span.clone()])];
            sink.storage.append_spans(&Batch { groups }).unwrap();
        }
    }
}

#[tokio::test]
async fn traces_are_searched_for_wherever_their_spans_are() {
    let spread = Spread::new();
    spread.traces();
    for path in [
        "jaeger/api/services",
        "jaeger/api/services/core-api/operations",
        "jaeger/api/operations?service=core-api",
        "jaeger/api/operations?service=core-api&spanKind=client",
        "jaeger/api/traces?service=core-api&limit=7",
        "jaeger/api/traces?service=edge-gateway&operation=step%201%20of%203&tag=customer:c3",
        "jaeger/api/traces?service=edge-gateway&minDuration=70ms&limit=100",
        "jaeger/api/traces?tags=%7B%22request.id%22:%22req-12%22%7D",
        "jaeger/api/traces?traceID=05050505050505050505050505050505&traceID=06060606060606060606060606060606",
        "tempo/api/v2/search/tags",
        "tempo/api/search/tags",
        "tempo/api/v2/search/tag/span.customer/values",
        "tempo/api/v2/search/tag/name/values",
        "tempo/api/search/tag/service.name/values",
        "v1/traces/req-12",
        "v1/traces/req-14",
    ] {
        spread.same(&format!("/telemetry/{path}")).await;
    }
    for query in [
        "{}",
        "{ .customer = \"c3\" } | count() > 2",
        "{ resource.service.name = \"edge-gateway\" } >> { .db.system = \"postgresql\" }",
        "{ kind = client && duration > 50ms }",
        "{ name =~ \"step 3.*\" } && { name =~ \"step 1 of 2\" }",
    ] {
        let query = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        for limit in [3, 100] {
            let path = format!("/telemetry/tempo/api/search?q={query}&limit={limit}");
            let (mut joined, mut one) = (spread.a.ok(&path).await, spread.whole.ok(&path).await);
            for answer in [&mut joined, &mut one] {
                let found = answer["traces"].as_array().unwrap();
                assert!(!found.is_empty(), "{path}");
                answer["metrics"].take();
            }
            assert_eq!(joined, one, "{path}");
        }
    }
}

#[tokio::test]
async fn calls_between_services_of_several_sinks_are_seen() {
    let spread = Spread::new();
    spread.traces();
    spread.same("/telemetry/v1/service-graph").await;
    let graph = spread.a.ok("/telemetry/v1/service-graph").await;
    let edges: Vec<_> = graph["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| format!("{} {} {}", edge["client"], edge["server"], edge["calls"]))
        .collect();
    assert_eq!(edges, [r#""core-api" "postgresql" 40"#, r#""edge-gateway" "core-api" 40"#]);
    let now = spread.whole.now_nanos() / 1_000_000;
    spread.same(&format!("/telemetry/jaeger/api/dependencies?endTs={now}&lookback=3600000")).await;
}

#[tokio::test]
async fn a_trace_search_says_that_a_peer_is_missing() {
    let spread = Spread::new();
    spread.traces();
    spread.c.server.abort();
    std::fs::remove_file(&spread.c.socket).unwrap();
    for path in ["jaeger/api/traces?service=core-api", "tempo/api/search?q=%7B%7D", "v1/service-graph"] {
        let request = Request::get(format!("/telemetry/{path}")).header("authorization", &spread.a.token);
        let request = request.body(Body::empty()).unwrap();
        let response = spread.a.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(response.headers().contains_key("quintet-partial"), "{path}: {:?}", response.headers());
    }
}

#[tokio::test]
async fn streams_fields_and_patterns_of_logs_are_of_all_sinks() {
    let spread = Spread::new();
    let now = spread.whole.now_nanos() - MINUTE_NANOS;
    for number in 0..30usize {
        let resource =
            Arc::new(Resource { service: format!("service-{}", number % 6), attributes: Vec::new() });
        let record = LogRecord {
            time: now + i64::try_from(number).unwrap() * 1_000_000,
            severity: if number % 4 == 0 { 17 } else { 9 },
            body: format!("order={number} field_{}=5 done", number % 9),
            attributes: vec![
                (format!("meta_{}", number % 3), Value::Int(7)),
                ("took".into(), Value::Int(i64::try_from(number * 37 % 101).unwrap())),
            ],
            ..LogRecord::default()
        };
        for sink in [spread.holder(number), &spread.whole] {
            let groups = vec![(Arc::clone(&resource), vec![record.clone()])];
            sink.storage.append_logs(&Batch { groups }).unwrap();
        }
    }
    let all = "query=%7Bservice_name%3D~%22.%2B%22%7D";
    let (start, end) = (now - MINUTE_NANOS, now + MINUTE_NANOS);
    for path in [
        "label/service_name/values?".to_owned(),
        "label/service_name/values?query=%7Bdetected_level%3D%22error%22%7D&".to_owned(),
        "series?".to_owned(),
        "detected_labels?".to_owned(),
        format!("detected_fields?{all}&"),
        format!("patterns?{all}&step=60s&"),
    ] {
        spread.same(&format!("/telemetry/loki/api/v1/{path}start={start}&end={end}")).await;
    }
    for query in [
        "count_over_time({service_name=~\".+\"}[1m])",
        "sum by (detected_level) (rate({service_name=~\".+\"} |= \"order\" [30s]))",
        "bytes_over_time({service_name=\"service-2\"}[1m]) / count_over_time({service_name=\"service-2\"}[1m])",
        "topk(2, sum by (service_name) (sum_over_time({service_name=~\".+\"} | unwrap took [1m])))",
        "min_over_time({service_name=~\".+\"} | unwrap took [1m]) by (detected_level)",
        "max_over_time({service_name=~\".+\"} | unwrap took [1m]) by ()",
        "first_over_time({service_name=~\".+\"} | unwrap took [1m]) by ()",
        "last_over_time({service_name=~\".+\"} | unwrap took [1m]) by ()",
        "quantile_over_time(0.9, {service_name=~\".+\"} | logfmt | unwrap took [1m]) by ()",
        "absent_over_time({service_name=\"service-2\"}[1m])",
    ] {
        let query = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let path =
            format!("/telemetry/loki/api/v1/query_range?query={query}&start={start}&end={end}&step=10");
        let (mut joined, mut one) = (spread.a.ok(&path).await, spread.whole.ok(&path).await);
        for answer in [&mut joined, &mut one] {
            answer["data"]["stats"].take();
        }
        assert_eq!(joined, one, "{path}");
        assert!(one.to_string().contains("values"), "{path}: {one}");
        let mut own = [spread.b.sink.ok(&path).await, spread.c.sink.ok(&path).await];
        for answer in &mut own {
            answer["data"]["stats"].take();
        }
        assert!(own.iter().any(|own| *own != one), "{path} asks for nothing that is elsewhere");
    }
    // Of lines that cannot be measured the answer is an error, wherever they are.
    let query = "sum_over_time(%7Bservice_name=~%22.%2B%22%7D%20%7C%20label_format%20x=service_name%20%7C%20unwrap%20x%20%5B1m%5D)";
    let path = format!("/telemetry/loki/api/v1/query_range?query={query}&start={start}&end={end}&step=10");
    assert_eq!(spread.a.get(&path).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn exemplars_and_what_metrics_mean_come_from_all_sinks() {
    let directory = tempfile::tempdir().unwrap();
    let b = other(directory.path(), "b", "labels = { node = \"b\" }");
    let fleet = format!("labels = {{ node = \"a\" }}\n{}", peer(directory.path(), "b"));
    let a = sink_of(TestIssuer::new(), &toml::from_str(&fleet).unwrap());
    let now = a.now_nanos() / 1_000_000 - 30_000;
    for (sink, own, count) in [(&a, "a_seconds", 3u8), (&b.sink, "b_seconds", 4)] {
        for name in ["shared_seconds", own] {
            let labels: Labels = [("__name__", name), ("job", "shop")].into_iter().collect();
            // No two are of one millisecond, or neither would be left where one is too many.
            let time = now + i64::from(count);
            let exemplars = (0..count)
                .map(|number| Exemplar {
                    series: labels.clone(),
                    labels: [("trace_id", format!("{own}{number}").as_str())].into_iter().collect(),
                    value: f64::from(number),
                    time: time + i64::from(number) * 1000,
                    timed: true,
                })
                .collect();
            let meta = MetricMeta {
                name: name.into(),
                kind: MetricKind::Gauge,
                help: format!("How long, says {own}."),
                unit: "seconds".into(),
            };
            let batch = MetricBatch {
                samples: vec![Sample { labels: labels.clone(), time, value: 1.0 }],
                exemplars,
                metadata: vec![meta],
            };
            sink.storage.append_metrics(&batch).unwrap();
        }
    }
    let ask = async |query: &str| {
        let found = a.ok(&format!("/telemetry/prometheus/api/v1/query_exemplars?query={query}")).await;
        let rows = found["data"].as_array().unwrap().iter().map(|series| {
            let of = &series["seriesLabels"];
            (
                format!("{} {}", of["__name__"].as_str().unwrap(), of["node"].as_str().unwrap()),
                series["exemplars"].as_array().unwrap().len(),
            )
        });
        (rows.collect::<Vec<_>>(), found["warnings"].clone())
    };
    let of = |name: &str, count: usize| (name.to_owned(), count);
    let (shared, _) = ask("shared_seconds").await;
    assert_eq!(shared, [of("shared_seconds a", 3), of("shared_seconds b", 4)]);
    assert_eq!(ask("b_seconds").await.0, [of("b_seconds b", 4)]);
    assert_eq!(ask("shared_seconds%7Bnode=%22b%22%7D").await.0, [of("shared_seconds b", 4)]);
    assert_eq!(ask("shared_seconds%7Bnode=%22c%22%7D").await.0, []);
    let (cut, warnings) = ask("shared_seconds&limit=2").await;
    assert_eq!(cut.iter().map(|(_, count)| count).sum::<usize>(), 2, "{cut:?}");
    assert!(warnings.to_string().contains("oldest were left out"), "{warnings}");
    // That a peer alone has one too many is seen, too.
    let (cut, warnings) = ask("b_seconds&limit=3").await;
    assert_eq!(cut, [of("b_seconds b", 3)]);
    assert!(warnings.to_string().contains("oldest were left out"), "{warnings}");
    let known = a.ok("/telemetry/prometheus/api/v1/metadata").await;
    let said = |name: &str| known["data"][name].as_array().unwrap().len();
    assert_eq!([said("shared_seconds"), said("a_seconds"), said("b_seconds")], [2, 1, 1], "{known}");
}

#[tokio::test]
async fn traces_too_large_for_one_answer_are_asked_for_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let b = other(directory.path(), "b", "");
    let a = asking(directory.path(), &["b"]);
    let resource = Arc::new(Resource { service: "shop".into(), attributes: Vec::new() });
    let now = b.sink.now_nanos() - MINUTE_NANOS;
    for trace in 1..=3u8 {
        let span = |number: u64| Span {
            trace_id: [trace; 16],
            span_id: (number + 1).to_be_bytes(),
            start: now,
            end: now + 1,
            ..Span::default()
        };
        let spans = (0..if trace == 3 { 1 } else { 12_000 }).map(span).collect();
        let groups = vec![(Arc::clone(&resource), spans)];
        b.sink.storage.append_spans(&Batch { groups }).unwrap();
    }
    let ids = (1..=3u8).map(|trace| format!("traceID={}", crate::model::hex(&[trace; 16])));
    let path = format!("/telemetry/jaeger/api/traces?{}", ids.collect::<Vec<_>>().join("&"));
    let request = Request::get(path).header("authorization", &a.token).body(Body::empty()).unwrap();
    let response = a.router.clone().oneshot(request).await.unwrap();
    assert!(!response.headers().contains_key("quintet-partial"));
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer: Json = serde_json::from_slice(&body).unwrap();
    let spans = |place: usize| answer["data"][place]["spans"].as_array().unwrap().len();
    assert_eq!([spans(0), spans(1), spans(2)], [12_000, 12_000, 1]);
}
