//! An answer from a stored one: whole, in part, or the news that the client has it already.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::cache::{CacheUse, Object};
use crate::connection::ConnectionState;
use crate::ranges::Ranges;
use crate::representation::{Reading, Source, cut};
use crate::validators::{Judgement, Validators};

/// RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Answers a GET or HEAD with these headers.
pub(super) fn serve(
    state: &ConnectionState,
    object: &Object,
    method: &Method,
    request: &HeaderMap,
    how: CacheUse,
) -> Response<Reading> {
    let now = state.worker.gateway.now_millis();
    let mut response = object.head(now).map(|()| Reading::empty());
    if let Some(status) = status(object, how, now) {
        response.headers_mut().append(CACHE_STATUS, status);
    }
    let mut ranges = Ranges::Whole;
    if object.status == StatusCode::OK {
        let validators = Validators::of_headers(&object.headers);
        if validators.judge(request) == Judgement::NotModified {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        if validators.allows_range(method, request) {
            ranges = Ranges::read(request, object.body.len() as u64);
        }
    }
    let source = Source::Memory(object.body.clone());
    let reading = cut(ranges, source, object.body.len() as u64, &mut response, state.worker.random());
    if object.status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(reading.length()));
    }
    let reading = if method == Method::HEAD { Reading::empty() } else { reading };
    response.map(|_: Reading| reading)
}

fn status(object: &Object, how: CacheUse, now: i64) -> Option<HeaderValue> {
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let ttl = signed(object.lifetime.fresh_for).saturating_sub(signed(object.lifetime.age(now)));
    let text = match how {
        CacheUse::Collapsed => format!("edge-gateway; fwd=uri-miss; collapsed; ttl={ttl}"),
        CacheUse::Revalidated => format!("edge-gateway; fwd=stale; fwd-status=304; ttl={ttl}"),
        CacheUse::Hit | CacheUse::Stale | CacheUse::Miss | CacheUse::Bypass => {
            format!("edge-gateway; hit; ttl={ttl}")
        }
    };
    HeaderValue::try_from(text).ok()
}
