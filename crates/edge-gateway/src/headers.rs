//! Which headers cross the gateway, and which the gateway writes itself.
//!
//! Hop-by-hop headers end here in both directions (RFC 9110 section 7.6.1). Everything that says who
//! the client is (forwarding headers, identity headers, the session cookie) is taken from what the gateway
//! knows; inbound claims are dropped, never merged.

mod cookies;

use http::header::{
    CONNECTION, EXPECT, FORWARDED, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method};

pub(crate) use self::cookies::{cookie, strip_cookies};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(crate) const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// RFC 9440.
pub(crate) const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const IDENTITY_PREFIX: &str = "x-quintet-";

/// Headers that end here in both directions. [`hop_by_hop`] gives the place of a name.
static HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, TRANSFER_ENCODING, UPGRADE, TE, TRAILER, PROXY_CONNECTION, HTTP2_SETTINGS];

/// Claims about the client that the gateway does not write itself, and `Expect`, which it has met.
static CLAIMS: [HeaderName; 8] = [
    X_FORWARDED_PORT,
    X_FORWARDED_PREFIX,
    X_REAL_IP,
    FORWARDED,
    EXPECT,
    PROXY_AUTHORIZATION,
    CLIENT_CERT,
    CLIENT_CERT_CHAIN,
];

/// The place of a hop-by-hop header in [`HOP_BY_HOP`]. One look at each name of a message costs less than a search
/// for each of these, nearly all of which are absent.
fn hop_by_hop(name: &str) -> Option<usize> {
    Some(match name {
        "connection" => 0,
        "keep-alive" => 1,
        "transfer-encoding" => 2,
        "upgrade" => 3,
        "te" => 4,
        "trailer" => 5,
        "proxy-connection" => 6,
        "http2-settings" => 7,
        _ => return None,
    })
}

/// Removes what belongs to the client's connection, its trace context, and every inbound claim about who the client is.
/// Returns the protocol asked for by `Upgrade`.
pub(crate) fn strip_request(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut ending = 0u8;
    let mut claims = false;
    let mut dropped: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        let text = name.as_str();
        if let Some(at) = hop_by_hop(text) {
            ending |= 1 << at;
        } else if poses_as_another(text) {
            dropped.push(name.clone());
        } else if let Some(rest) = text.strip_prefix("x-") {
            if rest.starts_with("forwarded-") || rest == "real-ip" {
                claims = true;
            } else if text.starts_with(IDENTITY_PREFIX) {
                dropped.push(name.clone());
            }
        } else if matches!(text, "traceparent" | "tracestate") {
            dropped.push(name.clone());
        } else if matches!(
            text,
            "forwarded" | "expect" | "proxy-authorization" | "client-cert" | "client-cert-chain"
        ) {
            claims = true;
        }
    }
    let upgrade = if ending == 0 { None } else { remove_hop_by_hop(headers, ending) };
    if claims {
        for name in &CLAIMS {
            headers.remove(name);
        }
    }
    for name in dropped {
        headers.remove(name);
    }
    upgrade
}

/// CGI and what follows it (WSGI, PHP) take `X_Real_IP` for `X-Real-IP`: with an underscore a client could claim what it
/// cannot claim with a hyphen. Only names that mean something to the gateway are looked at.
fn poses_as_another(name: &str) -> bool {
    let bytes = name.as_bytes();
    matches!(bytes.first(), Some(b'x' | b'c' | b't')) && bytes.contains(&b'_') && {
        let meant = name.replace('_', "-");
        let claims = ["x-forwarded-", "x-quintet-"].iter().any(|prefix| meant.starts_with(prefix));
        claims
            || matches!(
                &*meant,
                "content-length"
                    | "transfer-encoding"
                    | "x-real-ip"
                    | "x-request-id"
                    | "content-type"
                    | "client-cert"
                    | "client-cert-chain"
            )
    }
}

