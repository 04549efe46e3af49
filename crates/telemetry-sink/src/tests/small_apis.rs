//! What clients ask beside queries: limits, statistics, expressions, configuration, state.

use super::*;

const API: &str = "/telemetry/prometheus/api/v1";

#[tokio::test]
async fn an_answer_that_its_limit_cuts_says_so() {
    let sink = sink();
    for zone in ["a", "b"] {
        sink.sample(&[("__name__", "up"), ("zone", zone)], 1, 1.0);
    }
    let cut = json!(["results truncated due to limit"]);
    for path in ["series?match[]=up", "labels?x=", "label/zone/values?x=", "query?query=up"] {
        let body = sink.ok(&format!("{API}/{path}&limit=1")).await;
        assert_eq!(body["warnings"], cut, "{path}");
        let found = body["data"].as_array().or(body["data"]["result"].as_array()).unwrap();
        assert_eq!(found.len(), 1, "{path}");
        for enough in [0, 2] {
            let body = sink.ok(&format!("{API}/{path}&limit={enough}")).await;
            assert_eq!(body.get("warnings"), None, "{path}");
        }
    }
}

#[tokio::test]
async fn a_query_tells_what_it_cost_to_who_asks() {
    let sink = sink();
    for ago in [50, 40, 30, 20, 10] {
        sink.sample(&[("__name__", "up"), ("zone", "a")], ago, 1.0);
    }
    let now = sink.clock.now().as_second();
    for (path, samples) in [
        ("query?query=up".to_owned(), 1),
        ("query?query=sum_over_time(up[5m])".to_owned(), 5),
        ("query?query=up[5m]".to_owned(), 5),
        // Six of the inner steps' values; what they were made of does not count.
        (format!("query?query=count_over_time(sum_over_time(up[5m])[20s:10s])&time={now}"), 2),
        (format!("query_range?query=up&start={}&end={now}&step=10s", now - 5), 1),
    ] {
        let path = path.replace('[', "%5B").replace(']', "%5D");
        let body = sink.ok(&format!("{API}/{path}&stats=all")).await;
        let stats = &body["data"]["stats"];
        assert_eq!(stats["samples"]["totalQueryableSamples"], samples, "{path}: {stats}");
        assert!(stats["samples"]["peakSamples"].as_u64().unwrap() > 0, "{path}: {stats}");
        let seconds = |name: &str| stats["timings"][name].as_f64().unwrap();
        assert!(seconds("execTotalTime") >= seconds("evalTotalTime") && seconds("evalTotalTime") > 0.0);
        assert_eq!(sink.ok(&format!("{API}/{path}")).await["data"].get("stats"), None);
    }
}

#[tokio::test]
async fn very_small_samples_are_written_as_prometheus_writes_them() {
    let sink = sink();
    let vector = sink.ok(&format!("{API}/query?query=vector(1e-7)")).await;
    assert_eq!(vector["data"]["result"][0]["value"][1], "1e-07");
    let scalar = sink.ok(&format!("{API}/query?query=1e-7")).await;
    assert_eq!(scalar["data"]["result"][1], "0.0000001");
}

#[tokio::test]
async fn expressions_are_formatted_and_parsed() {
    let sink = sink();
    let written = sink.ok(&format!("{API}/format_query?query=sum(up)by(job)")).await;
    assert_eq!(written["data"], "sum by (job) (up)");
    let tree = sink.ok(&format!("{API}/parse_query?query=(up)")).await;
    assert_eq!((&tree["data"]["type"], &tree["data"]["expr"]["name"]), (&json!("parenExpr"), &json!("up")));
    for route in ["format_query", "parse_query"] {
        let (status, body) = sink.get(&format!("{API}/{route}?query=sum(")).await;
        assert_eq!((status, &body["errorType"]), (StatusCode::BAD_REQUEST, &json!("bad_data")));
    }
}

#[tokio::test]
async fn targets_are_described_by_pool_metric_and_configuration() {
    let sink = sink();
    assert_eq!(sink.ok(&format!("{API}/scrape_pools")).await["data"], json!({ "scrapePools": ["core-api"] }));
    let config = sink.ok(&format!("{API}/status/config")).await;
    let yaml = config["data"]["yaml"].as_str().unwrap();
    for line in ["scrape_configs:", "  job_name: core-api", "  scrape_interval: 2s", "    - \"127.0.0.1:1\""]
    {
        assert!(
            yaml.lines().any(|one| one.trim_start_matches("- ") == line.trim_start_matches("- ")
                || one.trim_start_matches(['-', ' ']) == line.trim_start_matches(['-', ' '])),
            "{line:?} is not in\n{yaml}"
        );
    }
    let meta = crate::model::MetricMeta {
        name: "requests_total".into(),
        help: "Requests.".into(),
        ..crate::model::MetricMeta::default()
    };
    let labels: Labels =
        [("__name__", "requests_total"), ("job", "core-api"), ("instance", "core-api")].into_iter().collect();
    let sample = Sample { labels, time: sink.clock.now().as_millisecond(), value: 1.0 };
    let batch = MetricBatch { samples: vec![sample], metadata: vec![meta], ..MetricBatch::default() };
    sink.storage.append_metrics(&batch).unwrap();
    let all = sink.ok(&format!("{API}/targets/metadata")).await;
    assert_eq!(
        (&all["data"][0]["metric"], &all["data"][0]["target"]["job"]),
        (&json!("requests_total"), &json!("core-api")),
        "{all}"
    );
    for (asked, count) in [
        ("metric=requests_total", 1),
        ("metric=requests", 0),
        ("match_target=%7Bjob%3D%22core-api%22%7D", 1),
        ("match_target=%7Bjob%3D%22other%22%7D", 0),
    ] {
        let found = sink.ok(&format!("{API}/targets/metadata?{asked}")).await;
        assert_eq!(found["data"].as_array().unwrap().len(), count, "{asked}");
    }
}

#[tokio::test]
async fn the_state_of_the_server_is_true() {
    let sink = sink();
    let info = sink.ok(&format!("{API}/status/runtimeinfo")).await;
    assert!(info["data"]["goroutineCount"].as_u64().unwrap() > 0);
    assert_eq!(info["data"]["storageRetention"], "1d or 67108864B");
    assert_eq!(sink.ok(&format!("{API}/status/walreplay")).await["data"]["current"], 1);
    let status = sink.ok("/telemetry/alertmanager/api/v2/status").await;
    let config = status["config"]["original"].as_str().unwrap();
    assert!(config.contains("route:\n") && config.contains("  receiver: nobody\n"), "{config}");
    assert_eq!(sink.ok("/telemetry/loki/ready").await, "ready\n");
    assert_eq!(sink.ok("/telemetry/loki/loki/api/v1/labels").await["status"], "success");
}
