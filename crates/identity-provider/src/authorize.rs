//! The authorization endpoint: authorization code flow with PKCE, and nothing else.
//!
//! A request is validated once ([`request`]), sealed, and travels with the person through sign-in
//! and consent; nothing is stored until a code is issued. [`proceed`] is the one place that decides
//! what is still missing, and it runs again after every step, so no step can be skipped.
//!
//! An error goes to the client only when its redirect was recognised; everything before that is
//! shown to the person, because an unchecked redirect would make this an open one (RFC 9700 §4.11).

pub(crate) mod consent;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod source;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::caller::Caller;
use crate::clients::{Client, Profile};
use crate::consents;
use crate::factors::{self, Missing};
use crate::fault::Fault;
use crate::grants::{self, Code};
use crate::params::{Params, ParamsError};
use crate::scopes::Scopes;
use crate::sessions::{self, Session};
use crate::time::span;

use self::request::{AuthorizationRequest, ErrorRedirect, Refusal};
use self::response::Destination;

/// The longest life of a code under the profile fapi2.
const FAPI2_CODE: std::time::Duration = std::time::Duration::from_mins(1);

/// `GET /authorize`
pub(crate) async fn get(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    caller: Caller,
) -> Response {
    begin(&app, Params::parse(query.unwrap_or_default().as_bytes()), &headers, &caller).await
}

/// `POST /authorize`, which OpenID Connect Core §3.1.2.1 asks for.
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    begin(&app, Params::read(&headers, body).await, &headers, &caller).await
}

async fn begin(
    app: &App,
    params: Result<Params, ParamsError>,
    headers: &HeaderMap,
    caller: &Caller,
) -> Response {
    let request = match params {
        Ok(params) => match source::resolve(app, params).await {
            Ok(requested) => request::validate(app, &requested),
            Err(refusal) => Err(refusal),
        },
        Err(error) => return error_page(app, error.status(), &error.to_string()),
    };
    match request {
        Ok(request) => {
            let session = match app.session(headers).await {
                Ok(session) => session,
                Err(fault) => return app.pages.fault(&fault),
            };
            proceed(app, &request, session.as_ref(), caller)
                .await
                .unwrap_or_else(|fault| app.pages.fault(&fault))
        }
        Err(Refusal::Page(text)) => error_page(app, StatusCode::BAD_REQUEST, text),
        Err(Refusal::Redirect(redirect)) => {
            let ErrorRedirect { destination, error, description } = *redirect;
            destination.refuse(app, error, description)
        }
        Err(Refusal::Fault(fault)) => app.pages.fault(&fault),
    }
}

/// Takes a validated request as far as it goes now: to sign-in, to consent, or back to the client.
pub(crate) async fn proceed(
    app: &App,
    request: &AuthorizationRequest,
    session: Option<&Session>,
    caller: &Caller,
) -> Result<Response, Fault> {
    // The configuration may have changed since the request was sealed.
    let Some((client, redirect)) = request.client(app) else {
        return Ok(error_page(app, StatusCode::BAD_REQUEST, "This client is not registered any more."));
    };
    let destination = request.destination(redirect);
    let Some(session) = session.filter(|session| request.accepts(session, app.now())) else {
        if request.prompt.none {
            return Ok(destination.refuse(app, "login_required", "nobody is signed in, or not as asked for"));
        }
        let sealed = request.seal(&app.vault)?;
        return Ok(see_other(&format!("{}/login?request={sealed}", app.issuer.prefix)));
    };
    // RFC 9470 §4 and the operator's policy, whichever asks for more.
    let (have, least) = (session.methods.assurance(), request.least_assurance(app, &session.user));
    if have < least {
        if request.prompt.none {
            return Ok(destination.refuse(
                app,
                "login_required",
                "the sign-in is not as strong as asked for",
            ));
        }
        let enrolled = factors::enrolled(&app.store, &session.user.id.to_string()).await?;
        let path = enrolled.missing(have, least).map_or("/login/second", Missing::path);
        let sealed = request.seal(&app.vault)?;
        return Ok(see_other(&format!("{}{path}?request={sealed}", app.issuer.prefix)));
    }
    let granted = request.scopes() & client.scopes & session.user.role.scopes();
    if granted.is_empty() {
        return Ok(destination.refuse(app, "invalid_scope", "none of the scopes asked for can be granted"));
    }
    if needs_consent(app, request, &client, session, granted).await? {
        if request.prompt.none {
            return Ok(destination.refuse(app, "consent_required", "the person has not allowed this yet"));
        }
        return consent::page(app, request, &client, session, granted);
    }
    issue(app, request, &client, destination, session, granted, caller).await
}

async fn needs_consent(
    app: &App,
    request: &AuthorizationRequest,
    client: &Client,
    session: &Session,
    granted: Scopes,
) -> Result<bool, Fault> {
    // Whose it was stands in the request: whoever holds it may send somebody else with it.
    if request.consented_by.as_deref() == Some(session.user.id.to_string().as_str()) {
        return Ok(false);
    }
    if request.prompt.consent {
        return Ok(true);
    }
    if !client.consent {
        return Ok(false);
    }
    let allowed = consents::granted(&app.store, &session.user.id.to_string(), &client.id).await?;
    Ok(!allowed.contains(granted))
}

async fn issue(
    app: &App,
    request: &AuthorizationRequest,
    client: &Client,
    destination: Destination,
    session: &Session,
    granted: Scopes,
    caller: &Caller,
) -> Result<Response, Fault> {
    let now = app.now();
    let code = Code {
        grant_id: grants::fresh_id(app.clock.as_ref(), app.entropy.as_ref()),
        client_id: client.id.clone(),
        user_id: session.user.id.to_string(),
        session_id: session.id.clone(),
        redirect_uri: request.redirect_uri.clone(),
        scope: granted.to_string(),
        nonce: request.nonce.clone(),
        code_challenge: request.code_challenge.clone(),
        auth_at: session.auth_at,
        methods: session.methods,
        // FAPI 2.0 §5.3.2.1: a minute at most.
        expires_at: now
            + match client.security.profile {
                Profile::Basic => app.lifetimes.code,
                Profile::Fapi2 => app.lifetimes.code.min(span(FAPI2_CODE)),
            },
        used: false,
        resource: request.resource.clone(),
        dpop_jkt: request.dpop_jkt.clone(),
    };
    let mut tx = app.store.begin().await?;
    sessions::touch(&mut tx, &session.id, now).await?;
    let secret = grants::issue_code(&mut tx, &app.vault, app.entropy.as_ref(), &code).await?;
    let event = Event {
        actor: code.user_id,
        subject: code.grant_id,
        client_id: code.client_id,
        detail: audit::detail([("scope", code.scope)]),
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::CodeIssued, event).await?;
    tx.commit().await?;
    metrics::counter!("quintet_identity_codes_issued_total").increment(1);
    Ok(destination.answer(app, &[("code", secret.reveal())]))
}

pub(crate) fn error_page(app: &App, status: StatusCode, text: &str) -> Response {
    metrics::counter!("quintet_identity_authorization_errors_total", "error" => "not_redirected")
        .increment(1);
    app.pages.message(status, "This sign-in link does not work", text)
}

/// A redirect that turns a POST into a GET (303: a 307 would resend a password, RFC 9700 §4.12).
pub(crate) fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
