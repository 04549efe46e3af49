//! The sign-in page.
//!
//! A wrong password, an unknown account and a disabled one are the same answer after the same work:
//! one Argon2 hash through the same queue, one audit event, one throttle count.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use minijinja::context;
use zeroize::Zeroizing;

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::request::{AuthorizationRequest, EXPIRED};
use crate::authorize::{error_page, proceed, see_other};
use crate::caller::Caller;
use crate::cookies;
use crate::fault::Fault;
use crate::forms;
use crate::params::Params;
use crate::passwords::{PasswordError, Verdict};
use crate::sessions::{self, Session};
use crate::throttle::AccountKey;
use crate::time::retry_seconds;
use crate::users::{self, User};
use crate::vault::BearerSecret;

/// The form's name in its token.
const FORM: &str = "login";

/// What every failed sign-in is told.
const WRONG: &str = "The e-mail address or the password is not right.";

/// How long a browser stays known to an account, in seconds.
const DEVICE_SECONDS: i64 = 180 * 24 * 3600;

/// `GET /login`
pub(crate) async fn get(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let params = match Params::parse(query.unwrap_or_default().as_bytes()) {
        Ok(params) => params,
        Err(error) => return error_page(&app, error.status(), &error.to_string()),
    };
    let request = match flow(&app, &params) {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let email = request.as_ref().and_then(|request| request.login_hint.clone()).unwrap_or_default();
    let form = Form { request: request.as_ref(), email: &email, error: None, status: StatusCode::OK };
    form.render(&app, &headers).unwrap_or_else(|fault| app.pages.fault(&fault))
}

/// `POST /login`
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
    sign_in(&app, &headers, &params, &caller).await.unwrap_or_else(|fault| app.pages.fault(&fault))
}

/// The sealed request that the page was opened with; none when it was opened by hand.
fn flow(app: &App, params: &Params) -> Result<Option<AuthorizationRequest>, Box<Response>> {
    match params.get("request") {
        None => Ok(None),
        Some(sealed) => match AuthorizationRequest::open(app, sealed) {
            Some(request) => Ok(Some(request)),
            None => Err(Box::new(error_page(app, EXPIRED.0, EXPIRED.1))),
        },
    }
}

