//! Where a message's body ends: what an upstream or a client could understand in another way.

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use quintet_http::problem::Problem;

use crate::body::{ClientBody, RequestBody};
use crate::proxy::Failure;
use crate::wire::AnswerBody;

/// Refuses blanks around a value, which HTTP/1.1 takes away and HTTP/3 forbids (RFC 9114 section 10.3); over HTTP/2 they reset the stream: upstreams
/// would not all read the same.
pub(super) fn check_values(headers: &HeaderMap) -> Result<(), Problem> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded =
        |value: &HeaderValue| is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last());
    if headers.values().any(padded) {
        let detail = "a header's value begins or ends with a blank";
        return Err(Problem::bad_request("header_value_invalid", detail));
    }
    Ok(())
}

/// Puts the length of a request's body into one spelling.
pub(super) fn spell_length(parts: &mut Parts, body: &ClientBody) {
    // Some upstreams read a number with leading zeros as octal.
    if let Some(length) = parts.headers.get(CONTENT_LENGTH)
        && length.as_bytes().starts_with(b"0")
        && let Some(length) = body.size_hint().exact()
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Announces a body of unknown length to the upstream, with a GET as well.
pub(super) fn announce(headers: &mut HeaderMap, body: &RequestBody) {
    if matches!(body, RequestBody::Stream { .. }) && body.size_hint().exact().is_none() {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Whether an answer to a request that asked for no upgrade ends where everybody sees it. An encoding that
/// is not known is read to the close of the connection, a length beside chunks is ignored, and a 101 may come unwanted.
pub(super) fn check_answer(response: &Response<AnswerBody>) -> Result<(), Failure> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::ambiguous());
    }
    let headers = response.headers();
    let Some(encoding) = headers.get(TRANSFER_ENCODING) else { return Ok(()) };
    let only = headers.get_all(TRANSFER_ENCODING).iter().nth(1).is_none();
    if only && encoding.as_bytes().eq_ignore_ascii_case(b"chunked") && !headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    Err(Failure::ambiguous())
}
