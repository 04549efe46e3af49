//! The intake against messages that OpenTelemetry's own types encode.

use std::io::Write;
use std::path::Path;

use axum::body::Body;
use http::Request;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as otel;
use opentelemetry_proto::tonic::resource::v1::Resource as OtelResource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use proptest::prelude::*;
use prost::Message;
use tower::ServiceExt;

use super::*;
use crate::model::codec::Key;
use crate::model::{Matcher, Span, SpanStatus, Value, attribute};
use crate::storage::disk::{Disk, RealDisk};

fn any(value: Any) -> common::AnyValue {
    common::AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Any) -> common::KeyValue {
    common::KeyValue { key: key.into(), value: Some(any(value)), ..Default::default() }
}

fn text(value: &str) -> Any {
    Any::StringValue(value.into())
}

fn resource() -> OtelResource {
    OtelResource {
        attributes: vec![pair("service.name", text("core-api")), pair("host.name", text("box"))],
        ..Default::default()
    }
}

fn span_request() -> ExportTraceServiceRequest {
    let list = common::ArrayValue { values: vec![any(Any::IntValue(1)), any(text("b"))] };
    let map = common::KeyValueList { values: vec![pair("k", Any::BoolValue(true))] };
    let span = trace::Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        parent_span_id: vec![9; 8],
        name: "POST /api/v1/orders".into(),
        kind: 2,
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 5_000,
        attributes: vec![
            pair("request.id", text("req-1")),
            pair("http.response.status_code", Any::IntValue(-3)),
            pair("ratio", Any::DoubleValue(0.5)),
            pair("list", Any::ArrayValue(list)),
            pair("map", Any::KvlistValue(map)),
            pair("raw", Any::BytesValue(vec![0xab, 1])),
        ],
        events: vec![trace::span::Event {
            time_unix_nano: 2_000,
            name: "retry".into(),
            ..Default::default()
        }],
        links: vec![trace::span::Link { trace_id: vec![1; 16], span_id: vec![2; 8], ..Default::default() }],
        status: Some(trace::Status { message: "bad".into(), code: 2 }),
        ..Default::default()
    };
    let invalid = trace::Span { trace_id: vec![0; 16], span_id: vec![8; 8], ..Default::default() };
    let scope_spans = trace::ScopeSpans {
        scope: Some(common::InstrumentationScope { name: "orders".into(), ..Default::default() }),
        spans: vec![span, invalid],
        ..Default::default()
    };
    let group = trace::ResourceSpans {
        resource: Some(resource()),
        scope_spans: vec![scope_spans],
        ..Default::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

#[test]
fn a_protobuf_span_arrives_with_everything_it_carries() {
    let decoded = otlp_proto::traces(&span_request().encode_to_vec()).unwrap();
    assert_eq!((decoded.batch.len(), decoded.rejected), (1, 1));
    let (resource, spans) = &decoded.batch.groups[0];
    assert_eq!(resource.service, "core-api");
    assert_eq!(attribute(&resource.attributes, "host.name"), Some(&Value::Text("box".into())));
    let span = &spans[0];
    assert_eq!((span.trace_id, span.span_id, span.parent), ([7; 16], [8; 8], Some([9; 8])));
    assert_eq!((span.start, span.end, span.status), (1_000, 5_000, SpanStatus::Error));
    assert_eq!((span.status_message.as_str(), span.scope.as_str()), ("bad", "orders"));
    assert_eq!((span.events[0].name.as_str(), span.links[0].trace_id), ("retry", [1; 16]));
    for (name, expected) in [
        ("request.id", Value::Text("req-1".into())),
        ("http.response.status_code", Value::Int(-3)),
        ("ratio", Value::Double(0.5)),
        ("list", Value::Text("[1,\"b\"]".into())),
        ("map", Value::Text("{\"k\":true}".into())),
        ("raw", Value::Text("ab01".into())),
    ] {
        assert_eq!(attribute(&span.attributes, name), Some(&expected));
    }
}

const JSON_SPAN: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
  {"key":"service.name","value":{"stringValue":"core-api"}},{"key":"host.name","value":{"stringValue":"box"}}]},
  "scopeSpans":[{"scope":{"name":"orders"},"spans":[
   {"traceId":"07070707070707070707070707070707","spanId":"0808080808080808","parentSpanId":"0909090909090909",
    "name":"POST /api/v1/orders","kind":2,"startTimeUnixNano":"1000","endTimeUnixNano":5000,
    "attributes":[{"key":"request.id","value":{"stringValue":"req-1"}},
     {"key":"http.response.status_code","value":{"intValue":"-3"}},{"key":"ratio","value":{"doubleValue":0.5}},
     {"key":"list","value":{"arrayValue":{"values":[{"intValue":1},{"stringValue":"b"}]}}},
     {"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}}]}}},
     {"key":"raw","value":{"stringValue":"ab01"}}],
    "events":[{"timeUnixNano":"2000","name":"retry"}],
    "links":[{"traceId":"01010101010101010101010101010101","spanId":"0202020202020202"}],
    "status":{"message":"bad","code":2},"unknownField":{"x":[1]}},
   {"traceId":"","spanId":"0808080808080808"}]}]}]}"#;

