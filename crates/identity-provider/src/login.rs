//! The sign-in page.
//!
//! A wrong password, an unknown account and a disabled one are the same answer after the same work:
//! one Argon2 hash through the same queue, one audit event, one throttle count. Whoever has a second
//! factor gets no session here; what was proved waits in a sealed cookie ([`second`]).

pub(crate) mod next;
pub(crate) mod passkey;
pub(crate) mod reset;
pub(crate) mod second;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use minijinja::context;
use zeroize::Zeroizing;

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::{error_page, see_other};
use crate::caller::Caller;
use crate::cookies;
use crate::factors::{self, Methods};
use crate::fault::Fault;
use crate::forms;
use crate::params::Params;
use crate::passwords::{PasswordError, Verdict};
use crate::sessions::{self, Session};
use crate::throttle::AccountKey;
use crate::time::retry_seconds;
use crate::users::{self, User};
use crate::vault::BearerSecret;

use self::next::Next;

/// The form's name in its token.
const FORM: &str = "login";

/// What every failed sign-in is told.
const WRONG: &str = "The e-mail address or the password is not right.";

/// What is told when the token of a form does not fit.
pub(crate) const FORGED: &str =
    "This form could not be checked. Make sure that cookies are allowed, then try again.";

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
    let next = match Next::read(&app, &params) {
        Ok(next) => next,
        Err(response) => return *response,
    };
    let email = next.request().and_then(|request| request.login_hint.clone()).unwrap_or_default();
    let form = Form { next: &next, email: &email, error: None, status: StatusCode::OK };
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

async fn sign_in(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Response, Fault> {
    let next = match Next::read(app, params) {
        Ok(next) => next,
        Err(response) => return Ok(*response),
    };
    let email = params.get("email").unwrap_or_default();
    let form = |status, error| Form { next: &next, email, error: Some(error), status };
    let cookie = cookies::read(headers, cookies::LOGIN);
    if !forms::is_ours(&app.vault, &app.issuer.origin, headers, FORM, cookie, params.get(forms::FIELD)) {
        return form(StatusCode::FORBIDDEN, FORGED).render(app, headers);
    }
    let account = app.account_key(email);
    let place = app.place(headers, account, caller.address);
    let attempt = match app.throttle.attempt(account, place, app.now()) {
        Ok(attempt) => attempt,
        Err(wait) => {
            count("throttled");
            let text = too_many(wait);
            let response = form(StatusCode::TOO_MANY_REQUESTS, &text).render(app, headers)?;
            return Ok(retry_after(response, wait));
        }
    };
    let user = match verify(app, email, &params.secret("password")).await {
        Ok(user) => user,
        Err(fault) => {
            app.throttle.cancelled(attempt);
            return Err(fault);
        }
    };
    let Some(user) = user else {
        count("failed");
        record_failure(app, account, caller).await?;
        return form(StatusCode::UNPROCESSABLE_ENTITY, WRONG).render(app, headers);
    };
    app.throttle.succeeded(attempt);
    if factors::enrolled(&app.store, &user.id.to_string()).await?.any() {
        count("half");
        let mut response = see_other(&next.through(app, "/login/second")?);
        let pending = second::Pending::of(app, &user).seal(app)?;
        response.headers_mut().append(header::SET_COOKIE, cookies::set(cookies::PENDING, &pending));
        return Ok(response);
    }
    finish(app, headers, &user, Methods::PASSWORD, &next, caller).await
}

/// What a throttled person reads.
pub(crate) fn too_many(wait: std::time::Duration) -> String {
    format!("Too many attempts from here. Wait {} seconds, then try again.", retry_seconds(wait))
}

/// Says when to come back.
pub(crate) fn retry_after(mut response: Response, wait: std::time::Duration) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_seconds(wait)));
    response
}

