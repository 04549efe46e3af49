//! The requests that Grafana's Tempo data source sends (its `datasource.ts`, `language_provider.ts`, `pkg/tsdb/tempo`), and what
//! it reads of the answers.

use super::*;
use prost::Message as _;

const API: &str = "/telemetry/tempo/api";

impl Sink {
    async fn tempo(&self, route: &str, params: &[(&str, &str)]) -> Json {
        let encoded = serde_urlencoded::to_string(params).unwrap();
        self.ok(&format!("{API}/{route}?{encoded}")).await
    }

    async fn protobuf(&self, path: &str) -> axum::body::Bytes {
        let request = Request::get(path)
            .header("authorization", &self.token)
            .header("accept", "application/protobuf")
            .body(Body::empty())
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/protobuf");
        axum::body::to_bytes(response.into_body(), 4 << 20).await.unwrap()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<opentelemetry_proto::tonic::trace::v1::TracesData>,
}

#[tokio::test]
async fn a_trace_is_given_as_protobuf_and_as_json() {
    let sink = sink();
    sink.story();
    let v2 = TraceById::decode(sink.protobuf(&format!("{API}/v2/traces/{TRACE}")).await).unwrap();
    let v1 = opentelemetry_proto::tonic::trace::v1::TracesData::decode(
        sink.protobuf(&format!("{API}/traces/{TRACE}")).await,
    )
    .unwrap();
    assert_eq!(v2.trace.as_ref(), Some(&v1));
    let spans: Vec<_> = v1.resource_spans.iter().flat_map(|group| &group.scope_spans[0].spans).collect();
    assert_eq!(spans.len(), 3);
    assert_eq!((spans[1].name.as_str(), &spans[1].parent_span_id, spans[1].kind), ("step 2", &vec![1; 8], 2));
    assert_eq!(spans[1].end_time_unix_nano - spans[1].start_time_unix_nano, 2_000_000);
    assert_eq!(spans[2].status.as_ref().unwrap().code, 2);
    let attributes = &v1.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(attributes[0].key, "service.name");
    let json = sink.tempo(&format!("v2/traces/{TRACE}"), &[]).await;
    let first = &json["trace"]["resourceSpans"][0];
    assert_eq!(first["scopeSpans"][0]["spans"][0]["spanId"], "AQEBAQEBAQE=");
    assert_eq!(first["resource"]["attributes"][0]["value"]["stringValue"], "edge-gateway");
    assert!(sink.tempo(&format!("traces/{TRACE}"), &[]).await["batches"].is_array());
    assert_eq!(sink.get(&format!("{API}/v2/traces/ab")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(sink.get(&format!("{API}/v2/traces/xyz")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn traces_are_searched_by_traceql_and_by_tags() {
    let sink = sink();
    sink.story();
    let now = sink.clock.now().as_second();
    let (start, end) = ((now - 600).to_string(), now.to_string());
    for (key, query, matched) in [
        ("q", "{}", 3),
        ("q", r#"{resource.service.name="core-api" && span.request.id = "req-42"}"#, 1),
        ("q", "{kind=server} >> {status=error}", 1),
        ("q", "{duration>1s}", 0),
        ("tags", "service.name=core-api", 1),
        ("tags", "service.name=\"core-api\" request.id=other", 0),
    ] {
        let params = [(key, query), ("limit", "20"), ("spss", "1"), ("start", &start), ("end", &end)];
        let answer = sink.tempo("search", &params).await;
        let traces = answer["traces"].as_array().unwrap();
        assert_eq!(traces.len(), usize::from(matched > 0), "{query}: {answer}");
        if matched > 0 {
            assert_eq!(traces[0]["spanSets"][0]["matched"], matched, "{query}");
            assert_eq!(traces[0]["spanSets"][0]["spans"].as_array().unwrap().len(), 1);
            assert_eq!(
                (&traces[0]["traceID"], &traces[0]["rootServiceName"], &traces[0]["rootTraceName"]),
                (&json!(TRACE), &json!("edge-gateway"), &json!("step 1"))
            );
            assert_eq!(traces[0]["serviceStats"]["async-worker"], json!({ "spanCount": 1, "errorCount": 1 }));
        }
    }
    let shown = sink.tempo("search", &[("q", "{span.request.id != nil} | select(status)")]).await;
    assert_eq!(
        shown["traces"][0]["spanSets"][0]["spans"][0]["attributes"],
        json!([
            { "key": "request.id", "value": { "stringValue": "req-42" } },
            { "key": "status", "value": { "stringValue": "unset" } },
        ])
    );
    let long = sink.tempo("search", &[("tags", "service.name=core-api"), ("minDuration", "1s")]).await;
    assert_eq!(long["traces"], json!([]));
    let (status, error) = sink.get(&format!("{API}/search?q=%7B%20name%20%3D%20%7D")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        error.as_str().unwrap().contains("invalid TraceQL query: parse error at line 1, col 10"),
        "{error}"
    );
}

#[tokio::test]
async fn tags_and_their_values_are_listed_by_scope() {
    let sink = sink();
    sink.story();
    let names = sink.tempo("v2/search/tags", &[]).await;
    assert_eq!(
        names["scopes"][0],
        json!({ "name": "resource", "tags": ["service.name", "service.version"] })
    );
    assert_eq!(names["scopes"][1], json!({ "name": "span", "tags": ["request.id"] }));
    assert_eq!(names["scopes"][2]["name"], "intrinsic");
    let old = sink.tempo("search/tags", &[]).await;
    assert_eq!(old["tagNames"], json!(["request.id", "service.name", "service.version"]));
    for (tag, expected) in [
        ("resource.service.name", json!(["async-worker", "core-api", "edge-gateway"])),
        (".request.id", json!(["req-42"])),
        ("name", json!(["step 1", "step 2", "step 3"])),
        ("status", json!(["error", "ok", "unset"])),
        ("rootServiceName", json!(["edge-gateway"])),
    ] {
        let answer = sink.tempo(&format!("v2/search/tag/{tag}/values"), &[]).await;
        let values: Vec<_> =
            answer["tagValues"].as_array().unwrap().iter().map(|value| value["value"].clone()).collect();
        assert_eq!(json!(values), expected, "{tag}");
    }
    let old = sink.tempo("search/tag/service.name/values", &[]).await;
    assert_eq!(old["tagValues"][0], "async-worker");
    assert_eq!(sink.ok(&format!("{API}/echo")).await, json!("echo"));
    assert!(sink.ok(&format!("{API}/status/buildinfo")).await["version"].is_string());
}
