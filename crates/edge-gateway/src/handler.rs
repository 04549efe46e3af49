//! A request's way through the gateway, from its parsed head to its answer.
//!
//! Order: what is malformed or ambiguous is refused first, then pending ACME challenges are answered, then limits, then
//! the gateway's own pages, then route, authorization and body size, and only then anything is sent upstream. Every
//! answer, whoever made it, passes [`finish()`].

mod caching;
mod files;
mod finish;
mod framing;
mod host;
mod https_redirect;
mod limits;
mod preflight;
mod refuse;
mod rewrite;
mod routing;
mod upgrade;

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use quintet_http::problem::Problem;

use self::caching::{Question, Verdict};
use self::finish::{Extra, finish, stream};
use self::host::Asked;
pub(crate) use self::host::{Host, host_name};
use self::limits::{RETRY_AFTER, check_access, no_room, quota_client, take_quota};
pub(crate) use self::refuse::refuse;
use self::rewrite::rewrite;
use self::upgrade::{client_side, upgraded};
use crate::auth::{Denied, authorize};
use crate::body::{ClientBody, MinRate, RequestBody, ResponseBody, Upload, UploadPhase};
use crate::config::HttpMode;
use crate::connection::ConnectionState;
use crate::content;
use crate::exchange::Exchange;
use crate::headers::is_safe;
use crate::interim::Interim;
use crate::limits::QuotaKey;
use crate::mirror::Copy;
use crate::proxy::{Failure, Forwarded, Target, forward, too_large};
use crate::representation::Reading;
use crate::router::{Action, Auth, Route};
use crate::worker::View;
use crate::{answer, path, trace};

/// Bucket of the limit over all routes; each route has one of its own.
const GLOBAL_BUCKET: u32 = 0;

/// Answers one request; an upstream's answers before the final one go to `interim`.
///
/// The request is in a box because every future on its way would have room for it, twice.
pub(crate) async fn handle(
    state: Rc<ConnectionState>,
    request: Box<Request<ClientBody>>,
    interim: Interim,
) -> Response<ResponseBody> {
    let started = Instant::now();
    let empty = request.body().is_end_stream();
    let request_id = trace::request_id(&state.worker);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut exchange = Exchange::new(Rc::clone(&state), started, method, uri, request_id.clone());
    exchange.listen(&request);
    let mut extra = Extra { interim, ..Extra::default() };
    let outcome = if !state.secure
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
    // A connection whose request is not read to its end is closed; a client that is not told would lose its next
    // request on it.
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
    request: Box<Request<ClientBody>>,
    exchange: &mut Exchange,
    extra: &mut Extra,
) -> Result<Outcome, Problem> {
    let worker = &state.worker;
    let view = Rc::clone(exchange.view());
    let (mut parts, body) = request.into_parts();
    if state.cancels_too_much() {
        return Err(Problem::too_many(RETRY_AFTER));
    }
    if !state.has_room() {
        return Err(no_room(state));
    }
    if !body.is_end_stream() {
        framing::spell_length(&mut parts, &body);
    }
    if parts.version == Version::HTTP_3 {
        framing::check_values(&parts.headers)?;
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
        extra.interim.withhold(&edits.remove);
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
    let client_upgrade = client_side(&parts, &body);
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
    let mut target = Target {
        pool: Rc::clone(pool),
        timeout: route.timeout,
        body_idle: Duration::from_millis(view.limits().body_idle_timeout_ms),
        affinity: pool.upstream.affinity(state.client.key, &parts.headers),
        retries: route.retries,
        client: pool.upstream.introduced(&state.client),
        interim: extra.interim.clone(),
    };
    if let Some(mut refreshing) = way.take_if(|way| way.at_once.is_some())
        && let Some(stale) = refreshing.at_once.take()
    {
        target.interim = Interim::none();
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
        return Box::pin(upgraded(state, target, request, protocol, client, exchange, extra)).await;
    }
    let forwarded = forward(worker, &target, Box::new(request), upload.clone())
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

async fn own_page(
    state: &ConnectionState,
    view: &View,
    asked: &Asked,
    parts: &Parts,
) -> Result<Option<Response<ResponseBody>>, Problem> {
    let path = asked.path.as_str();
    if path.starts_with("/.auth/") {
        return Box::pin(crate::signin::handle(state, view, asked.host_text(), parts, path)).await.map(Some);
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
    body: ClientBody,
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

#[cfg(test)]
mod tests {
    fn size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// It is made and moved for each request, and all that are in flight have to fit into the processor's caches.
    #[test]
    fn the_future_of_a_request_is_small() {
        let size = size(super::handle);
        assert!(size <= 3584, "it has {size} bytes; put what is large and rare on its way into a box");
    }
}
