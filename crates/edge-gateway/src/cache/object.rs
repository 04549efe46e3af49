//! A stored answer: its head, its whole body, how long it is fresh, and which requests it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, LAST_MODIFIED, SET_COOKIE,
};
use http::{Response, StatusCode};

use super::control::RequestControl;
use super::freshness::Lifetime;

/// What an object takes in memory beside its texts and its body.
const OVERHEAD: usize = 512;

/// Which of the answers at an address: those of one route's rules and one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Changes with the route's section.
    pub(crate) route: u32,
    /// Hash of the upstream's name, which the operator chose.
    pub(crate) upstream: u64,
}

/// A request's values of the headers that an answer varies by, in one spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variant(Vec<(HeaderName, Vec<u8>)>);

impl Variant {
    pub(crate) fn of(names: &[HeaderName], request: &HeaderMap) -> Self {
        Self(names.iter().map(|name| (name.clone(), spelling(name, request))).collect())
    }

    fn answers(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| *value == spelling(name, request))
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }
}

/// All values of a header; lists of codings and languages in one order, since theirs says nothing.
fn spelling(name: &HeaderName, request: &HeaderMap) -> Vec<u8> {
    let mut values = request.get_all(name).iter().map(HeaderValue::as_bytes);
    let joined = match (values.next(), values.next()) {
        (None, _) => return Vec::new(),
        (Some(only), None) => only.to_vec(),
        // The number of fields is told by the separator, which no value holds.
        (Some(first), Some(second)) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(values).collect();
            all.join(&b"\n"[..])
        }
    };
    if *name != http::header::ACCEPT_ENCODING {
        return joined;
    }
    let lower = joined.to_ascii_lowercase();
    let strip = |one: &[u8]| -> Vec<u8> {
        one.iter().copied().filter(|byte| !matches!(byte, b' ' | b'\t')).collect()
    };
    let mut codings: Vec<Vec<u8>> =
        lower.split(|byte| matches!(byte, b',' | b'\n')).map(strip).filter(|one| !one.is_empty()).collect();
    codings.sort_unstable();
    codings.dedup();
    // Never equal to an absent header, which means that any coding is welcome.
    [&b" "[..], &codings.join(&b","[..])].concat()
}

/// How far an object may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Fresh,
    /// At once, while it is asked for anew.
    WhileRevalidating,
    /// Only if the upstream says that it is still good, or fails.
    Validated,
}

/// A stored answer.
#[derive(Debug)]
pub(crate) struct Object {
    pub(super) scope: Scope,
    pub(super) variant: Variant,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) lifetime: Lifetime,
    /// Since it was last looked for a place to evict.
    pub(super) used: AtomicBool,
    /// Held for as long as the object is.
    _charge: Charge,
}

/// Bytes of the budget, given back when the last reader is done.
#[derive(Debug)]
pub(super) struct Charge {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(total: &Arc<AtomicUsize>, bytes: usize) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self { total: Arc::clone(total), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Object {
    /// `key` is what it is found by.
    pub(super) fn new(
        total: &Arc<AtomicUsize>,
        key: &str,
        scope: Scope,
        variant: Variant,
        head: Response<()>,
        body: Bytes,
        lifetime: Lifetime,
    ) -> Self {
        let (parts, ()) = head.into_parts();
        let headers = copied(&parts.headers);
        let texts: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        let bytes = OVERHEAD + key.len() + variant.bytes() + texts + body.len();
        let charge = Charge::new(total, bytes);
        Self {
            scope,
            variant,
            status: parts.status,
            headers,
            body,
            lifetime,
            used: AtomicBool::new(false),
            _charge: charge,
        }
    }

    pub(super) fn answers(&self, scope: Scope, request: &HeaderMap) -> bool {
        self.scope == scope && self.variant.answers(request)
    }

