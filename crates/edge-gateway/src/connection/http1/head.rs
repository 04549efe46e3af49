//! Heads of requests, read strictly: what two readers could understand in two ways is refused.

#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING};
use http::{Method, Request, Uri, Version};
use httparse::{Error, Header, ParserConfig, Status};

use crate::config::Limits;
use crate::http1::{Noticed, decimal, has_option, header_map, keeps};

/// Headers whose places are on the stack.
const PLACES: usize = 100;
/// `X-Request-Id`, `Forwarded` and three of `X-Forwarded-…`.
const ADDED: usize = 5;
/// Empty lines before a request that are passed over (RFC 9112 section 2.2).
const MAX_BLANK: u8 = 8;
/// Bytes of the longest target that a [`Uri`] holds.
const MAX_TARGET: usize = 65_534;
/// How HTTP/2 begins (RFC 9113 section 3.4). Whoever speaks that understands no answer of HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    /// Bytes of it.
    length: usize,
    pub(super) extent: Extent,
    /// The client keeps the connection open behind the request.
    pub(super) keeps: bool,
    /// The client waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
    pub(super) expects: bool,
    /// It takes trailers.
    pub(super) trailers: bool,
}

/// Where a request's body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    None,
    Length(u64),
    Chunked,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed(&'static str),
    /// A line ends in a bare line feed.
    BareLineFeed,
    /// It has both Content-Length and Transfer-Encoding.
    TwoFramings,
    /// It has codings beside `chunked`.
    Encoded,
    TargetTooLong,
    TooLarge,
}

/// A head that is refused, with what is known of the request.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

impl From<Refusal> for Box<Refused> {
    /// Of a request line that could not be read.
    fn from(refusal: Refusal) -> Self {
        let method = Method::from_bytes(b"-").unwrap_or_default();
        Self::new(Refused { refusal, method, uri: Uri::from_static("*") })
    }
}

/// Finds heads in what a connection has read.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Bytes of the present head that have been looked at.
    seen: usize,
    blank: u8,
}

impl Heads {
    /// Takes the next head out of `input`; None while it is not all there.
    ///
    /// # Errors
    ///
    /// It is refused, and the connection must end; None where no answer would be understood.
    pub(super) fn next(
        &mut self,
        input: &mut Bytes,
        limits: &Limits,
    ) -> Result<Option<Head>, Option<Box<Refused>>> {
        self.skip_blank(input)?;
        // Looked at with its first bytes and then with each line, so that single bytes do not cost a look each.
        let new = input.get(self.seen..).unwrap_or_default();
        let due = !new.is_empty() && (self.seen == 0 || new.contains(&b'\n'));
        self.seen = input.len();
        let most = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        if due && let Some(head) = parse(input, limits.header_count)? {
            self.seen = 0;
            self.blank = 0;
            if head.length > most {
                let line = input.iter().position(|byte| *byte == b'\n').unwrap_or(usize::MAX);
                let refusal = if line > most { Refusal::TargetTooLong } else { Refusal::TooLarge };
                return Err(Some(refused(&head.request, refusal)));
            }
            input.advance(head.length);
            return Ok(Some(head));
        }
        if input.len() > most {
            let refusal = if input.contains(&b'\n') { Refusal::TooLarge } else { Refusal::TargetTooLong };
            return Err(Some(refusal.into()));
        }
        Ok(None)
    }

    fn skip_blank(&mut self, input: &mut Bytes) -> Result<(), Box<Refused>> {
        while input.starts_with(b"\r\n") {
            input.advance(2);
            self.seen = 0;
            self.blank += 1;
            if self.blank > MAX_BLANK {
                return Err(Refusal::Malformed("too many empty lines come before it").into());
            }
        }
        Ok(())
    }
}

fn refused(request: &Request<()>, refusal: Refusal) -> Box<Refused> {
    Box::new(Refused { refusal, method: request.method().clone(), uri: request.uri().clone() })
}

fn parse(input: &Bytes, count: usize) -> Result<Option<Head>, Option<Box<Refused>>> {
    if input.starts_with(PREFACE) {
        return Err(None);
    }
    let mut few = [const { MaybeUninit::uninit() }; PLACES];
    let mut many = Vec::new();
    let places: &mut [MaybeUninit<Header<'_>>] = if let Some(few) = few.get_mut(..count) {
        few
    } else {
        many.resize(count, MaybeUninit::uninit());
        &mut many
    };
    let mut parsed = httparse::Request::new(&mut []);
    let outcome = ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, input, places);
    let length = match outcome {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(Some(malformed(error).into())),
    };
    Ok(Some(read(input, length, &parsed)?))
}

