use axum::Router;
use axum::extract::Request;
use axum::routing::{post, put};
use http_body_util::BodyExt;
use quintet_http::extract::{Body, Form, Json, Query, body_problem};
use quintet_http::middleware::MaxBody;
use quintet_http::{Limits, Problem};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use crate::harness::{TestServer, body_of, json, read_head, read_to_close};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: u32,
}

async fn streamed(request: Request) -> Result<String, Problem> {
    let mut body = request.into_body();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| body_problem(&error))?;
        total += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok(total.to_string())
}

fn server() -> TestServer {
    let router = Router::new()
        .route("/", post(|Body(body): Body| async move { body.len().to_string() }))
        .route("/unread", post(|| async { "unread" }))
        .route("/stream", post(streamed))
        .route(
            "/large",
            put(|Body(body): Body| async move { body.len().to_string() }).layer(MaxBody(64 * 1024)),
        )
        .route("/small", put(|Body(body): Body| async move { body.len().to_string() }).layer(MaxBody(10)))
        .route("/json", post(|Json(page): Json<Page>| async move { page.limit.to_string() }))
        .route("/form", post(|Form(page): Form<Page>| async move { page.limit.to_string() }))
        .route("/query", post(|Query(page): Query<Page>| async move { page.limit.to_string() }));
    TestServer::start(router, Limits { max_body: 1024, ..Limits::default() })
}

fn assert_too_large(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let body = body_of(answer);
    assert_eq!((&body["code"], &body["status"]), (&"body_too_large".into(), &413.into()), "{body}");
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_413_and_the_connection_closes() {
    let server = server();
    for path in ["/", "/stream"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n");
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        // Nothing of the body was sent: the head alone is enough to refuse it.
        stream.shutdown().await.unwrap();
        assert_too_large(&read_to_close(&mut stream).await);
    }
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413() {
    let server = server();
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    for path in ["/", "/stream"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_too_large(&server.exchange(format!("{head}{chunk}{chunk}0\r\n\r\n")).await);
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken() {
    let server = server();
    let response =
        server.client().request(http::Request::post("/").body(vec![0; 1024].into()).unwrap()).await;
    assert_eq!(response.unwrap().body(), "1024");
}

#[tokio::test]
async fn a_client_that_keeps_sending_still_reads_its_413() {
    let server = server();
    let mut stream = server.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Without a lingering close the kernel resets the connection under this.
    stream.write_all(&vec![b'x'; 4_000_000]).await.expect("the server keeps reading for a while");
    assert_too_large(&read_to_close(&mut stream).await);
}

#[tokio::test]
async fn a_body_that_is_refused_is_never_asked_for_with_100_continue() {
    let server = server();
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n";
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_route_can_raise_and_lower_the_limit() {
    let server = server();
    let client = server.client();
    let put = |path: &str, length: usize| http::Request::put(path).body(vec![0; length].into()).unwrap();
    for (path, length, status) in
        [("/large", 64 * 1024, 200), ("/large", 64 * 1024 + 1, 413), ("/small", 10, 200), ("/small", 11, 413)]
    {
        let response = client.request(put(path, length)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} with {length} bytes");
    }
}

#[tokio::test]
async fn a_body_cut_short_is_400() {
    let server = server();
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn wrong_input_is_answered_with_a_problem_that_says_where() {
    let server = server();
    let client = server.client();
    let post = |path: &str, media_type: &str, body: &str| {
        http::Request::post(path).header("content-type", media_type).body(body.to_owned().into()).unwrap()
    };
    let form = "application/x-www-form-urlencoded";
    for (request, status, code, pointer) in [
        (post("/json", "application/json", "{"), 400, "malformed_json", None),
        (post("/json", "application/json", "{\"limit\":\"x\"}"), 422, "invalid_body", Some("/limit")),
        (post("/json", "application/json", "{\"limit\":1,\"more\":1}"), 422, "invalid_body", Some("/more")),
        (post("/json", "application/json", ""), 400, "malformed_json", None),
        (post("/json", "text/plain", "{\"limit\":1}"), 415, "unsupported_media_type", None),
        (post("/form", form, "limit=x"), 422, "invalid_form", Some("limit")),
        (post("/form", "application/json", "{}"), 415, "unsupported_media_type", None),
        (post("/query?limit=-1", form, ""), 400, "invalid_query", Some("limit")),
        (post("/query?limit=1&limit=2", form, ""), 400, "invalid_query", Some("")),
        (post("/query", form, ""), 400, "invalid_query", Some("")),
    ] {
        let shown = format!("{} {:?}", request.uri(), request.body());
        let response = client.request(request).await.unwrap();
        let body = json(response.body());
        assert_eq!(response.status().as_u16(), status, "{shown}: {body}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(body["code"], code, "{shown}: {body}");
        assert_eq!(body["errors"][0]["pointer"].as_str(), pointer, "{shown}: {body}");
    }
}
