//! A request's way through the gateway, from its parsed head to its answer.
//!
//! Order: what is malformed or ambiguous is refused first, then limits, then the gateway's own pages, then
//! route, authorization and body size, and only then anything is sent upstream. Every answer, whoever made
//! it, passes [`finish`].

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderValue, SET_COOKIE, STRICT_TRANSPORT_SECURITY, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use quintet_http::problem::Problem;

use crate::answer;
use crate::auth::{Denied, Pass, authorize};
use crate::body::{RequestBody, ResponseBody, Streaming, Upload, UploadPhase};
use crate::connection::ConnectionState;
use crate::exchange::Exchange;
use crate::headers::{
    X_CLIENT_REQUEST_ID, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID, strip_claims,
    strip_cookies, strip_hop_by_hop, strip_response,
};
use crate::limits::{Decision, Quota};
use crate::proxy::{Forwarded, Target, forward, too_large};
use crate::router::Route;
use crate::session::OWN_COOKIES;
use crate::{path, trace, tunnel};

/// Longest silence of an upstream in the middle of an answer; event streams send something more often.
const ANSWER_IDLE: Duration = Duration::from_mins(5);
/// Bucket of the limit over all routes; routes follow.
const GLOBAL_BUCKET: u32 = 0;

/// Answers one request of a TLS connection.
pub(crate) async fn handle(state: Rc<ConnectionState>, request: Request<Incoming>) -> Response<ResponseBody> {
    let started = Instant::now();
    let conflict = state.http1.get() && state.io.head_parsed();
    let empty = request.body().is_end_stream();
    if empty {
        state.expect_head();
    }
    let request_id = trace::request_id(&state.worker);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut exchange = Exchange::new(Rc::clone(&state), started, method, uri, request_id.clone());
    let mut extra = Extra::default();
    let outcome = if conflict {
        extra.close = true;
        Err(Problem::bad_request(
            "length_conflict",
            "the request has both Content-Length and Transfer-Encoding",
        ))
    } else {
        process(&state, request, &mut exchange, &mut extra).await
    };
    let response = match outcome {
        Ok(Outcome::Upstream(forwarded)) => return stream(&state, forwarded, exchange, extra),
        Ok(Outcome::Local(response) | Outcome::Upgraded(response)) => response,
        Err(problem) => {
            exchange.fail(problem.code);
            answer::problem(&problem, &request_id)
        }
    };
    // hyper closes a connection whose request was not read to its end, whatever the answer said; a client
    // that is not told would lose its next request on it.
    extra.close |= !empty && !extra.read && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if let ResponseBody::Full(bytes) = response.body() {
        exchange.add_bytes(bytes.len() as u64);
    }
    let response = finish(&state, response, &mut exchange, extra);
    drop(exchange);
    response
}

/// What is added to the answer, whoever makes it.
#[derive(Default)]
struct Extra {
    set_cookie: Option<HeaderValue>,
    rate_limit: Option<(Quota, Decision)>,
    /// The connection must not serve another request.
    close: bool,
    /// The request was read to its end.
    read: bool,
}

enum Outcome {
    Local(Response<ResponseBody>),
    Upstream(Forwarded),
    /// A 101 whose tunnel is being set up.
    Upgraded(Response<ResponseBody>),
}

