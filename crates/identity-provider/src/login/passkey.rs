//! Signing in by passkey: as the only step, found by the browser without a name being typed, or as the
//! second one after a password.
//!
//! As the only step the authenticator must have made sure of its owner. There is nothing to guess in a
//! signature, so nothing is throttled here; what is refused for a known passkey is in the audit log.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::{Value, context};

use super::next::Next;
use super::second::{self, Asked, Half};
use super::{FORGED, finish};
use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::{error_page, see_other};
use crate::caller::Caller;
use crate::cookies;
use crate::factors::passkeys::webauthn::{Asserted, Assertion, RelyingParty};
use crate::factors::passkeys::{self, Ceremony, Challenge, Passkey, Use};
use crate::factors::{self, Methods};
use crate::fault::Fault;
use crate::forms;
use crate::params::Params;
use crate::users::{self, User};

const FORM: &str = "passkey";

const REFUSED: &str = "This passkey could not be used. Try again, or sign in another way.";

/// Which site passkeys are made for.
pub(crate) fn relying_party(app: &App) -> RelyingParty<'_> {
    RelyingParty { id: &app.issuer.host, origin: &app.issuer.origin }
}

/// What a page needs to ask the browser for a passkey.
pub(crate) struct Offer {
    step: &'static str,
    csrf: String,
    challenge: String,
    credentials: String,
}

impl Offer {
    /// For the only step: whatever passkey the browser has for this site.
    pub(crate) fn first(app: &App, cookie: &str) -> Self {
        Self::new(app, cookie, "first", &[])
    }

    /// For the second step: one of `keys`.
    pub(crate) fn second(app: &App, cookie: &str, keys: &[Passkey]) -> Self {
        Self::new(app, cookie, "second", keys)
    }

    fn new(app: &App, cookie: &str, step: &'static str, keys: &[Passkey]) -> Self {
        let ids: Vec<&str> = keys.iter().map(|key| key.credential_id.as_str()).collect();
        Self {
            step,
            csrf: forms::token(&app.vault, FORM, cookie),
            challenge: Challenge { app, ceremony: Ceremony::SignIn, binding: cookie }.draw(),
            credentials: ids.join(" "),
        }
    }

    /// As the template takes it.
    pub(crate) fn values(&self, app: &App) -> Value {
        context!(
            step => self.step,
            csrf => self.csrf.as_str(),
            challenge => self.challenge.as_str(),
            credentials => self.credentials.as_str(),
            host => app.issuer.host.as_str(),
        )
    }
}

/// `POST /login/passkey`
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
    let half = if params.get("step") == Some("second") {
        match Half::find(app, headers).await? {
            Some(half) => Some(half),
            None => return Ok(see_other(&next.through(app, "/login")?)),
        }
    } else {
        None
    };
    let page = Page { app, headers, params, next: &next, half: half.as_ref() };
    let cookie = cookies::read(headers, cookies::LOGIN);
    if !forms::is_ours(&app.vault, &app.issuer.origin, headers, FORM, cookie, params.get(forms::FIELD)) {
        return page.refuse(StatusCode::FORBIDDEN, FORGED).await;
    }
    let answer = params.get("answer").unwrap_or_default();
    let Some((user, asserted)) =
        verify(app, cookie.unwrap_or_default(), answer, half.as_ref(), caller).await?
    else {
        super::count("failed");
        return page.refuse(StatusCode::UNPROCESSABLE_ENTITY, REFUSED).await;
    };
    let method = if asserted.user_verified { Methods::PASSKEY } else { Methods::KEY };
    match half {
        Some(half) => half.proved(app, headers, method, &next, caller).await,
        None => finish(app, headers, &user, method, &next, caller).await,
    }
}

/// The person whose passkey answered, and what it said.
async fn verify(
    app: &App,
    cookie: &str,
    answer: &str,
    half: Option<&Half>,
    caller: &Caller,
) -> Result<Option<(User, Asserted)>, Fault> {
    let Ok(assertion) = Assertion::parse(answer) else { return Ok(None) };
    let Some(passkey) = passkeys::find(&app.store, &assertion.id).await? else { return Ok(None) };
    let Some(user) = users::by_id(&app.store, &passkey.user_id).await?.filter(|user| !user.disabled) else {
        return Ok(None);
    };
    let challenge = Challenge { app, ceremony: Ceremony::SignIn, binding: cookie };
    let verified = assertion.verify(relying_party(app), &passkey.public_key, |text| challenge.is_ours(text));
    let reason = match verified {
        Err(refused) => refused.to_string(),
        Ok(_) if !assertion.is_for(&passkey.user_id) => "the passkey names another account".to_owned(),
        Ok(_) if half.is_some_and(|half| half.user().id != user.id) => "somebody else's passkey".to_owned(),
        Ok(asserted) if half.is_none() && !asserted.user_verified => {
            "the authenticator did not make sure of its owner".to_owned()
        }
        Ok(asserted) => match passkeys::record_use(app, &passkey, &asserted).await? {
            Use::Accepted => return Ok(Some((user, asserted))),
            Use::Replayed => "the answer was used before".to_owned(),
            Use::Cloned => "the signature counter went back: there may be a copy of this passkey".to_owned(),
        },
    };
    let event = Event {
        actor: passkey.user_id,
        subject: passkey.id,
        client_id: String::new(),
        detail: audit::detail([("reason", reason)]),
    };
    let mut tx = app.store.begin().await?;
    audit::append(&mut tx, &app.vault, app.now(), caller, Kind::PasskeyRefused, event).await?;
    tx.commit().await?;
    Ok(None)
}

/// The page that a refusal is shown on: the one that the form was on.
struct Page<'a> {
    app: &'a App,
    headers: &'a HeaderMap,
    params: &'a Params,
    next: &'a Next,
    half: Option<&'a Half>,
}

impl Page<'_> {
    async fn refuse(&self, status: StatusCode, error: &str) -> Result<Response, Fault> {
        let Self { app, headers, params, next, half } = *self;
        let Some(half) = half else {
            return super::Form { next, email: "", error: Some(error), status }.render(app, headers);
        };
        let enrolled = factors::enrolled(&app.store, &half.user().id.to_string()).await?;
        let asked = Asked::read(params, enrolled, half.least(next.least(app, half.user())));
        second::Form { next, half, enrolled, asked, error: Some(error), status }.render(app, headers).await
    }
}
