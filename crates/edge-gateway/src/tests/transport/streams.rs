//! Streams of HTTP/2 connections to upstreams: retirement, refusals, bounds, gRPC. The upstream's side is written
//! frame by frame.

mod ends;

use h2::Reason;
use h2::client::SendRequest;
use h2::server::{Connection, SendResponse};

use super::*;

type Incoming = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// A server that hands each request to `answer`, with the number of its connection.
async fn scripted<F, Fut>(most: u32, answer: F) -> Origin
where
    F: Fn(usize, Incoming) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Then> + Send + 'static,
{
    Origin::start(None, move |connection, stream| {
        let answer = answer.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            let mut server: Connection<_, Bytes> =
                builder.max_concurrent_streams(most).handshake(stream).await.unwrap();
            let mut streams = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = server.accept() => match accepted {
                        Some(Ok(incoming)) => drop(streams.spawn(answer(connection, incoming))),
                        _ => break,
                    },
                    Some(Ok(then)) = streams.join_next() => match then {
                        Then::Serve => {}
                        Then::Retire => server.graceful_shutdown(),
                    },
                }
            }
        }
    })
    .await
}

/// What becomes of the connection after a stream.
enum Then {
    Serve,
    Retire,
}

fn say(respond: &mut SendResponse<Bytes>, text: &str) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::copy_from_slice(text.as_bytes()), true).unwrap();
}

/// An HTTP/2 client of the gateway that sees frames. Its connection has room for what others do not read.
async fn frames(fixture: &Fixture, tasks: &mut JoinSet<()>) -> SendRequest<Bytes> {
    let stream = fixture.connect("localhost", &[b"h2"]).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(64 << 20);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    tasks.spawn(async move { connection.await.unwrap_or_default() });
    client.ready().await.unwrap()
}

fn ask(fixture: &Fixture, path: &str) -> Request<()> {
    Request::post(format!("https://{}{path}", fixture.authority())).body(()).unwrap()
}

