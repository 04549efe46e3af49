//! Alertmanager's API and Prometheus' view of rules, as `amtool` and Grafana ask.

use super::*;
use http::Method;

impl Sink {
    async fn ask(&self, method: Method, path: &str, scopes: &[&str], body: &Json) -> (StatusCode, Json) {
        let token = self.issuer.bearer("usr_2", scopes);
        let request = Request::builder()
            .method(method)
            .uri(format!("/telemetry/alertmanager/api/v2/{path}"))
            .header("authorization", token)
            .body(Body::from(body.to_string()))
            .unwrap();
        self.send(request).await
    }

    fn seconds_from_now(&self, seconds: i64) -> String {
        (self.clock.now() + jiff::SignedDuration::from_secs(seconds)).to_string()
    }
}

const READ: &[&str] = &["telemetry:read"];
const WRITE: &[&str] = &["telemetry:read", "telemetry:write"];

fn silence(sink: &Sink) -> Json {
    json!({
        "matchers": [{ "name": "instance", "value": "a", "isRegex": false, "isEqual": true }],
        "startsAt": sink.seconds_from_now(-5),
        "endsAt": sink.seconds_from_now(3600),
        "createdBy": "me",
        "comment": "work",
    })
}

#[tokio::test]
async fn whoever_may_only_read_silences_and_posts_nothing() {
    let sink = sink();
    let alerts = json!([{ "labels": { "alertname": "A" } }]);
    for (method, path, body) in [
        (Method::POST, "silences", silence(&sink)),
        (Method::POST, "alerts", alerts),
        (Method::DELETE, "silence/x", Json::Null),
    ] {
        let (status, body) = sink.ask(method.clone(), path, READ, &body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {body}");
        assert!(body.as_str().unwrap().contains("telemetry:write"));
    }
}

#[tokio::test]
async fn alerts_are_posted_shown_and_silenced() {
    let sink = sink();
    let alerts = json!([
        { "labels": { "alertname": "Down", "instance": "a" }, "annotations": { "summary": "gone" } },
        { "labels": { "alertname": "Down", "instance": "b" }, "endsAt": "0001-01-01T00:00:00Z" },
    ]);
    assert_eq!(sink.ask(Method::POST, "alerts", WRITE, &alerts).await.0, StatusCode::OK);
    let (status, answer) = sink.ask(Method::POST, "silences", WRITE, &silence(&sink)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let id = answer["silenceID"].as_str().unwrap().to_owned();
    let shown = sink.ok("/telemetry/alertmanager/api/v2/alerts").await;
    assert_eq!(
        (shown[0]["status"]["state"].as_str(), shown[1]["status"]["state"].as_str()),
        (Some("suppressed"), Some("active"))
    );
    assert_eq!(shown[0]["status"]["silencedBy"], json!([id]));
    assert_eq!(shown[0]["receivers"], json!([{ "name": "nobody" }]));
    for (query, count) in [
        ("silenced=false", 1),
        ("active=false", 1),
        ("filter=instance%3D%22b%22", 1),
        ("receiver=no.*", 2),
        ("receiver=ops", 0),
    ] {
        let shown = sink.ok(&format!("/telemetry/alertmanager/api/v2/alerts?{query}")).await;
        assert_eq!(shown.as_array().unwrap().len(), count, "{query}");
    }
    let groups = sink.ok("/telemetry/alertmanager/api/v2/alerts/groups").await;
    assert_eq!(
        (groups[0]["labels"].clone(), groups[0]["alerts"].as_array().unwrap().len()),
        (json!({"alertname": "Down"}), 2)
    );
    let silences = sink.ok("/telemetry/alertmanager/api/v2/silences?filter=instance%3Da").await;
    assert_eq!((&silences[0]["id"], &silences[0]["status"]["state"]), (&json!(id), &json!("active")));
    assert_eq!(
        sink.ask(Method::DELETE, &format!("silence/{id}"), WRITE, &Json::Null).await.0,
        StatusCode::OK
    );
    let silence = sink.ok(&format!("/telemetry/alertmanager/api/v2/silence/{id}")).await;
    assert_eq!(silence["status"]["state"], "expired");
    assert_eq!(sink.get("/telemetry/alertmanager/api/v2/silence/nope").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_cannot_be_an_alert_or_a_silence_is_refused_with_a_reason() {
    let sink = sink();
    let mut endless = silence(&sink);
    endless["endsAt"] = json!("2001-01-01T00:00:00Z");
    for (path, body, why) in [
        ("alerts", json!([{ "labels": {} }]), "at least one label"),
        ("alerts", json!([{ "labels": { "a-b": "x" } }]), "no label name"),
        ("alerts", json!({}), "cannot be read"),
        ("alerts", json!([{ "labels": { "a": "x".repeat(20_000) } }]), "larger than"),
        ("silences", endless, "before end time"),
        ("silences", json!({ "matchers": [] }), "cannot be read"),
    ] {
        let (status, body) = sink.ask(Method::POST, path, WRITE, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        assert!(body.as_str().unwrap().contains(why), "{path}: {body}");
    }
}

#[tokio::test]
async fn prometheus_says_what_it_scrapes_and_that_it_is_well() {
    let sink = sink();
    let targets = sink.ok("/telemetry/prometheus/api/v1/targets").await;
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!((&target["labels"]["job"], &target["health"]), (&json!("core-api"), &json!("down")));
    assert_eq!(target["scrapeUrl"], "http://127.0.0.1:1/metrics");
    let rules = sink.ok("/telemetry/prometheus/api/v1/rules?type=alert&group_limit=10").await;
    assert_eq!(rules["data"], json!({ "groups": [] }));
    let (status, body) = sink.get("/telemetry/prometheus/api/v1/rules?type=x").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::BAD_REQUEST, &json!("bad_data")));
    for path in ["alertmanagers", "status/config", "status/flags", "status/runtimeinfo", "alerts"] {
        assert_eq!(sink.ok(&format!("/telemetry/prometheus/api/v1/{path}")).await["status"], "success");
    }
    assert_eq!(sink.get("/telemetry/prometheus/-/ready").await.0, StatusCode::OK);
}
