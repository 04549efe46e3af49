//! The requests that Grafana's Loki data source sends (its `datasource.ts`, `LanguageProvider.ts`, `pkg/tsdb/loki/api.go`),
//! and what it reads of the answers.

use std::time::Instant;

use super::*;
use crate::logql::{self, Direction, MetricQuery, Search};
use crate::promql::{Limits, Query};

const API: &str = "/telemetry/loki/api/v1";

impl Sink {
    /// Lines of one service, `ago` seconds before now, oldest first.
    pub(super) fn lines(&self, service: &str, severity: u8, lines: &[(i64, &str)]) {
        let resource = Arc::new(Resource { service: service.into(), attributes: Vec::new() });
        let now = self.now_nanos();
        let records = lines.iter().map(|(ago, body)| LogRecord {
            time: now - ago * 1_000_000_000,
            severity,
            body: (*body).to_owned(),
            attributes: vec![("order.id".into(), Value::Text(format!("o-{ago}")))],
            ..LogRecord::default()
        });
        self.storage.append_logs(&Batch { groups: vec![(resource, records.collect())] }).unwrap();
    }

    async fn loki(&self, route: &str, params: &[(&str, &str)]) -> Json {
        let encoded = serde_urlencoded::to_string(params).unwrap();
        self.ok(&format!("{API}/{route}?{encoded}")).await
    }

    /// The values of an instant metric query, by their labels.
    async fn vector(&self, query: &str) -> Vec<(Json, f64)> {
        let answer = self.loki("query", &[("query", query)]).await;
        assert_eq!(answer["data"]["resultType"], "vector", "{query}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        let mut found: Vec<_> = result
            .iter()
            .map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap().parse().unwrap()))
            .collect();
        found.sort_by_key(|(metric, _)| metric.to_string());
        found
    }
}

