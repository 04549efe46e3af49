//! The second step of a sign-in: a code of an app, or a recovery code.
//!
//! Two ways lead here. After a right password, the person and the moment wait in a sealed cookie
//! ([`Pending`]) that lives ten minutes and ends with a changed password. And somebody who is signed in
//! comes when an application asks for more than their session is worth.
//!
//! Guesses are counted apart from those of passwords: by person and place, and by person alone, because
//! six digits would not last against a thousand places. Only who knows the password can run that counter
//! up, and a browser known to the account is not stopped by it.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use minijinja::context;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::next::Next;
use super::passkey::Offer;
use super::{FORGED, binding, count, finish, retry_after, too_many};
use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::{error_page, see_other};
use crate::caller::Caller;
use crate::cookies;
use crate::factors::totp::Outcome;
use crate::factors::{self, Assurance, Enrolled, Methods, Missing, passkeys, recovery, totp};
use crate::fault::Fault;
use crate::forms;
use crate::params::Params;
use crate::sessions::{self, Session};
use crate::throttle::{AccountKey, Attempt, Place};
use crate::users::{self, User};
use crate::vault::{Purpose, Sealing};

const FORM: &str = "second factor";

const WRONG_CODE: &str = "This code is not right, or it was used before. Wait for the next one.";
const WRONG_RECOVERY: &str = "This is none of your recovery codes, or it was used before.";

/// How long a right password waits for its second factor.
const PENDING_LIFE: i64 = 10 * 60 * 1_000_000;

/// A sign-in whose password was right.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    user_id: String,
    /// Of the stored hash: a password that was changed meanwhile is worth nothing.
    password: String,
    at: i64,
}

impl Pending {
    /// The sign-in of `user`, now.
    pub(crate) fn of(app: &App, user: &User) -> Self {
        Self { user_id: user.id.to_string(), password: fingerprint(app, user), at: app.now() }
    }

    /// The cookie's value.
    pub(crate) fn seal(&self, app: &App) -> Result<String, Fault> {
        let json = serde_json::to_vec(self).map_err(crate::keys::KeyError::from)?;
        Ok(app.vault.seal(Sealing::Pending, "", &json)?)
    }

    async fn open(app: &App, cookie: &str) -> Result<Option<User>, Fault> {
        let Ok(json) = app.vault.open(Sealing::Pending, "", cookie) else { return Ok(None) };
        let Ok(pending) = serde_json::from_slice::<Self>(&json) else { return Ok(None) };
        if app.now() - pending.at > PENDING_LIFE {
            return Ok(None);
        }
        let user = users::by_id(&app.store, &pending.user_id).await?;
        Ok(user.filter(|user| !user.disabled && fingerprint(app, user) == pending.password))
    }
}

fn fingerprint(app: &App, user: &User) -> String {
    app.vault.hash(Purpose::Password, &user.password_hash)
}

/// Somebody who has come half the way.
pub(super) enum Half {
    Password(Box<User>),
    Session(Box<Session>),
}

impl Half {
    pub(super) async fn find(app: &App, headers: &HeaderMap) -> Result<Option<Self>, Fault> {
        if let Some(cookie) = cookies::read(headers, cookies::PENDING)
            && let Some(user) = Pending::open(app, cookie).await?
        {
            return Ok(Some(Self::Password(Box::new(user))));
        }
        Ok(app.session(headers).await?.map(|session| Self::Session(Box::new(session))))
    }

    pub(super) fn user(&self) -> &User {
        match self {
            Self::Password(user) => user,
            Self::Session(session) => &session.user,
        }
    }

    /// The least that this step must add up to. After a password any factor will do: who is asked for
    /// more comes back with a session.
    pub(super) fn least(&self, asked: Assurance) -> Assurance {
        match self {
            Self::Password(_) => Assurance::TwoFactors,
            Self::Session(_) => asked,
        }
    }

    /// Goes on with one more proof.
    pub(super) async fn proved(
        &self,
        app: &App,
        headers: &HeaderMap,
        method: Methods,
        next: &Next,
        caller: &Caller,
    ) -> Result<Response, Fault> {
        match self {
            Self::Password(user) => {
                finish(app, headers, user, Methods::PASSWORD.union(method), next, caller).await
            }
            Self::Session(session) => raise(app, session, method, next, caller).await,
        }
    }
}

/// What the page asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    App,
    Recovery,
    /// A passkey, because there is no app.
    Passkey,
    /// A passkey, because nothing else is enough.
    PasskeyAlone,
}