    /// How far it may be used at `now`, in milliseconds, for a request that says so much.
    pub(crate) fn usable(&self, now: i64, asked: &RequestControl) -> Use {
        let lifetime = &self.lifetime;
        let age = lifetime.age(now);
        let needed = age.saturating_add(asked.min_fresh.unwrap_or(0));
        let welcome = !asked.no_cache && asked.max_age.is_none_or(|most| age <= most);
        if welcome && !lifetime.always_validate && needed < lifetime.fresh_for {
            return Use::Fresh;
        }
        let stale_for = age.saturating_sub(lifetime.fresh_for);
        // A client that sets conditions wants no stale answer without having asked for one.
        let unconditional = !asked.no_cache && asked.max_age.is_none() && asked.min_fresh.is_none();
        if unconditional && !lifetime.always_validate && stale_for < lifetime.while_revalidating {
            return Use::WhileRevalidating;
        }
        Use::Validated
    }

    /// Whether it may stand in for an upstream that fails.
    pub(crate) fn covers_failure(&self, now: i64) -> bool {
        let lifetime = &self.lifetime;
        !lifetime.always_validate && lifetime.age(now).saturating_sub(lifetime.fresh_for) < lifetime.if_error
    }

    /// Its validators as conditions of a request (section 4.3.1).
    pub(crate) fn add_conditions(&self, request: &mut HeaderMap) {
        let pairs = [(ETAG, http::header::IF_NONE_MATCH), (LAST_MODIFIED, http::header::IF_MODIFIED_SINCE)];
        for (validator, condition) in pairs {
            if let Some(value) = self.headers.get(validator) {
                request.insert(condition, value.clone());
            }
        }
    }

    /// The head as a 304 makes it (section 3.2); None where the 304 is about something else.
    pub(crate) fn freshened(&self, not_modified: &HeaderMap) -> Option<Response<()>> {
        let tag = |headers: &HeaderMap| {
            let text = headers.get(ETAG)?.to_str().ok()?;
            Some(text.strip_prefix("W/").unwrap_or(text).to_owned())
        };
        let (theirs, ours) = (tag(not_modified), tag(&self.headers));
        if theirs.is_some() && theirs != ours {
            return None;
        }
        let mut head = Response::new(());
        *head.status_mut() = self.status;
        *head.headers_mut() = self.headers.clone();
        for name in not_modified.keys() {
            if [CONTENT_ENCODING, CONTENT_TYPE, CONTENT_RANGE, CONTENT_LENGTH, SET_COOKIE].contains(name) {
                continue;
            }
            head.headers_mut().remove(name);
            for value in not_modified.get_all(name) {
                head.headers_mut().append(name.clone(), value.clone());
            }
        }
        Some(head)
    }

    /// The stored head, with its age.
    pub(crate) fn head(&self, now: i64) -> Response<()> {
        let mut head = Response::new(());
        *head.status_mut() = self.status;
        let headers = head.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(AGE, HeaderValue::from(self.lifetime.age(now)));
        head
    }
}

/// Without ties to the buffer that the head was read into, which is far larger.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if [AGE, CONTENT_LENGTH].contains(name) {
            continue;
        }
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.append(name.clone(), value);
        }
    }
    copy
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE};

    use super::*;

    fn request(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn codings_are_compared_as_a_set() {
        let of = |value| Variant::of(&[ACCEPT_ENCODING], &request(&[(ACCEPT_ENCODING, value)]));
        assert_eq!(of("gzip, br"), of("BR,gzip"));
        assert_ne!(of("gzip"), of("gzip;q=0"));
        assert_ne!(of(""), Variant::of(&[ACCEPT_ENCODING], &HeaderMap::new()));
        let twice = request(&[(ACCEPT_ENCODING, "br"), (ACCEPT_ENCODING, "gzip")]);
        assert!(of("gzip, br").answers(&twice));
    }

    #[test]
    fn other_headers_are_compared_to_the_byte() {
        let variant = Variant::of(&[ACCEPT_LANGUAGE], &request(&[(ACCEPT_LANGUAGE, "de, en")]));
        assert!(!variant.answers(&request(&[(ACCEPT_LANGUAGE, "en, de")])));
        assert!(!variant.answers(&request(&[(ACCEPT_LANGUAGE, "de"), (ACCEPT_LANGUAGE, "en")])));
        assert!(!variant.answers(&HeaderMap::new()));
    }
}
