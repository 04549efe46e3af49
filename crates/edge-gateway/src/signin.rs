//! The sign-in endpoints under `/.auth/`: login, callback, session, logout.
//!
//! Flow state (state, nonce, PKCE verifier, where to return) travels in a sealed cookie of ten minutes, so
//! a callback works only in the browser that began the flow (RFC 9700 section 4.7), and only once: the
//! answer removes it. Redirects lead to paths of this origin or to the issuer, never elsewhere.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{ALLOW, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use quintet_http::Client;
use quintet_http::problem::Problem;
use serde::{Deserialize, Serialize};

use crate::answer;
use crate::auth::{check_same_origin, session_of};
use crate::body::ResponseBody;
use crate::connection::ConnectionState;
use crate::headers::cookie;
use crate::identity::{BrowserSignIn, Challenge, Identity, TokenError};
use crate::session::{SESSION_COOKIE, SIGNIN_COOKIE, set_cookie};
use crate::worker::View;

/// Seconds that a person may take to sign in.
const SIGNIN_LIFETIME: u32 = 600;
/// A longer address to return to would not fit the cookie; the person lands on the start page.
const MAX_RETURN: usize = 1_024;

/// What the callback needs from the login.
#[derive(Debug, Serialize, Deserialize)]
struct Flow {
    state: String,
    nonce: String,
    verifier: String,
    return_to: String,
    began: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Callback {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    return_to: Option<String>,
}

/// What `/.auth/session` tells a page about its visitor.
#[derive(Debug, Serialize)]
struct SessionAnswer<'a> {
    sub: &'a str,
    name: Option<&'a str>,
    email: Option<&'a str>,
    scopes: Vec<&'a str>,
    /// Of the access token, which is renewed while the session lasts; RFC 3339.
    expires_at: String,
}

/// Answers a request for `/.auth/…`.
pub(crate) async fn handle(
    state: &ConnectionState,
    view: &View,
    host: &str,
    parts: &Parts,
    path: &str,
) -> Result<Response<ResponseBody>, Problem> {
    let gateway = &state.worker.gateway;
    let Some(identity) = &view.identity else { return Err(Problem::not_found("page")) };
    let Some(browser) = &identity.browser else { return Err(Problem::not_found("page")) };
    let wanted = match path {
        "/.auth/login" | "/.auth/callback" | "/.auth/session" => Method::GET,
        "/.auth/logout" => Method::POST,
        _ => return Err(Problem::not_found("page")),
    };
    if parts.method != wanted {
        return Ok(method_not_allowed(&wanted));
    }
    match path {
        "/.auth/login" => login(identity, browser, host, parts, gateway.now()),
        "/.auth/callback" => callback(identity, browser, &identity.client, parts, gateway.now()).await,
        "/.auth/session" => session(state, view, parts).await,
        _ => logout(identity, browser, host, parts),
    }
}

fn method_not_allowed(allowed: &Method) -> Response<ResponseBody> {
    let mut response = answer::respond(StatusCode::METHOD_NOT_ALLOWED, None, bytes::Bytes::new());
    if let Ok(value) = HeaderValue::from_str(allowed.as_str()) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// The address that begins sign-in and then returns to `return_to`.
pub(crate) fn login_path(return_to: &str) -> String {
    format!("/.auth/login?{}", crate::identity::query(&[("return_to", return_to)]))
}

fn login(
    identity: &Identity,
    browser: &BrowserSignIn,
    host: &str,
    parts: &Parts,
    now: i64,
) -> Result<Response<ResponseBody>, Problem> {
    let query: Login = parse_query(parts)?;
    let return_to = query.return_to.as_deref().and_then(safe_return).unwrap_or("/");
    // The provider returns to one registered address; cookies set on another host would not be sent there.
    if !identity.issuer.origin.ends_with(&format!("//{host}")) {
        let location = format!("{}{}", identity.issuer.origin, login_path(return_to));
        return Ok(answer::redirect(StatusCode::SEE_OTHER, &location));
    }
    let challenge = Challenge::new();
    let location = identity.authorize_url(browser, &challenge);
    let flow = Flow {
        state: challenge.state,
        nonce: challenge.nonce,
        verifier: challenge.verifier,
        return_to: return_to.to_owned(),
        began: now,
    };
    let sealed = browser.sealer.seal(SIGNIN_COOKIE, &flow);
    let cookie = sealed.and_then(|sealed| set_cookie(SIGNIN_COOKIE, &sealed, Some(SIGNIN_LIFETIME)));
    let mut response = answer::redirect(StatusCode::SEE_OTHER, &location);
    response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    Ok(response)
}

async fn callback(
    identity: &Identity,
    browser: &BrowserSignIn,
    client: &Client,
    parts: &Parts,
    now: i64,
) -> Result<Response<ResponseBody>, Problem> {
    let query: Callback = parse_query(parts)?;
    let flow = cookie(&parts.headers, SIGNIN_COOKIE)
        .and_then(|value| browser.sealer.open::<Flow>(SIGNIN_COOKIE, value))
        .filter(|flow| now.saturating_sub(flow.began) < i64::from(SIGNIN_LIFETIME));
    let Some(flow) = flow else {
        return Err(Problem::bad_request(
            "signin_expired",
            "this sign-in has expired or began in another browser; start again",
        ));
    };
    let state_fits = query
        .state
        .as_deref()
        .is_some_and(|state| verify_slices_are_equal(state.as_bytes(), flow.state.as_bytes()).is_ok());
    if !state_fits {
        return Err(Problem::bad_request(
            "signin_state",
            "this answer belongs to another sign-in; start again",
        ));
    }
    // RFC 9207: an answer of another provider must not be taken to this one.
    if query.iss.as_deref().is_some_and(|issuer| issuer != identity.issuer.url) {
        return Err(Problem::bad_request(
            "signin_issuer",
            "this answer comes from another identity provider",
        ));
    }
    if let Some(error) = query.error {
        let known = error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let detail = if known {
            format!("the identity provider refused: {error}")
        } else {
            "the identity provider refused".to_owned()
        };
        return Err(Problem::new(StatusCode::FORBIDDEN, "signin_refused", detail));
    }
    let Some(code) = query.code else {
        return Err(Problem::bad_request("signin_code", "the identity provider sent no code; start again"));
    };
    let challenge = Challenge { state: flow.state, nonce: flow.nonce, verifier: flow.verifier };
    let session = identity
        .exchange(client, browser, &code, &challenge, now)
        .await
        .map_err(|error| exchange_problem(&error))?;
    let Some(cookie) = session.cookie(&browser.sealer) else {
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "session_too_large",
            "the session does not fit a cookie",
        ));
    };
    tracing::info!(sub = session.sub, "signed in");
    let return_to = safe_return(&flow.return_to).unwrap_or("/");
    let mut response = answer::redirect(StatusCode::SEE_OTHER, return_to);
    response.headers_mut().append(SET_COOKIE, cookie);
    response.headers_mut().extend(set_cookie(SIGNIN_COOKIE, "", Some(0)).map(|gone| (SET_COOKIE, gone)));
    Ok(response)
}

