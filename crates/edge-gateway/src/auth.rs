//! Who makes a request, as far as a route cares: bearer tokens, session cookies, and refusals that fit
//! the caller (a person's navigation goes to sign-in, a program gets a problem).
//!
//! A session cookie becomes `Authorization: Bearer` upstream, so services know only tokens. Browsers send
//! cookies with requests that other sites cause; unsafe methods and upgrades therefore need proof of
//! the same origin.

use std::rc::Rc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use quintet_auth::{Possession, Rejection};
use quintet_http::problem::Problem;

use crate::connection::ConnectionState;
use crate::headers::{cookie, is_safe};
use crate::limits::{ClientKey, QuotaKey};
use crate::router::{Auth, Route};
use crate::session::{Opened, REFRESH_BEFORE, Refreshed, SESSION_COOKIE};
use crate::worker::View;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A request that may pass.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// Replaces the request's own `Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
    /// Goes with the answer.
    pub(crate) set_cookie: Option<HeaderValue>,
    /// Whose request it is, where the route counts by it.
    pub(crate) subject: Option<ClientKey>,
}

/// A request that may not.
#[derive(Debug)]
pub(crate) enum Denied {
    Problem(Problem),
    /// A person who has to sign in first.
    SignIn,
}

impl From<Problem> for Denied {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// A signed-in browser.
pub(crate) struct SignedIn {
    pub(crate) opened: Rc<Opened>,
    /// The renewed session, for the answer.
    pub(crate) set_cookie: Option<HeaderValue>,
}

/// Decides whether a request may use `route`.
pub(crate) async fn authorize(
    state: &ConnectionState,
    view: &View,
    route: &Route,
    host: &str,
    parts: &Parts,
    upgrade: bool,
) -> Result<Pass, Denied> {
    match route.auth {
        Auth::None => Ok(Pass::default()),
        Auth::Token => token(state, view, route, host, parts).await.map_err(Denied::from),
        Auth::Browser if parts.headers.contains_key(AUTHORIZATION) => {
            token(state, view, route, host, parts).await.map_err(Denied::from)
        }
        Auth::Browser => browser(state, view, route, host, parts, upgrade).await,
    }
}

async fn token(
    state: &ConnectionState,
    view: &View,
    route: &Route,
    host: &str,
    parts: &Parts,
) -> Result<Pass, Problem> {
    let (scheme, token) = quintet_auth::presented(&parts.headers)?;
    let Some(identity) = &view.identity else { return Err(Rejection::Unavailable.into()) };
    let now = state.worker.gateway.now();
    let principal = if let Some(known) = identity.tokens.find(token, now) {
        known
    } else {
        let principal = // Boxed, as all that is large and rare on a request's way: its future is made and moved for each request.
        Rc::new(Box::pin(identity.verifier.verify_bound(token)).await?);
        identity.tokens.store(token, Rc::clone(&principal), now);
        principal
    };
    let certificate = state.client_certificate().map(|certificate| certificate.thumbprint().to_owned());
    let possession =
        Possession { scheme, token, method: parts.method.as_str(), headers: &parts.headers, certificate };
    let url = || {
        let scheme = if state.secure { "https" } else { "http" };
        Some(format!("{scheme}://{host}{}", parts.uri.path()))
    };
    identity.verifier.confirm(&principal.claims, &possession, url)?;
    match route.scopes.iter().find(|scope| !principal.claims.has_scope(scope)) {
        Some(missing) => Err(Problem::forbidden(missing)),
        None => Ok(Pass { subject: subject_key(state, route, &principal.claims.sub), ..Pass::default() }),
    }
}

fn subject_key(state: &ConnectionState, route: &Route, subject: &str) -> Option<ClientKey> {
    let counted = matches!(route.quota, Some((_, QuotaKey::Subject)));
    counted.then(|| state.worker.gateway.rate_limiter.key_of(subject.as_bytes()))
}

async fn browser(
    state: &ConnectionState,
    view: &View,
    route: &Route,
    host: &str,
    parts: &Parts,
    upgrade: bool,
) -> Result<Pass, Denied> {
    let Some(signed_in) = session_of(state, view, &parts.headers).await? else {
        if is_navigation(parts) {
            return Err(Denied::SignIn);
        }
        return Err(Problem::from(Rejection::Missing).into());
    };
    if upgrade || !is_safe(&parts.method) {
        check_same_origin(&parts.headers, host)?;
    }
    if let Some(missing) = route.scopes.iter().find(|scope| !signed_in.opened.session.has_scope(scope)) {
        return Err(Problem::forbidden(missing).into());
    }
    let authorization = Some(signed_in.opened.authorization.clone());
    let subject = subject_key(state, route, &signed_in.opened.session.sub);
    Ok(Pass { authorization, set_cookie: signed_in.set_cookie, subject })
}

/// A person opening a page, as opposed to a script or a program calling an API.
fn is_navigation(parts: &Parts) -> bool {
    let wants_page = || {
        parts
            .headers
            .get_all(ACCEPT)
            .iter()
            .any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")))
    };
    let navigates = match parts.headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => true,
    };
    matches!(parts.method, Method::GET | Method::HEAD) && navigates && wants_page()
}