async fn process(
    state: &Rc<ConnectionState>,
    request: Request<Incoming>,
    exchange: &mut Exchange,
    extra: &mut Extra,
) -> Result<Outcome, Problem> {
    let worker = &state.worker;
    let gateway = &worker.gateway;
    let (mut parts, body) = request.into_parts();
    let host_value = host_of(&parts)?;
    let host = host_value.to_str().map_err(|_| bad_host())?;
    let name = host_name(host);
    check_server_name(state, &name)?;
    let path_text = path::canonical(parts.uri.path())
        .map_err(|error| Problem::bad_request("path_not_canonical", error.to_string()))?
        .into_owned();
    if let Some(quota) = &gateway.quota {
        take_quota(state, GLOBAL_BUCKET, quota, exchange.started(), extra)?;
    }
    if let Some(response) = own_page(state, host, &parts, &path_text).await? {
        return Ok(Outcome::Local(response));
    }
    let (index, route) = gateway.router.find(&name, &path_text).ok_or_else(|| Problem::not_found("page"))?;
    exchange.set_route(index);
    if let Some(quota) = &route.quota {
        let bucket = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(GLOBAL_BUCKET + 1);
        take_quota(state, bucket, quota, exchange.started(), extra)?;
    }
    let client_upgrade = is_upgrade(&parts, &body).then(|| hyper::upgrade::on(parts_request(&mut parts)));
    let pass = match authorize(state, route, host, &parts, client_upgrade.is_some()).await {
        Ok(pass) => pass,
        Err(Denied::Problem(problem)) => return Err(problem),
        Err(Denied::SignIn) => {
            let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            return Ok(Outcome::Local(answer::redirect(
                StatusCode::SEE_OTHER,
                &crate::signin::login_path(target),
            )));
        }
    };
    extra.set_cookie.clone_from(&pass.set_cookie);
    let (request_body, upload) = request_body(state, route, body, extra)?;
    let span = trace::server_span(gateway, &parts, route, exchange.request_id(), worker);
    exchange.set_span(span);
    let upgrade = prepare(state, &mut parts, route, &path_text, host_value, pass, exchange)?;
    let target = Target {
        upstream: route.upstream,
        timeout: route.timeout,
        body_idle: Duration::from_millis(gateway.limits.body_idle_timeout_ms),
    };
    let request = Request::from_parts(parts, request_body);
    if let (Some(protocol), Some(client)) = (upgrade, client_upgrade) {
        return upgraded(state, target, request, protocol, client, exchange, extra).await;
    }
    let forwarded = forward(worker, target, request, upload.clone()).await;
    extra.read = upload.is_none_or(|upload| upload.phase() == UploadPhase::Complete);
    match forwarded {
        Ok(forwarded) => {
            extra.close |= !extra.read;
            exchange.set_upstream(route.upstream, forwarded.waited);
            Ok(Outcome::Upstream(forwarded))
        }
        Err(failure) => {
            extra.close |= failure.unread;
            exchange.fail(failure.reason);
            Err(*failure.problem)
        }
    }
}

/// The value of `Host` or `:authority`, which must agree where there are two.
fn host_of(parts: &Parts) -> Result<HeaderValue, Problem> {
    let mut headers = parts.headers.get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(bad_host());
    }
    match (parts.uri.authority(), header) {
        (None, Some(header)) => Ok(header.clone()),
        (Some(authority), None) => HeaderValue::from_str(authority.as_str()).map_err(|_| bad_host()),
        (Some(authority), Some(header))
            if header.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Ok(header.clone())
        }
        _ => Err(bad_host()),
    }
}

fn bad_host() -> Problem {
    Problem::bad_request("host_invalid", "the request must name exactly one host")
}

/// The host in lower case, without its port.
fn host_name(host: &str) -> std::borrow::Cow<'_, str> {
    let name = match host.rsplit_once(':') {
        // The last colon of a bare IPv6 address in brackets is not a port's.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return name.to_ascii_lowercase().into();
    }
    name.into()
}

/// A connection made for one host must not be used for another (RFC 9110 section 7.4): the certificate that the
/// client checked may not cover it.
fn check_server_name(state: &ConnectionState, name: &str) -> Result<(), Problem> {
    match state.sni.borrow().as_deref() {
        Some(sni) if sni != name => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "the host is not the one the TLS connection was made for",
        )),
        _ => Ok(()),
    }
}

fn take_quota(
    state: &ConnectionState,
    bucket: u32,
    quota: &Quota,
    now: Instant,
    extra: &mut Extra,
) -> Result<(), Problem> {
    let gateway = &state.worker.gateway;
    let decision = gateway.rate_limiter.take(state.client.key, bucket, quota, now);
    extra.rate_limit = Some((*quota, decision));
    if decision.allowed {
        return Ok(());
    }
    gateway.metrics.rate_limited.increment(1);
    Err(Problem::too_many(decision.retry_after))
}