fn read(input: &Bytes, length: usize, parsed: &httparse::Request<'_, '_>) -> Result<Head, Box<Refused>> {
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::Malformed("it has no request line").into());
    };
    if target.len() > MAX_TARGET {
        return Err(Refusal::TargetTooLong.into());
    }
    let malformed = |what| Box::<Refused>::from(Refusal::Malformed(what));
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(method.as_bytes()).map_err(|_| malformed("its method is none"))?;
    *request.uri_mut() = Uri::from_maybe_shared(input.slice_ref(target.as_bytes()))
        .map_err(|_| malformed("its target is no URI"))?;
    let is_11 = minor == 1;
    *request.version_mut() = if is_11 { Version::HTTP_11 } else { Version::HTTP_10 };
    if !ends_in_crlf(input, length, parsed.headers) {
        return Err(refused(&request, Refusal::BareLineFeed));
    }
    let headers = header_map(parsed.headers, input, ADDED);
    let (mut headers, noticed) = headers.map_err(|error| refused(&request, Refusal::Malformed(error.0)))?;
    let extent = extent(&mut headers, noticed, is_11).map_err(|refusal| refused(&request, refusal))?;
    let keeps = keeps(&headers, noticed, is_11);
    let expects = is_11 && noticed.expect && expects(&headers);
    let trailers = is_11 && noticed.te && has_option(&headers, &TE, "trailers");
    *request.headers_mut() = headers;
    Ok(Head { request, length, extent, keeps, expects, trailers })
}

fn malformed(error: Error) -> Refusal {
    Refusal::Malformed(match error {
        Error::TooManyHeaders => return Refusal::TooLarge,
        Error::Version => "its version is neither 1.0 nor 1.1",
        Error::HeaderName => "a header's name is malformed",
        Error::HeaderValue => "a header's value has a byte that none may have",
        Error::NewLine => "a line does not end in carriage return and line feed",
        Error::Token | Error::Status => "its request line is malformed",
    })
}

/// Whether no line ends in a bare line feed, which some take for an end and some do not (RFC 9112 section 2.2). The
/// parser takes one, so what comes before each name, and the end, are looked at.
fn ends_in_crlf(input: &[u8], length: usize, headers: &[Header<'_>]) -> bool {
    let before = |at: usize, end: &[u8]| input.get(..at).is_some_and(|head| head.ends_with(end));
    let place = |name: &str| name.as_ptr().addr() - input.as_ptr().addr();
    before(length, b"\r\n\r\n") && headers.iter().all(|header| before(place(header.name), b"\r\n"))
}

fn extent(headers: &mut HeaderMap, noticed: Noticed, is_11: bool) -> Result<Extent, Refusal> {
    if !noticed.content_length && !noticed.transfer_encoding {
        return Ok(Extent::None);
    }
    let lengths = headers.get_all(CONTENT_LENGTH);
    let mut length = None;
    let mut lines = 0;
    for value in lengths {
        lines += 1;
        let number =
            decimal(value.as_bytes()).ok_or(Refusal::Malformed("its Content-Length is no number"))?;
        if length.is_some_and(|length| length != number) {
            return Err(Refusal::Malformed("it has two lengths"));
        }
        length = Some(number);
    }
    if noticed.transfer_encoding {
        // A likely attempt to smuggle a request (RFC 9112 section 6.1).
        if length.is_some() {
            return Err(Refusal::TwoFramings);
        }
        return chunked(headers, is_11);
    }
    if let (2.., Some(length)) = (lines, length) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(length.map_or(Extent::None, Extent::Length))
}

fn chunked(headers: &HeaderMap, is_11: bool) -> Result<Extent, Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let (first, more) = (codings.next().map(HeaderValue::as_bytes).unwrap_or_default(), codings.next_back());
    let last = more.map_or(first, HeaderValue::as_bytes).rsplit(|byte| *byte == b',').next();
    if !is_11 {
        return Err(Refusal::Malformed("its version knows no Transfer-Encoding"));
    }
    if !last.unwrap_or_default().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::Malformed("its Transfer-Encoding does not end in `chunked`"));
    }
    if more.is_some() || !first.eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::Encoded);
    }
    Ok(Extent::Chunked)
}

fn expects(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
