//! Token revocation (RFC 7009).
//!
//! A refresh token takes its whole grant with it, and so the access tokens of the grant at this
//! provider's endpoints; other services accept an access token until it expires.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::caller::Caller;
use crate::claims::AccessClaims;
use crate::client_auth;
use crate::clients::Client;
use crate::fault::Fault;
use crate::grants;
use crate::keys::TokenType;
use crate::params::Params;
use crate::token::{OAuthError, Refusal};

/// `POST /revoke`
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    match handle(&app, &headers, body, &caller).await {
        // Also for a token that is unknown: it is as revoked as it can be (§2.2).
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn handle(app: &App, headers: &HeaderMap, body: Body, caller: &Caller) -> Result<(), Refusal> {
    let params = Params::read(headers, body).await?;
    let client = client_auth::authenticate(app, headers, &params, "/revoke").await?;
    let token = params.get("token").ok_or(OAuthError::InvalidRequest.because("token is missing"))?;
    Ok(revoke(app, &client, token, caller).await?)
}

async fn revoke(app: &App, client: &Client, token: &str, caller: &Caller) -> Result<(), Fault> {
    let now = app.now();
    if token.starts_with(grants::REFRESH_PREFIX) {
        let found = grants::find_refresh(&app.store, &app.vault, token).await?;
        let Some((_, grant)) = found.filter(|(_, grant)| grant.client_id == client.id) else { return Ok(()) };
        let mut tx = app.store.begin().await?;
        if grants::revoke(&mut tx, &grant.id, "revoked by client", now).await? {
            let event = Event {
                actor: client.id.clone(),
                subject: grant.id,
                client_id: client.id.clone(),
                detail: audit::detail([]),
            };
            audit::append(&mut tx, &app.vault, now, caller, Kind::GrantRevoked, event).await?;
        }
        return Ok(tx.commit().await?);
    }
    let claims = app.keys.verify::<AccessClaims>(TokenType::Access, token).ok();
    let Some(claims) = claims.filter(|claims| claims.client_id == client.id) else { return Ok(()) };
    let mut tx = app.store.begin().await?;
    grants::revoke_access(&mut tx, &claims.jti, claims.exp.saturating_mul(1_000_000)).await?;
    Ok(tx.commit().await?)
}
