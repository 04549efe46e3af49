//! A forgotten password: asking for a link, and choosing a new password behind it.
//!
//! Asking tells nobody whether an account exists: the page, the work and the row in the outbox are the
//! same. A new password signs every browser and application out, and takes the place of the old one
//! alone: whoever has a second factor is asked for it at the next sign-in.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use minijinja::{Value, context};
use zeroize::Zeroizing;

use super::{FORGED, binding, retry_after, too_many};
use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::error_page;
use crate::caller::Caller;
use crate::cookies;
use crate::fault::Fault;
use crate::forms;
use crate::mail::tokens::{self, For};
use crate::mail::{Mail, outbox};
use crate::params::Params;
use crate::throttle::{AccountKey, Place};
use crate::users::{self, User};
use crate::vault::Purpose;
use crate::{grants, sessions};

const FORM: &str = "reset";

const MICROS_PER_MINUTE: i64 = 60 * 1_000_000;

/// What is told to whoever comes with a link that opens nothing.
const GONE: &str = "This link was used before, or it is too old. Ask for a new one.";

/// `GET /reset`
pub(crate) async fn get(State(app): State<Shared>, headers: HeaderMap) -> Response {
    let Some(_) = &app.mail else { return off(&app) };
    page(&app, &headers, "reset.html", StatusCode::OK, "", "").unwrap_or_else(|fault| app.pages.fault(&fault))
}

fn off(app: &App) -> Response {
    let text = "This site sends no mail. Ask your administrator for a new password.";
    app.pages.message(StatusCode::NOT_FOUND, "That is not possible here", text)
}

fn page(
    app: &App,
    headers: &HeaderMap,
    template: &str,
    status: StatusCode,
    error: &str,
    token: &str,
) -> Result<Response, Fault> {
    let (cookie, set) = binding(app, headers);
    let values = context!(error, token, csrf => forms::token(&app.vault, FORM, &cookie));
    let mut response = app.pages.render(status, template, values, None)?;
    if let Some(set) = set {
        response.headers_mut().append(header::SET_COOKIE, set);
    }
    Ok(response)
}

fn is_ours(app: &App, headers: &HeaderMap, params: &Params) -> bool {
    let cookie = cookies::read(headers, cookies::LOGIN);
    forms::is_ours(&app.vault, &app.issuer.origin, headers, FORM, cookie, params.get(forms::FIELD))
}

/// `POST /reset`
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let params = match Params::read(&headers, body).await {
        Ok(params) => params,
        Err(error) => return error_page(&app, error.status(), &error.to_string()),
    };
    let Some(mail) = &app.mail else { return off(&app) };
    ask(&app, mail, &headers, &params, &caller).await.unwrap_or_else(|fault| app.pages.fault(&fault))
}

