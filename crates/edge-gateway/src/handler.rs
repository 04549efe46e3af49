//! A request's way through the gateway, from its parsed head to its answer.
//!
//! Order: what is malformed or ambiguous is refused first, then pending ACME challenges are answered, then limits, then the gateway's own pages, then
//! route, authorization and body size, and only then anything is sent upstream. Every answer, whoever made
//! it, passes [`finish`].

mod caching;
mod files;
mod framing;
mod host;
mod https_redirect;
mod preflight;
mod rewrite;
mod routing;
mod upgrade;

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{ALLOW, CONNECTION, HeaderValue, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use quintet_http::problem::Problem;

use self::caching::{Question, Verdict};
use self::host::Asked;
pub(crate) use self::host::host_name;
use self::rewrite::rewrite;
use self::upgrade::{is_upgrade, parts_request, upgraded};
use crate::auth::{Denied, authorize};
use crate::body::{MinRate, RequestBody, ResponseBody, Streaming, Upload, UploadPhase};
use crate::cache::Fill;
use crate::config::HttpMode;
use crate::connection::ConnectionState;
use crate::content::{self, Wanted};
use crate::exchange::Exchange;
use crate::headers::{X_REQUEST_ID, is_safe, strip_response};
use crate::limits::{Access, ClientKey, Decision, Quota, QuotaKey};
use crate::mirror::Copy;
use crate::proxy::{Failure, Forwarded, Target, forward, too_large};
use crate::representation::Reading;
use crate::router::{Action, Auth, Edits, Route};
use crate::worker::View;
use crate::{answer, path, trace};

/// Longest silence of an upstream in the middle of an answer; event streams send something more often.
const ANSWER_IDLE: Duration = Duration::from_mins(5);
/// For a client that cancels its requests or has too many of them.
const CANCELLED_RETRY: Duration = Duration::from_secs(1);
/// Bucket of the limit over all routes; each route has one of its own.
const GLOBAL_BUCKET: u32 = 0;

/// Answers one request.
pub(crate) async fn handle(state: Rc<ConnectionState>, request: Request<Incoming>) -> Response<ResponseBody> {
    let started = Instant::now();
    let fault = if state.http1.get() { state.io.head_parsed() } else { None };
    let empty = request.body().is_end_stream();
    if empty {
        state.expect_head();
    }
    let request_id = trace::request_id(&state.worker);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut exchange = Exchange::new(Rc::clone(&state), started, method, uri, request_id.clone());
    exchange.listen(&request);
    let mut extra = Extra::default();
    let outcome = if let Some(fault) = fault {
        extra.close = true;
        Err(framing::refused(fault))
    } else if !state.secure
        && let Some(response) = state.worker.gateway.acme.challenges.answer(&request)
    {
        Ok(Outcome::Local(response))
    } else if state.secure || exchange.view().config.listen.http_mode == HttpMode::Proxy {
        process(&state, request, &mut exchange, &mut extra).await
    } else {
        https_redirect::of_any(exchange.view(), &request).map(Outcome::Local)
    };
    let mut response = match outcome {
        Ok(Outcome::Upstream(forwarded)) => return stream(&state, forwarded, exchange, extra),
        Ok(Outcome::AtHand(response)) => {
            extra.close |= !empty;
            return files::send(&state, response, exchange, extra);
        }
        Ok(Outcome::Local(response) | Outcome::Upgraded(response)) => response,
        Err(problem) => {
            exchange.refuse(&problem);
            answer::problem(&problem, &request_id)
        }
    };
    // hyper closes a connection whose request was not read to its end, whatever the answer said; a client
    // that is not told would lose its next request on it.
    extra.close |= !empty && !extra.read && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    let wanted = extra.wanted.take();
    if let Some(wanted) = &wanted {
        content::add_headers(wanted, &exchange, response.headers_mut());
    }
    response = finish(&state, response, &mut exchange, extra);
    if let Some(wanted) = wanted {
        response = content::compress_whole(&wanted, &exchange, response);
    }
    if let ResponseBody::Full(bytes) = response.body() {
        exchange.add_bytes(bytes.len() as u64);
    }
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
    /// What the route does to the headers of its answers.
    edits: Option<Box<Edits>>,
    /// What the request asked of the content, where the route does something to it.
    wanted: Option<Box<Wanted>>,
    /// Methods that the address takes, for a 405.
    allow: Option<HeaderValue>,
    /// Stores the answer as it passes.
    fill: Option<Box<Fill>>,
}

enum Outcome {
    Local(Response<ResponseBody>),
    Upstream(Forwarded),
    /// From a file or from the cache.
    AtHand(Response<Reading>),
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
    let view = Rc::clone(exchange.view());
    let (mut parts, body) = request.into_parts();
    if state.cancels_too_much() {
        return Err(Problem::too_many(CANCELLED_RETRY));
    }
    if !state.has_room() {
        return Err(no_room(state));
    }
    if !body.is_end_stream() {
        framing::check(&mut parts, &body)?;
    }
    let asked = Asked::read(state, &view, &parts)?;
    check_access(state, view.access.as_deref())?;
    if let Some(quota) = &view.quota {
        take_quota(state, state.client.key, GLOBAL_BUCKET, quota, exchange.started(), extra)?;
    }
    if !state.secure && asked.path.starts_with("/.auth/") {
        return https_redirect::to(&view, asked.host_text(), &parts.uri).map(Outcome::Local);
    }
    if let Some(response) = own_page(state, &view, &asked, &parts).await? {
        return Ok(Outcome::Local(response));
    }
    if let Some(response) = preflight::answer(&view, &parts, &asked, exchange)? {
        return Ok(Outcome::Local(response));
    }
    let (index, route) = routing::find(&view, &parts, &asked, extra)?;
    exchange.set_route(index);
    if !state.secure && route.auth != Auth::None {
        return https_redirect::to(&view, asked.host_text(), &parts.uri).map(Outcome::Local);
    }
    extra.wanted = route.content.as_ref().map(|content| Box::new(content.wanted(&parts)));
    if let Some(edits) = &route.response_headers {
        extra.edits = Some(Box::new(edits.of(&routing::values(state, exchange, &parts, &asked, route))));
    }
    check_access(state, route.access.as_deref())?;
    if route.client_certificate && state.client_certificate().is_none() {
        let detail = "this address needs a client certificate";
        return Err(Problem::new(StatusCode::FORBIDDEN, "client_certificate_required", detail));
    }
    let bucket = || view.route_state(index).map_or(GLOBAL_BUCKET, |route| route.bucket);
    if let Some((quota, key)) = &route.quota
        && let Some(client) = quota_client(state, key, &parts.headers)
    {
        take_quota(state, client, bucket(), quota, exchange.started(), extra)?;
    }
    let client_upgrade = is_upgrade(&parts, &body).then(|| hyper::upgrade::on(parts_request(&mut parts)));
    let pass = match authorize(state, &view, route, asked.host_text(), &parts, client_upgrade.is_some()).await
    {
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
    if let (Some((quota, QuotaKey::Subject)), Some(subject)) = (&route.quota, pass.subject) {
        take_quota(state, subject, bucket(), quota, exchange.started(), extra)?;
    }
    let upstream = match &route.action {
        Action::Upstream(at) => *at,
        Action::Split(split) => split.choose(&parts.headers, worker.random()),
        Action::Files(directory) => {
            return files::find(state, directory, route, &parts, &asked, extra).await.map(Outcome::AtHand);
        }
        Action::Redirect(redirect) => {
            let location = redirect.location(&routing::values(state, exchange, &parts, &asked, route));
            return Ok(Outcome::Local(answer::redirect(redirect.status, &location)));
        }
        Action::Respond(fixed) => {
            let content_type = fixed.content_type.clone();
            return Ok(Outcome::Local(answer::respond(fixed.status, content_type, fixed.body.clone())));
        }
    };
    let mut way = None;
    if let Some(policy) = &route.cache {
        let (key, scope) = (caching::key(state, &asked, &parts), caching::scope(&view, index, upstream));
        let plain = body.is_end_stream() && client_upgrade.is_none();
        let question = Question { state, policy, key, scope, parts: &parts, plain };
        match Box::pin(question.settle(exchange)).await {
            Verdict::Serve(response) => return Ok(Outcome::AtHand(response)),
            Verdict::Forward(forward) => way = Some(forward),
        }
    }
    let invalidates = (view.caches && !is_safe(&parts.method)).then(|| caching::key(state, &asked, &parts));
    let min_rate = route.min_rate.filter(|_| !view.is_grpc(upstream, &parts.headers));
    let (request_body, upload) = request_body(state, route, body, min_rate, extra)?;
    if let (Some(room), Some(upload)) = (route.retries.keeps(&parts.method), &upload) {
        upload.keep(room);
    }
    let span = trace::server_span(&view, &parts, route, exchange.request_id(), worker);
    exchange.set_span(span);
    if let Some(way) = &way {
        way.clean(&mut parts.headers);
    }
    let upgrade = rewrite(state, &mut parts, route, asked, pass, exchange)?;
    framing::announce(&mut parts.headers, &request_body);
    if let Some(way) = &mut way {
        way.ready(&mut parts.headers);
    }
    let pool = view.pool(upstream).ok_or_else(|| *Failure::bad_gateway().problem)?;
    exchange.set_upstream(Rc::clone(pool));
    let target = Target {
        pool: Rc::clone(pool),
        timeout: route.timeout,
        body_idle: Duration::from_millis(view.limits().body_idle_timeout_ms),
        affinity: pool.upstream.affinity(state.client.key, &parts.headers),
        retries: route.retries,
        client: pool.upstream.introduced(&state.client),
    };
    if let Some(mut refreshing) = way.take_if(|way| way.at_once.is_some())
        && let Some(stale) = refreshing.at_once.take()
    {
        caching::refresh(worker, target, Request::from_parts(parts, request_body), refreshing);
        return Ok(Outcome::AtHand(stale));
    }
    if let Some(mirror) = &route.mirror
        && upgrade.is_none()
        && let Some(copy) = Copy::begin(state, &view, mirror, route.timeout, &parts)
    {
        match &upload {
            Some(upload) => upload.copy_to(copy),
            None => copy.send(),
        }
    }
    let request = Request::from_parts(parts, request_body);
    if let (Some(protocol), Some(client)) = (upgrade, client_upgrade) {
        return upgraded(state, target, request, protocol, client, exchange, extra).await;
    }
    let forwarded = forward(worker, &target, request, upload.clone())
        .await
        .and_then(|forwarded| framing::check_answer(&forwarded.response).map(|()| forwarded));
    extra.read = upload.is_none_or(|upload| upload.phase() == UploadPhase::Complete);
    if let (Some(key), Ok(forwarded)) = (&invalidates, &forwarded) {
        caching::invalidate(state, key, &forwarded.response);
    }
    let outcome = match way {
        Some(way) => caching::settle(state, way, forwarded, exchange, extra),
        None => forwarded.map(Outcome::Upstream),
    };
    match outcome {
        Ok(outcome) => {
            extra.close |= !extra.read;
            if let Outcome::Upstream(forwarded) = &outcome {
                exchange.set_upstream_time(forwarded.waited);
            }
            Ok(outcome)
        }
        Err(failure) => {
            extra.close |= failure.unread;
            exchange.fail(failure.reason);
            Err(*failure.problem)
        }
    }
}

fn check_access(state: &ConnectionState, access: Option<&Access>) -> Result<(), Problem> {
    match access {
        Some(access) if !access.permits(state.client.ip) => {
            let detail = "this address is not open to your network";
            Err(Problem::new(StatusCode::FORBIDDEN, "network_denied", detail))
        }
        _ => Ok(()),
    }
}

/// The client's requests hold all of the memory that it may have.
fn no_room(state: &ConnectionState) -> Problem {
    state.worker.gateway.metrics.memory_limited.increment(1);
    let detail = "your network has too many requests in progress at the same time";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "client_memory", detail).with_retry_after(CANCELLED_RETRY)
}

/// Whose allowance a request takes from; None where that is known only after authorization.
fn quota_client(state: &ConnectionState, key: &QuotaKey, headers: &HeaderMap) -> Option<ClientKey> {
    match key {
        QuotaKey::Ip => Some(state.client.key),
        QuotaKey::Route => Some(ClientKey::EVERYONE),
        QuotaKey::Subject => None,
        QuotaKey::Header(name) => Some(
            headers
                .get(name)
                .map_or(state.client.key, |value| state.worker.gateway.rate_limiter.key_of(value.as_bytes())),
        ),
    }
}

fn take_quota(
    state: &ConnectionState,
    client: ClientKey,
    bucket: u32,
    quota: &Quota,
    now: Instant,
    extra: &mut Extra,
) -> Result<(), Problem> {
    let gateway = &state.worker.gateway;
    let decision = gateway.rate_limiter.take(client, bucket, quota, now);
    extra.rate_limit = Some((*quota, decision));
    if decision.allowed {
        return Ok(());
    }
    gateway.metrics.rate_limited.increment(1);
    Err(Problem::too_many(decision.retry_after))
}

async fn own_page(
    state: &ConnectionState,
    view: &View,
    asked: &Asked,
    parts: &Parts,
) -> Result<Option<Response<ResponseBody>>, Problem> {
    let path = asked.path.as_str();
    if path.starts_with("/.auth/") {
        return crate::signin::handle(state, view, asked.host_text(), parts, path).await.map(Some);
    }
    match path {
        "/.gateway/healthz" => Ok(Some(answer::json(StatusCode::OK, &serde_json::json!({ "status": "ok" })))),
        _ if path::has_prefix(path, "/.gateway") => Err(Problem::not_found("page")),
        _ => Ok(None),
    }
}

fn request_body(
    state: &Rc<ConnectionState>,
    route: &Route,
    body: Incoming,
    min_rate: Option<MinRate>,
    extra: &mut Extra,
) -> Result<(RequestBody, Option<Rc<Upload>>), Problem> {
    if body.is_end_stream() {
        return Ok((RequestBody::Empty, None));
    }
    if body.size_hint().lower() > route.max_body {
        extra.close = true;
        return Err(too_large());
    }
    let most = body.size_hint().upper().unwrap_or(route.max_body);
    let window = state.open_window(most).ok_or_else(|| no_room(state))?;
    let upload = Rc::new(Upload::new(Rc::clone(state), window, route.max_body, min_rate));
    Ok((RequestBody::Stream { incoming: body, upload: Rc::clone(&upload) }, Some(upload)))
}

/// Passes an upstream's answer on.
fn stream(
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
    let mut body = Streaming::new(incoming, forwarded.wire, forwarded.lease, exchange, ANSWER_IDLE);
    body.store_in(fill);
    let body = ResponseBody::Streaming(Box::new(body));
    *response.body_mut() = match compressor {
        Some(compressor) => compressor.around(body),
        None => body,
    };
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
    if let Some((quota, decision)) = &extra.rate_limit {
        answer::add_rate_limit(headers, quota, decision);
    }
    if let Some(cookie) = extra.set_cookie {
        headers.append(SET_COOKIE, cookie);
    }
    if (extra.close || state.is_draining()) && state.http1.get() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if extra.close && state.http1.get() {
        state.io.linger();
    }
    response
}