impl Asked {
    pub(super) fn read(params: &Params, enrolled: Enrolled, least: Assurance) -> Self {
        if least > Assurance::TwoFactors {
            Self::PasskeyAlone
        } else if params.get("use") == Some("recovery") {
            Self::Recovery
        } else if enrolled.totp {
            Self::App
        } else {
            Self::Passkey
        }
    }
}

/// `GET /login/second`
pub(crate) async fn get(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    caller: Caller,
) -> Response {
    let params = match Params::parse(query.unwrap_or_default().as_bytes()) {
        Ok(params) => params,
        Err(error) => return error_page(&app, error.status(), &error.to_string()),
    };
    ask(&app, &headers, &params, &caller).await.unwrap_or_else(|fault| app.pages.fault(&fault))
}

async fn ask(app: &App, headers: &HeaderMap, params: &Params, caller: &Caller) -> Result<Response, Fault> {
    let next = match Next::read(app, params) {
        Ok(next) => next,
        Err(response) => return Ok(*response),
    };
    let Some(half) = Half::find(app, headers).await? else {
        return Ok(see_other(&next.through(app, "/login")?));
    };
    let enrolled = factors::enrolled(&app.store, &half.user().id.to_string()).await?;
    let least = next.least(app, half.user());
    if let Half::Session(session) = &half
        && enrolled.missing(session.methods.assurance(), least.max(Assurance::TwoFactors))
            != Some(Missing::Step)
    {
        return next.follow(app, session, caller).await;
    }
    let asked = Asked::read(params, enrolled, half.least(least));
    Form { next: &next, half: &half, enrolled, asked, error: None, status: StatusCode::OK }
        .render(app, headers)
        .await
}

/// `POST /login/second`
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
    check(&app, &headers, &params, &caller).await.unwrap_or_else(|fault| app.pages.fault(&fault))
}

async fn check(app: &App, headers: &HeaderMap, params: &Params, caller: &Caller) -> Result<Response, Fault> {
    let next = match Next::read(app, params) {
        Ok(next) => next,
        Err(response) => return Ok(*response),
    };
    let Some(half) = Half::find(app, headers).await? else {
        return Ok(see_other(&next.through(app, "/login")?));
    };
    let user = half.user();
    let enrolled = factors::enrolled(&app.store, &user.id.to_string()).await?;
    let asked = Asked::read(params, enrolled, half.least(next.least(app, user)));
    let form = |status, error| Form { next: &next, half: &half, enrolled, asked, error: Some(error), status };
    let cookie = cookies::read(headers, cookies::LOGIN);
    if !forms::is_ours(&app.vault, &app.issuer.origin, headers, FORM, cookie, params.get(forms::FIELD)) {
        return form(StatusCode::FORBIDDEN, FORGED).render(app, headers).await;
    }
    let attempts = match Attempts::count(app, headers, user, caller) {
        Ok(attempts) => attempts,
        Err(wait) => {
            count("throttled");
            let text = too_many(wait);
            let response = form(StatusCode::TOO_MANY_REQUESTS, &text).render(app, headers).await?;
            return Ok(retry_after(response, wait));
        }
    };
    match prove(app, user, asked, params.get("code").unwrap_or_default(), caller).await {
        Ok(Some(method)) => {
            attempts.succeeded(app);
            half.proved(app, headers, method, &next, caller).await
        }
        Ok(None) => {
            count("failed");
            let error = if asked == Asked::Recovery { WRONG_RECOVERY } else { WRONG_CODE };
            form(StatusCode::UNPROCESSABLE_ENTITY, error).render(app, headers).await
        }
        Err(fault) => {
            attempts.cancelled(app);
            Err(fault)
        }
    }
}

/// Tries a code; failures and the loss of a recovery code are written to the audit log.
async fn prove(
    app: &App,
    user: &User,
    asked: Asked,
    code: &str,
    caller: &Caller,
) -> Result<Option<Methods>, Fault> {
    let user_id = user.id.to_string();
    let now = app.now();
    let (proved, kind, detail) = match asked {
        Asked::App => match totp::verify(&app.store, &app.vault, &user_id, code, now).await? {
            Outcome::Accepted => return Ok(Some(Methods::OTP)),
            Outcome::Replayed => (None, Kind::SecondFactorFailed, "code used before"),
            Outcome::Wrong => (None, Kind::SecondFactorFailed, "wrong code"),
        },
        // A passkey does not come with this form.
        Asked::Passkey | Asked::PasskeyAlone => return Ok(None),
        Asked::Recovery => {
            if recovery::redeem(&app.store, &app.vault, &user_id, code, now).await? {
                (Some(Methods::RECOVERY), Kind::RecoveryCodeUsed, "")
            } else {
                (None, Kind::SecondFactorFailed, "wrong recovery code")
            }
        }
    };
    let event = Event {
        actor: user_id.clone(),
        subject: user_id,
        client_id: String::new(),
        detail: audit::detail([("reason", detail.to_owned())]),
    };
    let mut tx = app.store.begin().await?;
    audit::append(&mut tx, &app.vault, now, caller, kind, event).await?;
    tx.commit().await?;
    Ok(proved)
}

