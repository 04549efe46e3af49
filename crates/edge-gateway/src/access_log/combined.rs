//! Lines in the form `combined` of nginx and Apache, byte for byte as nginx writes them.
//!
//! `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`,
//! where the user is always `-` and the time zone UTC. In what a client chose, quotation marks, backslashes,
//! control bytes and everything beyond ASCII are `\xHH`, so that nobody can end a field or forge a line.

use std::cell::RefCell;
use std::io::Write as _;

use http::header::{HeaderMap, HeaderValue, REFERER, USER_AGENT};
use http::{Method, Uri, Version};
use quintet_telemetry::access::Lines;

/// Bytes that are handed on at once.
const BATCH: usize = 16 * 1024;
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// What a line tells of a request's head beside its method and target.
#[derive(Debug)]
pub(crate) struct Said {
    version: Version,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl Said {
    pub(crate) fn new(version: Version, headers: &HeaderMap) -> Self {
        Self { version, referer: headers.get(REFERER).cloned(), user_agent: headers.get(USER_AGENT).cloned() }
    }
}

/// One request.
pub(crate) struct Line<'a> {
    pub(crate) client: &'a str,
    /// Seconds since the Unix epoch.
    pub(crate) now: i64,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    /// None for a request that began before lines had this form.
    pub(crate) said: Option<&'a Said>,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
}

/// One worker's lines.
pub(crate) struct Combined {
    lines: Lines,
    queries: bool,
    batch: RefCell<Batch>,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    /// The second that `time` is the text of: most lines share it with the one before.
    second: Option<i64>,
    time: String,
}

impl Combined {
    pub(super) fn new(lines: Lines, queries: bool) -> Self {
        Self { lines, queries, batch: RefCell::default() }
    }

    pub(crate) fn log(&self, line: &Line<'_>) {
        let mut batch = self.batch.borrow_mut();
        batch.write(line, self.queries);
        if batch.bytes.len() >= BATCH {
            batch.send(&self.lines);
        }
    }

    pub(super) fn flush(&self) {
        self.batch.borrow_mut().send(&self.lines);
    }
}

impl Drop for Combined {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Batch {
    fn send(&mut self, lines: &Lines) {
        if self.lines > 0 {
            lines.push(&self.bytes, self.lines);
            self.bytes.clear();
            self.lines = 0;
        }
    }

    fn write(&mut self, line: &Line<'_>, queries: bool) {
        if self.second != Some(line.now) {
            self.second = Some(line.now);
            let time = quintet_types::time::from_micros(line.now.saturating_mul(1_000_000));
            self.time = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        }
        let bytes = &mut self.bytes;
        bytes.extend_from_slice(line.client.as_bytes());
        bytes.extend_from_slice(b" - - [");
        bytes.extend_from_slice(self.time.as_bytes());
        bytes.extend_from_slice(b"] \"");
        escape(bytes, line.method.as_str().as_bytes());
        bytes.push(b' ');
        target(bytes, line.uri, queries);
        bytes.extend_from_slice(match line.said.map(|said| said.version) {
            Some(Version::HTTP_3) => b" HTTP/3.0",
            Some(Version::HTTP_2) => b" HTTP/2.0",
            Some(Version::HTTP_10) => b" HTTP/1.0",
            _ => b" HTTP/1.1",
        });
        // Writing to memory cannot fail.
        let _ = write!(bytes, "\" {} {} \"", line.status, line.bytes);
        let referer = line.said.and_then(|said| said.referer.as_ref());
        header(bytes, referer.map(|value| without_query(value.as_bytes(), queries)));
        bytes.extend_from_slice(b"\" \"");
        header(bytes, line.said.and_then(|said| said.user_agent.as_ref()).map(HeaderValue::as_bytes));
        bytes.extend_from_slice(b"\"\n");
        self.lines += 1;
    }
}

/// As the client wrote it: HTTP/2 has scheme and host apart from the path.
fn target(bytes: &mut Vec<u8>, uri: &Uri, queries: bool) {
    escape(bytes, uri.path().as_bytes());
    if queries && let Some(query) = uri.query() {
        bytes.push(b'?');
        escape(bytes, query.as_bytes());
    }
}

fn without_query(url: &[u8], queries: bool) -> &[u8] {
    let end = url.iter().position(|byte| matches!(byte, b'?' | b'#')).filter(|_| !queries);
    url.get(..end.unwrap_or(url.len())).unwrap_or_default()
}

fn header(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => escape(bytes, value),
        None => bytes.push(b'-'),
    }
}

fn escape(bytes: &mut Vec<u8>, value: &[u8]) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| !plain(*byte)) {
        let (before, after) = rest.split_at(at);
        bytes.extend_from_slice(before);
        let Some((byte, after)) = after.split_first() else { return };
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
        bytes.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
        rest = after;
    }
    bytes.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers<'a> = &'a [(&'static str, &'a [u8])];

    fn line(uri: &str, said: Option<(Version, Headers<'_>)>, queries: bool) -> String {
        let said = said.map(|(version, headers)| {
            let headers = headers.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
            });
            Said::new(version, &headers.collect())
        });
        let mut batch = Batch::default();
        let uri = uri.parse().unwrap();
        let (now, status) = (1_700_000_000, 200);
        let line = Line {
            client: "192.0.2.7",
            now,
            method: &Method::GET,
            uri: &uri,
            said: said.as_ref(),
            status,
            bytes: 612,
        };
        batch.write(&line, queries);
        String::from_utf8(batch.bytes).unwrap()
    }

    #[test]
    fn a_line_is_the_one_of_nginx() {
        let headers: &[(&str, &[u8])] = &[
            ("referer", b"https://example.com/a?b=c"),
            ("user-agent", b"curl/8.5.0 (\xc3\xa4 \"x\" \\ \t)"),
        ];
        assert_eq!(
            line("/index.html?a=%22", Some((Version::HTTP_11, headers)), true),
            "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /index.html?a=%22 HTTP/1.1\" 200 612 \
             \"https://example.com/a?b=c\" \"curl/8.5.0 (\\xC3\\xA4 \\x22x\\x22 \\x5C \\x09)\"\n"
        );
    }

    #[test]
    fn queries_are_left_out_unless_asked_for() {
        let headers: &[(&str, &[u8])] = &[("referer", b"https://example.com/a?token=c#d")];
        let line = line("https://shop.example/index.html?token=x", Some((Version::HTTP_2, headers)), false);
        assert!(
            line.contains("\"GET /index.html HTTP/2.0\" 200 612 \"https://example.com/a\" \"-\""),
            "{line}"
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_what_is_empty_is_empty() {
        assert!(line("/", None, false).ends_with("\"GET / HTTP/1.1\" 200 612 \"-\" \"-\"\n"));
        let headers: &[(&str, &[u8])] = &[("user-agent", b"")];
        assert!(
            line("/", Some((Version::HTTP_10, headers)), false).ends_with("HTTP/1.0\" 200 612 \"-\" \"\"\n")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_byte_of_a_client_ends_a_field_or_a_line(value: Vec<u8>) {
            let mut bytes = Vec::new();
            escape(&mut bytes, &value);
            proptest::prop_assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'"'));
            // And nothing is lost.
            let (mut back, mut rest) = (Vec::new(), &bytes[..]);
            while let Some((first, after)) = rest.split_first() {
                let escaped = *first == b'\\';
                back.push(if escaped { u8::from_str_radix(std::str::from_utf8(&after[1..3]).unwrap(), 16).unwrap() } else { *first });
                rest = if escaped { &after[3..] } else { after };
            }
            proptest::prop_assert_eq!(back, value);
        }
    }
}
