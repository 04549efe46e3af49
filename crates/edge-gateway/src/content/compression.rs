//! Which answers are compressed, and what that changes in their heads.
//!
//! An answer keeps its bytes where somebody relies on them: a range, a digest, `no-transform`, an encoding of
//! its own. A compressed answer is another representation, so its strong validator becomes a weak one
//! (RFC 9110 section 8.8.3.3) and it offers no ranges.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
};
use http::{Response, StatusCode};

use super::accept::Encoding;
use super::encoder::Levels;
use super::vary;

/// Headers that vouch for the bytes of the content (RFC 9530, RFC 3230).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// A route's rules of compression.
#[derive(Debug)]
pub(crate) struct Compression {
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) min_bytes: u64,
    pub(crate) types: Vec<TypePattern>,
    pub(crate) levels: Levels,
}

/// Media types by pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TypePattern {
    Exact(String),
    /// `text/`
    Family(String),
    /// `+json`
    Suffix(String),
}

impl TypePattern {
    /// Reads `type/subtype`, `type/*` or `*+suffix`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let token = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let text = text.to_ascii_lowercase();
        if let Some(suffix) = text.strip_prefix("*+") {
            return token(suffix).then(|| Self::Suffix(format!("+{suffix}")));
        }
        let (family, subtype) = text.split_once('/').filter(|(family, _)| token(family))?;
        if subtype == "*" {
            return Some(Self::Family(format!("{family}/")));
        }
        token(subtype).then(|| Self::Exact(text.clone()))
    }

    /// `essence` is a media type without parameters, in any case.
    fn matches(&self, essence: &str) -> bool {
        let ends = |end: &str| {
            let from = essence.len().checked_sub(end.len());
            from.and_then(|from| essence.get(from..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
        };
        match self {
            Self::Exact(exact) => essence.eq_ignore_ascii_case(exact),
            Self::Family(start) => {
                essence.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
            }
            Self::Suffix(suffix) => ends(suffix),
        }
    }
}

impl Compression {
    /// The encoding that the answer is to get, given the one that the client likes best. Says in `Vary` where
    /// the answer depends on that.
    pub(super) fn negotiate<B>(
        &self,
        liked: Option<Encoding>,
        length: Option<u64>,
        response: &mut Response<B>,
    ) -> Option<Encoding> {
        if response.status() == StatusCode::NOT_MODIFIED {
            not_modified(liked, response.headers_mut());
            return None;
        }
        if !self.suits(response.status(), response.headers(), length) {
            return None;
        }
        vary(response.headers_mut(), &HeaderValue::from_name(ACCEPT_ENCODING));
        liked
    }

    /// Whether the answer is one that clients who take an encoding get compressed.
    fn suits(&self, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> bool {
        let without_content = status.is_informational()
            || matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
            );
        !without_content
            && length.is_none_or(|length| length >= self.min_bytes)
            && !headers.contains_key(CONTENT_ENCODING)
            && !headers.contains_key(CONTENT_RANGE)
            && self.compresses_type(headers)
            && !no_transform(headers)
            && !DIGESTS.iter().any(|name| headers.contains_key(name))
    }

    fn compresses_type(&self, headers: &HeaderMap) -> bool {
        let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let essence = text.split(';').next().unwrap_or_default().trim();
        // An event waits for nobody, least of all for a compressor's next block.
        !essence.eq_ignore_ascii_case("text/event-stream")
            && self.types.iter().any(|pattern| pattern.matches(essence))
    }
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn no_transform(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// The head of the same answer, compressed.
pub(super) fn rewrite_head(encoding: Encoding, headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    weaken(headers);
}

/// A 304 stands for an answer that may have been compressed: it carries the validator and `Vary` of that one.
fn not_modified(liked: Option<Encoding>, headers: &mut HeaderMap) {
    vary(headers, &HeaderValue::from_name(ACCEPT_ENCODING));
    if liked.is_some() {
        weaken(headers);
    }
}

fn weaken(headers: &mut HeaderMap) {
    let Some(etag) = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()) {
        headers.insert(ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_types_families_and_suffixes() {
        let matches = |pattern: &str, essence: &str| TypePattern::parse(pattern).unwrap().matches(essence);
        assert!(matches("text/*", "Text/HTML"));
        assert!(!matches("text/*", "text"));
        assert!(!matches("text/*", "textual/x"));
        assert!(matches("*+json", "application/problem+JSON"));
        assert!(!matches("*+json", "json"));
        assert!(matches("application/json", "application/json"));
        assert!(!matches("application/json", "application/json5"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "text", "*/*", "*", "text/", "/html", "*+", "text/ht ml", "text/html; charset=utf-8"]
        {
            assert_eq!(TypePattern::parse(bad), None, "{bad}");
        }
    }
}
