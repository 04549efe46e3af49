//! Where a person enters the code that a device shows, sees whose it is, and decides.
//!
//! A link may fill the code in (RFC 8628 §3.3.1), but never decides: the page shows the client, what it asks for and the
//! code, to be compared with the device's, because the link could be somebody else's (§5.4).

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::{Value, context};

use super::{Waiting, normalized};
use crate::account::{Page, Turned, Visit, answer, form, readable};
use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::see_other;
use crate::caller::Caller;
use crate::clients::Client;
use crate::consents;
use crate::grants::{self, Code};
use crate::login::next::Next;
use crate::params::Params;
use crate::scopes::Scopes;
use crate::throttle::AccountKey;
use crate::time::{retry_seconds, span};
use crate::vault::Purpose;

const HERE: Next = Next::Page(Page::Device);

/// How long the device has to fetch its tokens once they are allowed: more than it may be told to wait between polls.
const EXCHANGE_WITHIN: std::time::Duration = std::time::Duration::from_mins(5);

/// `GET /device`
pub(crate) async fn get(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let params = readable(&app, Params::parse(query.unwrap_or_default().as_bytes()))?;
        let visit = visit(&app, &headers).await?;
        let typed = params.get("user_code").and_then(normalized).unwrap_or_default();
        enter(&app, &visit, &typed, "", StatusCode::OK)
    };
    answer(&app, outcome.await)
}

/// `POST /device`
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        let visit = visit(&app, &headers).await?;
        visit.check(&app, &headers, &params)?;
        proceed(&app, &visit, &params, &headers, &caller).await
    };
    answer(&app, outcome.await)
}

/// Lets in who is signed in as the operator asks of them.
async fn visit(app: &App, headers: &HeaderMap) -> Result<Visit, Turned> {
    let visit = Visit::begin(app, headers, &HERE).await?;
    if visit.session.methods.assurance() < app.factors.least(&visit.session.user) {
        return Err(Turned::Away(Box::new(see_other(&HERE.through(app, "/account/totp")?))));
    }
    Ok(visit)
}

fn enter(app: &App, visit: &Visit, typed: &str, error: &str, status: StatusCode) -> Result<Response, Turned> {
    let values = context!(csrf => visit.csrf(app), user_code => typed, error);
    Ok(app.pages.render(status, "device.html", values, None)?)
}

async fn proceed(
    app: &App,
    visit: &Visit,
    params: &Params,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<Response, Turned> {
    let typed = params.get("user_code").unwrap_or_default();
    // Its own counter: a person who mistypes codes is still let in with their password.
    let guesser = AccountKey(app.vault.mac(Purpose::UserCode, &[b"guesser", visit.user_id().as_bytes()]));
    let place = app.place(headers, guesser, caller.address);
    let attempt = match app.throttle.attempt(guesser, place, app.now()) {
        Ok(attempt) => attempt,
        Err(wait) => {
            let text = format!("Too many wrong codes. Wait {} seconds, then try again.", retry_seconds(wait));
            return enter(app, visit, typed, &text, StatusCode::TOO_MANY_REQUESTS);
        }
    };
    let Some(waiting) = Waiting::typed(app, typed).await? else {
        let text = "No device waits with this code. Compare it with the device, or begin again there.";
        return enter(app, visit, typed, text, StatusCode::UNPROCESSABLE_ENTITY);
    };
    app.throttle.succeeded(attempt);
    let Some(client) = app.clients.find(&waiting.client_id) else {
        let text = "The application on the device is not registered any more.";
        return Ok(app.pages.message(StatusCode::BAD_REQUEST, "That did not work", text));
    };
    let granted = Scopes::requested(&waiting.scope) & client.scopes & visit.session.user.role.scopes();
    match params.get("decision") {
        Some("allow") if !granted.is_empty() => allow(app, visit, &waiting, &client, granted, caller).await,
        Some("allow" | "deny") => deny(app, &waiting).await,
        _ => confirm(app, visit, &client, granted, typed),
    }
}

fn confirm(
    app: &App,
    visit: &Visit,
    client: &Client,
    granted: Scopes,
    typed: &str,
) -> Result<Response, Turned> {
    let values = context!(
        csrf => visit.csrf(app),
        client => client.name.as_str(),
        email => visit.session.user.email.as_str(),
        scopes => Value::from(granted.descriptions().collect::<Vec<_>>()),
        user_code => typed.to_ascii_uppercase(),
    );
    Ok(app.pages.render(StatusCode::OK, "device_confirm.html", values, None)?)
}

async fn allow(
    app: &App,
    visit: &Visit,
    waiting: &Waiting,
    client: &Client,
    granted: Scopes,
    caller: &Caller,
) -> Result<Response, Turned> {
    let now = app.now();
    let code = Code {
        grant_id: grants::fresh_id(app.clock.as_ref(), app.entropy.as_ref()),
        client_id: client.id.clone(),
        user_id: visit.user_id(),
        session_id: visit.session.id.clone(),
        // None: the code of a device is exchanged by its own grant type alone.
        redirect_uri: String::new(),
        scope: granted.to_string(),
        nonce: None,
        code_challenge: String::new(),
        auth_at: visit.session.auth_at,
        methods: visit.session.methods,
        expires_at: now + span(EXCHANGE_WITHIN),
        used: false,
        resource: waiting.resource.clone(),
        dpop_jkt: None,
    };
    let before = consents::granted(&app.store, &code.user_id, &client.id).await?;
    let mut tx = app.store.begin().await?;
    if !waiting.decide(&mut tx, "allowed").await? {
        return Ok(done(app, "This code was used already."));
    }
    // So that the person finds it among what they allowed, and can take it back when the device is lost.
    consents::record(&mut tx, &code.user_id, &client.id, before.union(granted), now).await?;
    grants::insert_code(&mut tx, &waiting.code_hash, &code).await?;
    let event = Event {
        actor: code.user_id,
        subject: code.grant_id,
        client_id: code.client_id,
        detail: audit::detail([("scope", code.scope), ("by", "device".to_owned())]),
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::CodeIssued, event).await?;
    tx.commit().await?;
    Ok(done(app, "The device is connected. You can close this window."))
}

async fn deny(app: &App, waiting: &Waiting) -> Result<Response, Turned> {
    let mut tx = app.store.begin().await?;
    waiting.decide(&mut tx, "denied").await?;
    tx.commit().await?;
    Ok(done(app, "The device was not connected. You can close this window."))
}

fn done(app: &App, text: &str) -> Response {
    app.pages.message(StatusCode::OK, "Done", text)
}
