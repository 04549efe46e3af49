//! What the fuzz targets in `fuzz/` call: bytes as a stranger sends them, and a panic when a promise about them breaks.
#![expect(clippy::expect_used, reason = "a panic is how a fuzz target reports what it found")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use quintet_service::config::Source;

use crate::config::{Config, Plan};
use crate::headers::{cookie, strip_cookies};
use crate::import::{Load, convert};
use crate::path;
use crate::proxy_protocol::{self, Header, Parsed, Version};
use crate::seal::Sealer;
use crate::session::{OWN_COOKIES, SESSION_COOKIE, SIGNIN_COOKIE, Session};

/// A client's requests say the same wherever their bytes are cut (first byte), and of one that is taken every line ends in
/// CR LF and one header at most says where its body ends.
pub fn client_requests(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = crate::connection::read_pieces(&[bytes]);
    let (left, right) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(
        crate::connection::read_pieces(&[left, right]),
        whole,
        "the requests depend on where they are cut"
    );
    let read: usize = whole.iter().map(|request| request.head.len() + request.body.len()).sum();
    assert!(read <= bytes.len(), "more was read than was sent");
    for request in whole {
        let (mut lengths, mut encodings) = (false, false);
        for line in request.head.split_inclusive(|byte| *byte == b'\n') {
            assert!(line.ends_with(b"\r\n"), "a line of a head ends in a bare line feed");
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            lengths |= name.eq_ignore_ascii_case(b"content-length");
            encodings |= name.eq_ignore_ascii_case(b"transfer-encoding");
        }
        assert!(!(lengths && encodings), "a head has two framings");
    }
}

/// An upstream's answer says the same wherever its bytes are cut (first byte), and its body is never longer than what
/// was sent.
pub fn upstream_answer(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = crate::wire::read_pieces(&[bytes]).ok();
    let (left, right) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(crate::wire::read_pieces(&[left, right]).ok(), whole, "the answer depends on where it is cut");
    if let Some(Some((_, body))) = whole {
        assert!(body.len() <= bytes.len(), "the body is longer than what was sent");
    }
}

/// A request over HTTP/3 says the same wherever its stream is cut (first byte), and its body is never longer than what
/// was sent.
#[cfg(feature = "http3")]
pub fn http3_stream(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = crate::http3::read_pieces(&[bytes]);
    let (left, right) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(crate::http3::read_pieces(&[left, right]), whole, "the request depends on where it is cut");
    if let Some((_, body)) = whole {
        assert!(body.len() <= bytes.len(), "the body is longer than what was sent");
    }
}

/// A path that is accepted has one meaning, and canonicalising it again changes nothing.
pub fn request_path(data: &[u8]) {
    let Ok(sent) = std::str::from_utf8(data) else { return };
    let Ok(accepted) = path::canonical(sent) else { return };
    assert_eq!(path::canonical(&accepted).as_deref(), Ok(&*accepted), "a second time it changes");
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(&accepted).collect();
    let meant: Vec<u8> = percent_encoding::percent_decode_str(sent).collect();
    assert_eq!(decoded, meant, "the meaning changed");
    assert!(decoded.starts_with(b"/") && !decoded.iter().any(u8::is_ascii_control));
    let mut segments = decoded
        .split(|byte| b"/\\".contains(byte))
        .map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default());
    assert!(!segments.any(|name| name == b"." || name == b".."), "a dot segment came through");
    assert!(path::has_prefix(&accepted, "/") && path::has_prefix(&accepted, &accepted));
}

/// The gateway's own cookies never leave for an upstream, other cookies stay; one header line each.
pub fn request_cookies(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(COOKIE, line);
    }
    for name in OWN_COOKIES {
        let _ = cookie(&headers, name);
    }
    let foreign = |headers: &HeaderMap| cookie(headers, "foreign").map(str::to_owned);
    let before = foreign(&headers);
    strip_cookies(&mut headers, &OWN_COOKIES);
    for sent in headers.get_all(COOKIE) {
        for pair in sent.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii_start();
            let ours = OWN_COOKIES.iter().any(|name| {
                pair.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
            });
            assert!(!ours, "a cookie of the gateway is sent upstream");
        }
    }
    assert!(before.is_none() || foreign(&headers) == before, "a foreign cookie was lost");
}