/// Requests that act through a cookie must come from a page of this origin.
pub(crate) fn check_same_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let same = match headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => headers
            .get(ORIGIN)
            .and_then(|origin| origin.to_str().ok())
            .and_then(|origin| origin.strip_prefix("https://"))
            .is_some_and(|origin| origin.eq_ignore_ascii_case(host)),
    };
    if same {
        return Ok(());
    }
    let detail = "a request that acts on a browser session must come from a page of this site";
    Err(Problem::new(StatusCode::FORBIDDEN, "csrf", detail))
}

/// The session of a request's cookie, renewed where its access token is about to expire.
pub(crate) async fn session_of(
    state: &ConnectionState,
    view: &View,
    headers: &HeaderMap,
) -> Result<Option<SignedIn>, Problem> {
    let Some(identity) = &view.identity else { return Ok(None) };
    let Some(browser) = &identity.browser else { return Ok(None) };
    let opened =
        cookie(headers, SESSION_COOKIE).and_then(|value| identity.sessions.open(&browser.sealer, value));
    let Some(opened) = opened else { return Ok(None) };
    let now = state.worker.gateway.now();
    if opened.session.expires_at.saturating_sub(now) > REFRESH_BEFORE {
        return Ok(Some(SignedIn { opened, set_cookie: None }));
    }
    let Some(refresh_token) = &opened.session.refresh_token else {
        let valid = opened.session.expires_at > now;
        return Ok(valid.then_some(SignedIn { opened, set_cookie: None }));
    };
    let turn = browser.refreshes.turn(refresh_token, now);
    let mut outcome = turn.outcome.lock().await;
    if outcome.is_none() {
        match Box::pin(identity.refresh(&identity.client, browser, &opened.session, now)).await {
            Ok(refreshed) => *outcome = Some(refreshed),
            Err(error) => {
                tracing::warn!(error = %crate::proxy::chain(&error), "session not renewed");
                if opened.session.expires_at > now {
                    return Ok(Some(SignedIn { opened: Rc::clone(&opened), set_cookie: None }));
                }
                let detail = "the session cannot be renewed because the identity provider does not answer";
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "identity_unavailable", detail)
                    .with_retry_after(Duration::from_secs(1)));
            }
        }
    }
    let Some(Refreshed::Renewed(session)) = outcome.clone() else { return Ok(None) };
    drop(outcome);
    let set_cookie = session.cookie(&browser.sealer);
    Ok(Opened::new(*session).map(|opened| SignedIn { opened: Rc::new(opened), set_cookie }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn same_origin_is_proved_by_fetch_metadata_or_origin() {
        let check = |pairs, expected: bool| {
            assert_eq!(check_same_origin(&headers(pairs), "a.example:8443").is_ok(), expected, "{pairs:?}");
        };
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("origin", "https://a.example:8443")], true);
        check(&[], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "http://a.example:8443")], false);
        check(&[("origin", "https://a.example")], false);
        check(&[("sec-fetch-site", "same-site")], false);
        check(&[("sec-fetch-site", "cross-site"), ("origin", "https://a.example:8443")], false);
    }

    #[test]
    fn navigations_are_told_from_calls() {
        let check = |method: Method, pairs, expected: bool| {
            let mut request = http::Request::new(());
            *request.method_mut() = method;
            *request.headers_mut() = headers(pairs);
            assert_eq!(is_navigation(&request.into_parts().0), expected, "{pairs:?}");
        };
        check(Method::GET, &[("accept", "text/html,*/*")], true);
        check(Method::GET, &[("accept", "text/html"), ("sec-fetch-mode", "navigate")], true);
        check(Method::GET, &[("accept", "text/html"), ("sec-fetch-mode", "cors")], false);
        check(Method::GET, &[("accept", "application/json")], false);
        check(Method::GET, &[("accept", "*/*")], false);
        check(Method::POST, &[("accept", "text/html")], false);
    }
}