async fn ask(
    app: &App,
    mail: &Mail,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Response, Fault> {
    let email = params.get("email").unwrap_or_default();
    if !is_ours(app, headers, params) {
        return page(app, headers, "reset.html", StatusCode::FORBIDDEN, FORGED, "");
    }
    let place = app.place(headers, app.account_key(email), caller.address);
    let key = AccountKey(app.vault.mac(Purpose::Account, &[b"mail", users::email_key(email).as_bytes()]));
    // Never told to have succeeded: every letter counts.
    if let Err(wait) = app.throttle.attempt(key, place, app.now()) {
        let text = too_many(wait);
        let response = page(app, headers, "reset.html", StatusCode::TOO_MANY_REQUESTS, &text, "")?;
        return Ok(retry_after(response, wait));
    }
    // From many places together an account gets few letters; who asks is not told, since it is not
    // their doing.
    let flooded =
        !matches!(place, Place::Device(_)) && app.throttle.attempt(key, Place::Anywhere, app.now()).is_err();
    let user = users::by_email(&app.store, email).await?.filter(|user| !user.disabled && !flooded);
    write(app, mail, user.as_ref(), caller).await?;
    page(app, headers, "reset_sent.html", StatusCode::OK, "", "")
}

async fn write(app: &App, mail: &Mail, user: Option<&User>, caller: &Caller) -> Result<(), Fault> {
    let now = app.now();
    let mut tx = app.store.begin().await?;
    let secret = tokens::issue(&mut tx, app, For::Reset, user).await?;
    let values = context!(
        name => user.map(|user| user.name.as_str()).unwrap_or_default(),
        host => app.issuer.host.as_str(),
        minutes => For::Reset.life() / MICROS_PER_MINUTE,
        link => format!("{}?token={}", app.issuer.endpoint("/reset/new"), secret.reveal()),
    );
    let letter = mail.letter(user.map(|user| user.email.as_str()), "reset", values)?;
    outbox::put(&mut tx, app, &letter, now + For::Reset.life()).await?;
    let subject = user.map(|user| user.id.to_string()).unwrap_or_default();
    let event = Event { subject, ..Event::default() };
    audit::append(&mut tx, &app.vault, now, caller, Kind::ResetAsked, event).await?;
    tx.commit().await?;
    outbox::wake(app);
    Ok(())
}

/// `GET /reset/new`
pub(crate) async fn choose(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let params = match Params::parse(query.unwrap_or_default().as_bytes()) {
        Ok(params) => params,
        Err(error) => return error_page(&app, error.status(), &error.to_string()),
    };
    let token = params.get("token").unwrap_or_default();
    let outcome = async {
        match tokens::find(&app, For::Reset, token).await? {
            Some(_) => page(&app, &headers, "reset_new.html", StatusCode::OK, "", token),
            None => Ok(gone(&app)),
        }
    };
    outcome.await.unwrap_or_else(|fault: Fault| app.pages.fault(&fault))
}

pub(crate) fn gone(app: &App) -> Response {
    app.pages.message(StatusCode::GONE, "This link does not work", GONE)
}

/// `POST /reset/new`
pub(crate) async fn set(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let params = match Params::read(&headers, body).await {
        Ok(params) => params,
        Err(error) => return error_page(&app, error.status(), &error.to_string()),
    };
    change(&app, &headers, &params, &caller).await.unwrap_or_else(|fault| app.pages.fault(&fault))
}

async fn change(app: &App, headers: &HeaderMap, params: &Params, caller: &Caller) -> Result<Response, Fault> {
    let token = params.get("token").unwrap_or_default();
    let form = |status, error: &str| page(app, headers, "reset_new.html", status, error, token);
    if !is_ours(app, headers, params) {
        return form(StatusCode::FORBIDDEN, FORGED);
    }
    let Some(user) = tokens::find(app, For::Reset, token).await? else { return Ok(gone(app)) };
    let password = params.secret("password");
    if let Err(error) = users::check_password(&password) {
        return form(StatusCode::UNPROCESSABLE_ENTITY, &sentence(&error.to_string()));
    }
    if !store(app, &user, &password, token, caller).await? {
        return Ok(gone(app));
    }
    let values = context!(to => format!("{}/login", app.issuer.prefix));
    app.pages.render(StatusCode::OK, "reset_done.html", values, None)
}

/// An error's text as a page shows it.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).chain(['.']).collect()).unwrap_or_default()
}

async fn store(
    app: &App,
    user: &User,
    password: &Zeroizing<String>,
    token: &str,
    caller: &Caller,
) -> Result<bool, Fault> {
    let hash = app.passwords.hash(password).await?;
    let (user_id, now) = (user.id.to_string(), app.now());
    let mut tx = app.store.begin().await?;
    if !tokens::redeem(&mut tx, app, For::Reset, token).await? {
        return Ok(false);
    }
    users::set_password(&mut tx, user, &hash, now).await?;
    // The link came by mail to this address.
    users::verify_email(&mut tx, user, now).await?;
    grants::revoke_all(&mut tx, &user_id, "password reset", now).await?;
    sessions::end_all(&mut tx, &user_id, now).await?;
    if let Some(mail) = &app.mail {
        let values: Value = context!(
            name => user.name.as_str(),
            host => app.issuer.host.as_str(),
            link => app.issuer.endpoint("/reset"),
        );
        let letter = mail.letter(Some(&user.email), "password_changed", values)?;
        outbox::put(&mut tx, app, &letter, now + For::Verify.life()).await?;
    }
    let event = Event { actor: user_id.clone(), subject: user_id, ..Event::default() };
    audit::append(&mut tx, &app.vault, now, caller, Kind::PasswordReset, event).await?;
    tx.commit().await?;
    outbox::wake(app);
    Ok(true)
}
