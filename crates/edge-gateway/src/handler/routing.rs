//! Which route a request takes, and what it brings to the route's texts.

use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, StatusCode};
use quintet_http::problem::Problem;

use super::Extra;
use super::host::Asked;
use crate::connection::ConnectionState;
use crate::exchange::Exchange;
use crate::router::{Head, Route, Values};
use crate::worker::View;

/// Finds the route, or says why there is none.
pub(super) fn find<'v>(
    view: &'v View,
    parts: &Parts,
    asked: &Asked,
    extra: &mut Extra,
) -> Result<(usize, &'v Route), Problem> {
    let head = Head {
        host: asked.host_name(),
        path: &asked.path,
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    view.router.find(&head).ok_or_else(|| not_routed(view, &head, extra))
}

#[cold]
fn not_routed(view: &View, head: &Head<'_>, extra: &mut Extra) -> Problem {
    let allowed: Vec<&str> = view.router.allowed(head).into_iter().map(Method::as_str).collect();
    if allowed.is_empty() {
        return Problem::not_found("page");
    }
    // Required with a 405 (RFC 9110 section 15.5.6).
    extra.allow = HeaderValue::from_str(&allowed.join(", ")).ok();
    let detail = "this address does not take the method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// What a request puts into the texts of its route.
pub(super) fn values<'r>(
    state: &'r ConnectionState,
    exchange: &'r Exchange,
    parts: &'r Parts,
    asked: &'r Asked,
    route: &'r Route,
) -> Values<'r> {
    Values {
        client_ip: state.client.text(),
        request_id: exchange.request_id().to_str().unwrap_or_default(),
        host: asked.host_text(),
        path: &asked.path,
        query: parts.uri.query(),
        rule: &route.path,
    }
}
