//! What no client should send, and what becomes of it.

use h3_quinn::quinn::{ReadError, WriteError};

use super::client::{Client, GET, Raw};
use super::start;
use crate::tests::harness::*;

enum End {
    /// The whole connection, with this code.
    Connection(u64),
    /// The stream, with this code.
    Stream(u64),
    /// An answer, which begins with these bytes after its frame's head.
    Answer(&'static [u8]),
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(payload.len()).unwrap()], payload].concat()
}

/// A head with further lines, in literal form with short names.
fn head(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut payload = GET[2..].to_vec();
    for (name, value) in lines {
        payload.extend(match u8::try_from(name.len()).unwrap() {
            length @ ..7 => vec![0x20 | length],
            length => vec![0x27, length - 7],
        });
        payload.extend(name.as_bytes());
        payload.push(u8::try_from(value.len()).unwrap());
        payload.extend(value.as_bytes());
    }
    frame(1, &payload)
}

#[tokio::test]
async fn request_streams_that_break_the_protocol_end_as_the_rfc_says() {
    let fixture = start("").await;
    // Prefix of a field section, then `:status 400` as a literal beside the static name.
    let bad_request = End::Answer(b"\0\0\x5f\x09\x03400");
    for (what, bytes, end) in [
        ("DATA first", frame(0, b"a"), End::Connection(0x105)),
        ("SETTINGS on a request stream", frame(4, b""), End::Connection(0x105)),
        ("a frame of HTTP/2", frame(6, b""), End::Connection(0x105)),
        ("a head that is cut off", GET[..9].to_vec(), End::Connection(0x106)),
        ("a reference to the dynamic table", frame(1, &[0, 0, 0x80]), End::Connection(0x200)),
        ("nothing", Vec::new(), End::Stream(0x10d)),
        ("a connection header", head(&[("connection", "close")]), End::Stream(0x10e)),
        ("no method", frame(1, b"\0\0\xd7\xc1\x50\x09localhost"), End::Stream(0x10e)),
        ("an upper-case name", head(&[("Abc", "d")]), End::Stream(0x10e)),
        ("a blank at the end of a value", head(&[("abc", "d ")]), bad_request),
        (
            "more than was announced",
            [head(&[("content-length", "1")]), frame(0, b"ab")].concat(),
            End::Answer(b"\0\0"),
        ),
    ] {
        let raw = Raw::start(&fixture).await;
        let (mut send, mut receive) = raw.request(&bytes).await;
        // The gateway may have ended it already.
        let _ = send.finish();
        let read = tokio::time::timeout(PATIENCE, receive.read_to_end(10_000)).await.unwrap();
        match end {
            End::Connection(code) => assert_eq!(raw.closed().await, code, "{what}"),
            End::Stream(code) => match read {
                Err(h3_quinn::quinn::ReadToEndError::Read(ReadError::Reset(reset))) => {
                    assert_eq!(reset.into_inner(), code, "{what}");
                }
                other => panic!("{what}: {other:?}"),
            },
            End::Answer(begins) => {
                let read = read.unwrap();
                // Type, and a length of two bytes.
                assert!(read[3..].starts_with(begins), "{what}: {read:?}");
            }
        }
    }
    let mut client = Client::start(&fixture).await;
    assert_eq!(client.send(get("/")).await.unwrap().status(), 200, "others are served");
}

#[tokio::test]
async fn control_streams_that_break_the_protocol_end_the_connection() {
    let fixture = start("").await;
    let floods = [0x21, 0x00].repeat(2_000);
    for (what, bytes, code) in [
        ("no SETTINGS", b"\0\x07\x01\0".to_vec(), 0x10a),
        ("SETTINGS twice", b"\0\x04\0\x04\0".to_vec(), 0x105),
        ("a setting of HTTP/2", b"\0\x04\x02\x02\0".to_vec(), 0x109),
        ("DATA", b"\0\x04\0\0\x01a".to_vec(), 0x105),
        ("a push that is cancelled", b"\0\x04\0\x03\x01\0".to_vec(), 0x108),
        ("fewer pushes than before", b"\0\x04\0\x0d\x01\x05\x0d\x01\x04".to_vec(), 0x108),
        ("SETTINGS of a gigabyte", b"\0\x04\xc0\0\0\0\x40\0\0\0".to_vec(), 0x107),
        ("frames without end", [b"\0\x04\0", &floods[..]].concat(), 0x107),
        ("a push stream", b"\x01\0".to_vec(), 0x103),
        ("an entry for the dynamic table", b"\x02\x4a".to_vec(), 0x201),
        ("an acknowledgement of nothing", b"\x03\x80".to_vec(), 0x202),
    ] {
        let mut raw = Raw::start(&fixture).await;
        raw.control(&bytes).await;
        assert_eq!(raw.closed().await, code, "{what}");
    }
    let mut raw = Raw::start(&fixture).await;
    raw.control(b"\0\x04\0").await;
    raw.close_control();
    assert_eq!(raw.closed().await, 0x104, "a control stream that ends");
    let mut raw = Raw::start(&fixture).await;
    raw.control(b"\0\x04\0").await;
    let _second = raw.uni(b"\0\x04\0").await;
    assert_eq!(raw.closed().await, 0x103, "two control streams");
}

#[tokio::test]
async fn streams_and_frames_of_unknown_types_are_ignored() {
    let fixture = start("").await;
    let mut raw = Raw::start(&fixture).await;
    raw.control(b"\0\x04\0\x21\x02zz").await;
    let mut unknown = raw.uni(b"\x21").await;
    let stopped = tokio::time::timeout(PATIENCE, unknown.stopped()).await.unwrap().unwrap();
    assert_eq!(stopped.map(h3_quinn::quinn::VarInt::into_inner), Some(0x103));
    assert!(matches!(unknown.write(b"a").await, Err(WriteError::Stopped(_))));
    let request = [b"\x21\x02zz", GET, b"\x21\x00"].concat();
    let (mut send, mut receive) = raw.request(&request).await;
    send.finish().unwrap();
    let answer = tokio::time::timeout(PATIENCE, receive.read_to_end(10_000)).await.unwrap().unwrap();
    assert!(answer[3..].starts_with(b"\0\0\xd9"), "{answer:?}");
}

/// A head that announces a gigabyte is refused before it comes, and bodies wait in windows.
#[tokio::test]
async fn a_head_without_end_is_refused_by_its_announced_length() {
    let fixture = start("").await;
    let raw = Raw::start(&fixture).await;
    let (_send, mut receive) = raw.request(b"\x01\xc0\0\0\0\x40\0\0\0").await;
    let answer = tokio::time::timeout(PATIENCE, receive.read_to_end(1_000)).await.unwrap().unwrap();
    assert!(answer[2..].starts_with(b"\0\0\x5f\x09\x03431"), "{answer:?}");
}
