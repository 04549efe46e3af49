//! What a field section says as a request (RFC 9114 sections 4.1 to 4.3), and what makes it malformed.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};

use super::qpack::{self, Undecodable};

/// Bytes that a line counts for beside its name and value (RFC 9114 section 4.2.2).
const LINE: usize = 32;

/// How large a field section may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes, counted as RFC 9114 section 4.2.2 says.
    pub(crate) bytes: usize,
    pub(crate) lines: usize,
}

/// Why a field section is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The connection is in doubt.
    Undecodable,
    Malformed,
    TooLarge,
}

impl From<Undecodable> for Refusal {
    fn from(_: Undecodable) -> Self {
        Self::Undecodable
    }
}

/// A request's head, and the length that it announces.
pub(crate) fn request(block: Bytes, bounds: Bounds) -> Result<(Request<()>, Option<u64>), Refusal> {
    let mut pseudo = Pseudo::default();
    let mut lines = Lines::new(bounds);
    qpack::decode(block, |name, value| {
        lines.count(&name, &value)?;
        match name.strip_prefix(b":") {
            // Pseudo-header fields come first (section 4.3).
            Some(_) if !lines.headers.is_empty() => Err(Refusal::Malformed),
            Some(name) => pseudo.set(name, value),
            None => lines.add(&name, value),
        }
    })?;
    let length = content_length(&lines.headers)?;
    let mut request = Request::new(());
    *request.uri_mut() = pseudo.uri()?;
    *request.method_mut() = pseudo.method.ok_or(Refusal::Malformed)?;
    *request.version_mut() = Version::HTTP_3;
    *request.headers_mut() = lines.headers;
    Ok((request, length))
}

/// A message's trailers, which have no pseudo-header fields.
pub(crate) fn trailers(block: Bytes, bounds: Bounds) -> Result<HeaderMap, Refusal> {
    let mut lines = Lines::new(bounds);
    qpack::decode(block, |name, value| {
        lines.count(&name, &value)?;
        lines.add(&name, value)
    })?;
    Ok(lines.headers)
}

struct Lines {
    headers: HeaderMap,
    left: Bounds,
}

impl Lines {
    fn new(left: Bounds) -> Self {
        Self { headers: HeaderMap::with_capacity(16), left }
    }

    fn count(&mut self, name: &Bytes, value: &Bytes) -> Result<(), Refusal> {
        let size = name.len().saturating_add(value.len()).saturating_add(LINE);
        self.left.bytes = self.left.bytes.checked_sub(size).ok_or(Refusal::TooLarge)?;
        self.left.lines = self.left.lines.checked_sub(1).ok_or(Refusal::TooLarge)?;
        Ok(())
    }

    fn add(&mut self, name: &[u8], value: Bytes) -> Result<(), Refusal> {
        // Not in lower case, or no name at all; pseudo-header fields are none.
        let name = HeaderName::from_lowercase(name).map_err(|_| Refusal::Malformed)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Refusal::Malformed)?;
        if qpack::is_of_connection(&name) || name == TE && value != "trailers" {
            return Err(Refusal::Malformed);
        }
        self.headers.try_append(name, value).map_err(|_| Refusal::TooLarge)?;
        Ok(())
    }
}

#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
}

impl Pseudo {
    fn set(&mut self, name: &[u8], value: Bytes) -> Result<(), Refusal> {
        fn once<T, E>(slot: &mut Option<T>, value: Result<T, E>) -> Result<(), Refusal> {
            let value = value.map_err(|_| Refusal::Malformed)?;
            if slot.replace(value).is_some() { Err(Refusal::Malformed) } else { Ok(()) }
        }
        match name {
            b"method" => once(&mut self.method, Method::from_bytes(&value)),
            b"scheme" => once(&mut self.scheme, Scheme::try_from(&*value)),
            b"authority" => once(&mut self.authority, Authority::from_maybe_shared(value)),
            // Also refuses an empty one.
            b"path" if value.starts_with(b"/") || *value == *b"*" => {
                once(&mut self.path, PathAndQuery::from_maybe_shared(value))
            }
            _ => Err(Refusal::Malformed),
        }
    }

