//! Pushed authorization requests (RFC 9126): a client sends its parameters here first, authenticated, and the browser
//! carries only a name for them, so that nobody reads or changes them on the way.
//!
//! A pushed request is checked when it arrives, stored sealed under the keyed hash of its name, and taken out once:
//! the conditional update decides between two browsers with the same name. What is taken out is checked again, because
//! a client's registration may have changed.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use quintet_store::args;
use serde_json::json;

use crate::app::{App, Shared};
use crate::authorize::request::{self, Refusal as Refused};
use crate::authorize::source::{self, Source};
use crate::client_auth;
use crate::clients::Client;
use crate::dpop;
use crate::fault::Fault;
use crate::keys::KeyError;
use crate::params::Params;
use crate::time::{seconds, span};
use crate::token::{OAuthError, Refusal, no_store, respond};
use crate::vault::{BearerSecret, Purpose};

/// What the names of pushed requests start with (RFC 9126 §2.2).
pub(crate) const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// How long a pushed request waits for its browser; FAPI 2.0 §5.3.2.2 wants less than 600 seconds.
const LIFETIME: std::time::Duration = std::time::Duration::from_secs(90);

/// `POST /par`
pub(crate) async fn post(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let response = match push(&app, &headers, body).await {
        Ok(uri) => {
            let answer = Json(json!({ "request_uri": uri, "expires_in": LIFETIME.as_secs() }));
            no_store((StatusCode::CREATED, answer).into_response())
        }
        Err(Failure::Client(refusal)) => refusal.into_response(),
        Err(Failure::Request(error, text)) => respond(StatusCode::BAD_REQUEST, error, text),
    };
    dpop::with_nonce(&app, &headers, response)
}

enum Failure {
    Client(Refusal),
    /// An error of the authorization endpoint, told directly (RFC 9126 §2.3).
    Request(&'static str, &'static str),
}

impl<E: Into<Refusal>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Client(error.into())
    }
}

async fn push(app: &App, headers: &HeaderMap, body: Body) -> Result<String, Failure> {
    let params = Params::read(headers, body).await.map_err(Refusal::from)?;
    let client = client_auth::authenticate(app, headers, &params, "/par").await?;
    if params.get("request_uri").is_some() {
        // RFC 9126 §2.1.
        return Err(Failure::Request("invalid_request", "a pushed request has no request_uri"));
    }
    let key = dpop::proof(app, headers, "/par").await?.map(|proof| proof.thumbprint);
    let mut source = source::read(app, &client, params, Source::Pushed).await.map_err(explain)?;
    // RFC 9449 §10.1: the proof of the push stands for dpop_jkt.
    if let Some(key) = key {
        if source.params.get("dpop_jkt").is_some_and(|named| named != key) {
            return Err(OAuthError::InvalidDpopProof
                .because("dpop_jkt is not the key of the DPoP proof")
                .into());
        }
        source.params.set("dpop_jkt", key);
    }
    // Authentication is of this call alone.
    for name in ["client_secret", "client_assertion", "client_assertion_type"] {
        source.params.remove(name);
    }
    source.params.set("client_id", client.id.clone());
    request::validate(app, &source).map_err(explain)?;
    store(app, &client, &source.params).await.map_err(|fault| Failure::Client(fault.into()))
}

fn explain(refused: Refused) -> Failure {
    match refused {
        Refused::Page(text) => Failure::Request("invalid_request", text),
        Refused::Redirect(redirect) => Failure::Request(redirect.error, redirect.description),
        Refused::Fault(fault) => Failure::Client(fault.into()),
    }
}

async fn store(app: &App, client: &Client, params: &Params) -> Result<String, Fault> {
    let secret = BearerSecret::draw(app.entropy.as_ref(), "");
    let json = serde_json::to_vec(&params.pairs().collect::<Vec<_>>()).map_err(KeyError::from)?;
    let mut tx = app.store.begin().await?;
    tx.execute(
        "INSERT INTO identity_pushed_requests (uri_hash, client_id, sealed, expires_at) VALUES ($1, $2, $3, $4)",
        args![
            app.vault.hash(Purpose::PushedRequest, secret.reveal()),
            &client.id,
            app.vault.seal_flow(&json)?,
            app.now() + span(LIFETIME)
        ],
    )
    .await?;
    tx.commit().await?;
    metrics::counter!("quintet_identity_pushed_requests_total").increment(1);
    tracing::debug!(client = %client.id, at = seconds(app.now()), "authorization request pushed");
    Ok(format!("{PREFIX}{}", secret.reveal()))
}

/// Takes out the pushed request that `uri` names; none when it is another client's, was used, or waited too long.
pub(crate) async fn take(app: &App, client: &Client, uri: &str) -> Result<Option<Params>, Fault> {
    let Some(secret) = uri.strip_prefix(PREFIX) else { return Ok(None) };
    let (hash, now) = (app.vault.hash(Purpose::PushedRequest, secret), app.now());
    let row = app
        .store
        .fetch_optional(
            "SELECT sealed FROM identity_pushed_requests \
             WHERE uri_hash = $1 AND client_id = $2 AND used_at IS NULL AND expires_at > $3",
            args![&hash, &client.id, now],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let sealed: String = row.get("sealed")?;
    let mut tx = app.store.begin().await?;
    let taken = tx
        .execute(
            "UPDATE identity_pushed_requests SET used_at = $1 WHERE uri_hash = $2 AND used_at IS NULL",
            args![now, &hash],
        )
        .await?;
    tx.commit().await?;
    if taken != 1 {
        return Ok(None);
    }
    let json = app.vault.open_flow(&sealed)?;
    let pairs: Vec<(String, String)> = serde_json::from_slice(&json).map_err(KeyError::from)?;
    Ok(Some(Params::from_pairs(pairs)))
}
