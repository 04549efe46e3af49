//! The consent page: what a client that is not our own may see and do.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::{Value, context};

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::request::{AuthorizationRequest, EXPIRED};
use crate::authorize::{error_page, proceed};
use crate::caller::Caller;
use crate::clients::Client;
use crate::consents;
use crate::cookies;
use crate::fault::Fault;
use crate::forms;
use crate::params::Params;
use crate::scopes::Scopes;
use crate::sessions::Session;

/// The form's name in its token. It contains the session's id, so that a token shown to one
/// person does not serve the next at the same browser.
fn form(session: &Session) -> String {
    format!("consent {}", session.id)
}

/// The page that asks.
pub(crate) fn page(
    app: &App,
    request: &AuthorizationRequest,
    client: &Client,
    session: &Session,
    granted: Scopes,
) -> Result<Response, Fault> {
    let scopes: Vec<&str> = granted.descriptions().collect();
    let values = context!(
        client => client.name.as_str(),
        email => session.user.email.as_str(),
        scopes => Value::from(scopes),
        csrf => forms::token(&app.vault, &form(session), &session.id),
        request => request.seal(&app.vault)?,
    );
    let target = client.redirect(&request.redirect_uri);
    app.pages.render(StatusCode::OK, "consent.html", values, target.as_ref())
}

/// `POST /consent`
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
    decide(&app, &headers, &params, &caller).await.unwrap_or_else(|fault| app.pages.fault(&fault))
}

async fn decide(app: &App, headers: &HeaderMap, params: &Params, caller: &Caller) -> Result<Response, Fault> {
    let Some(mut request) = params.get("request").and_then(|sealed| AuthorizationRequest::open(app, sealed))
    else {
        return Ok(error_page(app, EXPIRED.0, EXPIRED.1));
    };
    let Some(session) = app.session(headers).await? else {
        return proceed(app, &request, None, caller).await;
    };
    let cookie = cookies::read(headers, cookies::SESSION).map(|_| session.id.as_str());
    let presented = params.get(forms::FIELD);
    if !forms::is_ours(&app.vault, &app.issuer.origin, headers, &form(&session), cookie, presented) {
        return Ok(error_page(
            app,
            StatusCode::FORBIDDEN,
            "This form was not sent from our page. Start again.",
        ));
    }
    let Some((client, redirect)) = request.client(app) else {
        return Ok(error_page(app, StatusCode::BAD_REQUEST, "This client is not registered any more."));
    };
    if params.get("decision") != Some("allow") {
        let destination = request.destination(redirect);
        return Ok(destination.refuse(app, "access_denied", "the person did not allow this"));
    }
    let user_id = session.user.id.to_string();
    request.consented_by = Some(user_id.clone());
    let granted = request.scopes() & client.scopes & session.user.role.scopes();
    let before = consents::granted(&app.store, &user_id, &client.id).await?;
    let now = app.now();
    let mut tx = app.store.begin().await?;
    consents::record(&mut tx, &user_id, &client.id, before.union(granted), now).await?;
    let event = Event {
        actor: user_id.clone(),
        subject: user_id,
        client_id: client.id.clone(),
        detail: audit::detail([("scope", granted.to_string())]),
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::ConsentGranted, event).await?;
    tx.commit().await?;
    proceed(app, &request, Some(&session), caller).await
}
