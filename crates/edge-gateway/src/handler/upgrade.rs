//! Requests that ask for another protocol on their connection, such as `WebSocket` (RFC 9110 section 7.8).

use std::rc::Rc;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use quintet_http::problem::Problem;

use super::framing::check_answer;
use super::{Extra, Outcome};
use crate::body::{ClientBody, RequestBody, ResponseBody};
use crate::connection::ConnectionState;
use crate::exchange::Exchange;
use crate::headers::strip_response;
use crate::proxy::{Forwarded, Target};
use crate::tunnel::{self, ClientSide};
use crate::wire::AnswerBody;

/// The client's side of an upgrade that can be tunnelled: HTTP/1.1, asked for in both headers, without a body.
pub(super) fn client_side(parts: &Parts, body: &ClientBody) -> Option<ClientSide> {
    let ClientBody::Http1(body) = body else { return None };
    let asks = parts.version == Version::HTTP_11
        && body.is_end_stream()
        && parts.headers.contains_key(UPGRADE)
        && parts.headers.contains_key(CONNECTION);
    asks.then(|| body.upgrade())
}

/// Asks the upstream to switch protocols and, when it does, joins the two connections.
pub(super) async fn upgraded(
    state: &Rc<ConnectionState>,
    target: Target,
    request: Request<RequestBody>,
    protocol: HeaderValue,
    client: ClientSide,
    exchange: &mut Exchange,
    extra: &mut Extra,
) -> Result<Outcome, Problem> {
    let (response, lease, waited) =
        tunnel::request(&target, &state.worker, request).await.map_err(|failure| {
            extra.close |= failure.unread;
            exchange.fail(failure.reason);
            *failure.problem
        })?;
    exchange.set_upstream_time(waited);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let response = response.map(|connection| AnswerBody::Own(Box::new(connection)));
        check_answer(&response).map_err(|failure| {
            exchange.fail(failure.reason);
            *failure.problem
        })?;
        return Ok(Outcome::Upstream(Forwarded { response, lease, waited, sticky: None }));
    }
    let (mut head, upstream) = response.into_parts();
    tunnel::open(state, exchange.view(), lease, client, upstream.into_parts());
    strip_response(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, protocol);
    Ok(Outcome::Upgraded(Response::from_parts(head, ResponseBody::Empty)))
}
