//! What the cache has to do with a request of a route that has one: before it goes upstream, and after.

mod refresh;
mod serve;
mod way;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{
    CONTENT_LOCATION, HeaderMap, HeaderName, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

pub(super) use self::refresh::refresh;
use self::serve::serve;
use self::way::Way;
use super::host::Asked as Target;
use super::{Extra, Outcome};
use crate::cache::{
    Asked, CacheUse, Guard, Key, Object, Place, Policy, RequestControl, Scope, Turn, Use, invalidates,
};
use crate::connection::ConnectionState;
use crate::exchange::Exchange;
use crate::proxy::{Failure, Forwarded};
use crate::representation::Reading;
use crate::upstream::spread;
use crate::worker::View;

/// What becomes of a request.
pub(super) enum Verdict {
    Serve(Response<Reading>),
    Forward(Box<Way>),
}

/// The address of a request, as the cache knows it.
pub(super) fn key(state: &ConnectionState, target: &Target, parts: &Parts) -> Key {
    Key::new(state.secure, target.host_text(), &target.path, parts.uri.query())
}

/// Which stored answers a route and its upstream have.
pub(super) fn scope(view: &View, route: usize, upstream: usize) -> Scope {
    let cache = view.route_state(route).and_then(|route| route.cache.as_ref());
    let upstream = view.pool(upstream).map_or(0, |pool| spread(pool.upstream.name.as_bytes()));
    Scope { route: cache.map_or(0, |cache| cache.id), upstream }
}

/// A request of a route with a cache.
pub(super) struct Question<'r> {
    pub(super) state: &'r ConnectionState,
    pub(super) policy: &'r Policy,
    pub(super) key: Key,
    pub(super) scope: Scope,
    pub(super) parts: &'r Parts,
    /// Without body, and for no other protocol.
    pub(super) plain: bool,
}

impl Question<'_> {
    /// Looks for a stored answer; without one, waits for another request that fetches it, or says how to go on.
    pub(super) async fn settle(self, exchange: &mut Exchange) -> Verdict {
        let control = self.control();
        if let Some(because) = self.passes(&control) {
            return self.bypass(because);
        }
        let cache = &self.state.worker.gateway.cache;
        let deadline = Instant::now() + self.policy.wait;
        let mut waited = false;
        loop {
            let now = self.state.worker.gateway.now_millis();
            // Before anything is looked for: what is invalidated from here on is noticed.
            let epoch = cache.epoch(&self.key);
            let stored = self.find();
            let usable = stored.as_ref().map(|object| object.usable(now, &control));
            if let (Some(object), Some(Use::Fresh)) = (&stored, usable) {
                let how = if waited { CacheUse::Collapsed } else { CacheUse::Hit };
                return Verdict::Serve(self.serve(object, how, exchange));
            }
            let because = if stored.is_some() { "stale" } else { "uri-miss" };
            if !self.may_fetch() {
                return self.bypass(because);
            }
            let turn = cache.turn(&self.key, self.scope, now);
            if let (Some(object), Some(Use::WhileRevalidating)) = (&stored, usable) {
                let response = self.serve(object, CacheUse::Stale, exchange);
                let Turn::Fetch(guard) = turn else { return Verdict::Serve(response) };
                let way = self.way(because, stored, epoch, Some(guard));
                return Verdict::Forward(Box::new(Way { at_once: Some(response), ..way }));
            }
            let guard = match turn {
                Turn::Fetch(guard) => Some(guard),
                Turn::Alone => None,
                Turn::Wait(flight) => {
                    waited = true;
                    if flight.wait(deadline.saturating_duration_since(Instant::now())).await {
                        continue;
                    }
                    None
                }
            };
            // Another request may have stored it since it was looked for.
            if guard.is_some() && self.find().as_ref().map(Arc::as_ptr) != stored.as_ref().map(Arc::as_ptr) {
                continue;
            }
            return Verdict::Forward(Box::new(self.way(because, stored, epoch, guard)));
        }
    }

    fn control(&self) -> RequestControl {
        let obeyed = self.policy.obey_clients;
        if obeyed { RequestControl::read(&self.parts.headers) } else { RequestControl::default() }
    }

    /// Why the cache has nothing to do with the request, if it has not.
    fn passes(&self, control: &RequestControl) -> Option<&'static str> {
        if !matches!(self.parts.method, Method::GET | Method::HEAD) {
            return Some("method");
        }
        // A body with a GET means something to some upstreams, and is in no key. Conditions of writers are not for a
        // cache to judge (RFC 9111 section 4.3.2).
        let writes = has_any(&self.parts.headers, &[IF_MATCH, IF_UNMODIFIED_SINCE]);
        (!self.plain || control.no_store || writes).then_some("request")
    }

    /// Whether the answer would be the whole.
    fn may_fetch(&self) -> bool {
        self.parts.method == Method::GET && !has_any(&self.parts.headers, &[RANGE, IF_RANGE])
    }

    fn find(&self) -> Option<Arc<Object>> {
        self.state.worker.gateway.cache.find(&self.key, self.scope, &self.parts.headers)
    }

    fn serve(&self, object: &Object, how: CacheUse, exchange: &mut Exchange) -> Response<Reading> {
        exchange.set_cache(how);
        serve(self.state, object, &self.parts.method, &self.parts.headers, how)
    }

    fn bypass(&self, because: &'static str) -> Verdict {
        Verdict::Forward(Box::new(Way {
            policy: self.policy.clone(),
            because,
            stale: None,
            place: None,
            headers: HeaderMap::new(),
            asked: Asked::default(),
            at_once: None,
        }))
    }

    fn way(
        &self,
        because: &'static str,
        stale: Option<Arc<Object>>,
        epoch: u64,
        guard: Option<Guard>,
    ) -> Way {
        let cache = Arc::clone(&self.state.worker.gateway.cache);
        let place = Place { cache, key: self.key.clone(), scope: self.scope, epoch, guard };
        Way {
            policy: self.policy.clone(),
            because,
            stale,
            place: Some(place),
            headers: self.parts.headers.clone(),
            asked: Asked::default(),
            at_once: None,
        }
    }
}