/// Adds a proof to the session of somebody who is signed in and goes on.
pub(crate) async fn raise(
    app: &App,
    session: &Session,
    by: Methods,
    next: &Next,
    caller: &Caller,
) -> Result<Response, Fault> {
    let mut tx = app.store.begin().await?;
    let (session, secret) = sessions::raise(&mut tx, app, session, by).await?;
    let event = Event {
        actor: session.user.id.to_string(),
        subject: session.id.clone(),
        client_id: next.request().map(|request| request.client_id.clone()).unwrap_or_default(),
        detail: audit::detail([("methods", session.methods.to_string())]),
    };
    audit::append(&mut tx, &app.vault, app.now(), caller, Kind::SessionRaised, event).await?;
    tx.commit().await?;
    let mut response = next.follow(app, &session, caller).await?;
    response.headers_mut().append(header::SET_COOKIE, cookies::set(cookies::SESSION, secret.reveal()));
    Ok(response)
}

/// One guess in every counter that it belongs to.
pub(crate) struct Attempts(Vec<Attempt>);

impl Attempts {
    /// Counts a guess at the second factor of `user`, or says how long to wait.
    pub(crate) fn count(
        app: &App,
        headers: &HeaderMap,
        user: &User,
        caller: &Caller,
    ) -> Result<Self, Duration> {
        let place = app.place(headers, app.account_key(&user.email), caller.address);
        let key =
            AccountKey(app.vault.mac(Purpose::Account, &[b"second factor", user.id.to_string().as_bytes()]));
        let mut counted = Self(Vec::with_capacity(2));
        let places =
            if matches!(place, Place::Device(_)) { vec![place] } else { vec![place, Place::Anywhere] };
        for place in places {
            match app.throttle.attempt(key, place, app.now()) {
                Ok(attempt) => counted.0.push(attempt),
                Err(wait) => {
                    counted.cancelled(app);
                    return Err(wait);
                }
            }
        }
        Ok(counted)
    }

    /// The proof was right.
    pub(crate) fn succeeded(self, app: &App) {
        self.0.into_iter().for_each(|attempt| app.throttle.succeeded(attempt));
    }

    /// The proof was never looked at.
    pub(crate) fn cancelled(self, app: &App) {
        self.0.into_iter().for_each(|attempt| app.throttle.cancelled(attempt));
    }
}

/// The page with its form.
pub(super) struct Form<'a> {
    pub(super) next: &'a Next,
    pub(super) half: &'a Half,
    pub(super) enrolled: Enrolled,
    pub(super) asked: Asked,
    pub(super) error: Option<&'a str>,
    pub(super) status: StatusCode,
}

impl Form<'_> {
    pub(super) async fn render(&self, app: &App, headers: &HeaderMap) -> Result<Response, Fault> {
        let keys = if self.enrolled.passkeys > 0 && self.asked != Asked::Recovery {
            passkeys::of(&app.store, &self.half.user().id.to_string()).await?
        } else {
            Vec::new()
        };
        let (cookie, set) = binding(app, headers);
        let (client, target) = self.next.client(app);
        let (field, value) = self.next.field(app)?;
        let values = context!(
            client,
            email => self.half.user().email.as_str(),
            recovery => self.asked == Asked::Recovery,
            by_app => self.asked == Asked::App,
            passkey => (!keys.is_empty()).then(|| Offer::second(app, &cookie, &keys).values(app)),
            may_recover => self.asked != Asked::PasskeyAlone,
            codes_left => self.enrolled.recovery_codes,
            error => self.error.unwrap_or_default(),
            csrf => forms::token(&app.vault, FORM, &cookie),
            next_field => field,
            next_value => value,
        );
        let mut response = app.pages.render_scripted(self.status, "second.html", values, target.as_ref())?;
        if let Some(set) = set {
            response.headers_mut().append(header::SET_COOKIE, set);
        }
        Ok(response)
    }
}