/// Removes those of [`HOP_BY_HOP`] whose bits are set, and what `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap, ending: u8) -> Option<HeaderValue> {
    if ending == 1 && names_nothing(headers) {
        headers.remove(CONNECTION);
        return None;
    }
    let mut wants_upgrade = false;
    if ending & 1 != 0 {
        let mut named: Vec<HeaderName> = Vec::new();
        for value in headers.get_all(CONNECTION) {
            for token in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                if token.eq_ignore_ascii_case("upgrade") {
                    wants_upgrade = true;
                } else if !token.eq_ignore_ascii_case("keep-alive") && !token.eq_ignore_ascii_case("close") {
                    named.extend(HeaderName::from_bytes(token.as_bytes()).ok().filter(may_be_hop_by_hop));
                }
            }
        }
        for name in named {
            headers.remove(name);
        }
    }
    let upgrade = if wants_upgrade { protocol(headers) } else { None };
    for (at, name) in HOP_BY_HOP.iter().enumerate() {
        if ending & 1 << at != 0 {
            headers.remove(name);
        }
    }
    upgrade
}

/// Whether `Connection` says no more than nearly every one does.
fn names_nothing(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONNECTION).iter();
    let usual = |value: &HeaderValue| {
        value.as_bytes().eq_ignore_ascii_case(b"keep-alive")
            || value.as_bytes().eq_ignore_ascii_case(b"close")
    };
    values.next().is_some_and(usual) && values.next().is_none()
}

/// The protocol asked for, unless it is HTTP again: an upstream that switches to cleartext HTTP/2 would take requests
/// that the gateway has not seen (RFC 9113 section 3.1 has taken that upgrade back).
fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(UPGRADE).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let is_http = |name: &str| {
        let name = name.trim().split('/').next().unwrap_or_default();
        ["h2c", "h2", "http", "tls"].iter().any(|other| name.eq_ignore_ascii_case(other))
    };
    let asks_for_http = value.to_str().map_or(true, |names| names.split(',').any(is_http));
    (!asks_for_http).then(|| value.clone())
}

/// `Connection` must not be used to remove end-to-end headers that others rely on
/// (RFC 9110 section 7.6.1): naming `Authorization` or `Content-Length` there is an attack. The standard
/// hop-by-hop headers go in any case.
fn may_be_hop_by_hop(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-") && *name != X_REQUEST_ID
}

/// Removes hop-by-hop headers of an upstream's answer, and its own request id.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    let mut ending = 0u8;
    let mut own = false;
    for name in headers.keys() {
        match name.as_str() {
            "x-request-id" | "proxy-authenticate" => own = true,
            text => ending |= hop_by_hop(text).map_or(0, |at| 1 << at),
        }
    }
    if ending != 0 {
        remove_hop_by_hop(headers, ending);
    }
    if own {
        headers.remove(X_REQUEST_ID);
        headers.remove(PROXY_AUTHENTICATE);
    }
}

/// RFC 9110 section 9.2.1.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_headers_and_those_named_by_connection_go() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Internal"),
            ("connection", "close"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        assert_eq!(strip_request(&mut headers), None);
        assert_eq!(names(&headers), ["accept"]);
    }

    #[test]
    fn connection_cannot_remove_end_to_end_headers() {
        let mut headers = map(&[
            ("connection", "authorization, cookie, host"),
            ("authorization", "Bearer x"),
            ("host", "a"),
        ]);
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["authorization", "host"]);
    }

    #[test]
    fn an_upgrade_is_reported_only_when_connection_asks_for_it() {
        let mut headers = map(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(strip_request(&mut headers).unwrap(), "websocket");
        assert!(headers.is_empty());
    }

    #[test]
    fn claims_about_the_client_are_dropped() {
        let mut headers = map(&[
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-forwarded-port", "1"),
            ("x-quintet-user", "root"),
            ("x-quintet-scopes", "all"),
            ("x-other", "stays"),
        ]);
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["x-other"]);
    }

    #[test]
    fn the_trace_context_of_the_client_ends_here() {
        let mut headers = map(&[("traceparent", "00-1-2-01"), ("tracestate", "a=b"), ("tracer", "stays")]);
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["tracer"]);
    }

    #[test]
    fn every_hop_by_hop_header_is_found_by_its_name() {
        for (at, name) in HOP_BY_HOP.iter().enumerate() {
            assert_eq!(hop_by_hop(name.as_str()), Some(at), "{name}");
        }
        assert_eq!(hop_by_hop("accept"), None);
    }

    #[test]
    fn an_answer_keeps_what_is_for_the_client() {
        let mut headers = map(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("proxy-authenticate", "Basic"),
            ("x-request-id", "theirs"),
            ("x-quintet-user", "theirs to say"),
            ("content-type", "text/plain"),
        ]);
        strip_response(&mut headers);
        assert_eq!(names(&headers), ["content-type", "x-quintet-user"]);
    }
}
