//! Compressed answers as clients see them.

use std::io::Read as _;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::mpsc;

use super::asking;
use crate::tests::harness::*;

const COMPRESSED: &str = "[[upstreams]]\nname = \"app\"\naddresses = [\"unix:DIR/app.sock\"]\n\
                          [[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\ncompress = true\n";

/// Text of `length` bytes that compresses well.
fn text(length: usize) -> String {
    "the quick brown fox jumps over the lazy dog; ".chars().cycle().take(length).collect()
}

fn decoded(response: &Response<Bytes>) -> Vec<u8> {
    let body = &response.body()[..];
    let mut out = Vec::new();
    match response.headers().get("content-encoding").map(|value| value.to_str().unwrap()) {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_end(&mut out).map(drop).unwrap(),
        Some("br") => brotli::BrotliDecompress(&mut &*body, &mut out).unwrap(),
        Some("zstd") => zstd::stream::copy_decode(body, &mut out).unwrap(),
        None => out.extend_from_slice(body),
        Some(other) => panic!("{other}"),
    }
    out
}

fn vary(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all("vary")
        .iter()
        .flat_map(|value| value.to_str().unwrap().split(','))
        .map(str::trim)
        .collect()
}

/// An upstream that answers 20,000 bytes of text with the headers that the request's query names.
fn answering() -> Router {
    Router::new().fallback(any(|request: AxumRequest| async move {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut response = Response::builder();
        let mut typed = false;
        let mut length = 20_000;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap();
            let value = value.replace('+', " ").replace("%22", "\"");
            match name {
                "status" => response = response.status(value.parse::<u16>().unwrap()),
                "length" => length = value.parse().unwrap(),
                _ => response = response.header(name, value),
            }
            typed |= name == "content-type";
        }
        if !typed {
            response = response.header("content-type", "text/html; charset=utf-8");
        }
        response.body(Body::from(text(length))).unwrap()
    }))
}

async fn compressed_fixture(more: &str) -> Fixture {
    let mut fixture = Fixture::start(more).await;
    fixture.serve("app", answering());
    fixture
}

#[tokio::test]
async fn each_encoding_that_a_client_takes_gives_back_the_same_text() {
    let fixture = compressed_fixture(COMPRESSED).await;
    let client = fixture.client();
    for (accept, expected) in [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br;q=0.9", "gzip"),
    ] {
        let path = "/?etag=%22v1%22&accept-ranges=bytes&vary=origin";
        let response = client.request(asking(path, &[("accept-encoding", accept)])).await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["content-encoding"], expected, "{accept}");
        assert_eq!(headers["etag"], "W/\"v1\"");
        assert!(!headers.contains_key("accept-ranges"));
        assert!(!headers.contains_key("content-length"));
        assert_eq!(vary(headers), ["origin", "accept-encoding"]);
        assert!(response.body().len() < 1_000, "{} bytes", response.body().len());
        assert_eq!(decoded(&response), text(20_000).as_bytes());
    }
}

#[tokio::test]
async fn a_client_that_takes_no_encoding_gets_the_answer_as_it_is_and_vary() {
    let fixture = compressed_fixture(COMPRESSED).await;
    for accept in ["identity", "gzip;q=0", "deflate"] {
        let request = asking("/?etag=%22v1%22", &[("accept-encoding", accept)]);
        let response = fixture.client().request(request).await.unwrap();
        assert!(!response.headers().contains_key("content-encoding"), "{accept}");
        assert_eq!(response.headers()["etag"], "\"v1\"");
        assert_eq!(response.headers()["content-length"], "20000");
        assert_eq!(vary(response.headers()), ["accept-encoding"]);
    }
}