async fn own_page(
    state: &ConnectionState,
    host: &str,
    parts: &Parts,
    path: &str,
) -> Result<Option<Response<ResponseBody>>, Problem> {
    if path.starts_with("/.auth/") {
        return crate::signin::handle(state, host, parts, path).await.map(Some);
    }
    match path {
        "/.gateway/healthz" => Ok(Some(answer::json(StatusCode::OK, &serde_json::json!({ "status": "ok" })))),
        _ if path::has_prefix(path, "/.gateway") => Err(Problem::not_found("page")),
        _ => Ok(None),
    }
}

/// An upgrade that can be tunnelled: HTTP/1.1, asked for in both headers, without a body.
fn is_upgrade(parts: &Parts, body: &Incoming) -> bool {
    parts.version == Version::HTTP_11
        && body.is_end_stream()
        && parts.headers.contains_key(UPGRADE)
        && parts.headers.contains_key(CONNECTION)
}

/// hyper takes the upgrade out of a whole request's extensions.
fn parts_request(parts: &mut Parts) -> Request<()> {
    let mut request = Request::new(());
    *request.extensions_mut() = std::mem::take(&mut parts.extensions);
    request
}

fn request_body(
    state: &Rc<ConnectionState>,
    route: &Route,
    body: Incoming,
    extra: &mut Extra,
) -> Result<(RequestBody, Option<Rc<Upload>>), Problem> {
    if body.is_end_stream() {
        return Ok((RequestBody::Empty, None));
    }
    if body.size_hint().lower() > route.max_body {
        extra.close = true;
        return Err(too_large());
    }
    let upload = Rc::new(Upload::new(Rc::clone(state), route.max_body));
    Ok((RequestBody::Stream { incoming: body, upload: Rc::clone(&upload) }, Some(upload)))
}

/// Turns the client's request head into the one for the upstream. Returns the protocol to upgrade to.
fn prepare(
    state: &ConnectionState,
    parts: &mut Parts,
    route: &Route,
    path: &str,
    host: HeaderValue,
    pass: Pass,
    exchange: &Exchange,
) -> Result<Option<HeaderValue>, Problem> {
    parts.uri = upstream_uri(&parts.uri, route, path)?;
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    let upgrade = strip_hop_by_hop(headers);
    strip_claims(headers);
    strip_cookies(headers, &OWN_COOKIES);
    if let Some(theirs) = headers.remove(X_REQUEST_ID)
        && quintet_http::RequestId::parse(theirs.to_str().unwrap_or_default()).is_some()
    {
        headers.insert(X_CLIENT_REQUEST_ID, theirs);
    }
    headers.insert(X_REQUEST_ID, exchange.request_id().clone());
    headers.insert(X_FORWARDED_FOR, state.client.forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(http::header::FORWARDED, forwarded(state, &host));
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(HOST, host);
    if let Some(authorization) = pass.authorization {
        headers.insert(http::header::AUTHORIZATION, authorization);
    }
    trace::inject(exchange.span(), headers, &state.worker);
    if let Some(protocol) = &upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    Ok(upgrade)
}

/// The origin-form target for the upstream.
fn upstream_uri(uri: &Uri, route: &Route, path: &str) -> Result<Uri, Problem> {
    let stripped = route.strip_prefix.then(|| path.strip_prefix(route.path_prefix.as_str())).flatten();
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

/// RFC 7239, made once per connection and host.
fn forwarded(state: &ConnectionState, host: &HeaderValue) -> HeaderValue {
    let mut last = state.forwarded.borrow_mut();
    if let Some((of, value)) = last.as_ref()
        && of == host
    {
        return value.clone();
    }
    let text = format!(
        "for={};host=\"{}\";proto=https",
        state.client.forwarded_node,
        host.to_str().unwrap_or_default().replace(['"', '\\'], "")
    );
    let value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("proto=https"));
    *last = Some((host.clone(), value.clone()));
    value
}

async fn upgraded(
    state: &Rc<ConnectionState>,
    target: Target,
    request: Request<RequestBody>,
    protocol: HeaderValue,
    client: OnUpgrade,
    exchange: &mut Exchange,
    extra: &mut Extra,
) -> Result<Outcome, Problem> {
    let (mut response, lease, waited) =
        tunnel::request(&state.worker, target, request).await.map_err(|failure| {
            extra.close |= failure.unread;
            exchange.fail(failure.reason);
            *failure.problem
        })?;
    exchange.set_upstream(target.upstream, waited);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Outcome::Upstream(Forwarded { response, wire: None, lease, waited }));
    }
    let upstream = hyper::upgrade::on(&mut response);
    tunnel::open(state, lease, client, upstream);
    let (mut head, _) = response.into_parts();
    strip_response(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, protocol);
    Ok(Outcome::Upgraded(Response::from_parts(head, ResponseBody::Empty)))
}