#[test]
fn json_and_protobuf_mean_the_same() {
    let json = otlp_json::traces(JSON_SPAN.as_bytes()).unwrap();
    assert_eq!(json, otlp_proto::traces(&span_request().encode_to_vec()).unwrap());
}

#[test]
fn a_log_without_a_time_gets_the_observed_or_the_current_one() {
    let record = |time, observed| logs::LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        severity_number: 13,
        body: Some(any(text("careful"))),
        trace_id: vec![7; 16],
        ..Default::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![logs::ResourceLogs {
            resource: Some(resource()),
            scope_logs: vec![logs::ScopeLogs {
                log_records: vec![record(5, 6), record(0, 6), record(0, 0)],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let decoded = otlp_proto::logs(&request.encode_to_vec(), 99).unwrap();
    let records = &decoded.batch.groups[0].1;
    assert_eq!(records.iter().map(|record| record.time).collect::<Vec<_>>(), [5, 6, 99]);
    assert_eq!((records[0].level(), records[0].body.as_str()), ("warn", "careful"));
    let json = r#"{"resourceLogs":[{"resource":{"attributes":[]},"scopeLogs":[{"logRecords":[
        {"timeUnixNano":"5","severityNumber":13,"body":{"stringValue":"careful"},"spanId":"0808080808080808"}]}]}]}"#;
    let decoded = otlp_json::logs(json.as_bytes(), 99).unwrap();
    assert_eq!(decoded.batch.groups[0].0.service, "unknown_service");
    assert_eq!(decoded.batch.groups[0].1[0].span_id, Some([8; 8]));
}

fn number(value: i64) -> otel::NumberDataPoint {
    otel::NumberDataPoint {
        time_unix_nano: 2_000_000_000,
        attributes: vec![pair("route", text("/a"))],
        value: Some(otel::number_data_point::Value::AsInt(value)),
        ..Default::default()
    }
}