#[tokio::test]
async fn a_grpc_call_streams_both_ways_and_ends_with_its_trailers() {
    let origin = scripted(100, |_, (request, mut respond): Incoming| async move {
        let te = request.headers().get("te").cloned();
        let mut body = request.into_body();
        let mut head = Response::new(());
        head.headers_mut().extend(te.map(|te| (http::HeaderName::from_static("x-te"), te)));
        let mut answer = respond.send_response(head, false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            answer.send_data(data, false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        let sent = body.trailers().await.unwrap();
        trailers.insert("x-sent", sent.unwrap_or_default()["x-checksum"].clone());
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        answer.send_trailers(trailers).unwrap();
        Then::Serve
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let mut tasks = JoinSet::new();
    let mut client = frames(&fixture, &mut tasks).await;
    let mut request = ask(&fixture, "/shop.Orders/Watch");
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc+proto"));
    let (response, mut upload) = client.send_request(request, false).unwrap();
    upload.send_data(Bytes::from_static(b"first"), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["x-te"], "trailers");
    let mut answer = response.into_body();
    assert_eq!(answer.data().await.unwrap().unwrap(), "first");
    upload.send_data(Bytes::from_static(b"second"), false).unwrap();
    assert_eq!(answer.data().await.unwrap().unwrap(), "second");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", http::HeaderValue::from_static("77"));
    upload.send_trailers(trailers).unwrap();
    assert!(answer.data().await.is_none());
    let trailers = answer.trailers().await.unwrap().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-sent"]),
        (&"0".parse().unwrap(), &"77".parse().unwrap())
    );
}

#[tokio::test]
async fn a_retired_connection_finishes_its_streams_and_gets_no_more() {
    let finish = Arc::new(Notify::new());
    let finishing = Arc::clone(&finish);
    let origin = scripted(100, move |connection, (request, mut respond): Incoming| {
        let finish = Arc::clone(&finishing);
        async move {
            match request.uri().path() {
                "/retire" => {
                    say(&mut respond, "retired");
                    return Then::Retire;
                }
                "/long" => {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::from_static(b"begun"), false).unwrap();
                    finish.notified().await;
                    body.send_data(Bytes::from_static(b"finished"), true).unwrap();
                }
                _ => say(&mut respond, &connection.to_string()),
            }
            Then::Serve
        }
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let mut tasks = JoinSet::new();
    let mut client = frames(&fixture, &mut tasks).await;
    let mut body_of = async |path| {
        let response = client.send_request(ask(&fixture, path), true).unwrap().0.await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    };
    let mut long = body_of("/long").await;
    assert_eq!(long.data().await.unwrap().unwrap(), "begun");
    assert_eq!(body_of("/retire").await.data().await.unwrap().unwrap(), "retired");
    let mut served_by = Bytes::new();
    // The GOAWAY is on its way: until it has arrived the first connection still takes requests.
    while served_by != "1" {
        served_by = body_of("/").await.data().await.unwrap().unwrap();
    }
    finish.notify_one();
    assert_eq!(long.data().await.unwrap().unwrap(), "finished");
    assert!(long.data().await.is_none());
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_whatever_its_method() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let origin = scripted(100, move |_, (_, mut respond): Incoming| {
        let before = seen.fetch_add(1, Ordering::SeqCst);
        async move {
            match before {
                0 => respond.send_reset(Reason::REFUSED_STREAM),
                1 => say(&mut respond, "served"),
                _ => respond.send_reset(Reason::INTERNAL_ERROR),
            }
            Then::Serve
        }
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let client = fixture.client();
    let response = client.request(post("/", "")).await.unwrap();
    assert_eq!((response.status(), response.body().as_ref()), (StatusCode::OK, &b"served"[..]));
    let failed = client.request(post("/", "")).await.unwrap();
    assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(asked.load(Ordering::SeqCst), 3, "a POST that may have been processed was sent twice");
}

#[tokio::test]
async fn an_unanswered_stream_ends_at_the_deadline_and_leaves_the_others() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let origin = scripted(100, move |_, (request, mut respond): Incoming| {
        let gone = Arc::clone(&told);
        async move {
            if request.uri().path() == "/never" {
                let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                assert_eq!(reason, Reason::CANCEL);
                gone.notify_one();
            } else {
                say(&mut respond, "here");
            }
            Then::Serve
        }
    })
    .await;
    let configuration = upstream(origin.address, "protocol = \"h2c\"").replace("8000", "300");
    let fixture = Fixture::start(&configuration).await;
    let client = fixture.client();
    let response = client.request(post("/never", "")).await.unwrap();
    assert_eq!(problem_code(&response), "upstream_timeout");
    tokio::time::timeout(PATIENCE, gone.notified()).await.unwrap();
    assert_eq!(client.request(get("/")).await.unwrap().body(), "here");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn requests_beyond_what_the_upstream_allows_get_another_connection() {
    let together = Arc::new(Barrier::new(2));
    let meet = Arc::clone(&together);
    let origin = scripted(1, move |connection, (request, mut respond): Incoming| {
        let together = Arc::clone(&meet);
        async move {
            if request.uri().path() == "/meet" {
                together.wait().await;
            }
            say(&mut respond, &connection.to_string());
            Then::Serve
        }
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let mut tasks = JoinSet::new();
    let mut client = frames(&fixture, &mut tasks).await;
    let mut send = |path| client.send_request(ask(&fixture, path), true).unwrap().0;
    assert_eq!(send("/").await.unwrap().status(), 200);
    let (one, other) = (send("/meet"), send("/meet"));
    let both = async { (one.await.unwrap().status(), other.await.unwrap().status()) };
    assert_eq!(tokio::time::timeout(PATIENCE, both).await.unwrap(), (StatusCode::OK, StatusCode::OK));
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn clients_that_do_not_read_hold_up_nobody_else() {
    let origin = scripted(100, |_, (request, mut respond): Incoming| async move {
        if request.uri().path() != "/large" {
            say(&mut respond, "small");
            return Then::Serve;
        }
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        let piece = Bytes::from(vec![0u8; 1 << 20]);
        body.send_data(piece, false).unwrap();
        // Kept open until the gateway lets go of it.
        std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
        Then::Serve
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let mut tasks = JoinSet::new();
    let mut client = frames(&fixture, &mut tasks).await;
    let mut unread = Vec::new();
    for _ in 0..30 {
        let response = client.send_request(ask(&fixture, "/large"), true).unwrap().0;
        unread.push(response.await.unwrap().into_body());
        let small = client.send_request(ask(&fixture, "/small"), true).unwrap().0;
        let answered = async { small.await.unwrap().into_body().data().await.unwrap().unwrap() };
        assert_eq!(tokio::time::timeout(PATIENCE, answered).await.unwrap(), "small");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_grpc_call_may_pause_longer_than_other_bodies() {
    let origin = scripted(100, |_, (request, mut respond): Incoming| async move {
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        say(&mut respond, "all");
        Then::Serve
    })
    .await;
    let limits = "[limits]\nbody_min_rate = 1000\nbody_min_rate_grace_ms = 200\n";
    let fixture =
        Fixture::start(&format!("{}{limits}", upstream(origin.address, "protocol = \"h2c\""))).await;
    let mut tasks = JoinSet::new();
    for (content_type, status) in [("application/grpc", 200), ("application/octet-stream", 408)] {
        let mut client = frames(&fixture, &mut tasks).await;
        let mut request = ask(&fixture, "/shop.Orders/Put");
        request.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
        let (response, mut upload) = client.send_request(request, false).unwrap();
        upload.send_data(Bytes::from_static(b"first"), false).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        // Whoever has been answered needs no end.
        let _ = upload.send_data(Bytes::from_static(b"last"), true);
        assert_eq!(response.await.unwrap().status().as_u16(), status, "{content_type}");
    }
}
