//! Requests and trailers made of fields, and refused where they are malformed (RFC 9113 sections 8.1 to 8.5).

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::hpack::{Field, Pseudo};

/// A malformed message: its stream is reset with PROTOCOL_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The fields of one block.
#[derive(Debug)]
pub(crate) struct Fields {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    headers: HeaderMap,
    any_header: bool,
    malformed: bool,
    /// As SETTINGS_MAX_HEADER_LIST_SIZE counts.
    size: usize,
    limit: usize,
}

/// As many headers as most requests have, with those that a proxy adds: a map that grows is built anew.
const COMMON_HEADERS: usize = 12;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request<()>,
    pub(crate) length: Option<u64>,
}

impl Fields {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            method: None,
            scheme: None,
            authority: None,
            path: None,
            headers: HeaderMap::with_capacity(COMMON_HEADERS),
            any_header: false,
            malformed: false,
            size: 0,
            limit,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether there is more than the limit; what is beyond was not kept.
    pub(crate) fn are_too_large(&self) -> bool {
        self.size > self.limit
    }

    pub(crate) fn take(&mut self, field: Field, size: usize) {
        self.size = self.size.saturating_add(size);
        if self.are_too_large() {
            return;
        }
        match field {
            Field::Pseudo(pseudo, value) => {
                let place = match pseudo {
                    Pseudo::Method => &mut self.method,
                    Pseudo::Scheme => &mut self.scheme,
                    Pseudo::Authority => &mut self.authority,
                    Pseudo::Path => &mut self.path,
                };
                self.malformed |= self.any_header || place.replace(value).is_some();
            }
            Field::Header(name, value) => {
                self.any_header = true;
                self.malformed |= is_of_the_connection(&name, &value);
                self.malformed |= self.headers.try_append(name, value).is_err();
            }
            Field::Malformed(_) => self.malformed = true,
        }
    }

    /// `ends` says that no body follows.
    pub(crate) fn into_request(mut self, ends: bool) -> Result<Head, Malformed> {
        if self.malformed {
            return Err(Malformed);
        }
        let method = Method::from_bytes(&self.method.take().ok_or(Malformed)?).map_err(|_| Malformed)?;
        let uri = self.uri(&method)?;
        let length = content_length(&self.headers)?;
        if ends && length.is_some_and(|length| length > 0) {
            return Err(Malformed);
        }
        join_cookies(&mut self.headers)?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        Ok(Head { request, length })
    }

    pub(crate) fn into_trailers(self) -> Result<HeaderMap, Malformed> {
        let pseudo = [&self.method, &self.scheme, &self.authority, &self.path];
        if self.malformed || pseudo.iter().any(|value| value.is_some()) {
            return Err(Malformed);
        }
        Ok(self.headers)
    }

    fn uri(&mut self, method: &Method) -> Result<Uri, Malformed> {
        let authority = self.authority.take().map(Authority::from_maybe_shared);
        let authority = authority.transpose().map_err(|_| Malformed)?;
        let (scheme, path) = (self.scheme.take(), self.path.take());
        if *method == Method::CONNECT {
            // RFC 9113 section 8.5.
            return match (authority, scheme, path) {
                (Some(authority), None, None) => Ok(Uri::from(authority)),
                _ => Err(Malformed),
            };
        }
        let scheme = Scheme::try_from(&*scheme.ok_or(Malformed)?).map_err(|_| Malformed)?;
        let path = path.ok_or(Malformed)?;
        let rooted = path.starts_with(b"/") || (*method == Method::OPTIONS && *path == *b"*");
        // A fragment is no part of a target (RFC 9110 section 7.1).
        if !rooted || path.contains(&b'#') {
            return Err(Malformed);
        }
        let path = PathAndQuery::from_maybe_shared(path).map_err(|_| Malformed)?;
        let Some(authority) = authority else { return Ok(Uri::from(path)) };
        // A Host that names somebody else (RFC 9113 section 8.3.1).
        let other = |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
        if self.headers.get_all(HOST).iter().any(other) {
            return Err(Malformed);
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(authority);
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|_| Malformed)
    }
}

/// Whether a field is about an HTTP/1.1 connection (RFC 9113 section 8.2.2).
fn is_of_the_connection(name: &HeaderName, value: &HeaderValue) -> bool {
    if *name == TE {
        return !value.as_bytes().eq_ignore_ascii_case(b"trailers");
    }
    is_connection_specific(name)
}

/// Fields that no message has in HTTP/2.
pub(crate) fn is_connection_specific(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Digits, once.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|digits| digits.parse().ok()), values.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(Malformed),
    }
}