/// Signs `user` in and goes on to `next`; every proof that is asked for was given. Who was given another password or was
/// disabled since it was checked starts again.
pub(crate) async fn finish(
    app: &App,
    headers: &HeaderMap,
    user: &User,
    methods: Methods,
    next: &Next,
    caller: &Caller,
) -> Result<Response, Fault> {
    let Some((session, secret)) = start_session(app, headers, user, methods, next, caller).await? else {
        count("overtaken");
        let mut response = see_other(&next.through(app, "/login")?);
        response.headers_mut().append(header::SET_COOKIE, cookies::clear(cookies::PENDING));
        return Ok(response);
    };
    count("succeeded");
    let mut response = next.follow(app, &session, caller).await?;
    let cookies = response.headers_mut();
    cookies.append(header::SET_COOKIE, cookies::set(cookies::SESSION, secret.reveal()));
    cookies.append(header::SET_COOKIE, cookies::clear(cookies::LOGIN));
    cookies.append(header::SET_COOKIE, cookies::clear(cookies::PENDING));
    let device = app.device_cookie(app.account_key(&user.email));
    cookies.append(header::SET_COOKIE, cookies::set_lasting(cookies::DEVICE, &device, DEVICE_SECONDS));
    Ok(response)
}

pub(crate) fn count(outcome: &'static str) {
    metrics::counter!("quintet_identity_logins_total", "outcome" => outcome).increment(1);
}

/// The person who may sign in with this password. A weaker stored hash is replaced on the way.
async fn verify(app: &App, email: &str, password: &Zeroizing<String>) -> Result<Option<User>, Fault> {
    let Some(mut user) = users::by_email(&app.store, email).await? else {
        app.passwords.verify_nobody(password).await?;
        return Ok(None);
    };
    match app.passwords.verify(password, &user.password_hash).await {
        Ok(Verdict::Fits { outdated }) if !user.disabled => {
            if outdated {
                let hash = app.passwords.hash(password).await?;
                let mut tx = app.store.begin().await?;
                users::rehash(&mut tx, &user, &hash, app.now()).await?;
                tx.commit().await?;
                user.password_hash = hash;
            }
            Ok(Some(user))
        }
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
    methods: Methods,
    next: &Next,
    caller: &Caller,
) -> Result<Option<(Session, BearerSecret)>, Fault> {
    let current = app.session(headers).await?;
    let now = app.now();
    let mut tx = app.store.begin().await?;
    if !users::hold(&mut tx, user, methods.any_of(Methods::PASSWORD)).await? {
        return Ok(None);
    }
    if let Some(other) = current.as_ref().filter(|current| current.user.id != user.id) {
        crate::grants::revoke_session(&mut tx, &other.id, "", now).await?;
    }
    let (session, secret) = sessions::start(&mut tx, app, user, methods, current.as_ref(), caller).await?;
    let event = Event {
        actor: user.id.to_string(),
        subject: session.id.clone(),
        client_id: next.request().map(|request| request.client_id.clone()).unwrap_or_default(),
        detail: audit::detail([("methods", methods.to_string())]),
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::LoginSucceeded, event).await?;
    tx.commit().await?;
    Ok(Some((session, secret)))
}

/// The cookie that binds the forms of signing in to this browser: the one it has, or a fresh one to
/// set. One for all of a browser's tabs, so that they do not spoil each other's forms.
pub(crate) fn binding(app: &App, headers: &HeaderMap) -> (String, Option<HeaderValue>) {
    if let Some(known) = cookies::read(headers, cookies::LOGIN).filter(|cookie| cookie.len() >= 43) {
        return (known.to_owned(), None);
    }
    let fresh = BearerSecret::draw(app.entropy.as_ref(), "").reveal().to_owned();
    let set = cookies::set(cookies::LOGIN, &fresh);
    (fresh, Some(set))
}

/// The page with its form.
struct Form<'a> {
    next: &'a Next,
    email: &'a str,
    error: Option<&'a str>,
    status: StatusCode,
}

impl Form<'_> {
    fn render(&self, app: &App, headers: &HeaderMap) -> Result<Response, Fault> {
        let (cookie, set) = binding(app, headers);
        let (client, target) = self.next.client(app);
        let (field, value) = self.next.field(app)?;
        let values = context!(
            client,
            email => self.email,
            error => self.error.unwrap_or_default(),
            csrf => forms::token(&app.vault, FORM, &cookie),
            next_field => field,
            next_value => value,
            may_reset => app.mail.is_some(),
            passkey => passkey::Offer::first(app, &cookie).values(app),
        );
        let mut response = app.pages.render_scripted(self.status, "login.html", values, target.as_ref())?;
        if let Some(set) = set {
            response.headers_mut().append(header::SET_COOKIE, set);
        }
        Ok(response)
    }
}
