//! Validators of a representation, and what a request's conditions make of them (RFC 9110 section 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};
use http::{Method, StatusCode};

/// What tells one state of a representation from another.
#[derive(Debug, Default)]
pub(crate) struct Validators {
    pub(crate) etag: Option<HeaderValue>,
    /// In whole seconds since the Unix epoch.
    pub(crate) modified: Option<u64>,
}

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Send,
    NotModified,
    Failed,
}

impl Judgement {
    /// Of the answer without content that the conditions call for, if they do.
    pub(crate) fn status(self) -> Option<StatusCode> {
        match self {
            Self::Send => None,
            Self::NotModified => Some(StatusCode::NOT_MODIFIED),
            Self::Failed => Some(StatusCode::PRECONDITION_FAILED),
        }
    }
}

impl Validators {
    /// Those in the head of an answer.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        Self { etag: headers.get(ETAG).cloned(), modified: http_date(headers, &LAST_MODIFIED) }
    }

    /// The time as `Last-Modified` has it.
    pub(crate) fn last_modified(&self) -> Option<HeaderValue> {
        let time = UNIX_EPOCH + Duration::from_secs(self.modified?);
        HeaderValue::try_from(httpdate::fmt_http_date(time)).ok()
    }

    /// For a GET or HEAD, in the order of section 13.2.2.
    pub(crate) fn judge(&self, headers: &HeaderMap) -> Judgement {
        let failed = if headers.contains_key(IF_MATCH) {
            !self.listed(headers, &IF_MATCH, Comparison::Strong)
        } else {
            let since = http_date(headers, &IF_UNMODIFIED_SINCE);
            since.is_some_and(|since| self.modified.is_some_and(|at| at > since))
        };
        if failed {
            return Judgement::Failed;
        }
        let unchanged = if headers.contains_key(IF_NONE_MATCH) {
            self.listed(headers, &IF_NONE_MATCH, Comparison::Weak)
        } else {
            let since = http_date(headers, &IF_MODIFIED_SINCE);
            since.is_some_and(|since| self.modified.is_some_and(|at| at <= since))
        };
        if unchanged { Judgement::NotModified } else { Judgement::Send }
    }

    fn listed(&self, headers: &HeaderMap, name: &HeaderName, comparison: Comparison) -> bool {
        let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).map(str::trim).any(|one| {
            let own = self.etag.as_ref().and_then(|etag| etag.to_str().ok());
            one == "*" || own.is_some_and(|own| comparison.same(one, own))
        })
    }

    /// Whether a part of what the client knows is a part of this (section 13.1.5).
    pub(crate) fn allows_range(&self, method: &Method, headers: &HeaderMap) -> bool {
        if method != Method::GET {
            return false;
        }
        let Some(condition) = headers.get(IF_RANGE) else { return true };
        let text = condition.to_str().unwrap_or_default();
        let own = self.etag.as_ref().and_then(|etag| etag.to_str().ok());
        own.is_some_and(|own| Comparison::Strong.same(text, own))
            || (self.modified.is_some() && http_date(headers, &IF_RANGE) == self.modified)
    }
}

/// How entity tags compare (section 8.8.3.2).
#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

impl Comparison {
    fn same(self, one: &str, other: &str) -> bool {
        let opaque = |tag| str::strip_prefix(tag, "W/").unwrap_or(tag);
        match self {
            Self::Strong => one == other && !one.starts_with("W/"),
            Self::Weak => opaque(one) == opaque(other),
        }
    }
}

/// A header's time in seconds since the Unix epoch.
pub(crate) fn http_date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Thu, 01 Jan 2004 00:00:00 GMT";
    const OWN: &str = "Fri, 02 Jan 2004 00:00:00 GMT";
    const NEW: &str = "Sat, 03 Jan 2004 00:00:00 GMT";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |pair: &(&'static str, &'static str)| {
            (HeaderName::from_static(pair.0), HeaderValue::from_static(pair.1))
        };
        pairs.iter().map(pair).collect()
    }

    fn of(pairs: &[(&'static str, &'static str)]) -> Validators {
        Validators::of_headers(&headers(pairs))
    }

    fn check(
        own: &[(&'static str, &'static str)],
        asked: &[(&'static str, &'static str)],
        expected: Judgement,
    ) {
        let own = of(own);
        assert_eq!(own.judge(&headers(asked)), expected, "{own:?} {asked:?}");
    }

    #[test]
    fn tags_come_before_times() {
        let own = &[("etag", "\"a\""), ("last-modified", OWN)];
        check(own, &[("if-none-match", "\"b\""), ("if-modified-since", NEW)], Judgement::Send);
        check(own, &[("if-none-match", "W/\"a\""), ("if-modified-since", OLD)], Judgement::NotModified);
        check(own, &[("if-match", "\"a\""), ("if-unmodified-since", OLD)], Judgement::Send);
        check(own, &[("if-unmodified-since", OLD)], Judgement::Failed);
        check(own, &[("if-modified-since", OWN)], Judgement::NotModified);
        check(own, &[("if-modified-since", OLD)], Judgement::Send);
        check(own, &[("if-modified-since", "yesterday")], Judgement::Send);
    }

    #[test]
    fn weak_tags_do_not_match_strongly() {
        check(&[("etag", "W/\"a\"")], &[("if-match", "W/\"a\"")], Judgement::Failed);
        check(&[("etag", "W/\"a\"")], &[("if-none-match", "\"x\", \"a\"")], Judgement::NotModified);
        check(&[], &[("if-none-match", "\"a\"")], Judgement::Send);
        let weak = of(&[("etag", "W/\"a\"")]);
        assert!(!weak.allows_range(&Method::GET, &headers(&[("if-range", "W/\"a\"")])));
        assert!(weak.allows_range(&Method::GET, &HeaderMap::new()));
        assert!(!weak.allows_range(&Method::HEAD, &HeaderMap::new()));
    }
}