/// Passes an upstream's answer on.
fn stream(
    state: &Rc<ConnectionState>,
    forwarded: Forwarded,
    mut exchange: Exchange,
    extra: Extra,
) -> Response<ResponseBody> {
    let (mut head, incoming) = forwarded.response.into_parts();
    strip_response(&mut head.headers);
    head.version = Version::HTTP_11;
    let mut response = finish(state, Response::from_parts(head, ResponseBody::Empty), &mut exchange, extra);
    let body = Streaming::new(incoming, forwarded.wire, forwarded.lease, exchange, ANSWER_IDLE);
    *response.body_mut() = ResponseBody::Streaming(Box::new(body));
    response
}

/// What every answer gets.
fn finish(
    state: &ConnectionState,
    mut response: Response<ResponseBody>,
    exchange: &mut Exchange,
    extra: Extra,
) -> Response<ResponseBody> {
    exchange.set_head(&response);
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, exchange.request_id().clone());
    if let Some(hsts) = &state.worker.gateway.hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    if let Some((quota, decision)) = &extra.rate_limit {
        answer::add_rate_limit(headers, quota, decision);
    }
    if let Some(cookie) = extra.set_cookie {
        headers.append(SET_COOKIE, cookie);
    }
    if extra.close && state.http1.get() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        state.io.linger();
    }
    response
}

/// Sends a plain-HTTP request to the same address on HTTPS; 308 keeps method and body.
pub(crate) fn redirect_to_https(
    state: &Rc<ConnectionState>,
    request: &Request<Incoming>,
) -> Response<ResponseBody> {
    state.io.head_parsed();
    if request.body().is_end_stream() {
        state.expect_head();
    }
    let request_id = trace::request_id(&state.worker);
    let mut exchange = Exchange::new(
        Rc::clone(state),
        Instant::now(),
        request.method().clone(),
        request.uri().clone(),
        request_id.clone(),
    );
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(host_name);
    // The host goes into a header of the answer: only what a host may hold.
    let valid = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b))
    };
    let mut response = match host.filter(|host| valid(host)) {
        Some(host) if *request.method() != Method::CONNECT => {
            let port = state.worker.gateway.https_port;
            let port = if port == 443 { String::new() } else { format!(":{port}") };
            let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            answer::redirect(StatusCode::PERMANENT_REDIRECT, &format!("https://{host}{port}{target}"))
        }
        _ => answer::problem(&bad_host(), &request_id),
    };
    exchange.set_head(&response);
    response.headers_mut().insert(X_REQUEST_ID, request_id);
    if request.headers().get(CONTENT_LENGTH).is_some() || !request.body().is_end_stream() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_lose_port_and_case() {
        for (host, name) in [
            ("a.example", "a.example"),
            ("A.Example:8443", "a.example"),
            ("a.example.", "a.example"),
            ("[::1]:8443", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_name(host), name);
        }
    }

    #[test]
    fn split_cookies_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
