//! Conditional requests (RFC 9110, section 13): strong entity tags from a row's version,
//! `If-Match` on changes and `If-None-Match` on reads.
//!
//! A change without `If-Match` is refused (428, RFC 6585): otherwise the second of two editors
//! silently undoes the first.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quintet_http::problem::Problem;

/// The strong entity tag of one version of a row.
pub fn etag(version: i64) -> HeaderValue {
    // Digits and ASCII punctuation are always a valid header value.
    HeaderValue::from_str(&format!("\"v{version}\"")).unwrap_or(HeaderValue::from_static("\"v\""))
}

/// Which versions of a row the client is willing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// `If-Match: *`: whichever exists.
    Any,
    /// Exactly one of these.
    Versions(Vec<i64>),
}

impl Expected {
    /// Reads `If-Match`.
    ///
    /// # Errors
    /// 428 when it is missing, 400 when it is not a list of entity tags.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = joined(headers, &header::IF_MATCH).ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition_required",
                "send If-Match with the ETag that a GET of this resource returned",
            )
        })?;
        Self::parse(&text).ok_or_else(|| {
            Problem::bad_request("invalid_if_match", "If-Match is not a list of quoted entity tags")
        })
    }

    /// Whether a row at `version` may be changed.
    pub fn accepts(&self, version: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        // Comparison for If-Match is strong: a weak tag never matches, a foreign tag neither.
        let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        let mut versions = Vec::new();
        for tag in tags {
            let strong = tag.strip_prefix("W/").unwrap_or(tag);
            let opaque = strong.strip_prefix('"')?.strip_suffix('"')?;
            let weak = tag.len() != strong.len();
            if let (false, Some(Ok(version))) = (weak, opaque.strip_prefix('v').map(str::parse)) {
                versions.push(version);
            }
        }
        Some(Self::Versions(versions))
    }
}

/// Whether the client's `If-None-Match` already holds `etag`, so that 304 is the answer.
pub fn is_fresh(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let (Some(text), Ok(etag)) = (joined(headers, &header::IF_NONE_MATCH), etag.to_str()) else {
        return false;
    };
    text.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The values of a list header as one list (RFC 9110, section 5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn if_match_is_compared_strongly() {
        let cases = [
            ("\"v3\"", 3, true),
            ("\"v2\", \"v3\"", 3, true),
            ("*", 3, true),
            ("\"v2\"", 3, false),
            ("W/\"v3\"", 3, false),
            ("\"other\"", 3, false),
        ];
        for (value, version, accepted) in cases {
            let expected = Expected::from_headers(&headers(header::IF_MATCH, value)).unwrap();
            assert_eq!(expected.accepts(version), accepted, "{value}");
        }
    }

    #[test]
    fn a_missing_if_match_is_428_and_a_bare_word_400() {
        assert_eq!(Expected::from_headers(&HeaderMap::new()).unwrap_err().status, 428);
        assert_eq!(Expected::from_headers(&headers(header::IF_MATCH, "v3")).unwrap_err().status, 400);
    }

    #[test]
    fn if_none_match_is_compared_weakly() {
        for value in ["\"v3\"", "W/\"v3\"", "*", "\"v1\", \"v3\""] {
            assert!(is_fresh(&headers(header::IF_NONE_MATCH, value), &etag(3)), "{value}");
        }
        assert!(!is_fresh(&headers(header::IF_NONE_MATCH, "\"v2\""), &etag(3)));
        assert!(!is_fresh(&HeaderMap::new(), &etag(3)));
    }
}