/// One field of all cookies (RFC 9113 section 8.2.3): upstreams that speak HTTP/1.1 expect no more.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Malformed> {
    let cookies = headers.get_all(COOKIE);
    if cookies.iter().nth(1).is_none() {
        return Ok(());
    }
    let crumbs: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).map_err(|_| Malformed)?;
    headers.insert(COOKIE, joined);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[(&str, &str)] =
        &[(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x?y")];

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut block = Vec::new();
        for (name, value) in list {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        let mut fields = Fields::new(1_000);
        let taken = crate::hpack::Decoder::new().decode(&block, |field, size| {
            fields.take(field, size);
            Ok(())
        });
        assert_eq!(taken, Ok(()));
        fields
    }

    fn of(list: &[(&str, &str)]) -> Result<Head, Malformed> {
        fields(list).into_request(false)
    }

    #[test]
    fn a_request_is_made_of_its_fields() {
        let head =
            of(&[GET, &[("cookie", "a=b"), ("content-length", "07"), ("cookie", "c=d")]].concat()).unwrap();
        assert_eq!(head.length, Some(7));
        assert_eq!(head.request.uri(), "https://a.test/x?y");
        assert_eq!(head.request.headers().get(COOKIE).unwrap(), "a=b; c=d");
        assert_eq!(head.request.headers().get_all(COOKIE).iter().count(), 1);
        let without: Vec<_> = GET.iter().copied().filter(|field| field.0 != ":authority").collect();
        assert_eq!(of(&without).unwrap().request.uri(), "/x?y");
        let tunnel = of(&[(":method", "CONNECT"), (":authority", "a.test:1")]).unwrap();
        assert_eq!(tunnel.request.uri(), "a.test:1");
        let any = [(":method", "OPTIONS"), (":scheme", "https"), (":authority", "a.test"), (":path", "*")];
        assert!(of(&any).is_ok());
        assert!(of(&[GET, &[("te", "Trailers"), ("host", "A.test")]].concat()).is_ok());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for field in [
            (":path", "/"),
            (":method", "GET"),
            (":status", "200"),
            (":protocol", "websocket"),
            (":x", "y"),
            ("X", "y"),
            ("x y", "z"),
            ("", "z"),
            ("x:y", "z"),
            ("x", " y"),
            ("x", "y\t"),
            ("x", "a\nb"),
            ("x", "a\rb"),
            ("x", "a\0b"),
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("content-length", "+3"),
            ("content-length", ""),
            ("content-length", "3, 3"),
            ("content-length", "99999999999999999999"),
            ("host", "b.test"),
        ] {
            assert_eq!(of(&[GET, &[field]].concat()).unwrap_err(), Malformed, "{field:?}");
        }
        for (name, value) in [
            (":path", ""),
            (":path", "x"),
            (":path", "*"),
            (":path", "/a b"),
            (":path", "/a#b"),
            (":path", "https://b.test/"),
            (":scheme", "ht tp"),
            (":authority", ""),
            (":authority", "a b"),
            (":method", "G T"),
            (":method", ""),
            (":method", "CONNECT"),
        ] {
            let changed: Vec<_> =
                GET.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect();
            assert_eq!(of(&changed).unwrap_err(), Malformed, "{name} {value}");
        }
        for missing in [":method", ":scheme", ":path"] {
            let left: Vec<_> = GET.iter().copied().filter(|field| field.0 != missing).collect();
            assert_eq!(of(&left).unwrap_err(), Malformed, "{missing}");
        }
        assert_eq!(of(&[("x", "y")]).unwrap_err(), Malformed);
        assert_eq!(of(&[&[("x", "y")], GET].concat()).unwrap_err(), Malformed);
        assert_eq!(of(&[(":method", "CONNECT")]).unwrap_err(), Malformed);
        let ended = fields(&[GET, &[("content-length", "3")]].concat()).into_request(true);
        assert_eq!(ended.unwrap_err(), Malformed);
    }

    #[test]
    fn trailers_have_no_pseudo_headers() {
        assert_eq!(fields(&[("x", "y")]).into_trailers().unwrap().len(), 1);
        assert_eq!(fields(&[(":path", "/")]).into_trailers().unwrap_err(), Malformed);
        assert_eq!(fields(&[("connection", "x")]).into_trailers().unwrap_err(), Malformed);
    }

    #[test]
    fn fields_beyond_the_limit_are_counted_and_not_kept() {
        let value = "v".repeat(120);
        let many: Vec<(&str, &str)> = (0..20).map(|_| ("x", &*value)).collect();
        let fields = fields(&many);
        assert_eq!((fields.size(), fields.are_too_large(), fields.headers.len()), (20 * 153, true, 6));
    }
}
