//! What reaches the upstream, what comes back, over HTTP/1.1 and HTTP/2.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{any, get as route_get};
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::*;

#[tokio::test]
async fn a_request_arrives_with_the_gateways_headers_and_none_of_the_clients_claims() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let request = Request::builder()
        .uri("/api/x?q=%2F..%2f")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-host", "evil")
        .header("forwarded", "for=6.6.6.6")
        .header("x-real-ip", "6.6.6.6")
        .header("x-quintet-user", "root")
        .header("x-request-id", "mine")
        .header("connection", "x-secret, keep-alive")
        .header("x-secret", "hop")
        .header("te", "trailers")
        .header("accept", "text/plain")
        .body(Bytes::new())
        .unwrap();
    let response = fixture.client().request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = Seen::of(response.body());
    assert_eq!(seen.target, "/api/x?q=%2F..%2f");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some(&*fixture.authority()));
    assert_eq!(seen.header("host"), Some(&*fixture.authority()));
    assert_eq!(
        seen.header("forwarded"),
        Some(&*format!("for=127.0.0.1;host=\"{}\";proto=https", fixture.authority()))
    );
    assert_eq!(seen.header("accept"), Some("text/plain"));
    assert_eq!(seen.header("x-client-request-id"), Some("mine"));
    for gone in ["x-real-ip", "x-quintet-user", "x-secret", "te", "connection"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    let id = seen.header("x-request-id").unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(response.headers()["x-request-id"], id);
    assert_eq!(response.headers().get_all("x-request-id").iter().count(), 1);
    assert_eq!(response.headers()["x-upstream"], "echo");
    assert_eq!(seen.header("traceparent"), None);
}

#[tokio::test]
async fn http2_requests_arrive_the_same() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let mut sender = fixture.http2().await;
    let authority = fixture.authority();
    let answers = (0..20).map(|n| {
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("https://{authority}/n/{n}?a=b"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from(vec![b'x'; n * 1_000])))
            .unwrap();
        sender.send_request(request)
    });
    let answers = futures_util::future::join_all(answers).await;
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let seen = Seen::of(&answer.into_body().collect().await.unwrap().to_bytes());
        assert_eq!(seen.target, format!("/n/{n}?a=b"));
        assert_eq!(seen.header("host"), Some(&*authority));
        assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
        assert_eq!(seen.length, n as u64 * 1_000);
    }
}

#[tokio::test]
async fn bodies_of_every_framing_pass_whole_in_both_directions() {
    let mut fixture = Fixture::start(&format!("{ECHO}max_body = 10000000\n")).await;
    let reflect = Router::new()
        .fallback(any(|body: Bytes| async move { body }))
        .layer(axum::extract::DefaultBodyLimit::disable());
    fixture.serve("echo", reflect);
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let response = fixture.client().request(post("/", body.clone())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.body() == &body);
    let chunked = fixture
        .raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        .await;
    assert!(chunked.starts_with("HTTP/1.1 200") && chunked.ends_with("abcde"), "{chunked}");
    let mut sender = fixture.http2().await;
    let request = Request::post(format!("https://{}/", fixture.authority()))
        .body(Full::new(Bytes::from(body.clone())))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert!(answer == body);
}

#[tokio::test]
async fn heads_and_empty_answers_keep_their_meaning() {
    let mut fixture = Fixture::start(ECHO).await;
    let router = Router::new()
        .route("/file", route_get(|| async { "0123456789" }))
        .route("/none", route_get(|| async { StatusCode::NO_CONTENT }))
        .route("/same", route_get(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"1\"")]) }));
    fixture.serve("echo", router);
    let client = fixture.client();
    for _ in 0..3 {
        let head = Request::builder().method(Method::HEAD).uri("/file").body(Bytes::new()).unwrap();
        let head = client.request(head).await.unwrap();
        assert_eq!(
            (head.status(), &head.headers()["content-length"]),
            (StatusCode::OK, &"10".parse().unwrap())
        );
        assert_eq!(client.request(get("/none")).await.unwrap().status(), StatusCode::NO_CONTENT);
        let same = client.request(get("/same")).await.unwrap();
        assert_eq!(
            (same.status(), &same.headers()["etag"]),
            (StatusCode::NOT_MODIFIED, &"\"1\"".parse().unwrap())
        );
        assert_eq!(client.request(get("/file")).await.unwrap().body(), "0123456789");
    }
}

#[tokio::test]
async fn events_pass_one_by_one_without_waiting_for_more() {
    let mut fixture = Fixture::start(ECHO).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let router = Router::new().route(
        "/events",
        route_get(move || {
            let receiver = receiver.clone();
            async move {
                let mut receiver = receiver.lock().await.take().unwrap();
                let events = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
                ([("content-type", "text/event-stream")], Body::from_stream(events))
            }
        }),
    );
    fixture.serve("echo", router);
    let mut http2 = fixture.http2().await;
    let request =
        Request::get(format!("https://{}/events", fixture.authority())).body(Full::default()).unwrap();
    let mut body = http2.send_request(request).await.unwrap().into_body().into_data_stream();
    for n in 0..3 {
        sender.send(Ok(Bytes::from(format!("data: {n}\n\n")))).await.unwrap();
        let event = tokio::time::timeout(PATIENCE, body.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event, format!("data: {n}\n\n"));
    }
}

