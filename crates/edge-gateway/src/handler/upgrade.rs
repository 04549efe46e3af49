//! Requests that ask for another protocol on their connection, such as `WebSocket` (RFC 9110 section 7.8).

use std::rc::Rc;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use quintet_http::problem::Problem;

use super::framing::check_answer;
use super::{Extra, Outcome};
use crate::body::{ClientBody, RequestBody, ResponseBody};
use crate::connection::ConnectionState;
use crate::exchange::Exchange;
use crate::headers::strip_response;
use crate::proxy::{Forwarded, Target};
use crate::tunnel;
use crate::wire::AnswerBody;

/// An upgrade that can be tunnelled: HTTP/1.1, asked for in both headers, without a body.
pub(super) fn is_upgrade(parts: &Parts, body: &ClientBody) -> bool {
    parts.version == Version::HTTP_11
        && body.is_end_stream()
        && parts.headers.contains_key(UPGRADE)
        && parts.headers.contains_key(CONNECTION)
}

/// hyper takes the upgrade out of a whole request's extensions.
pub(super) fn parts_request(parts: &mut Parts) -> Request<()> {
    let mut request = Request::new(());
    *request.extensions_mut() = std::mem::take(&mut parts.extensions);
    request
}

/// Asks the upstream to switch protocols and, when it does, joins the two connections.
pub(super) async fn upgraded(
    state: &Rc<ConnectionState>,
    target: Target,
    request: Request<RequestBody>,
    protocol: HeaderValue,
    client: OnUpgrade,
    exchange: &mut Exchange,
    extra: &mut Extra,
) -> Result<Outcome, Problem> {
    let (mut response, lease, waited) =
        tunnel::request(&state.worker, &target, request).await.map_err(|failure| {
            extra.close |= failure.unread;
            exchange.fail(failure.reason);
            *failure.problem
        })?;
    exchange.set_upstream_time(waited);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let response = response.map(AnswerBody::Upgrade);
        check_answer(&response).map_err(|failure| {
            exchange.fail(failure.reason);
            *failure.problem
        })?;
        return Ok(Outcome::Upstream(Forwarded { response, lease, waited, sticky: None }));
    }
    let upstream = hyper::upgrade::on(&mut response);
    tunnel::open(state, exchange.view(), lease, client, upstream);
    let (mut head, _) = response.into_parts();
    strip_response(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, protocol);
    Ok(Outcome::Upgraded(Response::from_parts(head, ResponseBody::Empty)))
}
