//! Setting an authenticator app up.
//!
//! The secret on the page is sealed into its form and bound to the session; nothing is stored until a
//! code of the app shows that it was read. That code is used up by it.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use minijinja::context;

use super::security::{codes_page, event};
use super::{Turned, Visit, answer, destination, form, readable};
use crate::app::{App, Shared};
use crate::audit::{self, Kind};
use crate::caller::Caller;
use crate::cookies;
use crate::factors::totp::{self, Secret};
use crate::factors::{Methods, recovery};
use crate::fault::Fault;
use crate::login::next::Next;
use crate::login::second::Attempts;
use crate::login::{retry_after, too_many};
use crate::params::Params;
use crate::sessions;
use crate::vault::Sealing;

const WRONG: &str =
    "This is not the code that the app should show now. Check the clock of your device, then try again.";

/// `GET /account/totp`
pub(crate) async fn get(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let params = readable(&app, Params::parse(query.unwrap_or_default().as_bytes()))?;
        let next = destination(&app, &params)?;
        let visit = Visit::recent(&app, &headers, &way(&next)).await?;
        let secret = Secret::draw(app.entropy.as_ref());
        Ok(page(&app, &visit, &next, &secret, None, StatusCode::OK)?)
    };
    answer(&app, outcome.await)
}

/// Where somebody comes back to who must first sign in: the request leads here by itself.
fn way(next: &Next) -> Next {
    match next {
        Next::Client(request) => Next::Client(request.clone()),
        Next::Page(_) => Next::Page(super::Page::Totp),
    }
}

fn page(
    app: &App,
    visit: &Visit,
    next: &Next,
    secret: &Secret,
    error: Option<&str>,
    status: StatusCode,
) -> Result<Response, Fault> {
    let address = secret.address(&app.issuer.host, &visit.session.user.email);
    let picture = totp::picture(&address);
    let (client, target) = next.client(app);
    let (field, value) = next.field(app)?;
    let values = context!(
        page => super::Page::Security.name(),
        client,
        csrf => visit.csrf(app),
        next_field => field,
        next_value => value,
        enrolment => app.vault.seal(Sealing::Enrolment, &visit.session.id, secret.bytes())?,
        modules => picture.as_ref().map_or(0, |picture| picture.modules),
        path => picture.as_ref().map(|picture| picture.path.as_str()).unwrap_or_default(),
        secret => secret.text().as_str(),
        address => address.as_str(),
        replaces => visit.enrolled.totp,
        error => error.unwrap_or_default(),
    );
    app.pages.render(status, "totp.html", values, target.as_ref())
}

/// `POST /account/totp`
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        confirm(&app, &headers, &params, &caller).await
    };
    answer(&app, outcome.await)
}

async fn confirm(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Response, Turned> {
    let next = destination(app, params)?;
    let visit = Visit::recent(app, headers, &way(&next)).await?;
    visit.check(app, headers, params)?;
    let sealed = params.get("enrolment").unwrap_or_default();
    let secret =
        app.vault.open(Sealing::Enrolment, &visit.session.id, sealed).ok().and_then(Secret::from_bytes);
    let Some(secret) = secret else {
        let fresh = Secret::draw(app.entropy.as_ref());
        let text = "This page was open for another sign-in. Scan the new picture.";
        return Ok(page(app, &visit, &next, &fresh, Some(text), StatusCode::CONFLICT)?);
    };
    let attempts = match Attempts::count(app, headers, &visit.session.user, caller) {
        Ok(attempts) => attempts,
        Err(wait) => {
            let text = too_many(wait);
            let response = page(app, &visit, &next, &secret, Some(&text), StatusCode::TOO_MANY_REQUESTS)?;
            return Ok(retry_after(response, wait));
        }
    };
    let Some(step) = secret.step_of(params.get("code").unwrap_or_default(), app.now()) else {
        return Ok(page(app, &visit, &next, &secret, Some(WRONG), StatusCode::UNPROCESSABLE_ENTITY)?);
    };
    attempts.succeeded(app);
    store(app, &visit, &next, &secret, step, caller).await
}

async fn store(
    app: &App,
    visit: &Visit,
    next: &Next,
    secret: &Secret,
    step: i64,
    caller: &Caller,
) -> Result<Response, Turned> {
    let (user_id, now) = (visit.user_id(), app.now());
    let mut tx = app.store.begin().await?;
    totp::enrol(&mut tx, &app.vault, &user_id, secret, step, now).await?;
    let codes = if visit.enrolled.recovery_codes == 0 {
        recovery::replace(&mut tx, &app.vault, app.entropy.as_ref(), &user_id, now).await?
    } else {
        Vec::new()
    };
    let (session, cookie) = sessions::raise(&mut tx, app, &visit.session, Methods::OTP).await?;
    let detail = [("factor", "totp".to_owned()), ("recovery_codes", codes.len().to_string())];
    audit::append(&mut tx, &app.vault, now, caller, Kind::FactorAdded, event(visit, detail)).await?;
    tx.commit().await?;
    let mut response = if codes.is_empty() {
        follow_or_security(app, next, &session, caller).await?
    } else {
        codes_page(app, &codes, &onward(app, next)?)?
    };
    response.headers_mut().append(header::SET_COOKIE, cookies::set(cookies::SESSION, cookie.reveal()));
    Ok(response)
}

async fn follow_or_security(
    app: &App,
    next: &Next,
    session: &sessions::Session,
    caller: &Caller,
) -> Result<Response, Fault> {
    match next {
        Next::Client(_) => next.follow(app, session, caller).await,
        Next::Page(_) => Next::Page(super::Page::Security).follow(app, session, caller).await,
    }
}

/// The link behind the codes. A client's request goes on at the second step, which has nothing left to
/// ask.
fn onward(app: &App, next: &Next) -> Result<String, Fault> {
    match next {
        Next::Client(_) => next.through(app, "/login/second"),
        Next::Page(_) => Ok(format!("{}{}", app.issuer.prefix, super::Page::Security.path())),
    }
}
