//! Adding, naming and removing passkeys.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minijinja::context;

use super::security::{codes_page, event, refuse_last};
use super::{Page, Turned, Visit, answer, destination, form, readable};
use crate::app::{App, Shared};
use crate::audit::{self, Kind};
use crate::authorize::see_other;
use crate::caller::Caller;
use crate::cookies;
use crate::factors::passkeys::webauthn::{Registered, Registration};
use crate::factors::passkeys::{self, Ceremony, Challenge, MAX_PASSKEYS};
use crate::factors::{self, Methods, recovery};
use crate::fault::Fault;
use crate::login::next::Next;
use crate::login::passkey::relying_party;
use crate::params::Params;
use crate::sessions;

const REFUSED: &str = "The browser's answer could not be used. Try again.";
const KNOWN: &str = "This passkey is registered already.";
const TOO_MANY: &str = "You have as many passkeys as there may be. Remove one that you no longer use.";

const HERE: Next = Next::Page(Page::Security);

fn security(app: &App) -> String {
    format!("{}{}", app.issuer.prefix, Page::Security.path())
}

/// `GET /account/passkey`
pub(crate) async fn get(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let params = readable(&app, Params::parse(query.unwrap_or_default().as_bytes()))?;
        let next = destination(&app, &params)?;
        let visit = Visit::recent(&app, &headers, &way(&next)).await?;
        page(&app, &visit, &next, None, StatusCode::OK).await
    };
    answer(&app, outcome.await)
}

fn way(next: &Next) -> Next {
    match next {
        Next::Client(request) => Next::Client(request.clone()),
        Next::Page(_) => Next::Page(Page::Passkey),
    }
}

async fn page(
    app: &App,
    visit: &Visit,
    next: &Next,
    error: Option<&str>,
    status: StatusCode,
) -> Result<Response, Turned> {
    let user = &visit.session.user;
    let known = passkeys::of(&app.store, &visit.user_id()).await?;
    let known: Vec<&str> = known.iter().map(|passkey| passkey.credential_id.as_str()).collect();
    let challenge = Challenge { app, ceremony: Ceremony::Register, binding: &visit.session.id };
    let (client, target) = next.client(app);
    let (field, value) = next.field(app)?;
    let values = context!(
        page => Page::Security.name(),
        client,
        csrf => visit.csrf(app),
        next_field => field,
        next_value => value,
        error => error.unwrap_or_default(),
        challenge => challenge.draw(),
        host => app.issuer.host.as_str(),
        user_handle => URL_SAFE_NO_PAD.encode(visit.user_id()),
        email => user.email.as_str(),
        name => user.name.as_str(),
        known => known.join(" "),
    );
    Ok(app.pages.render_scripted(status, "passkey.html", values, target.as_ref())?)
}

/// `POST /account/passkey`
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        add(&app, &headers, &params, &caller).await
    };
    answer(&app, outcome.await)
}

async fn add(app: &App, headers: &HeaderMap, params: &Params, caller: &Caller) -> Result<Response, Turned> {
    let next = destination(app, params)?;
    let visit = Visit::recent(app, headers, &way(&next)).await?;
    visit.check(app, headers, params)?;
    if visit.enrolled.passkeys >= MAX_PASSKEYS {
        return page(app, &visit, &next, Some(TOO_MANY), StatusCode::CONFLICT).await;
    }
    let challenge = Challenge { app, ceremony: Ceremony::Register, binding: &visit.session.id };
    let registered = Registration::parse(params.get("answer").unwrap_or_default())
        .and_then(|answer| answer.verify(relying_party(app), |text| challenge.is_ours(text)));
    let registered = match registered {
        Ok(registered) => registered,
        Err(refused) => {
            tracing::info!(reason = %refused, "passkey not registered");
            return page(app, &visit, &next, Some(REFUSED), StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    match store(app, &visit, &next, params.get("name").unwrap_or_default(), &registered, caller).await {
        Err(Turned::Fault(Fault::Store(error))) if error.is_conflict() => {
            page(app, &visit, &next, Some(KNOWN), StatusCode::CONFLICT).await
        }
        other => other,
    }
}

async fn store(
    app: &App,
    visit: &Visit,
    next: &Next,
    name: &str,
    registered: &Registered,
    caller: &Caller,
) -> Result<Response, Turned> {
    let (user_id, now) = (visit.user_id(), app.now());
    let mut tx = app.store.begin().await?;
    if !passkeys::use_challenge(&mut tx, app, &registered.challenge).await? {
        return page(app, visit, next, Some(REFUSED), StatusCode::CONFLICT).await;
    }
    passkeys::insert(&mut tx, app, &user_id, name, registered).await?;
    let codes = if visit.enrolled.recovery_codes == 0 {
        recovery::replace(&mut tx, &app.vault, app.entropy.as_ref(), &user_id, now).await?
    } else {
        Vec::new()
    };
    let method = if registered.user_verified { Methods::PASSKEY } else { Methods::KEY };
    let (session, cookie) = sessions::raise(&mut tx, app, &visit.session, method).await?;
    let detail = [("factor", "passkey".to_owned()), ("recovery_codes", codes.len().to_string())];
    audit::append(&mut tx, &app.vault, now, caller, Kind::FactorAdded, event(visit, detail)).await?;
    tx.commit().await?;
    let mut response = match next {
        // The second step has nothing left to ask, and goes on to the client.
        Next::Client(_) if codes.is_empty() => next.follow(app, &session, caller).await?,
        Next::Client(_) => codes_page(app, &codes, &next.through(app, "/login/second")?)?,
        Next::Page(_) if codes.is_empty() => see_other(&security(app)),
        Next::Page(_) => codes_page(app, &codes, &security(app))?,
    };
    response.headers_mut().append(header::SET_COOKIE, cookies::set(cookies::SESSION, cookie.reveal()));
    Ok(response)
}

/// `POST /account/passkey/rename`
pub(crate) async fn rename(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        let visit = Visit::begin(&app, &headers, &HERE).await?;
        visit.check(&app, &headers, &params)?;
        let (id, name) = (params.get("id").unwrap_or_default(), params.get("name").unwrap_or_default());
        passkeys::rename(&app.store, &visit.user_id(), id, name).await?;
        Ok(see_other(&security(&app)))
    };
    answer(&app, outcome.await)
}

/// `POST /account/passkey/remove`
pub(crate) async fn remove(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        drop_key(&app, &headers, &params, &caller).await
    };
    answer(&app, outcome.await)
}

async fn drop_key(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Response, Turned> {
    let visit = Visit::recent(app, headers, &HERE).await?;
    visit.check(app, headers, params)?;
    refuse_last(app, &visit)?;
    let now = app.now();
    let mut tx = app.store.begin().await?;
    let removed = passkeys::remove(&mut tx, &visit.user_id(), params.get("id").unwrap_or_default()).await?;
    factors::drop_orphaned_codes(&mut tx, &visit.user_id()).await?;
    if removed {
        let event = event(&visit, [("factor", "passkey".to_owned())]);
        audit::append(&mut tx, &app.vault, now, caller, Kind::FactorRemoved, event).await?;
    }
    tx.commit().await?;
    Ok(see_other(&security(app)))
}