#[tokio::test]
async fn an_upload_goes_on_while_its_answer_already_streams() {
    let mut fixture = Fixture::start(ECHO).await;
    let reflect = Router::new().fallback(any(|request: axum::extract::Request| async move {
        axum::response::Response::new(request.into_body())
    }));
    fixture.serve("echo", reflect);
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let mut seen = String::new();
    for word in ["alpha", "beta", "gamma"] {
        stream.write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes()).await.unwrap();
        while !seen.contains(word) {
            let mut chunk = [0u8; 1024];
            let count = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.unwrap().unwrap();
            assert_ne!(count, 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    }
    // The whole request can still be completed; the client was told not to send another one here, because
    // whether the upload ends before the answer was not known when the answer began.
    assert!(seen.to_ascii_lowercase().contains("connection: close"), "{seen}");
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let rest = read_to_close(&mut stream).await;
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_and_drain_waits_for_it() {
    let mut fixture = Fixture::start(ECHO).await;
    let listener = tokio::net::UnixListener::bind(fixture.socket("echo")).unwrap();
    let upstream = tokio::task::JoinSet::from_iter([async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        assert!(head.contains("sec-websocket-key: abc"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: xyz\r\n\r\nhello")
            .await
            .unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    }]);
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n\r\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello") {
        seen.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8_lossy(&seen).into_owned();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: xyz"), "{head}");
    fixture.shutdown.cancel();
    for word in [&b"ping"[..], b"a longer message"] {
        stream.write_all(word).await.unwrap();
        let mut back = vec![0; word.len()];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, word);
    }
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
    fixture.drain().await;
    upstream.join_all().await;
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_an_ordinary_answer() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let answer = fixture
        .raw(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

#[tokio::test]
async fn routes_are_chosen_by_prefix_host_and_strip() {
    let more = "[[upstreams]]\nname = \"echo\"\naddresses = [\"unix:DIR/echo.sock\"]\n\
                [[upstreams]]\nname = \"other\"\naddresses = [\"unix:DIR/other.sock\"]\n\
                [[routes]]\npath_prefix = \"/api\"\nupstream = \"echo\"\n\
                [[routes]]\npath_prefix = \"/cut\"\nupstream = \"echo\"\nstrip_prefix = true\n\
                [[routes]]\npath_prefix = \"/api\"\nupstream = \"other\"\nhosts = [\"b.test\"]\n";
    let mut fixture = Fixture::start(more).await;
    fixture.serve("echo", echo());
    fixture.serve("other", Router::new().fallback(any(|| async { "other" })));
    let client = fixture.client();
    let target = async |path: &str| {
        let response = client.request(get(path)).await.unwrap();
        (response.status() == StatusCode::OK).then(|| Seen::of(response.body()).target)
    };
    assert_eq!(target("/api").await.as_deref(), Some("/api"));
    assert_eq!(target("/%61pi/%7ex?a").await.as_deref(), Some("/api/~x?a"));
    assert_eq!(target("/apix").await, None);
    assert_eq!(target("/cut").await.as_deref(), Some("/"));
    assert_eq!(target("/cut/x?y=1").await.as_deref(), Some("/x?y=1"));
    let missing = client.request(get("/nowhere")).await.unwrap();
    assert_eq!((missing.status(), &*problem_code(&missing)), (StatusCode::NOT_FOUND, "not_found"));
    let mut stream = fixture.connect("b.test", &[b"http/1.1"]).await;
    stream.write_all(b"GET /api HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_close(&mut stream).await.ends_with("other"));
}

#[tokio::test]
async fn a_request_that_is_not_sampled_goes_on_with_an_unsampled_context() {
    let telemetry = "[telemetry]\notlp = \"unix:DIR/sink.sock\"\nsample_ratio = 0.0\n";
    let mut fixture = Fixture::start(&format!("{ECHO}{telemetry}")).await;
    fixture.serve("echo", echo());
    let response = fixture.client().request(get("/")).await.unwrap();
    let seen = Seen::of(response.body());
    let traceparent = seen.header("traceparent").unwrap();
    assert!(traceparent.starts_with("00-") && traceparent.len() == 55, "{traceparent}");
    assert!(traceparent.ends_with("-00"), "{traceparent}");
    let headers: HeaderMap = response.headers().clone();
    assert!(headers.get("traceparent").is_none());
    assert_eq!(seen.method, "GET");
}

#[tokio::test]
async fn a_gateway_without_an_exporter_leaves_new_traces_to_the_upstream() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    let mut request = get("/");
    request.headers_mut().insert("tracestate", "of=nobody".parse().unwrap());
    let seen = Seen::of(fixture.client().request(request).await.unwrap().body());
    assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (None, None));
}
