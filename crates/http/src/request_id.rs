//! The id that ties an answer to its log lines and its trace.
//!
//! An inbound `X-Request-Id` is kept only if it is a short plain token: it is echoed in a header,
//! written to logs and searched for, so anything else would be an injection path.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::Problem;

/// The header that carries the id in both directions.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Long enough for a UUID, a ULID or a W3C trace id with a prefix.
const MAX_LENGTH: usize = 128;

/// Identifies one request across logs, traces and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A fresh UUIDv7 in its usual text form.
    pub fn generate() -> Self {
        let hex = format!("{:032x}", quintet_types::id::draw_from_system());
        let mut text = String::with_capacity(36);
        for (position, digit) in hex.chars().enumerate() {
            if matches!(position, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        Self(text.into())
    }

    /// The caller's id, if there is exactly one and it is a sane token.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.to_str().ok()?)
    }

    /// Accepts 1 to 128 characters of `A-Z a-z 0-9 . _ : / + = -`.
    pub fn parse(text: &str) -> Option<Self> {
        let sane = (1..=MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte));
        sane.then(|| Self(text.into()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header value.
    pub fn header_value(&self) -> HeaderValue {
        // Both constructors admit only visible ASCII, which is always a header value.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::generate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_tokens_are_taken_over() {
        for (text, sane) in [
            ("0190b5c0-7b7a-7cc3-8000-3f1f2e3d4c5b", true),
            ("a", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\u{e9}", false),
            ("<script>", false),
        ] {
            assert_eq!(RequestId::parse(text).is_some(), sane, "{text:?}");
        }
        assert!(RequestId::parse(&"x".repeat(128)).is_some());
        assert!(RequestId::parse(&"x".repeat(129)).is_none());
    }

    #[test]
    fn two_request_id_headers_are_not_trusted() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static("one"));
        headers.append(HEADER, HeaderValue::from_static("two"));
        assert_eq!(RequestId::from_headers(&headers), None);
    }

    #[test]
    fn generated_ids_are_version_7_uuids_and_distinct() {
        let (one, two) = (RequestId::generate(), RequestId::generate());
        assert_ne!(one, two);
        assert_eq!(one.as_str().len(), 36);
        assert_eq!(one.as_str().as_bytes()[14], b'7');
        assert_eq!(RequestId::parse(one.as_str()), Some(one.clone()));
    }
}
