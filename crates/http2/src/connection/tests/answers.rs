//! Heads, answers before them, trailers, and what has no content.

use http::header::{CONTENT_LENGTH, LINK, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::StreamBody;

use super::*;
use crate::frame::CONTINUATION;

fn statuses(frames: &[Frame], stream: u32) -> Vec<(u8, u8)> {
    let heads = frames.iter().filter(|frame| frame.kind == HEADERS && frame.stream == stream);
    heads.map(|frame| (frame.payload[0], frame.flags & END_STREAM)).collect()
}

#[test]
fn small_answers_of_several_streams_come_with_their_heads() {
    let mut client = Client::serving(path());
    let frames = client.exchange(&[get(1, "/a"), get(3, "/b")].concat());
    assert_eq!(order(&frames), [(HEADERS, 1), (HEADERS, 3), (DATA, 1), (DATA, 3)]);
    assert_eq!((content(&frames, 1), content(&frames, 3)), (b"/a".to_vec(), b"/b".to_vec()));
    assert!(frames[2].flags & END_STREAM != 0 && frames[3].flags & END_STREAM != 0);
}

#[test]
fn informational_answers_come_before_the_final_one_and_not_after() {
    let handler: Handler = Box::new(|_, interim| {
        Box::pin(async move {
            let hints = HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a>"))]);
            for status in [StatusCode::EARLY_HINTS, StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK] {
                interim.send(status, hints.clone());
            }
            tokio::task::yield_now().await;
            interim.send(StatusCode::PROCESSING, HeaderMap::new());
            let late = interim.clone();
            let pieces = std::iter::from_fn(move || {
                late.send(StatusCode::PROCESSING, HeaderMap::new());
                None
            });
            Response::new(Box::pin(StreamBody::new(futures_util::stream::iter(pieces))) as TestBody)
        })
    });
    let mut client = Client::serving(handler);
    let frames = client.exchange(&get(1, "/"));
    // 103 and 102 are literals of three digits, 200 is an index.
    assert_eq!(statuses(&frames, 1), [(0x08, 0), (0x08, 0), (0x88, 0)]);
    assert_eq!(frames.last().unwrap().flags & END_STREAM, END_STREAM);
}

#[test]
fn what_has_no_content_ends_with_its_head() {
    let handler: Handler = Box::new(|request, _| {
        Box::pin(async move {
            let mut answer = Response::new(full("content"));
            let status = request.uri().path().trim_start_matches('/').parse().unwrap();
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            answer
        })
    });
    let mut client = Client::serving(handler);
    let head = bytes(HEADERS, END_HEADERS | END_STREAM, 5, &request("HEAD", "/200"));
    let frames = client.exchange(&[get(1, "/204"), get(3, "/304"), head, get(7, "/200")].concat());
    assert_eq!(order(&frames), [(HEADERS, 1), (HEADERS, 3), (HEADERS, 5), (HEADERS, 7), (DATA, 7)]);
    assert_eq!(frames[0].payload, [0x89], "a field of a connection was sent, or a length");
    assert!(frames[..3].iter().all(|frame| frame.flags & END_STREAM != 0));
    let mut decoder = Decoder::new();
    let mut length = None;
    let decoded = decoder.decode(&frames[3].payload[1..], |field, _| {
        if let crate::hpack::Field::Header(name, value) = field {
            length = (name == CONTENT_LENGTH).then_some(value);
        }
        Ok(())
    });
    assert_eq!((decoded, length.unwrap()), (Ok(()), HeaderValue::from_static("7")));
}

#[test]
fn trailers_go_both_ways() {
    let handler: Handler = Box::new(|request, _| {
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let body = full(body.to_bytes()).with_trailers(async { Some(Ok(trailers)) });
            Response::new(Box::pin(body) as TestBody)
        })
    });
    let mut client = Client::serving(handler);
    let trailers = bytes(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "y")]));
    let frames = client.exchange(&[post(1), data(1, 0, b"abc"), trailers].concat());
    assert_eq!(order(&frames), [(HEADERS, 1), (DATA, 1), (HEADERS, 1)]);
    assert_eq!((content(&frames, 1), frames[2].flags), (b"abc".to_vec(), END_HEADERS | END_STREAM));
}

#[test]
fn a_large_head_is_answered_431_and_later_ones_still_refer_to_its_fields() {
    let mut client = Client::serving(path());
    let mut fields = request("GET", "/");
    // Into the table, before what is too much.
    fields.extend([0x40, 1, b'x', 1, b'y']);
    let value = "v".repeat(120);
    fields.extend(block(&vec![("z", &*value); 8]));
    let (first, rest) = fields.split_at(500);
    let begun = bytes(HEADERS, END_STREAM, 1, first);
    let frames = client.exchange(&[begun, bytes(CONTINUATION, END_HEADERS, 1, rest)].concat());
    assert_eq!(statuses(&frames, 1), [(0x08, END_STREAM)]);
    let mut next = request("GET", "/next");
    next.push(0xbe);
    let frames = client.exchange(&bytes(HEADERS, END_HEADERS | END_STREAM, 3, &next));
    assert_eq!(content(&frames, 3), b"/next");
}

#[test]
fn a_head_far_beyond_the_limit_ends_the_connection() {
    let mut bomb = request("GET", "/");
    bomb.extend([0x40, 1, b'x', 0x7f, 0xb9, 0x16]);
    bomb.extend(vec![b'y'; 3_000]);
    bomb.extend([0xbe; 10]);
    let whole = bytes(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    assert_eq!(Client::serving(path()).goes_away(&whole).0, Reason::EnhanceYourCalm.code());
    let begun = bytes(HEADERS, END_STREAM, 1, &request("GET", "/"));
    let endless = [begun.clone(), bytes(CONTINUATION, 0, 1, &[0; 5_000])].concat();
    assert_eq!(Client::serving(path()).goes_away(&endless).0, Reason::EnhanceYourCalm.code());
    let empty = [begun, bytes(CONTINUATION, 0, 1, &[]).repeat(200)].concat();
    assert_eq!(Client::serving(path()).goes_away(&empty).0, Reason::EnhanceYourCalm.code());
}

#[test]
fn an_answer_that_breaks_off_resets_its_stream_alone() {
    let handler: Handler = Box::new(|request, _| {
        Box::pin(async move {
            if request.uri().path() == "/" {
                return Response::new(full("whole"));
            }
            let pieces =
                [Ok(http_body::Frame::data(Bytes::from("half"))), Err(std::io::Error::other("gone"))];
            Response::new(Box::pin(StreamBody::new(futures_util::stream::iter(pieces))) as TestBody)
        })
    });
    let mut client = Client::serving(handler);
    let frames = client.exchange(&[get(1, "/broken"), get(3, "/")].concat());
    assert_eq!(reset_of(&frames, 1), Some(Reason::Internal.code()));
    assert_eq!((content(&frames, 1), content(&frames, 3)), (b"half".to_vec(), b"whole".to_vec()));
}
