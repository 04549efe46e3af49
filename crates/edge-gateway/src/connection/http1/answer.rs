//! Heads of answers as they are written.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRANSFER_ENCODING};
use http::response::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;

use super::head::Head;
use crate::body::ResponseBody;
use crate::http1::{Framing, has_option, write_field, write_fields, write_length};

/// What the client's request means for the form of its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// It is a HEAD.
    pub(super) bodiless: bool,
    pub(super) is_11: bool,
    pub(super) trailers: bool,
}

impl Asked {
    pub(super) fn of(head: &Head) -> Self {
        Self {
            bodiless: *head.request.method() == Method::HEAD,
            is_11: head.request.version() == Version::HTTP_11,
            trailers: head.trailers,
        }
    }
}

/// How an answer is written.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) framing: Framing,
    /// Another request may follow.
    pub(super) keeps: bool,
    /// Of the content that a GET would bring (RFC 9110 section 8.6), where the answer does not say it itself.
    length: Option<u64>,
    is_11: bool,
}

impl Form {
    /// `keeps`: the client may send another request.
    pub(super) fn of(head: &Parts, body: &ResponseBody, asked: Asked, keeps: bool) -> Self {
        let without = is_empty(head.status);
        let exact = body.size_hint().exact();
        let framing = match exact {
            _ if without || asked.bodiless => Framing::None,
            Some(length) => Framing::Length(length),
            None if !asked.is_11 => Framing::UntilClose,
            None if asked.trailers => Framing::ChunkedWithTrailers,
            None => Framing::Chunked,
        };
        let closes = head.headers.contains_key(CONNECTION) && has_option(&head.headers, &CONNECTION, "close");
        Self {
            framing,
            keeps: keeps && !closes && framing != Framing::UntilClose,
            length: exact.filter(|length| *length > 0 && asked.bodiless && !without),
            is_11: asked.is_11,
        }
    }

    /// Whether a header of the answer goes on as it is; what says where the answer ends is written anew.
    fn passes(&self, name: &HeaderName, status: StatusCode) -> bool {
        if *name == CONTENT_LENGTH {
            return self.framing == Framing::None && self.length.is_none() && !is_empty(status);
        }
        *name != TRANSFER_ENCODING
    }
}

/// Neither content nor a length of it. A 304 could tell the length of what it stands for (RFC 9110 section 8.6), but
/// there are clients that would wait for so much.
fn is_empty(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Writes the head of an answer. `date` is the time, for an answer that does not say its own (RFC 9110 section 6.6.1).
pub(super) fn write(head: &Parts, form: &Form, date: &[u8], out: &mut Vec<u8>) {
    write_status(head.status, out);
    let (mut dated, mut connection) = (false, false);
    for (name, value) in &head.headers {
        dated |= *name == DATE;
        connection |= *name == CONNECTION;
        if form.passes(name, head.status) {
            write_field(name, value.as_bytes(), out);
        }
    }
    match (form.framing, form.length) {
        (Framing::Length(length), _) | (Framing::None, Some(length)) => write_length(length, out),
        (Framing::Chunked | Framing::ChunkedWithTrailers, _) => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        (Framing::None | Framing::UntilClose, _) => {}
    }
    if !dated {
        write_field(&DATE, date, out);
    }
    if !connection && !form.keeps {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !connection && !form.is_11 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// An answer that comes before the final one.
pub(super) fn interim(response: &Response<()>) -> Bytes {
    let mut out = Vec::new();
    write_status(response.status(), &mut out);
    write_fields(response.headers(), &mut out);
    out.extend_from_slice(b"\r\n");
    out.into()
}

fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GET: Asked = Asked { bodiless: false, is_11: true, trailers: false };

    fn written(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: ResponseBody,
        asked: Asked,
        keeps: bool,
    ) -> (String, bool) {
        let mut response = Response::builder().status(status).body(body).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let (head, body) = response.into_parts();
        let form = Form::of(&head, &body, asked, keeps);
        let mut out = Vec::new();
        write(&head, &form, b"day", &mut out);
        (String::from_utf8(out).unwrap(), form.keeps)
    }

    fn full() -> ResponseBody {
        ResponseBody::Full(Bytes::from_static(b"hello"))
    }

    #[test]
    fn the_body_alone_says_how_an_answer_is_framed() {
        let headers = [("content-length", "7"), ("transfer-encoding", "chunked")];
        let (text, _) = written(200, &headers, full(), GET, true);
        assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: day\r\n\r\n");
        let (text, _) = written(200, &[], ResponseBody::Empty, GET, true);
        assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: day\r\n\r\n");
    }

    #[test]
    fn an_answer_without_content_has_at_most_the_length_that_a_get_would_have() {
        let head = Asked { bodiless: true, ..GET };
        for (status, body, asked, expected) in [
            (200, ResponseBody::Empty, head, Some("7")),
            (200, full(), head, Some("5")),
            (304, ResponseBody::Empty, GET, None),
            (204, ResponseBody::Empty, GET, None),
            (204, full(), head, None),
            (101, ResponseBody::Empty, GET, None),
        ] {
            let (text, _) = written(status, &[("content-length", "7")], body, asked, true);
            let line = expected.map(|length| format!("content-length: {length}\r\n"));
            assert_eq!(text.matches("content-length").count(), usize::from(line.is_some()), "{text}");
            assert!(line.is_none_or(|line| text.contains(&line)), "{text}");
        }
        assert!(!written(200, &[], ResponseBody::Empty, head, true).0.contains("content-length"));
    }

    #[test]
    fn the_client_is_told_whether_the_connection_stays_open() {
        let old = Asked { is_11: false, ..GET };
        for (asked, keeps, expected) in [
            (GET, true, ""),
            (GET, false, "connection: close\r\n"),
            (old, true, "connection: keep-alive\r\n"),
            (old, false, "connection: close\r\n"),
        ] {
            let (text, kept) = written(200, &[], full(), asked, keeps);
            assert!(text.ends_with(&format!("date: day\r\n{expected}\r\n")), "{text}");
            assert_eq!(kept, keeps, "{text}");
        }
        let (text, kept) = written(200, &[("connection", "close")], full(), GET, true);
        assert!(!kept && text.matches("connection").count() == 1, "{text}");
    }

    #[test]
    fn an_answer_keeps_its_own_date() {
        let (text, _) = written(200, &[("date", "mine")], full(), GET, true);
        assert!(text.contains("date: mine\r\n") && !text.contains("day"), "{text}");
    }
}