#[tokio::test]
async fn answers_whose_bytes_somebody_relies_on_stay_as_they_are() {
    let fixture = compressed_fixture(COMPRESSED).await;
    let client = fixture.client();
    for query in [
        "content-encoding=x-own",
        "cache-control=max-age=60,+no-transform",
        "status=206&content-range=bytes+0-19999/30000",
        "content-digest=sha-256=:x:",
        "repr-digest=sha-256=:x:",
        "content-type=image/png",
        "content-type=text/event-stream",
        "content-type=application/grpc",
        "length=1023",
    ] {
        let request = asking(&format!("/?{query}&etag=%22v1%22"), &[("accept-encoding", "gzip, br, zstd")]);
        let response = client.request(request).await.unwrap();
        let own = query.strip_prefix("content-encoding=");
        let encoding = response.headers().get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!(encoding, own, "{query}");
        assert_eq!(response.headers()["etag"], "\"v1\"", "{query}");
        assert!(vary(response.headers()).is_empty(), "{query}");
        assert_eq!(response.headers()["content-length"], response.body().len().to_string(), "{query}");
    }
    let at_the_minimum = asking("/?length=1024", &[("accept-encoding", "gzip")]);
    assert_eq!(client.request(at_the_minimum).await.unwrap().headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn answers_without_content_say_what_a_get_would_have_said() {
    let mut fixture = compressed_fixture(COMPRESSED).await;
    let client = fixture.client();
    let mut head = asking("/?etag=%22v1%22", &[("accept-encoding", "br")]);
    *head.method_mut() = Method::HEAD;
    let response = client.request(head).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "br");
    assert_eq!(response.headers()["etag"], "W/\"v1\"");
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(vary(response.headers()), ["accept-encoding"]);
    // The connection must be in step after a HEAD: ask again on it, and over HTTP/2.
    for (status, etag) in [("304", "W/\"v1\""), ("204", "\"v1\"")] {
        let path = format!("/?status={status}&etag=%22v1%22&length=0");
        let response = client.request(asking(&path, &[("accept-encoding", "br")])).await.unwrap();
        assert_eq!(response.status().as_str(), status);
        assert_eq!(response.headers()["etag"], etag);
        assert!(!response.headers().contains_key("content-encoding"));
    }
    let mut http2 = fixture.http2().await;
    let request = Request::builder()
        .method(Method::HEAD)
        .uri(format!("https://{}/", fixture.authority()))
        .header("accept-encoding", "zstd")
        .body(Full::default())
        .unwrap();
    let response = http2.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "zstd");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn pieces_of_a_chunked_answer_are_not_held_back() {
    let mut fixture = Fixture::start(COMPRESSED).await;
    let (send, receive) = mpsc::channel::<&'static str>(1);
    let pieces = std::sync::Arc::new(std::sync::Mutex::new(Some(receive)));
    let router = Router::new().fallback(any(move || {
        let receive = pieces.lock().unwrap().take().unwrap();
        async move {
            let pieces = stream::unfold(receive, |mut receive| async move {
                receive.recv().await.map(|piece| (Ok::<_, std::io::Error>(Bytes::from(piece)), receive))
            });
            Response::builder()
                .header("content-type", "application/x-ndjson")
                .body(Body::from_stream(pieces))
                .unwrap()
        }
    }));
    fixture.serve("app", router);
    let mut http2 = fixture.http2().await;
    let request = Request::builder()
        .uri(format!("https://{}/", fixture.authority()))
        .header("accept-encoding", "gzip")
        .body(Full::default())
        .unwrap();
    let (response, sent) = tokio::join!(http2.send_request(request), send.send("one\n"));
    sent.unwrap();
    let mut response = response.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    // The next piece is only sent once the one before has been read: a held back one would wait for ever.
    for (piece, so_far) in [("two\n", "one\n"), ("three\n", "one\ntwo\n")] {
        while decoder.get_ref().as_slice() != so_far.as_bytes() {
            let frame = tokio::time::timeout(PATIENCE, response.frame()).await.expect("a piece is held back");
            std::io::Write::write_all(&mut decoder, &frame.unwrap().unwrap().into_data().unwrap()).unwrap();
            std::io::Write::flush(&mut decoder).unwrap();
        }
        send.send(piece).await.unwrap();
    }
    drop(send);
    let rest = response.collect().await.unwrap().to_bytes();
    std::io::Write::write_all(&mut decoder, &rest).unwrap();
    assert_eq!(decoder.finish().unwrap(), b"one\ntwo\nthree\n");
}

#[tokio::test]
async fn routes_with_signed_in_users_compress_only_when_they_say_so() {
    let config = |route: &str| {
        format!(
            "[content]\ncompress = true\n[identity]\nissuer = \"{ISSUER}\"\naudience = \"api\"\n\
             jwks = \"unix:DIR/idp.sock\"\n[[upstreams]]\nname = \"app\"\naddresses = [\"unix:DIR/app.sock\"]\n\
             [[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\n{route}"
        )
    };
    let fixture = Fixture::start(&config("")).await;
    let compresses = |route: &str| {
        let plan = crate::config::Plan::new(&fixture.config(&config(route))).unwrap();
        plan.router.routes()[0].content.is_some()
    };
    assert!(compresses(""));
    assert!(!compresses("compress = false"));
    assert!(!compresses("auth = \"token\""));
    assert!(compresses("auth = \"token\"\ncompress = true"));
    assert!(compresses("auth = \"token\"\ncompress = { min_bytes = 10000 }"));
}

#[tokio::test]
async fn beyond_the_bound_on_streams_answers_pass_uncompressed() {
    let mut fixture = Fixture::start(&format!("[content]\ncompressed_streams = 1\n{COMPRESSED}")).await;
    let hold = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = hold.clone();
    let router = Router::new().fallback(any(move || {
        let held = held.clone();
        async move {
            let rest = stream::unfold(held, |held| async move {
                held.acquire().await.unwrap().forget();
                None::<(Result<Bytes, std::io::Error>, _)>
            });
            let first = stream::iter([Ok(Bytes::from(text(5_000)))]);
            let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
            Response::builder().header("content-type", "text/plain").body(body).unwrap()
        }
    }));
    fixture.serve("app", router);
    // One connection, so one worker.
    let mut http2 = fixture.http2().await;
    let uri = format!("https://{}/", fixture.authority());
    let request =
        || Request::builder().uri(&uri).header("accept-encoding", "zstd").body(Full::default()).unwrap();
    let first = http2.send_request(request()).await.unwrap();
    let second = http2.send_request(request()).await.unwrap();
    assert_eq!(first.headers()["content-encoding"], "zstd");
    assert!(!second.headers().contains_key("content-encoding"));
    assert_eq!(vary(second.headers()), ["accept-encoding"]);
    hold.add_permits(2);
    assert_eq!(second.into_body().collect().await.unwrap().to_bytes(), text(5_000));
    first.into_body().collect().await.unwrap();
    hold.add_permits(1);
    let third = http2.send_request(request()).await.unwrap();
    assert_eq!(third.headers()["content-encoding"], "zstd", "the place of a finished answer is free again");
}

#[tokio::test]
async fn fixed_answers_are_compressed_whole_with_their_length() {
    let body = text(3_000);
    let fixture = Fixture::start(&format!(
        "[content]\ncompress = {{ encodings = [\"gzip\"], types = [\"text/plain\"] }}\n\
         [[routes]]\npath_prefix = \"/\"\nrespond = {{ body = \"{body}\" }}\n"
    ))
    .await;
    let response = fixture.client().request(asking("/", &[("accept-encoding", "br, gzip")])).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.headers()["content-length"], response.body().len().to_string());
    assert_eq!(decoded(&response), body.as_bytes());
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_by_key() {
    let fixture = Fixture::start(COMPRESSED).await;
    for (more, key) in [
        ("[content]\ncompress = { gzip_level = 0 }\n", "content.compress.gzip_level"),
        ("[content]\ncompress = { encodings = [] }\n", "content.compress.encodings"),
        ("[content]\ncompress = { encodings = [\"br\", \"br\"] }\n", "content.compress.encodings"),
        ("[content]\ncompress = { types = [\"*/*\"] }\n", "content.compress.types"),
        ("[content]\ncompressed_streams = 0\n", "content.compressed_streams"),
    ] {
        let config = fixture.config(&format!("{more}{COMPRESSED}"));
        let message = crate::config::Plan::new(&config).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
    let route = COMPRESSED.replace("compress = true", "compress = { zstd_level = 10, brotli_quality = 10 }");
    let message = crate::config::Plan::new(&fixture.config(&route)).unwrap_err().to_string();
    assert!(message.contains("routes.0.compress"), "{message}");
}
