//! A request on its way upstream, and what its answer means for the cache.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{
    AUTHORIZATION, COOKIE, DATE, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
};
use http::{Response, StatusCode};

use crate::cache::{Asked, Fill, Object, Place, Policy, Variant, is_delimited, storable};
use crate::headers::{CLIENT_CERT, strip_response};
use crate::representation::Reading;

/// How long requests do not wait for each other where the last answer could not be stored.
const DO_NOT_WAIT_MS: i64 = 10_000;

/// Request headers that some frameworks take for another address or method. They are in no key, so whoever sent them
/// would decide what everybody gets.
static UNKEYED: [HeaderName; 14] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-http-host-override"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-url-scheme"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-middleware-subrequest"),
];

/// What is known of a request that goes upstream, for when its answer comes.
pub(in crate::handler) struct Way {
    pub(super) policy: Policy,
    /// Why it goes, in the words of RFC 9211.
    pub(super) because: &'static str,
    pub(super) stale: Option<Arc<Object>>,
    /// None where the answer is not stored.
    pub(super) place: Option<Place>,
    /// The client's own, for `Vary` and for its conditions.
    pub(super) headers: HeaderMap,
    pub(super) asked: Asked,
    /// What the client gets at once; the upstream's answer is for the cache alone.
    pub(in crate::handler) at_once: Option<Response<Reading>>,
}

impl Way {
    /// Before the route's own edits: what would make the answer one for this request alone goes.
    pub(in crate::handler) fn clean(&self, request: &mut HeaderMap) {
        if self.place.is_some() {
            for name in UNKEYED.iter().chain([&IF_NONE_MATCH, &IF_MODIFIED_SINCE]) {
                request.remove(name);
            }
        }
    }

    /// After them: the request is as the upstream gets it.
    pub(in crate::handler) fn ready(&mut self, request: &mut HeaderMap) {
        // A client's certificate says who it is as well.
        let authorized = request.contains_key(AUTHORIZATION) || request.contains_key(CLIENT_CERT);
        self.asked = Asked { authorized, cookie: request.contains_key(COOKIE) };
        if let Some(stale) = &self.stale {
            stale.add_conditions(request);
        }
    }

    /// How the answer is stored, or why not.
    pub(super) fn fill<B>(&mut self, answer: &Response<B>, now: i64) -> Result<Fill, &'static str> {
        let place = self.place.take().ok_or("")?;
        let mut head = Response::new(());
        *head.status_mut() = answer.status();
        head.headers_mut().clone_from(answer.headers());
        strip_response(head.headers_mut());
        let limit = self.policy.max_object_bytes;
        let stored = storable(&self.policy, self.asked, answer.status(), answer.headers(), now);
        let refused = match stored {
            Ok(_) if !is_delimited(answer) => "no-length",
            Ok(_) if content_length(answer.headers()).is_some_and(|length| length > limit as u64) => {
                "too-large"
            }
            Ok(stored) => {
                date(head.headers_mut(), now);
                let variant = Variant::of(&stored.vary, &self.headers);
                return Ok(place.fill(variant, head, stored.lifetime, limit));
            }
            Err(why) => why,
        };
        place.cache.do_not_wait(&place.key, place.scope, now + DO_NOT_WAIT_MS);
        // The upstream took back what it said of the resource.
        if let Some(stale) = self.stale.take().filter(|_| !answer.status().is_server_error()) {
            place.cache.remove(&place.key, &stale);
        }
        Err(refused)
    }

    /// The stored answer that a 304 confirms, made fresh; None where the 304 is about another.
    pub(super) fn validated(&mut self, not_modified: &HeaderMap, now: i64) -> Option<Arc<Object>> {
        let (place, stale) = (self.place.take()?, self.stale.take()?);
        let Some(mut head) = stale.freshened(not_modified) else {
            place.cache.remove(&place.key, &stale);
            return None;
        };
        strip_response(head.headers_mut());
        if !not_modified.contains_key(DATE) {
            head.headers_mut().remove(DATE);
        }
        date(head.headers_mut(), now);
        let Ok(stored) = storable(&self.policy, self.asked, stale.status, head.headers(), now) else {
            place.cache.remove(&place.key, &stale);
            return Some(stale);
        };
        let variant = Variant::of(&stored.vary, &self.headers);
        let fresh = place.store(variant, head, stale.body.clone(), stored.lifetime);
        Some(fresh.unwrap_or(stale))
    }

    /// The `Cache-Status` of an answer that came from upstream.
    pub(super) fn status(
        &self,
        upstream: StatusCode,
        stored: Result<(), &'static str>,
    ) -> Option<HeaderValue> {
        let mut text = format!("edge-gateway; fwd={}; fwd-status={}", self.because, upstream.as_u16());
        match stored {
            Ok(()) => text.push_str("; stored"),
            Err("") => {}
            Err(why) => {
                text.push_str("; detail=");
                text.push_str(why);
            }
        }
        HeaderValue::try_from(text).ok()
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer without a date gets that of its arrival (RFC 9110 section 6.6.1).
fn date(headers: &mut HeaderMap, now: i64) {
    let since = Duration::from_millis(u64::try_from(now).unwrap_or(0));
    if !headers.contains_key(DATE)
        && let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since))
    {
        headers.insert(DATE, value);
    }
}
