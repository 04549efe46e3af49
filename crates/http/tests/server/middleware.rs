use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue};
use quintet_http::health::{self, Check, MetricsForm};
use quintet_http::{Limits, Problem, RequestId};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::harness::{TestServer, json};

fn request(path: &str) -> http::Request<bytes::Bytes> {
    http::Request::get(path).body(bytes::Bytes::new()).unwrap()
}

async fn explode() -> &'static str {
    panic!("the secret detail")
}

#[tokio::test]
async fn a_panic_is_a_500_problem_and_the_connection_survives() {
    let router = Router::new().route("/panic", get(explode)).route("/", get(|| async { "fine" }));
    let server = TestServer::start(router, Limits::default());
    let client = server.client();
    let response = client.request(request("/panic")).await.unwrap();
    let body = json(response.body());
    assert_eq!((response.status().as_u16(), &body["code"]), (500, &"internal".into()));
    assert!(!body.to_string().contains("secret"), "{body}");
    assert_eq!(body["request_id"], response.headers()["x-request-id"].to_str().unwrap());
    assert_eq!(client.get("/").await.unwrap().body(), "fine");
}

#[tokio::test]
async fn an_unknown_route_is_a_404_problem_and_a_wrong_method_a_405_with_allow() {
    let router = Router::new()
        .route("/things", post(|| async { "made" }))
        .route("/thing", get(|| async { Problem::not_found("thing") }));
    let server = TestServer::start(router, Limits::default());
    let client = server.client();
    for (path, status, code) in [
        ("/nothing", 404, "route_not_found"),
        ("/things", 405, "method_not_allowed"),
        ("/thing", 404, "not_found"),
    ] {
        let response = client.request(request(path)).await.unwrap();
        let body = json(response.body());
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        assert_eq!(
            (response.status().as_u16(), body["code"].as_str()),
            (status, Some(code)),
            "{path}: {body}"
        );
        assert_eq!(body["status"], status);
        assert!(body["request_id"].is_string(), "{path}: {body}");
        assert_eq!(
            response.headers().get("allow").map(|value| value.to_str().unwrap()),
            (status == 405).then_some("POST")
        );
    }
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_any_other_replaced() {
    let router = Router::new().route("/", get(|id: RequestId| async move { id.to_string() }));
    let server = TestServer::start(router, Limits::default());
    for (sent, kept) in
        [("0af7651916cd43dd8448eb211c80319c", true), ("a b", false), ("<x>", false), ("", false)]
    {
        let mut request = request("/");
        request.headers_mut().insert("x-request-id", sent.parse().unwrap());
        let response = server.client().request(request).await.unwrap();
        let echoed = response.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(echoed == sent, kept, "{sent:?} became {echoed:?}");
        assert_eq!(response.body(), echoed);
    }
}

#[tokio::test]
async fn a_request_over_its_time_is_answered_503() {
    let router = Router::new().route("/", get(std::future::pending::<&'static str>));
    let limits = Limits { request_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = TestServer::start(router, limits);
    let response = server.client().request(request("/")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(json(response.body())["code"], "timeout");
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn requests_over_the_concurrency_limit_are_turned_away_at_once() {
    let (begun, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gate = (begun.clone(), open.clone());
    let slow = get(move || async move {
        gate.0.notify_one();
        gate.1.notified().await;
        "finished"
    });
    let server =
        TestServer::start(Router::new().route("/", slow), Limits { max_in_flight: 1, ..Limits::default() });
    let client = server.client();
    let mut tasks = JoinSet::new();
    let first = client.clone();
    tasks.spawn(async move { first.get("/").await.unwrap() });
    begun.notified().await;

    let turned_away = client.request(request("/")).await.unwrap();
    assert_eq!(turned_away.status(), 503);
    assert_eq!(json(turned_away.body())["code"], "overloaded");
    assert_eq!(turned_away.headers()["retry-after"], "1");

    open.notify_one();
    assert_eq!(tasks.join_next().await.unwrap().unwrap().body(), "finished");
    open.notify_one();
    assert_eq!(client.request(request("/")).await.unwrap().status(), 200, "the slot was given back");
}

#[tokio::test]
async fn health_answers_alive_ready_and_metrics() {
    let checks = || vec![check("database", true), check("keys", false)];
    let metrics = |form| match form {
        MetricsForm::Prometheus => "up 1\n".to_owned(),
        MetricsForm::OpenMetrics => "up 1\n# EOF\n".to_owned(),
    };
    let server = TestServer::start(health::router(checks, metrics), Limits::default());
    let client = server.client();
    assert_eq!(client.get("/healthz").await.unwrap().status(), 200);
    let metrics = client.get("/metrics").await.unwrap();
    assert_eq!(metrics.body(), "up 1\n");
    assert!(metrics.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let mut asking = request("/metrics");
    let accepted =
        HeaderValue::from_static("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5");
    asking.headers_mut().insert("accept", accepted);
    let openmetrics = client.request(asking).await.unwrap();
    assert_eq!(openmetrics.body(), "up 1\n# EOF\n");
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(openmetrics.headers()["content-type"], media_type);
    assert_eq!(openmetrics.headers()["vary"], "accept");
    let ready = client.request(request("/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
    let body = json(ready.body());
    assert_eq!(body["ready"], false);
    assert_eq!(body["checks"][1]["name"], "keys");

    let server = TestServer::start(
        health::router(|| vec![check("database", true)], |_| String::new()),
        Limits::default(),
    );
    assert_eq!(server.client().get("/readyz").await.unwrap().status(), 200);
}

#[test]
fn the_form_of_metrics_is_the_one_that_weighs_most() {
    let check = |accept: &[&'static str], expected: MetricsForm| {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append("accept", HeaderValue::from_static(value));
        }
        assert_eq!(MetricsForm::wanted(&headers), expected, "{accept:?}");
    };
    // What Prometheus 3 sends.
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                      application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
                      text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    check(&[prometheus], MetricsForm::OpenMetrics);
    check(&["text/plain;q=0.1", "Application/OpenMetrics-Text; Version=\"1.0.0\""], MetricsForm::OpenMetrics);
    check(&["application/openmetrics-text"], MetricsForm::OpenMetrics);
    check(&["application/openmetrics-text;q=0"], MetricsForm::Prometheus);
    check(&["application/openmetrics-text;version=2.0.0"], MetricsForm::Prometheus);
    check(&["application/openmetrics-text;q=0.5,*/*;q=0.5"], MetricsForm::Prometheus);
    check(&["text/html,*/*;q=0.8"], MetricsForm::Prometheus);
    check(&[], MetricsForm::Prometheus);
}

fn check(name: &str, ready: bool) -> Check {
    Check { name: name.to_owned(), ready }
}

#[test]
fn limits_are_read_in_milliseconds_and_unknown_keys_refused() {
    let limits: Limits = serde_json::from_str(r#"{"request_timeout_ms": 5, "max_body": 7}"#).unwrap();
    assert_eq!((limits.request_timeout, limits.max_body), (Duration::from_millis(5), 7));
    assert_eq!(limits.max_connections, Limits::default().max_connections);
    assert!(serde_json::from_str::<Limits>(r#"{"request_timeout": 5}"#).is_err());
}
