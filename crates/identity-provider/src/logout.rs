//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).
//!
//! A person is asked before being signed out, unless the request proves by an ID token of this very
//! session that it comes from a client they are signed in to. A redirect afterwards goes only to a
//! registered address of the client named.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use minijinja::{Value, context};
use url::Url;

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::see_other;
use crate::caller::Caller;
use crate::claims::IdClaims;
use crate::cookies;
use crate::fault::Fault;
use crate::forms;
use crate::grants;
use crate::keys::TokenType;
use crate::params::{Params, ParamsError};
use crate::sessions::{self, Session};

/// The parameters that survive the confirmation page.
const CARRIED: [&str; 4] = ["id_token_hint", "client_id", "post_logout_redirect_uri", "state"];

fn form(session: &Session) -> String {
    format!("logout {}", session.id)
}

/// `GET /logout`
pub(crate) async fn get(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    caller: Caller,
) -> Response {
    handle(&app, Params::parse(query.unwrap_or_default().as_bytes()), &headers, &caller).await
}

/// `POST /logout`
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    handle(&app, Params::read(&headers, body).await, &headers, &caller).await
}

async fn handle(
    app: &App,
    params: Result<Params, ParamsError>,
    headers: &HeaderMap,
    caller: &Caller,
) -> Response {
    match params {
        Ok(params) => {
            leave(app, &params, headers, caller).await.unwrap_or_else(|fault| app.pages.fault(&fault))
        }
        Err(error) => app.pages.message(error.status(), "This link does not work", &error.to_string()),
    }
}

async fn leave(app: &App, params: &Params, headers: &HeaderMap, caller: &Caller) -> Result<Response, Fault> {
    let bad = |text| app.pages.message(StatusCode::BAD_REQUEST, "This link does not work", text);
    // Expiry is not asked for: a hint is often old (RP-Initiated Logout §4).
    let hint = match params.get("id_token_hint").map(|hint| app.keys.verify::<IdClaims>(TokenType::Id, hint))
    {
        None => None,
        Some(Ok(claims)) => Some(claims),
        Some(Err(_)) => return Ok(bad("The id_token_hint is not a token of this issuer.")),
    };
    let client_id = match (&hint, params.get("client_id")) {
        (Some(hint), Some(id)) if hint.aud != id => {
            return Ok(bad("The id_token_hint was issued to another client."));
        }
        (Some(hint), _) => Some(hint.aud.as_str()),
        (None, id) => id,
    };
    let target = match params.get("post_logout_redirect_uri") {
        None => None,
        Some(wanted) => {
            let client = client_id.and_then(|id| app.clients.find(id));
            let registered =
                client.is_some_and(|client| client.post_logout_redirect_uris.iter().any(|uri| uri == wanted));
            match Url::parse(wanted) {
                Ok(url) if registered => Some(url),
                _ => return Ok(bad("The address to send you to is not registered for this application.")),
            }
        }
    };
    let Some(session) = app.session(headers).await? else {
        return Ok(gone(app, target, params.get("state")));
    };
    let proven =
        hint.as_ref().is_some_and(|hint| hint.sid == session.id && hint.sub == session.user.id.to_string());
    let confirmed = params.get("confirmed").is_some()
        && forms::is_ours(
            &app.vault,
            &app.issuer.origin,
            headers,
            &form(&session),
            Some(&session.id),
            params.get(forms::FIELD),
        );
    if !proven && !confirmed {
        return confirm(app, params, &session, target.as_ref());
    }
    let now = app.now();
    let mut tx = app.store.begin().await?;
    sessions::end(&mut tx, &session.id, now).await?;
    grants::revoke_session(&mut tx, &session.id, client_id.unwrap_or_default(), now).await?;
    let event = Event {
        actor: session.user.id.to_string(),
        subject: session.id,
        client_id: client_id.unwrap_or_default().to_owned(),
        detail: audit::detail([]),
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::LoggedOut, event).await?;
    tx.commit().await?;
    Ok(gone(app, target, params.get("state")))
}

fn confirm(app: &App, params: &Params, session: &Session, target: Option<&Url>) -> Result<Response, Fault> {
    let fields: Vec<Value> = CARRIED
        .iter()
        .filter_map(|name| params.get(name).map(|value| context!(name => *name, value => value)))
        .collect();
    let values = context!(
        email => session.user.email.as_str(),
        csrf => forms::token(&app.vault, &form(session), &session.id),
        fields => Value::from(fields),
    );
    app.pages.render(StatusCode::OK, "logout.html", values, target)
}

/// The end of the way: signed out, whether just now or before.
fn gone(app: &App, target: Option<Url>, state: Option<&str>) -> Response {
    let mut response = match target {
        Some(mut target) => {
            if let Some(state) = state {
                target.query_pairs_mut().append_pair("state", state);
            }
            see_other(target.as_str())
        }
        None => app.pages.message(StatusCode::OK, "You are signed out", "You can close this window."),
    };
    response.headers_mut().append(header::SET_COOKIE, cookies::clear(cookies::SESSION));
    response
}
