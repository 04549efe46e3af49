//! A representation that is at hand, on disk or in memory, and what of it is sent: all, or the ranges that were asked
//! for (RFC 9110 section 14).

mod reading;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

pub(crate) use self::reading::{LocalBody, Reading, Source};
use crate::ranges::Ranges;

/// What of a representation of `length` bytes is sent, and what that makes of the head of its answer.
pub(crate) fn cut(
    ranges: Ranges,
    source: Source,
    length: u64,
    response: &mut Response<Reading>,
    random: u64,
) -> Reading {
    let mut reading = Reading::of(source);
    let headers = response.headers_mut();
    let status = match ranges {
        Ranges::Whole => {
            reading.push_stretch(0, length);
            return reading;
        }
        Ranges::Unsatisfiable => {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_ENCODING);
            set(headers, &CONTENT_RANGE, &format!("bytes */{length}"));
            StatusCode::RANGE_NOT_SATISFIABLE
        }
        Ranges::One(first, last) => {
            set(headers, &CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
            reading.push_stretch(first, last + 1 - first);
            StatusCode::PARTIAL_CONTENT
        }
        Ranges::Many(list) => {
            let boundary = format!("{random:016x}");
            let part_type = headers.remove(CONTENT_TYPE);
            set(headers, &CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
            for (first, last) in list {
                reading.push_bytes(part_head(&boundary, part_type.as_ref(), first, last, length));
                reading.push_stretch(first, last + 1 - first);
            }
            reading.push_bytes(format!("\r\n--{boundary}--\r\n").into());
            StatusCode::PARTIAL_CONTENT
        }
    };
    *response.status_mut() = status;
    reading
}

fn set(headers: &mut HeaderMap, name: &HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Bytes of one part's head in a multipart answer (section 14.6).
fn part_head(
    boundary: &str,
    content_type: Option<&HeaderValue>,
    first: u64,
    last: u64,
    length: u64,
) -> Bytes {
    let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
    if let Some(content_type) = content_type {
        head.extend_from_slice(b"Content-Type: ");
        head.extend_from_slice(content_type.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(format!("Content-Range: bytes {first}-{last}/{length}\r\n\r\n").as_bytes());
    head.into()
}