fn sink_with_lines() -> Sink {
    let sink = sink();
    sink.lines(
        "api",
        9,
        &[(50, "took=10ms size=1KB user=a"), (30, "took=30ms size=3KB user=b"), (10, "no fields")],
    );
    sink.lines("api", 17, &[(20, "took=500ms size=2KB user=a")]);
    sink.lines("worker", 9, &[(40, r#"{"n":4}"#), (15, r#"{"n":2}"#)]);
    sink
}

#[tokio::test]
async fn metric_queries_count_and_measure_lines() {
    let sink = sink_with_lines();
    let all = r#"{service_name=~".+"}"#;
    for (query, expected) in [
        (
            format!("sum by (service_name) (count_over_time({all}[5m]))"),
            vec![(json!({ "service_name": "api" }), 4.0), (json!({ "service_name": "worker" }), 2.0)],
        ),
        (
            format!("count_over_time({all} |= \"took\" [5m])"),
            vec![
                (json!({ "service_name": "api", "level": "error" }), 1.0),
                (json!({ "service_name": "api", "level": "info" }), 2.0),
            ],
        ),
        (format!("sum(rate({all}[100s]))"), vec![(json!({}), 0.06)]),
        (format!("sum(bytes_over_time({all} |= \"n\" |= \":\" [5m]))"), vec![(json!({}), 14.0)]),
        (
            format!("sum by (user) (count_over_time({all} | logfmt | user != \"\" [5m]))"),
            vec![(json!({ "user": "a" }), 2.0), (json!({ "user": "b" }), 1.0)],
        ),
        (
            format!("max_over_time({all} | logfmt | unwrap duration(took) [5m]) by (service_name)"),
            vec![(json!({ "service_name": "api" }), 0.5)],
        ),
        (
            "avg_over_time({level=\"info\"} | logfmt | unwrap bytes(size) | __error__=\"\" [5m]) by (level)".to_owned(),
            vec![(json!({ "level": "info" }), 2000.0)],
        ),
        (
            format!("quantile_over_time(0.5, {all} | logfmt | unwrap duration(took) [5m]) by (service_name)"),
            vec![(json!({ "service_name": "api" }), 0.03)],
        ),
        (
            "sum_over_time({service_name=\"worker\"} | json | unwrap n [5m])".to_owned(),
            vec![(json!({ "service_name": "worker", "level": "info" }), 6.0)],
        ),
        (
            "first_over_time({service_name=\"worker\"} | json | unwrap n [5m]) by ()".to_owned(),
            vec![(json!({}), 4.0)],
        ),
        (
            "last_over_time({service_name=\"worker\"} | json | unwrap n [5m]) by ()".to_owned(),
            vec![(json!({}), 2.0)],
        ),
        (
            "stddev_over_time({service_name=\"worker\"} | json | unwrap n [5m]) by ()".to_owned(),
            vec![(json!({}), 1.0)],
        ),
        (
            format!("topk(1, sum by (service_name) (count_over_time({all}[5m])))"),
            vec![(json!({ "service_name": "api" }), 4.0)],
        ),
        (
            format!(
                "sum by (service_name) (count_over_time({all} |= \"500ms\" [5m])) / on (service_name) \
                 sum by (service_name) (count_over_time({all}[5m])) * 100"
            ),
            vec![(json!({ "service_name": "api" }), 25.0)],
        ),
        (format!("sum(count_over_time({all}[20s] offset 25s)) > 1"), vec![(json!({}), 2.0)]),
        (
            "absent_over_time({service_name=\"gone\"}[5m])".to_owned(),
            vec![(json!({ "service_name": "gone" }), 1.0)],
        ),
        (format!("absent_over_time({all}[5m])"), vec![]),
        (
            "sum by (order_id) (count_over_time({service_name=\"worker\"}[5m]))".to_owned(),
            vec![(json!({ "order_id": "o-15" }), 1.0), (json!({ "order_id": "o-40" }), 1.0)],
        ),
        (
            "label_replace(sum by (level) (count_over_time({level=\"error\"}[5m])), \"l\", \"$1\", \"level\", \"(.*)\")".to_owned(),
            vec![(json!({ "level": "error", "l": "error" }), 1.0)],
        ),
    ] {
        let found = sink.vector(&query).await;
        assert_eq!(found.len(), expected.len(), "{query}: {found:?}");
        for ((metric, value), (wanted, number)) in found.iter().zip(&expected) {
            assert_eq!(metric, wanted, "{query}");
            assert!((value - number).abs() < 1e-9, "{query}: {value} is not {number}");
        }
    }
    let unread =
        serde_urlencoded::to_string([("query", format!("sum(count_over_time({all} | json [5m]))"))]).unwrap();
    let (status, body) = sink.get(&format!("{API}/query?{unread}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.as_str().unwrap().contains("pipeline error: 'JSONParserErr'"), "{body}");
}

#[tokio::test]
async fn a_range_of_a_metric_query_counts_each_line_in_each_of_its_windows() {
    let sink = sink();
    sink.lines("api", 9, &[(52, "a"), (32, "b"), (22, "c"), (12, "d")]);
    let now = sink.clock.now().as_second();
    let (start, end) = ((now - 60).to_string(), now.to_string());
    let query = r#"sum(count_over_time({service_name="api"}[30s]))"#;
    let answer =
        sink.loki("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", "15")]).await;
    assert_eq!(answer["data"]["resultType"], "matrix");
    let values: Vec<&str> = answer["data"]["result"][0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point[1].as_str().unwrap())
        .collect();
    // The first step, 60 seconds ago, sees none and has no value.
    assert_eq!(values, ["1", "2", "2", "2"], "{answer}");
}

#[tokio::test]
async fn lines_without_a_request_are_found_by_its_absence() {
    let sink = sink_with_lines();
    sink.story();
    let query = r#"{service_name=~"api|core-api"} | request_id="""#;
    let answer = sink.loki("query_range", &[("query", query)]).await;
    let streams = answer["data"]["result"].as_array().unwrap();
    let lines: usize = streams.iter().map(|stream| stream["values"].as_array().unwrap().len()).sum();
    assert_eq!(lines, 4, "{answer}");
}

fn limits(max_samples: usize, patience: Duration) -> Limits {
    Limits { max_samples, deadline: Instant::now() + patience }
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_values_of_all_range_aggregations_of_a_query_share_one_limit() {
    let sink = sink_with_lines();
    let now = sink.clock.now().as_millisecond();
    let steps = Query { start: now, end: now + 599_000, step: 1000 };
    let one = r#"sum(count_over_time({service_name="api"}[1h]))"#;
    for (query, fits) in
        [(one.to_owned(), true), (format!("{one} + {one}"), false), (format!("{one} or vector(1)"), true)]
    {
        let query = MetricQuery::parse(&query).unwrap();
        let answer = query.evaluate(&sink.storage, steps, limits(1000, LONG), &|_| Some(Vec::new()));
        assert_eq!(answer.is_ok(), fits, "{answer:?}");
    }
    // What has no value at a step holds nothing there.
    let sparse = r#"sum(count_over_time({service_name="api"}[1m]))"#;
    let query = MetricQuery::parse(&format!("{sparse} + {sparse}")).unwrap();
    assert!(query.evaluate(&sink.storage, steps, limits(1000, LONG), &|_| Some(Vec::new())).is_ok());
}

#[tokio::test]
async fn the_deadline_holds_while_windows_are_computed() {
    let sink = sink();
    let resource = Arc::new(Resource { service: "api".into(), attributes: Vec::new() });
    let time = sink.now_nanos();
    let record = |took: i64| LogRecord {
        time,
        attributes: vec![("took".into(), Value::Int(took * 7919 % 200))],
        ..LogRecord::default()
    };
    sink.storage.append_logs(&Batch { groups: vec![(resource, (0..200).map(record).collect())] }).unwrap();
    let now = sink.clock.now().as_millisecond();
    let steps = Query { start: now, end: now + 10_999_000, step: 1000 };
    let query = r#"quantile_over_time(0.5, {service_name="api"} | unwrap took [24h]) by ()"#;
    let query = MetricQuery::parse(query).unwrap();
    let answer = query
        .evaluate(&sink.storage, steps, limits(1_000_000, Duration::from_millis(20)), &|_| Some(Vec::new()));
    assert_eq!(answer.unwrap_err(), logql::Error::Timeout);
}

#[tokio::test]
async fn a_few_lines_that_take_long_do_not_outlive_the_deadline() {
    let sink = sink_with_lines();
    let range = logql::Range { from: 0, to: i64::MAX };
    let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    let query = logql::parse_log(r#"{service_name="api"} | logfmt"#).unwrap();
    let found = Search::new(&sink.storage, &query, late).best(range, 10, Direction::Backward);
    assert_eq!(found.unwrap_err(), logql::Error::Timeout);
}

#[tokio::test]
async fn an_answer_of_lines_that_are_too_large_together_is_refused() {
    let sink = sink();
    sink.lines("api", 9, &[(1, "line"); 600]);
    let range = logql::Range { from: 0, to: i64::MAX };
    let query = logql::parse_log("{service_name=\"api\"} | line_format \"{{repeat 262144 `x`}}\"").unwrap();
    let search = Search::new(&sink.storage, &query, Instant::now() + LONG);
    let error = search.best(range, 600, Direction::Backward).unwrap_err().to_string();
    assert!(error.contains("ask for fewer"), "{error}");
    assert_eq!(search.best(range, 100, Direction::Backward).unwrap().0.len(), 100);
}

#[tokio::test]
async fn the_log_volume_histogram_is_answered() {
    let sink = sink_with_lines();
    let now = sink.now_nanos();
    let (start, end) = ((now - 60_000_000_000).to_string(), now.to_string());
    let query =
        r#"sum by (level, detected_level) (count_over_time({service_name="api"} | drop __error__[60s]))"#;
    let params =
        [("direction", "backward"), ("end", &end), ("query", query), ("start", &start), ("step", "60000ms")];
    let answer = sink.loki("query_range", &params).await;
    let levels: Vec<_> = answer["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["metric"]["level"].clone())
        .collect();
    assert_eq!(levels, [json!("error"), json!("info")]);
}

#[tokio::test]
async fn structured_metadata_comes_apart_where_it_is_asked_for() {
    let sink = sink_with_lines();
    let query = serde_urlencoded::to_string([("query", r#"{service_name="worker"} | json"#), ("limit", "1")])
        .unwrap();
    let request = Request::get(format!("{API}/query_range?{query}"))
        .header("authorization", &sink.token)
        .header("X-Loki-Response-Encoding-Flags", "categorize-labels")
        .body(Body::empty())
        .unwrap();
    let (_, answer) = sink.send(request).await;
    let data = &answer["data"];
    assert_eq!(data["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(data["result"][0]["stream"], json!({ "service_name": "worker", "level": "info" }));
    assert_eq!(
        data["result"][0]["values"][0][2],
        json!({ "structuredMetadata": { "order_id": "o-15" }, "parsed": { "n": "2" } })
    );
    assert!(data["stats"]["summary"]["totalLinesProcessed"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn the_lines_around_a_line_are_found_even_at_the_same_nanosecond() {
    let sink = sink();
    let resource = Arc::new(Resource { service: "api".into(), attributes: Vec::new() });
    let time = sink.now_nanos() - 5_000_000_000;
    let record = |offset: i64, body: &str| LogRecord {
        time: time + offset,
        severity: 9,
        body: body.to_owned(),
        ..LogRecord::default()
    };
    let records = vec![
        record(-1, "before"),
        record(0, "one"),
        record(0, "two"),
        record(0, "three"),
        record(1, "after"),
    ];
    sink.storage.append_logs(&Batch { groups: vec![(resource, records)] }).unwrap();
    let bodies = |answer: Json| -> Vec<String> {
        let streams = answer["data"]["result"].as_array().unwrap().clone();
        let values = streams.iter().flat_map(|stream| stream["values"].as_array().unwrap().clone());
        values.map(|value| value[1].as_str().unwrap().to_owned()).collect()
    };
    let selector = r#"{service_name="api"}"#;
    // Grafana asks backwards up to the line's own time plus one, and forwards from it.
    let (from, at, after) = ((time - 10_000_000).to_string(), time.to_string(), (time + 1).to_string());
    let backward =
        [("query", selector), ("start", &from), ("end", &after), ("direction", "BACKWARD"), ("limit", "10")];
    assert_eq!(bodies(sink.loki("query_range", &backward).await), ["three", "two", "one", "before"]);
    let end = (time + 10_000_000).to_string();
    let forward =
        [("query", selector), ("start", &at), ("end", &end), ("direction", "FORWARD"), ("limit", "10")];
    assert_eq!(bodies(sink.loki("query_range", &forward).await), ["one", "two", "three", "after"]);
    let two = [("query", selector), ("start", &at), ("end", &end), ("direction", "FORWARD"), ("limit", "2")];
    assert_eq!(bodies(sink.loki("query_range", &two).await), ["one", "two"]);
}

#[tokio::test]
async fn labels_series_and_volumes_are_answered() {
    let sink = sink_with_lines();
    let api = r#"{service_name="api"}"#;
    assert_eq!(sink.loki("labels", &[("query", api)]).await["data"], json!(["level", "service_name"]));
    assert_eq!(sink.loki("label/level/values", &[("query", api)]).await["data"], json!(["error", "info"]));
    assert_eq!(sink.loki("label/service_name/values", &[]).await["data"], json!(["api", "worker"]));
    assert_eq!(
        sink.loki("series", &[("match[]", api)]).await["data"],
        json!([{ "level": "error", "service_name": "api" }, { "level": "info", "service_name": "api" }])
    );
    let stats = sink.loki("index/stats", &[("query", r#"{service_name="worker"}"#)]).await;
    assert_eq!(stats, json!({ "streams": 1, "chunks": 1, "entries": 2, "bytes": 14 }));
    let volume = sink.loki("index/volume", &[("query", r#"{service_name=~".+"}"#), ("limit", "1")]).await;
    assert_eq!(volume["data"]["resultType"], "vector");
    assert_eq!(volume["data"]["result"][0]["metric"], json!({ "service_name": "api" }));
    assert_eq!(volume["data"]["result"].as_array().unwrap().len(), 1);
    let by_label = sink.loki("index/volume", &[("query", api), ("aggregateBy", "labels")]).await;
    assert_eq!(by_label["data"]["result"][0]["metric"].as_object().unwrap().len(), 1);
    let range = [("query", r#"{service_name=~".+"}"#), ("targetLabels", "level"), ("step", "60")];
    let volumes = sink.loki("index/volume_range", &range).await;
    assert_eq!(volumes["data"]["resultType"], "matrix");
    assert_eq!(volumes["data"]["result"][0]["metric"], json!({ "level": "info" }));
}

#[tokio::test]
async fn fields_labels_and_patterns_are_detected() {
    let sink = sink_with_lines();
    let labels = sink.loki("detected_labels", &[("query", "")]).await;
    assert_eq!(labels["detectedLabels"][0], json!({ "label": "level", "cardinality": 2 }));
    let fields = sink.loki("detected_fields", &[("query", r#"{service_name="api"}"#)]).await;
    let field = |name: &str| {
        fields["fields"].as_array().unwrap().iter().find(|field| field["label"] == name).unwrap().clone()
    };
    assert_eq!(
        field("took"),
        json!({ "label": "took", "type": "duration", "cardinality": 3, "parsers": ["logfmt"] })
    );
    assert_eq!(field("order_id")["parsers"], Json::Null);
    let values = sink.loki("detected_field/user/values", &[("query", r#"{service_name="api"}"#)]).await;
    assert_eq!(values["values"], json!(["a", "b"]));
    let patterns = sink.loki("patterns", &[("query", r#"{service_name="api"}"#), ("step", "60")]).await;
    let found: Vec<_> =
        patterns["data"].as_array().unwrap().iter().map(|one| one["pattern"].clone()).collect();
    assert!(found.contains(&json!("took=<_> size=<_> user=<_>")), "{patterns}");
    let pretty = sink.loki("format_query", &[("query", r#"{a="b"}|="x""#)]).await;
    assert_eq!(pretty["data"], r#"{a="b"} |= "x""#);
    assert!(sink.ok(&format!("{API}/status/buildinfo")).await["version"].is_string());
}

#[tokio::test]
async fn a_tail_gets_the_lines_that_its_query_selects_until_the_drain() {
    use futures_util::StreamExt;
    let sink = sink();
    let query =
        serde_urlencoded::to_string([("query", r#"{service_name="api"} |= "took" | logfmt"#)]).unwrap();
    let request = Request::get(format!("/telemetry/v1/logs/tail?{query}"))
        .header("authorization", &sink.token)
        .body(Body::empty())
        .unwrap();
    let response = sink.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.into_body().into_data_stream();
    assert!(events.next().await.unwrap().unwrap().starts_with(b":"));
    sink.lines("worker", 9, &[(0, "took=1ms")]);
    sink.lines("api", 9, &[(1, "no"), (0, "took=2ms")]);
    let event = events.next().await.unwrap().unwrap();
    let text = std::str::from_utf8(&event).unwrap();
    let body: Json =
        serde_json::from_str(text.strip_prefix("event: lines\ndata: ").unwrap().trim_end()).unwrap();
    assert_eq!(body["streams"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&body["streams"][0]["values"][0][1], &body["streams"][0]["stream"]["took"]),
        (&json!("took=2ms"), &json!("2ms"))
    );
    sink.shutdown.cancel();
    assert!(events.next().await.is_none());
    assert_eq!(sink.get("/telemetry/v1/logs/tail?query=%7B").await.0, StatusCode::BAD_REQUEST);
}
