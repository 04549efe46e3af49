//! What every answer gets, whoever made it, and how an upstream's answer is passed on.

use std::rc::Rc;
use std::time::Duration;

use http::header::{ALLOW, ALT_SVC, CONNECTION, HeaderValue, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{Response, Version};

use crate::answer;
use crate::body::{ResponseBody, Streaming};
use crate::cache::Fill;
use crate::connection::ConnectionState;
use crate::content::{self, Wanted};
use crate::exchange::Exchange;
use crate::headers::{X_REQUEST_ID, strip_response};
use crate::interim::Interim;
use crate::limits::{Decision, Quota};
use crate::proxy::Forwarded;
use crate::router::Edits;

/// Longest silence of an upstream in the middle of an answer; event streams send something more often.
const ANSWER_IDLE: Duration = Duration::from_mins(5);

/// What is added to the answer or comes before it, whoever makes it.
#[derive(Default)]
pub(super) struct Extra {
    /// Gets the upstream's answers before the final one.
    pub(super) interim: Interim,
    pub(super) set_cookie: Option<HeaderValue>,
    pub(super) rate_limit: Option<(Quota, Decision)>,
    /// The connection must not serve another request.
    pub(super) close: bool,
    /// The request was read to its end.
    pub(super) read: bool,
    /// What the route does to the headers of its answers.
    pub(super) edits: Option<Box<Edits>>,
    /// What the request asked of the content, where the route does something to it.
    pub(super) wanted: Option<Box<Wanted>>,
    /// Methods that the address takes, for a 405.
    pub(super) allow: Option<HeaderValue>,
    /// Stores the answer as it passes.
    pub(super) fill: Option<Box<Fill>>,
}

/// Passes an upstream's answer on.
pub(super) fn stream(
    state: &Rc<ConnectionState>,
    forwarded: Forwarded,
    mut exchange: Exchange,
    mut extra: Extra,
) -> Response<ResponseBody> {
    let (mut head, incoming) = forwarded.response.into_parts();
    strip_response(&mut head.headers);
    if let Some(cookie) = forwarded.sticky {
        head.headers.append(SET_COOKIE, cookie);
    }
    head.version = Version::HTTP_11;
    let fill = extra.fill.take();
    let wanted = extra.wanted.take();
    if let Some(wanted) = &wanted {
        content::add_headers(wanted, &exchange, &mut head.headers);
    }
    let mut response = finish(state, Response::from_parts(head, ResponseBody::Empty), &mut exchange, extra);
    let compressor = wanted.and_then(|wanted| content::compress(&wanted, &exchange, &mut response));
    let mut body = Streaming::new(incoming, forwarded.lease, exchange, ANSWER_IDLE);
    body.store_in(fill);
    let body = ResponseBody::Streaming(Box::new(body));
    *response.body_mut() = match compressor {
        Some(compressor) => compressor.around(body),
        None => body,
    };
    response
}

/// What every answer gets.
pub(super) fn finish(
    state: &ConnectionState,
    mut response: Response<ResponseBody>,
    exchange: &mut Exchange,
    extra: Extra,
) -> Response<ResponseBody> {
    exchange.set_head(&response);
    let headers = response.headers_mut();
    if let Some(allow) = extra.allow {
        headers.insert(ALLOW, allow);
    }
    if let Some(edits) = extra.edits {
        edits.apply(headers);
    }
    headers.insert(X_REQUEST_ID, exchange.request_id().clone());
    // A browser ignores it where it came in the clear (RFC 6797 section 7.2).
    if let Some(hsts) = &exchange.view().hsts
        && state.secure
    {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    if let Some(alt_svc) = &exchange.view().alt_svc
        && state.secure
        && !state.is_draining()
    {
        headers.insert(ALT_SVC, alt_svc.clone());
    }
    if let Some((quota, decision)) = &extra.rate_limit {
        answer::add_rate_limit(headers, quota, decision);
    }
    if let Some(cookie) = extra.set_cookie {
        headers.append(SET_COOKIE, cookie);
    }
    if (extra.close || state.is_draining()) && state.http1.get() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