fn metric_request(metrics: Vec<otel::Metric>) -> Vec<u8> {
    let scope_metrics = vec![otel::ScopeMetrics { metrics, ..Default::default() }];
    let group = otel::ResourceMetrics { resource: Some(resource()), scope_metrics, ..Default::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec()
}

fn metric(name: &str, unit: &str, data: otel::metric::Data) -> otel::Metric {
    otel::Metric { name: name.into(), unit: unit.into(), data: Some(data), ..Default::default() }
}

#[test]
fn otlp_metrics_become_prometheus_series() {
    use otel::metric::Data;
    let histogram = otel::HistogramDataPoint {
        time_unix_nano: 2_000_000_000,
        count: 6,
        sum: Some(1.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.1, 1.0],
        ..Default::default()
    };
    let body = metric_request(vec![
        metric(
            "orders",
            "{order}",
            Data::Sum(otel::Sum {
                data_points: vec![number(7)],
                aggregation_temporality: 2,
                is_monotonic: true,
            }),
        ),
        metric("queue.depth", "1", Data::Gauge(otel::Gauge { data_points: vec![number(-2)] })),
        metric(
            "latency",
            "s",
            Data::Histogram(otel::Histogram {
                data_points: vec![histogram.clone()],
                aggregation_temporality: 2,
            }),
        ),
        metric(
            "delta",
            "s",
            Data::Histogram(otel::Histogram { data_points: vec![histogram], aggregation_temporality: 1 }),
        ),
        metric(
            "native",
            "s",
            Data::ExponentialHistogram(otel::ExponentialHistogram {
                data_points: vec![otel::ExponentialHistogramDataPoint {
                    zero_count: 3,
                    ..Default::default()
                }],
                aggregation_temporality: 2,
            }),
        ),
    ]);
    let decoded = otlp_proto::metrics(&body).unwrap();
    assert_eq!(decoded.rejected, 2);
    let series: Vec<_> = decoded
        .batch
        .samples
        .iter()
        .map(|sample| format!("{:?} {} {}", sample.labels, sample.time, sample.value))
        .collect();
    assert_eq!(
        series,
        [
            r#"{__name__="orders_total", job="core-api", route="/a"} 2000 7"#,
            r#"{__name__="queue_depth_ratio", job="core-api", route="/a"} 2000 -2"#,
            r#"{__name__="latency_seconds_bucket", job="core-api", le="0.1"} 2000 1"#,
            r#"{__name__="latency_seconds_bucket", job="core-api", le="1"} 2000 3"#,
            r#"{__name__="latency_seconds_bucket", job="core-api", le="+Inf"} 2000 6"#,
            r#"{__name__="latency_seconds_sum", job="core-api"} 2000 1.5"#,
            r#"{__name__="latency_seconds_count", job="core-api"} 2000 6"#,
        ]
    );
}

#[test]
fn exemplars_belong_to_the_bucket_that_their_value_falls_into() {
    let exemplar = |value: f64, trace: u8, attributes: Vec<common::KeyValue>| otel::Exemplar {
        time_unix_nano: if trace == 3 { 0 } else { 1_500_000_000 },
        trace_id: vec![trace; 16],
        span_id: vec![trace; 8],
        filtered_attributes: attributes,
        value: Some(otel::exemplar::Value::AsDouble(value)),
    };
    let long = pair("long", text(&"x".repeat(64)));
    let histogram = otel::HistogramDataPoint {
        time_unix_nano: 2_000_000_000,
        count: 3,
        bucket_counts: vec![1, 1, 1],
        explicit_bounds: vec![0.1, 1.0],
        exemplars: vec![
            exemplar(0.1, 1, vec![long, pair("user.id", Any::IntValue(7))]),
            exemplar(5.0, 2, Vec::new()),
            exemplar(0.5, 3, Vec::new()),
            otel::Exemplar { value: Some(otel::exemplar::Value::AsDouble(0.5)), ..Default::default() },
        ],
        ..Default::default()
    };
    let number = otel::NumberDataPoint {
        time_unix_nano: 2_000_000_000,
        value: Some(otel::number_data_point::Value::AsInt(1)),
        exemplars: vec![otel::Exemplar {
            value: Some(otel::exemplar::Value::AsInt(-4)),
            ..exemplar(0.0, 4, Vec::new())
        }],
        ..Default::default()
    };
    let metric = |name: &str, data: otel::metric::Data| otel::Metric {
        name: name.into(),
        data: Some(data),
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![otel::ResourceMetrics {
            scope_metrics: vec![otel::ScopeMetrics {
                metrics: vec![
                    metric(
                        "t",
                        otel::metric::Data::Histogram(otel::Histogram {
                            data_points: vec![histogram],
                            aggregation_temporality: 2,
                        }),
                    ),
                    metric("g", otel::metric::Data::Gauge(otel::Gauge { data_points: vec![number] })),
                ],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let decoded = otlp_proto::metrics(&request.encode_to_vec()).unwrap();
    let shown: Vec<_> = decoded
        .batch
        .exemplars
        .iter()
        .map(|seen| {
            let trace = &seen.labels.get("trace_id").unwrap()[..2];
            let user = seen.labels.get("user_id").unwrap_or("-");
            let (name, le) = (seen.series.name(), seen.series.get("le").unwrap_or("-"));
            format!("{name} {le} {trace} {user} {} {} {}", seen.value, seen.time, seen.timed)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "t_bucket 0.1 01 7 0.1 1500 true",
            "t_bucket 1 03 - 0.5 2000 false",
            "t_bucket +Inf 02 - 5 1500 true",
            "g - 04 - -4 1500 true",
        ]
    );
    assert_eq!(
        decoded.batch.exemplars[0].labels.get("long"),
        None,
        "longer than 128 characters with the ids"
    );
    let id = |byte: &str, count| byte.repeat(count);
    let json = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"t","histogram":{{"aggregationTemporality":2,"dataPoints":[
          {{"timeUnixNano":"2000000000","count":"3","bucketCounts":["1","1",1],"explicitBounds":[0.1,1],"exemplars":[
           {{"timeUnixNano":"1500000000","asDouble":0.1,"traceId":"{}","spanId":"{}","filteredAttributes":[
             {{"key":"long","value":{{"stringValue":"{}"}}}},{{"key":"user.id","value":{{"intValue":"7"}}}}]}},
           {{"timeUnixNano":"1500000000","asDouble":5,"traceId":"{}","spanId":"{}"}},
           {{"asDouble":0.5,"traceId":"{}","spanId":"{}"}},{{"asDouble":0.5}}]}}]}}}},
          {{"name":"g","gauge":{{"dataPoints":[{{"timeUnixNano":"2000000000","asInt":"1","exemplars":[
           {{"timeUnixNano":"1500000000","asInt":"-4","traceId":"{}","spanId":"{}"}}]}}]}}}}]}}]}}]}}"#,
        id("01", 16),
        id("01", 8),
        "x".repeat(64),
        id("02", 16),
        id("02", 8),
        id("03", 16),
        id("03", 8),
        id("04", 16),
        id("04", 8),
    );
    assert_eq!(otlp_json::metrics(json.as_bytes()).unwrap(), decoded);
}