async fn sign_in(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Response, Fault> {
    let request = match flow(app, params) {
        Ok(request) => request,
        Err(response) => return Ok(*response),
    };
    let email = params.get("email").unwrap_or_default();
    let form = |status, error| Form { request: request.as_ref(), email, error: Some(error), status };
    let cookie = cookies::read(headers, cookies::LOGIN);
    if !forms::is_ours(&app.vault, &app.issuer.origin, headers, FORM, cookie, params.get(forms::FIELD)) {
        let error = "This form could not be checked. Make sure that cookies are allowed, then try again.";
        return form(StatusCode::FORBIDDEN, error).render(app, headers);
    }
    let account = app.account_key(email);
    let place = app.place(headers, account, caller.address);
    let attempt = match app.throttle.attempt(account, place, app.now()) {
        Ok(attempt) => attempt,
        Err(wait) => {
            count("throttled");
            let seconds = retry_seconds(wait);
            let text = format!("Too many attempts from here. Wait {seconds} seconds, then try again.");
            let mut response = form(StatusCode::TOO_MANY_REQUESTS, &text).render(app, headers)?;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            return Ok(response);
        }
    };
    let user = match verify(app, email, &params.secret("password")).await {
        Ok(user) => user,
        Err(fault) => {
            app.throttle.cancelled(attempt);
            return Err(fault);
        }
    };
    let Some((user, outdated)) = user else {
        count("failed");
        record_failure(app, account, caller).await?;
        return form(StatusCode::UNPROCESSABLE_ENTITY, WRONG).render(app, headers);
    };
    app.throttle.succeeded(attempt);
    let rehashed = if outdated { Some(app.passwords.hash(&params.secret("password")).await?) } else { None };
    let (session, secret) =
        start_session(app, headers, &user, rehashed.as_deref(), request.as_ref(), caller).await?;
    count("succeeded");
    let mut response = match &request {
        Some(request) => proceed(app, request, Some(&session), caller).await?,
        None => see_other(&format!("{}/", app.issuer.prefix)),
    };
    let cookies = response.headers_mut();
    cookies.append(header::SET_COOKIE, cookies::set(cookies::SESSION, secret.reveal()));
    cookies.append(header::SET_COOKIE, cookies::clear(cookies::LOGIN));
    let device = app.device_cookie(account);
    cookies.append(header::SET_COOKIE, cookies::set_lasting(cookies::DEVICE, &device, DEVICE_SECONDS));
    Ok(response)
}

fn count(outcome: &'static str) {
    metrics::counter!("quintet_identity_logins_total", "outcome" => outcome).increment(1);
}

/// The person who may sign in with this password, and whether the stored hash is outdated.
async fn verify(app: &App, email: &str, password: &Zeroizing<String>) -> Result<Option<(User, bool)>, Fault> {
    let Some(user) = users::by_email(&app.store, email).await? else {
        app.passwords.verify_nobody(password).await?;
        return Ok(None);
    };
    match app.passwords.verify(password, &user.password_hash).await {
        Ok(Verdict::Fits { outdated }) if !user.disabled => Ok(Some((user, outdated))),
        Ok(_) => Ok(None),
        Err(error @ PasswordError::Stored) => {
            // Not this person's fault and not to be seen from outside: nobody can sign in with it.
            Fault::Password(error).log();
            app.passwords.verify_nobody(password).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn record_failure(app: &App, account: AccountKey, caller: &Caller) -> Result<(), Fault> {
    let mut tx = app.store.begin().await?;
    let subject =
        account.0.iter().take(16).fold(String::from("account:"), |text, byte| text + &format!("{byte:02x}"));
    let event = Event { subject, ..Event::default() };
    audit::append(&mut tx, &app.vault, app.now(), caller, Kind::LoginFailed, event).await?;
    Ok(tx.commit().await?)
}

async fn start_session(
    app: &App,
    headers: &HeaderMap,
    user: &User,
    rehashed: Option<&str>,
    request: Option<&AuthorizationRequest>,
    caller: &Caller,
) -> Result<(Session, BearerSecret), Fault> {
    let current = app.session(headers).await?;
    let now = app.now();
    let mut tx = app.store.begin().await?;
    if let Some(hash) = rehashed {
        users::rehash(&mut tx, user, hash, now).await?;
    }
    if let Some(other) = current.as_ref().filter(|current| current.user.id != user.id) {
        crate::grants::revoke_session(&mut tx, &other.id, "", now).await?;
    }
    let lifetimes = app.lifetimes.session;
    let (session, secret) = sessions::start(
        &mut tx,
        &app.vault,
        app.entropy.as_ref(),
        app.clock.as_ref(),
        user,
        current.as_ref(),
        lifetimes,
    )
    .await?;
    let event = Event {
        actor: user.id.to_string(),
        subject: session.id.clone(),
        client_id: request.map(|request| request.client_id.clone()).unwrap_or_default(),
        ..Event::default()
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::LoginSucceeded, event).await?;
    tx.commit().await?;
    Ok((session, secret))
}

/// The page with its form.
struct Form<'a> {
    request: Option<&'a AuthorizationRequest>,
    email: &'a str,
    error: Option<&'a str>,
    status: StatusCode,
}

impl Form<'_> {
    fn render(&self, app: &App, headers: &HeaderMap) -> Result<Response, Fault> {
        // One cookie for all of a browser's tabs, so that they do not spoil each other's forms.
        let known = cookies::read(headers, cookies::LOGIN).filter(|cookie| cookie.len() >= 43);
        let fresh = BearerSecret::draw(app.entropy.as_ref(), "");
        let cookie = known.unwrap_or(fresh.reveal());
        let client = self.request.and_then(|request| request.client(app));
        let sealed = self.request.map(|request| request.seal(&app.vault)).transpose()?;
        let values = context!(
            client => client.as_ref().map(|(client, _)| client.name.as_str()).unwrap_or_default(),
            email => self.email,
            error => self.error.unwrap_or_default(),
            csrf => forms::token(&app.vault, FORM, cookie),
            request => sealed.unwrap_or_default(),
        );
        let target = client.as_ref().map(|(_, redirect)| redirect);
        let mut response = app.pages.render(self.status, "login.html", values, target)?;
        if known.is_none() {
            response.headers_mut().append(header::SET_COOKIE, cookies::set(cookies::LOGIN, cookie));
        }
        Ok(response)
    }
}
