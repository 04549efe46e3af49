//! What comes before an answer over HTTP/2, and how it ends.

use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn hints() -> Response<()> {
    let mut hints = Response::new(());
    *hints.status_mut() = StatusCode::EARLY_HINTS;
    for (name, value) in [("link", "</a.css>; rel=preload"), ("x-inner", "1"), ("x-request-id", "theirs")] {
        hints.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    hints
}

#[tokio::test]
async fn early_hints_of_an_http2_upstream_reach_the_client_before_there_is_an_answer() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let origin = scripted(100, move |_, (_, mut respond): Incoming| {
        let wait = Arc::clone(&wait);
        async move {
            respond.send_informational(hints()).unwrap();
            wait.notified().await;
            say(&mut respond, "ok");
            Then::Serve
        }
    })
    .await;
    let route = upstream(origin.address, "protocol = \"h2c\"");
    let fixture = Fixture::start(&format!("{route}response_headers = {{ remove = [\"x-inner\"] }}\n")).await;
    for (method, body) in [("GET", ""), ("POST", "Content-Length: 2\r\n")] {
        let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
        let head = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n{body}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut hints = [0u8; 57];
        let reading = stream.read_exact(&mut hints);
        // The body of the POST has not come yet.
        tokio::time::timeout(PATIENCE, reading).await.expect("hints").unwrap();
        assert_eq!(
            std::str::from_utf8(&hints).unwrap(),
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
        );
        if !body.is_empty() {
            stream.write_all(b"hi").await.unwrap();
        }
        go_on.notify_one();
        let answer = read_to_close(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("ok"), "{answer}");
    }
}

#[tokio::test]
async fn an_http2_upstream_that_only_announces_is_no_upstream_but_its_connection_stays() {
    let origin = scripted(100, |_, (request, mut respond): Incoming| async move {
        if request.uri().path() == "/" {
            say(&mut respond, "ok");
            return Then::Serve;
        }
        while respond.send_informational(hints()).is_ok() {
            tokio::task::yield_now().await;
        }
        Then::Serve
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let client = fixture.client();
    let announced = client.request(post("/announce", "")).await.unwrap();
    assert_eq!(announced.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(client.request(get("/")).await.unwrap().body(), "ok");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_answer_is_whole_only_if_its_stream_was_not_cut() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let origin = scripted(100, move |_, (request, mut respond): Incoming| {
        let wait = Arc::clone(&wait);
        async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            let reason = match request.uri().path() {
                // Resets the stream with NO_ERROR behind it, because nobody wants the rest of the request.
                "/whole" => {
                    body.send_data(Bytes::from_static(b"begun"), true).unwrap();
                    return Then::Serve;
                }
                "/cancelled" => Reason::CANCEL,
                _ => Reason::INTERNAL_ERROR,
            };
            body.send_data(Bytes::from_static(b"begun"), false).unwrap();
            wait.notified().await;
            body.send_reset(reason);
            Then::Serve
        }
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let mut tasks = JoinSet::new();
    let mut client = frames(&fixture, &mut tasks).await;
    for (path, whole) in [("/whole", true), ("/cancelled", false), ("/broken", false)] {
        // A whole answer may come before the request is there.
        let (response, _upload) = client.send_request(ask(&fixture, path), !whole).unwrap();
        let read = async {
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "begun");
            if !whole {
                go_on.notify_one();
            }
            loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    end => break end.is_none(),
                }
            }
        };
        assert_eq!(tokio::time::timeout(PATIENCE, read).await.expect("an end"), whole, "{path}");
    }
}

#[tokio::test]
async fn a_request_whose_body_breaks_off_is_cancelled_at_the_upstream() {
    let (told, mut hears) = tokio::sync::mpsc::channel(1);
    let origin = scripted(100, move |_, (request, _respond): Incoming| {
        let told = told.clone();
        async move {
            let mut body = request.into_body();
            let mut end = Ok(Bytes::new());
            while let Some(piece) = body.data().await {
                end = piece;
                if end.is_err() {
                    break;
                }
            }
            told.send(end.err().and_then(|error| error.reason())).await.unwrap();
            Then::Serve
        }
    })
    .await;
    let fixture = Fixture::start(&upstream(origin.address, "protocol = \"h2c\"")).await;
    let mut stream = fixture.connect("localhost", &[b"http/1.1"]).await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    let reason = tokio::time::timeout(PATIENCE, hears.recv()).await.expect("it is told");
    assert_eq!(reason, Some(Some(Reason::CANCEL)), "it looked whole");
}
