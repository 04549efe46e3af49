//! Token introspection (RFC 7662), for clients that authenticate.
//!
//! A client sees its own tokens; one marked `introspection = true` sees all. Everything else is
//! `{"active": false}`, which tells nothing.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::app::{App, Shared};
use crate::bearer;
use crate::client_auth;
use crate::clients::Client;
use crate::fault::Fault;
use crate::grants;
use crate::params::Params;
use crate::sessions;
use crate::time::seconds;
use crate::token::{OAuthError, Refusal, no_store};

/// `POST /introspect`
pub(crate) async fn post(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    match handle(&app, &headers, body).await {
        Ok(answer) => no_store(Json(answer).into_response()),
        Err(refusal) => refusal.into_response(),
    }
}

async fn handle(app: &App, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    let params = Params::read(headers, body).await?;
    let client = client_auth::authenticate(app, headers, &params, "/introspect").await?;
    client_auth::confidential(&client)?;
    let token = params.get("token").ok_or(OAuthError::InvalidRequest.because("token is missing"))?;
    let answer = if token.starts_with(grants::REFRESH_PREFIX) {
        refresh(app, &client, token).await?
    } else {
        access(app, &client, token).await?
    };
    Ok(answer.unwrap_or_else(|| json!({ "active": false })))
}

fn may_see(client: &Client, owner: &str) -> bool {
    client.introspection || client.id == owner
}

async fn access(app: &App, client: &Client, token: &str) -> Result<Option<Value>, Fault> {
    let claims = bearer::known(app, token).await?.filter(|claims| may_see(client, &claims.client_id));
    Ok(claims.map(|claims| {
        let by_key = claims.cnf.as_ref().is_some_and(|cnf| cnf.key.is_some());
        let token_type = if by_key { "DPoP" } else { "Bearer" };
        let mut answer = json!({
            "active": true,
            "token_type": token_type,
            "iss": claims.iss,
            "sub": claims.sub,
            "aud": claims.aud,
            "client_id": claims.client_id,
            "scope": claims.scope,
            "iat": claims.iat,
            "exp": claims.exp,
            "jti": claims.jti,
        });
        if let (Some(email), Some(answer)) = (claims.email, answer.as_object_mut()) {
            answer.insert("username".to_owned(), email.into());
        }
        // RFC 9449 §6.2, RFC 8705 §3.2.
        if let (Some(cnf), Some(answer)) = (claims.cnf, answer.as_object_mut()) {
            answer.insert("cnf".to_owned(), json!(cnf));
        }
        answer
    }))
}

async fn refresh(app: &App, client: &Client, token: &str) -> Result<Option<Value>, Fault> {
    let now = app.now();
    let found = grants::find_refresh(&app.store, &app.vault, token).await?;
    let Some((state, grant)) = found.filter(|(_, grant)| may_see(client, &grant.client_id)) else {
        return Ok(None);
    };
    let lives =
        grant.offline || sessions::is_live(&app.store, &grant.session_id, app.lifetimes.session, now).await?;
    if !lives || grant.revoked || state.used_at.is_some() || state.expires_at.min(grant.expires_at) <= now {
        return Ok(None);
    }
    Ok(Some(json!({
        "active": true,
        "token_type": "refresh_token",
        "iss": app.issuer.url,
        "sub": grant.user_id,
        "client_id": grant.client_id,
        "scope": grant.scope,
        "exp": seconds(state.expires_at.min(grant.expires_at)),
    })))
}