fn receiver(directory: &Path, disk: Arc<dyn Disk>, share: usize) -> (Arc<Storage>, Router) {
    let storage = crate::tests::storage(directory, disk);
    let router = Receiver::new(Arc::clone(&storage), share).router();
    (storage, router)
}

async fn post_to(
    router: &Router,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, HeaderMap, Bytes) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, axum::body::to_bytes(body, 1 << 20).await.unwrap())
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_and_plain_bodies_are_stored_and_partial_success_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, router) = receiver(directory.path(), Arc::new(RealDisk), 8 << 20);
    let plain = span_request().encode_to_vec();
    for (encoding, body) in [
        ("identity", plain.clone()),
        ("gzip", gzip(&plain)),
        ("zstd", zstd::bulk::compress(&plain, 1).unwrap()),
    ] {
        let headers = [PROTOBUF, ("content-encoding", encoding)];
        let (status, headers, body) = post_to(&router, "/v1/traces", &headers, body).await;
        assert_eq!(
            (status, headers["content-type"].as_bytes()),
            (StatusCode::OK, &b"application/x-protobuf"[..])
        );
        let partial = ExportTraceServiceResponse::decode(body).unwrap().partial_success.unwrap();
        assert_eq!(partial.rejected_spans, 1);
        assert!(partial.error_message.contains("trace id"));
    }
    assert_eq!(storage.spans().lookup::<Span>(Key::Request("req-1")).len(), 3);
    let (status, _, body) = post_to(&router, "/v1/traces", &[JSON], JSON_SPAN.into()).await;
    assert_eq!(status, StatusCode::OK);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["partialSuccess"]["rejectedSpans"], "1");
}

#[tokio::test]
async fn a_body_of_empty_items_is_refused_before_they_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let (_, router) = receiver(directory.path(), Arc::new(RealDisk), 64 << 20);
    let nested = |path: &[u32], items: Vec<u8>| {
        path.iter().rev().fold(items, |inner, field| {
            let mut outer = Vec::new();
            crate::otlp::message(&mut outer, *field, &inner);
            outer
        })
    };
    let items = |field: u8| [field << 3 | 2, 0].repeat(6 << 20);
    for (path, body) in [
        ("/v1/logs", nested(&[1, 2], items(2))),
        ("/v1/traces", nested(&[1, 2], items(2))),
        ("/v1/metrics", nested(&[1, 2, 2, 5], items(1))),
    ] {
        let headers = [PROTOBUF, ("content-encoding", "gzip")];
        let (status, _, said) = post_to(&router, path, &headers, gzip(&body)).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert!(String::from_utf8_lossy(&said).contains("send fewer"), "{path}: {said:?}");
    }
    let points = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"gauge\":{{\"dataPoints\":[{}{{}}]}}}}]}}]}}]}}",
        "{},".repeat(4 << 20)
    );
    let lines = format!("{{\"streams\":[{}{{}}]}}", "{},".repeat(4 << 20));
    for (path, body) in [("/v1/metrics", points), ("/loki/api/v1/push", lines)] {
        let headers = [JSON, ("content-encoding", "gzip")];
        let (status, _, said) = post_to(&router, path, &headers, gzip(body.as_bytes())).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path}: {said:?}");
    }
}

