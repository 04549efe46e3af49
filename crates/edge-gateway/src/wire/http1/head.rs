//! Heads of HTTP/1.1 messages: the request's as it is written, the answer's as it is read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;

use crate::body::RequestBody;
use crate::http1::{Framing, Malformed, Noticed, decimal, header_map, keeps, write_field, write_length};

/// As many headers as an answer may have.
const MAX_HEADERS: usize = 100;
/// `X-Request-Id` on the way to the client, and `Strict-Transport-Security` in the place of `Connection`.
const ADDED: usize = 1;

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    /// Bytes of it.
    pub(super) length: usize,
    pub(super) extent: Extent,
    /// The connection outlives the answer.
    pub(super) keeps: bool,
}

/// Where an answer's body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Writes a request's head; its target is in origin form, and the body alone says how it is framed.
pub(super) fn write(request: &Request<RequestBody>, out: &mut Vec<u8>) -> Framing {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut announced = false;
    for (name, value) in request.headers() {
        if *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
            announced = true;
            continue;
        }
        write_field(name, value.as_bytes(), out);
    }
    let framing = match request.body().size_hint().exact() {
        Some(0) if request.body().is_end_stream() && !announced => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    match framing {
        Framing::Length(length) => write_length(length, out),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// Reads an answer's head, if `input` has all of it. `bodiless`: it answers a HEAD.
pub(super) fn parse(input: &Bytes, bodiless: bool) -> Result<Option<Head>, Malformed> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut places = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, input, &mut places);
    let length = match outcome {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed("its head is not HTTP/1.1")),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed("its status is no number of three digits"))?;
    let is_11 = parsed.version == Some(1);
    let (headers, noticed) = header_map(parsed.headers, input, ADDED)?;
    let extent = extent(status, &headers, noticed, bodiless, is_11)?;
    let keeps = keeps(&headers, noticed, is_11)
        && extent != Extent::UntilClose
        && status != StatusCode::SWITCHING_PROTOCOLS;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(Some(Head { response, length, extent, keeps }))
}

fn extent(
    status: StatusCode,
    headers: &HeaderMap,
    noticed: Noticed,
    bodiless: bool,
    is_11: bool,
) -> Result<Extent, Malformed> {
    let without = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || bodiless;
    if without {
        return Ok(Extent::None);
    }
    if noticed.transfer_encoding {
        let encoding = headers.get_all(TRANSFER_ENCODING).iter().next_back();
        if !is_11 {
            return Err(Malformed("Transfer-Encoding in an answer of HTTP/1.0"));
        }
        let last = encoding.and_then(|encoding| encoding.as_bytes().rsplit(|byte| *byte == b',').next());
        let last = last.unwrap_or_default();
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if chunked { Extent::Chunked } else { Extent::UntilClose });
    }
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for one in value.as_bytes().split(|byte| *byte == b',') {
            let number = decimal(one.trim_ascii()).ok_or(Malformed("its Content-Length is no number"))?;
            if length.is_some_and(|length| length != number) {
                return Err(Malformed("it has two lengths"));
            }
            length = Some(number);
        }
    }
    Ok(length.map_or(Extent::UntilClose, Extent::Length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Option<Head>, Malformed> {
        parse(&Bytes::copy_from_slice(head.as_bytes()), false)
    }

    #[test]
    fn the_extent_of_an_answer_follows_rfc_9112() {
        let check = |head: &str, bodiless: bool, extent: Extent, keeps: bool| {
            let bytes = Bytes::from(format!("{head}\r\n\r\n"));
            let read = parse(&bytes, bodiless).unwrap().unwrap();
            assert_eq!((read.extent, read.keeps, read.length), (extent, keeps, bytes.len()), "{head}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 5", false, Extent::Length(5), true);
        check("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5", false, Extent::Length(5), true);
        check("HTTP/1.1 200 OK\r\nContent-Length: 5", true, Extent::None, true);
        check("HTTP/1.1 204 No Content\r\nContent-Length: 5", false, Extent::None, true);
        check("HTTP/1.1 304 Not Modified\r\nContent-Length: 5", false, Extent::None, true);
        check("HTTP/1.1 100 Continue", false, Extent::None, true);
        check("HTTP/1.1 101 Switching Protocols", false, Extent::None, false);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", false, Extent::Chunked, true);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked ", false, Extent::Chunked, true);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip", false, Extent::UntilClose, false);
        check("HTTP/1.1 200", false, Extent::UntilClose, false);
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close", false, Extent::Length(0), false);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: a\r\nConnection: b,close",
            false,
            Extent::Length(0),
            false,
        );
        check("HTTP/1.0 200 OK\r\nContent-Length: 0", false, Extent::Length(0), false);
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive",
            false,
            Extent::Length(0),
            true,
        );
    }

    #[test]
    fn an_answer_that_is_malformed_or_ambiguous_is_refused() {
        for head in [
            "ICY 200 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        ] {
            assert!(read(head).is_err(), "{head:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert!(read(&many).is_err());
    }

    #[test]
    fn a_head_is_awaited_to_its_end() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        for cut in 0..head.len() {
            assert!(read(&head[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        assert_eq!(read(&format!("{head}hello")).unwrap().unwrap().length, head.len());
    }

    #[test]
    fn a_request_announces_the_body_that_it_has() {
        let check = |method: &str, headers: &[(&str, &str)], body: RequestBody, expected: &str| {
            let mut request = Request::builder().method(method).uri("/a?b=c");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut out = Vec::new();
            write(&request.body(body).unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        let whole = || RequestBody::Whole(Bytes::from_static(b"hello"));
        check("GET", &[("host", "a")], RequestBody::Empty, "GET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n");
        check(
            "POST",
            &[("content-length", "0")],
            RequestBody::Empty,
            "POST /a?b=c HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        );
        // What was chunked when it came has one length when it is sent again.
        check(
            "PUT",
            &[("transfer-encoding", "chunked")],
            whole(),
            "PUT /a?b=c HTTP/1.1\r\ncontent-length: 5\r\n\r\n",
        );
        check("PUT", &[("content-length", "7")], whole(), "PUT /a?b=c HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
    }
}