    /// `scheme://authority/path`, or the authority alone of CONNECT, which has nothing else (section 4.4).
    fn uri(&mut self) -> Result<Uri, Refusal> {
        let (scheme, authority, path) = (self.scheme.take(), self.authority.take(), self.path.take());
        let is_connect = self.method == Some(Method::CONNECT);
        let mut parts = http::uri::Parts::default();
        match (scheme, path) {
            (None, None) if is_connect && authority.is_some() => {}
            (Some(scheme), Some(path)) if !is_connect => {
                // An authority may be in `host` alone; a URI cannot have a scheme without one.
                parts.scheme = authority.is_some().then_some(scheme);
                parts.path_and_query = Some(path);
            }
            _ => return Err(Refusal::Malformed),
        }
        parts.authority = authority;
        Uri::from_parts(parts).map_err(|_| Refusal::Malformed)
    }
}

/// The one length that is announced (RFC 9110 section 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || !value.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed);
    }
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or(Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 1_000, lines: 8 };
    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/b?c")];

    fn block(lines: &[(&str, &str)]) -> Bytes {
        let mut block = vec![0, 0];
        for (name, value) in lines {
            assert!(name.len() < 127 + 7 && value.len() < 127 + 127);
            match u8::try_from(name.len()).unwrap() {
                length @ ..7 => block.push(0x20 | length),
                length => block.extend([0x27, length - 7]),
            }
            block.extend(name.as_bytes());
            match u8::try_from(value.len()).unwrap() {
                length @ ..127 => block.push(length),
                length => block.extend([0x7f, length - 127]),
            }
            block.extend(value.as_bytes());
        }
        block.into()
    }

    fn with(more: &[(&str, &str)]) -> Result<(Request<()>, Option<u64>), Refusal> {
        request(block(&[&GET, more].concat()), BOUNDS)
    }

    #[test]
    fn a_request_is_what_its_fields_say() {
        let (request, length) = with(&[("content-length", "12"), ("te", "trailers")]).unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "https://a.test/b?c");
        assert_eq!((request.version(), length), (Version::HTTP_3, Some(12)));
        let connect = request_of(&[(":method", "CONNECT"), (":authority", "a.test:443")]).unwrap();
        assert_eq!(connect.0.uri(), "a.test:443");
        let host = request_of(&[GET[0], GET[1], GET[3], ("host", "a.test")]).unwrap();
        assert_eq!(host.0.uri(), "/b?c");
    }

    fn request_of(lines: &[(&str, &str)]) -> Result<(Request<()>, Option<u64>), Refusal> {
        request(block(lines), BOUNDS)
    }

    #[test]
    fn malformed_requests_are_found() {
        for more in [
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("Upper", "a"),
            ("", "a"),
            ("a b", "a"),
            ("a", "b\nc"),
            ("a", "b\0c"),
            ("content-length", "+1"),
            ("content-length", ""),
            ("content-length", "99999999999999999999"),
            (":method", "GET"),
            (":protocol", "websocket"),
            (":status", "200"),
        ] {
            assert_eq!(with(&[more]).err(), Some(Refusal::Malformed), "{more:?}");
        }
        assert_eq!(with(&[("content-length", "1"), ("content-length", "1")]).err(), Some(Refusal::Malformed));
        for lines in [
            &GET[1..],
            &[GET[0], GET[1], GET[2]],
            &[GET[0], GET[2], GET[3]],
            &[GET[0], GET[1], GET[2], (":path", "")],
            &[GET[0], GET[1], GET[2], (":path", "b")],
            &[("a", "b"), GET[0], GET[1], GET[2], GET[3]],
            &[(":method", "CONNECT"), GET[1], GET[2], GET[3]],
            &[(":method", "CONNECT")],
        ] {
            assert_eq!(request_of(lines).err(), Some(Refusal::Malformed), "{lines:?}");
        }
    }

    #[test]
    fn size_and_number_of_lines_are_bounded() {
        let long = "a".repeat(200);
        assert_eq!(
            with(&[("x", &long), ("x", &long), ("x", &long), ("x", &long)]).err(),
            Some(Refusal::TooLarge)
        );
        assert_eq!(with(&[("x", ""); 4]).err(), None);
        assert_eq!(with(&[("x", ""); 5]).err(), Some(Refusal::TooLarge));
    }

    #[test]
    fn trailers_have_no_pseudo_header_fields() {
        let good = trailers(block(&[("grpc-status", "0")]), BOUNDS).unwrap();
        assert_eq!(good["grpc-status"], "0");
        assert_eq!(trailers(block(&GET[..1]), BOUNDS).err(), Some(Refusal::Malformed));
    }
}