fn has_any(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    names.iter().any(|name| headers.contains_key(name))
}

/// Whether the upstream fails in a way that a stale answer may cover (RFC 5861 section 4).
fn fails(answer: &Result<Forwarded, Failure>) -> bool {
    match answer {
        Err(_) => true,
        Ok(answer) => matches!(answer.response.status().as_u16(), 500 | 502 | 503 | 504),
    }
}

/// What the client gets when the upstream has answered, or has not.
pub(super) fn settle(
    state: &Rc<ConnectionState>,
    mut way: Box<Way>,
    forwarded: Result<Forwarded, Failure>,
    exchange: &mut Exchange,
    extra: &mut Extra,
) -> Result<Outcome, Failure> {
    let now = state.worker.gateway.now_millis();
    if let Some(stale) = way.stale.as_ref().filter(|stale| fails(&forwarded) && stale.covers_failure(now)) {
        exchange.set_cache(CacheUse::Stale);
        return Ok(Outcome::AtHand(serve(state, stale, &Method::GET, &way.headers, CacheUse::Stale)));
    }
    let mut forwarded = forwarded?;
    if forwarded.response.status() == StatusCode::NOT_MODIFIED && way.stale.is_some() {
        exchange.set_upstream_time(forwarded.waited);
        exchange.set_cache(CacheUse::Revalidated);
        let head = forwarded.response.headers().clone();
        // A 304 has no content: its connection is free.
        forwarded.give_back();
        let object = way.validated(&head, now).ok_or_else(Failure::bad_gateway)?;
        return Ok(Outcome::AtHand(serve(state, &object, &Method::GET, &way.headers, CacheUse::Revalidated)));
    }
    exchange.set_cache(if way.place.is_some() { CacheUse::Miss } else { CacheUse::Bypass });
    let status = forwarded.response.status();
    let stored = way.fill(&forwarded.response, now).map(|fill| extra.fill = Some(Box::new(fill)));
    if let Some(value) = way.status(status, stored) {
        forwarded.response.headers_mut().append(serve::CACHE_STATUS, value);
    }
    Ok(Outcome::Upstream(forwarded))
}

/// An unsafe request has changed what is at its address, and maybe at those that the answer names (RFC 9111
/// section 4.4).
#[cold]
pub(super) fn invalidate<B>(state: &ConnectionState, key: &Key, answer: &Response<B>) {
    if !invalidates(answer.status()) {
        return;
    }
    let cache = &state.worker.gateway.cache;
    cache.invalidate(key);
    for name in [LOCATION, CONTENT_LOCATION] {
        let named = answer.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(other) = named.and_then(|named| key.beside(named)) {
            cache.invalidate(&other);
        }
    }
}