static SEALER: LazyLock<Sealer> =
    LazyLock::new(|| Sealer::from_text(&"5a".repeat(32)).expect("sixty-four digits are a key"));

/// A PROXY header is the same however its bytes are cut (first byte), and the same when it is passed on.
pub fn proxy_header(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = proxy_protocol::parse(bytes);
    let (left, _) = bytes.split_at(usize::from(cut).min(bytes.len()));
    match (proxy_protocol::parse(left), &whole) {
        (Ok(Parsed::Incomplete), _) => {}
        (early, late) => assert_eq!(&early, late, "more bytes changed what was read"),
    }
    let Ok(Parsed::Whole(header, length)) = whole else { return };
    assert!(length <= bytes.len() && length <= proxy_protocol::MAX_HEADER, "a header of {length} bytes");
    let Header::Proxied(ends) = header else { return };
    for version in [Version::V1, Version::V2] {
        let sent = version.header(Some(ends));
        assert_eq!(proxy_protocol::parse(&sent), Ok(Parsed::Whole(header, sent.len())), "{version:?}");
    }
}

/// Nothing that was not sealed here opens; what was, opens for its own name alone.
pub fn sealed_cookie(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for value in [text.to_owned(), format!("v1.{text}")] {
        assert!(SEALER.open::<Session>(SESSION_COOKIE, &value).is_none(), "a forged session opened");
    }
    let sealed = SEALER.seal(SIGNIN_COOKIE, &text).expect("a text is JSON");
    assert_eq!(SEALER.open::<String>(SIGNIN_COOKIE, &sealed).as_deref(), Some(text));
    assert_eq!(SEALER.open::<String>(SESSION_COOKIE, &sealed), None, "a cookie passes for another");
    let _ = Sealer::from_text(text);
}

/// A configuration is taken or refused with a message.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source::of_text("edge-gateway", Path::new("gateway.toml"), text.to_owned(), []);
    let refused = source.and_then(|source| {
        let config = source.parse::<Config>()?;
        Plan::new(&config).map(drop).map_err(|invalid| source.invalid(&invalid))
    });
    if let Err(error) = refused {
        assert!(error.to_string().starts_with("gateway.toml"), "an error names no place: {error}");
    }
}

/// A configuration of nginx is refused, or becomes one whose syntax and types are right.
pub fn nginx_configuration(data: &[u8]) {
    struct Only<'t>(&'t str);
    impl Load for Only<'_> {
        fn read(&self, path: &Path) -> std::io::Result<String> {
            let known = path == Path::new("nginx.conf");
            if known { Ok(self.0.to_owned()) } else { Err(std::io::ErrorKind::NotFound.into()) }
        }

        fn matching(&self, _: &Path) -> Vec<PathBuf> {
            Vec::new()
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(imported) = convert(Path::new("nginx.conf"), &Only(text)) else { return };
    let source = Source::of_text("edge-gateway", Path::new("gateway.toml"), imported.toml, []);
    source.and_then(|source| source.parse::<Config>()).expect("what was imported cannot be read");
}

#[cfg(test)]
mod tests {
    use quintet_testkit::replay;

    #[test]
    fn client_requests() {
        replay("client_requests", super::client_requests);
    }

    #[test]
    fn http2_connection() {
        replay("http2_connection", quintet_http2::fuzzing::http2_connection);
    }

    #[test]
    fn http2_header_block() {
        replay("http2_header_block", quintet_http2::fuzzing::http2_header_block);
    }

    #[test]
    fn upstream_answer() {
        replay("upstream_answer", super::upstream_answer);
    }

    #[test]
    fn request_path() {
        replay("request_path", super::request_path);
    }

    #[test]
    fn request_cookies() {
        replay("request_cookies", super::request_cookies);
    }

    #[test]
    fn proxy_header() {
        replay("proxy_header", super::proxy_header);
    }

    #[cfg(feature = "http3")]
    #[test]
    fn http3_stream() {
        replay("http3_stream", super::http3_stream);
    }

    #[test]
    fn sealed_cookie() {
        replay("sealed_cookie", super::sealed_cookie);
    }

    #[test]
    fn configuration() {
        replay("configuration", super::configuration);
    }

    #[test]
    fn nginx_configuration() {
        replay("nginx_configuration", super::nginx_configuration);
    }
}
