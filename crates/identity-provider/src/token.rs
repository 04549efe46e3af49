//! The token endpoint (RFC 6749 §3.2) and its grants.

mod answer;
mod binding;
pub(crate) mod code;
mod exchange;
mod mint;
mod refresh;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::caller::Caller;
use crate::client_auth;
use crate::clients::{Client, GrantType};
use crate::dpop;
use crate::fault::Fault;
use crate::grants;
use crate::params::Params;
use crate::scopes::Scopes;

use self::answer::Tokens;
pub(crate) use self::answer::{OAuthError, Refusal, no_store, respond};
use self::binding::Binding;
pub(crate) use self::binding::resource;
use self::mint::Shape;
pub(crate) use self::mint::{AUDIENCE, profile};

/// `POST /token`
pub(crate) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let result = match Params::read(&headers, body).await {
        Ok(params) => exchange(&app, &headers, &params, &caller).await,
        Err(error) => Err(error.into()),
    };
    let response = match result {
        Ok(tokens) => no_store(axum::Json(tokens).into_response()),
        Err(refusal) => refusal.into_response(),
    };
    dpop::with_nonce(&app, &headers, response)
}

/// A request by an authenticated client.
struct Ask<'a> {
    client: &'a Client,
    params: &'a Params,
    caller: &'a Caller,
    binding: Binding,
}

async fn exchange(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Tokens, Refusal> {
    let client = client_auth::authenticate(app, headers, params, "/token").await?;
    let grant = match params.get("grant_type") {
        Some("authorization_code") => GrantType::AuthorizationCode,
        Some("refresh_token") => GrantType::RefreshToken,
        Some("client_credentials") => GrantType::ClientCredentials,
        Some("urn:ietf:params:oauth:grant-type:device_code") => GrantType::DeviceCode,
        Some("urn:ietf:params:oauth:grant-type:token-exchange") => GrantType::TokenExchange,
        Some(_) => {
            return Err(OAuthError::UnsupportedGrantType.because("this grant type does not exist here"));
        }
        None => return Err(OAuthError::InvalidRequest.because("grant_type is missing")),
    };
    if !client.may(grant) {
        return Err(OAuthError::UnauthorizedClient.because("this client may not use this grant type"));
    }
    let binding = Binding::of(app, &client, headers).await?;
    let ask = Ask { client: &client, params, caller, binding };
    let tokens = match grant {
        GrantType::AuthorizationCode => code::exchange(app, &ask).await,
        GrantType::RefreshToken => refresh::exchange(app, &ask).await,
        GrantType::ClientCredentials => client_credentials(app, &ask),
        GrantType::DeviceCode => code::of_device(app, &ask).await,
        GrantType::TokenExchange => exchange::exchange(app, &ask).await,
    }?;
    metrics::counter!("quintet_identity_tokens_issued_total", "grant_type" => grant.name()).increment(1);
    Ok(tokens)
}

/// RFC 6749 §4.4. Touches no database for a client with a secret: service tokens must flow when everything else queues.
fn client_credentials(app: &App, ask: &Ask<'_>) -> Result<Tokens, Refusal> {
    let client = ask.client;
    // A client has nobody to identify and no session to outlive.
    let person = Scopes::requested("openid profile email offline_access");
    let allowed = Scopes::requested(
        &client.scopes.names().filter(|name| !person.has(name)).collect::<Vec<_>>().join(" "),
    );
    let scopes = match ask.params.get("scope") {
        None => allowed,
        Some(wanted) => Scopes::requested(wanted) & allowed,
    };
    if scopes.is_empty() {
        return Err(OAuthError::InvalidScope.because("this client may have none of the scopes asked for"));
    }
    let shape = Shape { audience: binding::audience(client, ask.params, None)?, binding: &ask.binding };
    mint::for_client(app, client, scopes, &shape).map_err(Refusal::from)
}

/// Revokes a grant whose code or refresh token somebody else has a copy of.
async fn kill_family(
    app: &App,
    grant_id: &str,
    client: &Client,
    kind: Kind,
    caller: &Caller,
) -> Result<(), Fault> {
    let now = app.now();
    let mut tx = app.store.begin().await?;
    let because = if kind == Kind::CodeReused { "code reused" } else { "refresh token reused" };
    if grants::revoke(&mut tx, grant_id, because, now).await? {
        let event = Event {
            actor: client.id.clone(),
            subject: grant_id.to_owned(),
            client_id: client.id.clone(),
            detail: audit::detail([]),
        };
        audit::append(&mut tx, &app.vault, now, caller, kind, event).await?;
        metrics::counter!("quintet_identity_grants_killed_total", "because" => because).increment(1);
        tracing::warn!(grant = grant_id, client = %client.id, because, "grant revoked");
    }
    tx.commit().await?;
    Ok(())
}