#[test]
fn a_scope_with_a_long_name_is_not_long_in_every_record() {
    let scope = common::InstrumentationScope { name: "ö".repeat(1000), ..Default::default() };
    let mut request = span_request();
    request.resource_spans[0].scope_spans[0].scope = Some(scope);
    let decoded = otlp_proto::traces(&request.encode_to_vec()).unwrap();
    assert_eq!(decoded.batch.groups[0].1[0].scope, "ö".repeat(128));
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_in_either_encoding() {
    let directory = tempfile::tempdir().unwrap();
    let (_, router) = receiver(directory.path(), Arc::new(RealDisk), 8 << 20);
    let bomb = vec![0u8; MAX_PLAIN * 4];
    for (encoding, body) in [("gzip", gzip(&bomb)), ("zstd", zstd::bulk::compress(&bomb, 1).unwrap())] {
        assert!(body.len() < 1 << 20);
        let (status, _, body) =
            post_to(&router, "/v1/logs", &[JSON, ("content-encoding", encoding)], body).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{encoding}");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], 3);
    }
}

#[tokio::test]
async fn malformed_bodies_and_types_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_, router) = receiver(directory.path(), Arc::new(RealDisk), 8 << 20);
    for (headers, body, expected) in [
        (vec![PROTOBUF], vec![0x0a, 0xff], StatusCode::BAD_REQUEST),
        (vec![JSON], b"{".to_vec(), StatusCode::BAD_REQUEST),
        (vec![("content-type", "text/plain")], vec![], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![PROTOBUF, ("content-encoding", "br")], vec![], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![PROTOBUF, ("content-encoding", "gzip")], b"no gzip".to_vec(), StatusCode::BAD_REQUEST),
    ] {
        let (status, _, _) = post_to(&router, "/v1/metrics", &headers, body).await;
        assert_eq!(status, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn requests_beyond_the_memory_share_are_told_to_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
    let receiver = Receiver::new(storage, 64 * 1024);
    receiver.budget.occupy();
    let router = receiver.router();
    let (status, headers, _) =
        post_to(&router, "/v1/traces", &[PROTOBUF], span_request().encode_to_vec()).await;
    assert_eq!((status, headers["retry-after"].as_bytes()), (StatusCode::TOO_MANY_REQUESTS, &b"1"[..]));
}

#[tokio::test]
async fn a_full_disk_answers_503_with_retry_after() {
    let directory = tempfile::tempdir().unwrap();
    let disk = crate::storage::disk::faulty::FaultyDisk::with_allowance(10);
    let (storage, router) = receiver(directory.path(), Arc::new(disk.clone()), 8 << 20);
    let body = span_request().encode_to_vec();
    let (status, headers, _) = post_to(&router, "/v1/traces", &[PROTOBUF], body.clone()).await;
    assert_eq!((status, headers.contains_key("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, true));
    disk.allow(1 << 20);
    storage.check_space();
    assert_eq!(post_to(&router, "/v1/traces", &[PROTOBUF], body).await.0, StatusCode::OK);
}

#[tokio::test]
async fn metric_points_end_up_as_samples() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, router) = receiver(directory.path(), Arc::new(RealDisk), 8 << 20);
    let gauge = otel::metric::Data::Gauge(otel::Gauge { data_points: vec![number(5)] });
    let body = metric_request(vec![metric("depth", "", gauge)]);
    assert_eq!(post_to(&router, "/v1/metrics", &[PROTOBUF], body).await.0, StatusCode::OK);
    let found = storage.select_samples(&[Matcher::equal("__name__", "depth")], 0, i64::MAX, 10).unwrap();
    assert_eq!(found[0].samples, [(2000, 5.0)]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = otlp_proto::traces(&bytes);
        let _ = otlp_proto::logs(&bytes, 0);
        let _ = otlp_proto::metrics(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(at in 0usize..400, to: u8) {
        let mut body = span_request().encode_to_vec();
        let at = at % body.len();
        body[at] = to;
        let _ = otlp_proto::traces(&body);
        let _ = otlp_proto::logs(&body, 0);
        let _ = otlp_proto::metrics(&body);
    }

    #[test]
    fn arbitrary_json_never_panics(text in "[\\[\\]{}\":,a-z0-9]{0,60}") {
        let _ = otlp_json::traces(text.as_bytes());
        let wrapped = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"name\":{text:?}}}]}}]}}]}}");
        let _ = otlp_json::traces(wrapped.as_bytes());
    }
}