fn exchange_problem(error: &TokenError) -> Problem {
    tracing::warn!(error = %crate::proxy::chain(error), "sign-in failed at the token endpoint");
    match error {
        TokenError::Unreachable(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "identity_unavailable",
            "the identity provider does not answer",
        )
        .with_retry_after(std::time::Duration::from_secs(1)),
        TokenError::Refused(_) => {
            Problem::bad_request("signin_code", "the sign-in could not be completed; start again")
        }
        TokenError::Unusable(_) => Problem::new(
            StatusCode::BAD_GATEWAY,
            "identity_broken",
            "the identity provider's answer is not usable",
        ),
    }
}

async fn session(
    state: &ConnectionState,
    view: &View,
    parts: &Parts,
) -> Result<Response<ResponseBody>, Problem> {
    let Some(signed_in) = session_of(state, view, &parts.headers).await? else {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "not_signed_in", "nobody is signed in here"));
    };
    let session = &signed_in.opened.session;
    let expires = quintet_types::time::from_micros(session.expires_at.saturating_mul(1_000_000));
    let mut response = answer::json(
        StatusCode::OK,
        &SessionAnswer {
            sub: &session.sub,
            name: session.name.as_deref(),
            email: session.email.as_deref(),
            scopes: session.scope.split_ascii_whitespace().collect(),
            expires_at: expires.to_string(),
        },
    );
    response.headers_mut().extend(signed_in.set_cookie.map(|cookie| (SET_COOKIE, cookie)));
    Ok(response)
}

fn logout(
    identity: &Identity,
    browser: &BrowserSignIn,
    host: &str,
    parts: &Parts,
) -> Result<Response<ResponseBody>, Problem> {
    check_same_origin(&parts.headers, host)?;
    let id_token = cookie(&parts.headers, SESSION_COOKIE)
        .and_then(|value| browser.sealer.open::<crate::session::Session>(SESSION_COOKIE, value))
        .and_then(|session| session.id_token);
    let mut response =
        answer::redirect(StatusCode::SEE_OTHER, &identity.logout_url(browser, id_token.as_deref()));
    response.headers_mut().extend(set_cookie(SESSION_COOKIE, "", Some(0)).map(|gone| (SET_COOKIE, gone)));
    Ok(response)
}

fn parse_query<T: for<'de> Deserialize<'de>>(parts: &Parts) -> Result<T, Problem> {
    serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|_| Problem::bad_request("query_malformed", "the query string is malformed"))
}

/// A path of this origin, or None. Browsers read `//host`, `/\host` and such as another origin, and drop
/// tabs and newlines before they look.
fn safe_return(target: &str) -> Option<&str> {
    let absolute = target.starts_with('/') && !target.starts_with("//") && !target.starts_with("/.auth/");
    let plain = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (absolute && plain && target.len() <= MAX_RETURN).then_some(target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_paths_of_this_origin_are_returned_to() {
        for good in ["/", "/fleet?x=1#y", "/a//b", "/traces/1%2F2"] {
            assert_eq!(safe_return(good), Some(good));
        }
        for bad in [
            "",
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "evil",
            "\\/evil",
            "/a\r\nSet-Cookie: x",
            "/.auth/login",
            "javascript:alert(1)",
            "/ü",
        ] {
            assert_eq!(safe_return(bad), None, "{bad:?}");
        }
        assert_eq!(safe_return(&format!("/{}", "a".repeat(MAX_RETURN))), None);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_stays_on_this_origin(target in "[/\\\\a-z:.@?#\t\n%]{0,20}") {
            if let Some(accepted) = safe_return(&target) {
                let base = url::Url::parse("https://here.example/").unwrap();
                let joined = base.join(accepted).unwrap();
                prop_assert_eq!(joined.origin(), base.origin());
            }
        }
    }
}
