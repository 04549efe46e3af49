//! A request's head on its way to the upstream: what the client may not say goes, what the gateway knows comes.

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, FORWARDED, HOST, HeaderValue, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, Version};
use quintet_http::problem::Problem;

use super::host::Asked;
use super::routing;
use crate::auth::Pass;
use crate::connection::ConnectionState;
use crate::exchange::Exchange;
use crate::headers::{
    X_CLIENT_REQUEST_ID, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID, strip_cookies,
    strip_request,
};
use crate::router::{Edits, PathRewrite, Route, Values};
use crate::session::OWN_COOKIES;
use crate::trace;

/// Turns the client's request head into the one for the upstream. Returns the protocol to upgrade to.
pub(super) fn rewrite(
    state: &ConnectionState,
    parts: &mut Parts,
    route: &Route,
    asked: Asked,
    pass: Pass,
    exchange: &Exchange,
) -> Result<Option<HeaderValue>, Problem> {
    let made = match (&route.request_headers, &route.rewrite) {
        (None, PathRewrite::Keep | PathRewrite::Strip) => None,
        _ => Some(Made::new(route, &routing::values(state, exchange, parts, &asked, route))),
    };
    let to = made.as_ref().and_then(|made| made.path.as_deref());
    parts.uri = upstream_uri(&parts.uri, route, to, &asked.path)?;
    if parts.version >= Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    let upgrade = strip_request(headers);
    strip_cookies(headers, &OWN_COOKIES);
    // First, because it is nearly always there: a full map would grow for it.
    headers.insert(HOST, asked.host.value().clone());
    if let Some(theirs) = headers.insert(X_REQUEST_ID, exchange.request_id().clone())
        && quintet_http::RequestId::parse(theirs.to_str().unwrap_or_default()).is_some()
    {
        headers.insert(X_CLIENT_REQUEST_ID, theirs);
    }
    headers.insert(X_FORWARDED_FOR, state.client.forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme(state)));
    headers.insert(FORWARDED, asked.host.forwarded(|host| forwarded(state, host)));
    headers.insert(X_FORWARDED_HOST, asked.host.value().clone());
    if let Some(certificate) = state.client_certificate() {
        certificate.write(headers);
    }
    if let Some(authorization) = pass.authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    if let Some(edits) = made.and_then(|made| made.edits) {
        edits.apply(headers);
    }
    trace::inject(exchange.span(), exchange.view(), headers, &state.worker);
    if let Some(protocol) = &upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    Ok(upgrade)
}

/// What a route makes of one request's values.
struct Made {
    path: Option<String>,
    edits: Option<Edits>,
}

impl Made {
    #[cold]
    fn new(route: &Route, values: &Values<'_>) -> Self {
        Self {
            path: route.rewrite.made(values),
            edits: route.request_headers.as_ref().map(|edits| edits.of(values)),
        }
    }
}

/// The origin-form target for the upstream: the path `to`, or what the route leaves of `path`.
fn upstream_uri(uri: &Uri, route: &Route, to: Option<&str>, path: &str) -> Result<Uri, Problem> {
    let stripped = route.rewrite.apply(&route.path, to, path);
    if stripped.is_none() && path == uri.path() {
        if uri.authority().is_none() {
            return Ok(uri.clone());
        }
        return Ok(uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from));
    }
    let path = stripped.unwrap_or(path);
    let mut target = String::with_capacity(path.len() + 64);
    if !path.starts_with('/') {
        target.push('/');
    }
    target.push_str(path);
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::try_from(target)
        .map(Uri::from)
        .map_err(|_| Problem::bad_request("path_not_canonical", "the path is not valid"))
}

/// HTTP/2 may split cookies over several fields; HTTP/1.1 must not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut joined = Vec::new();
    for value in headers.get_all(COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(value.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}

const fn scheme(state: &ConnectionState) -> &'static str {
    if state.secure { "https" } else { "http" }
}

/// RFC 7239.
fn forwarded(state: &ConnectionState, host: &str) -> HeaderValue {
    let text = format!(
        "for={};host=\"{}\";proto={}",
        state.client.forwarded_node,
        host.replace(['"', '\\'], ""),
        scheme(state)
    );
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("proto=https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_cookies_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
