//! The opening handshake of WebSocket, the server's side (RFC 6455 section 4.2).
//!
//! Where a request comes from is not looked at: it must carry a bearer token, which no other site's page has, and the gateway
//! looks at the origin of those that act on a session.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use quintet_http::Upgrade;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// Bytes of a key once it is decoded.
const KEY_BYTES: usize = 16;

/// A request that may become a WebSocket.
pub(in crate::api) struct Handshake {
    pub(super) upgrade: Upgrade,
    accept: HeaderValue,
}

impl Handshake {
    /// The answer that ends HTTP on the connection.
    pub(super) fn answer(accept: HeaderValue) -> Response {
        let headers = [
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, WEBSOCKET),
            (SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }

    pub(super) fn accept(&self) -> HeaderValue {
        self.accept.clone()
    }
}

/// Why a request is none.
#[derive(Debug)]
pub(in crate::api) enum Refusal {
    NoWebSocket,
    Version,
    Key,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Self::NoWebSocket => (
                StatusCode::UPGRADE_REQUIRED,
                "a tail is a WebSocket: ask over HTTP/1.1 with Connection: Upgrade and Upgrade: websocket\n",
            ),
            Self::Version => (StatusCode::UPGRADE_REQUIRED, "the version of WebSocket must be 13\n"),
            Self::Key => (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64\n"),
        };
        let mut response = (status, why).into_response();
        if status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(UPGRADE, WEBSOCKET);
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, VERSION);
        }
        response
    }
}

/// Whether a list in the headers has this word.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// What proves that the request was understood.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    if !lists(headers, CONNECTION, "upgrade") || !lists(headers, UPGRADE, "websocket") {
        return Err(Refusal::NoWebSocket);
    }
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Refusal::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).ok_or(Refusal::Key)?;
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != KEY_BYTES {
        return Err(Refusal::Key);
    }
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    HeaderValue::try_from(STANDARD.encode(proof.as_ref())).map_err(|_| Refusal::Key)
}

impl<S: Send + Sync> FromRequestParts<S> for Handshake {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let accept = accept(&parts.headers)?;
        let upgrade = Upgrade::take(&mut parts.extensions).ok_or(Refusal::NoWebSocket)?;
        Ok(Self { upgrade, accept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    const ASKED: [(HeaderName, &str); 4] = [
        (CONNECTION, "keep-alive, Upgrade"),
        (UPGRADE, "WebSocket"),
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_rfc_is_proved_as_there() {
        assert_eq!(accept(&headers(&ASKED)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_request_that_is_no_handshake_is_told_what_is_missing() {
        for (without, status) in ASKED.iter().zip([426, 426, 426, 400]) {
            let rest: Vec<_> = ASKED.iter().filter(|one| one.0 != without.0).cloned().collect();
            let refused = accept(&headers(&rest)).unwrap_err().into_response();
            assert_eq!(refused.status().as_u16(), status, "{}", without.0);
            assert_eq!(refused.headers().contains_key(UPGRADE), status == 426);
        }
        let mut short = headers(&ASKED);
        short.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("c2hvcnQ="));
        assert_eq!(accept(&short).unwrap_err().into_response().status(), 400);
    }
}
