//! `private_key_jwt`: a token that the client signs for us, good once (RFC 7523 §3, OpenID Connect Core §9).

use std::sync::Arc;

use quintet_auth::Compact;
use serde::Deserialize;

use super::{AuthMethod, signed_by_client};
use crate::app::App;
use crate::clients::{Client, ClientError, Profile};
use crate::params::Params;
use crate::replay;
use crate::time::seconds;
use crate::token::{OAuthError, Refusal};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far the client's clock may be ahead of ours, in seconds; FAPI 2.0 §5.3.2.1 wants ten accepted and sixty refused.
const LEEWAY: i64 = 10;

/// How long an assertion may live, in seconds: until then its `jti` is remembered.
const MOST_LIFETIME: i64 = 60 * 60;

/// Longest `jti`.
const MOST_ID: usize = 256;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    jti: String,
    iat: Option<i64>,
    nbf: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

pub(super) async fn authenticate(app: &App, params: &Params, path: &str) -> Result<Arc<Client>, Refusal> {
    let rejected = || Refusal::from(ClientError::Rejected);
    let text = params.get("client_assertion").ok_or_else(rejected)?;
    if params.get("client_assertion_type") != Some(TYPE) {
        return Err(OAuthError::InvalidRequest.because("client_assertion_type is not that of a JWT"));
    }
    let compact = Compact::parse(text).map_err(|_| rejected())?;
    // Only the signature makes them true; until then they say whose keys to try.
    let claims: Claims = compact.claims().map_err(|_| rejected())?;
    if claims.iss != claims.sub || params.get("client_id").is_some_and(|id| id != claims.sub) {
        return Err(rejected());
    }
    let client = app.clients.find(&claims.sub).ok_or_else(rejected)?;
    if client.security.authentication != AuthMethod::PrivateKeyJwt
        || !signed_by_client(app, &client, &compact).await
    {
        return Err(rejected());
    }
    if !is_of_now(&claims, seconds(app.now())) {
        return Err(OAuthError::InvalidClient
            .because("the assertion is not of this moment; check exp, iat and the clock"));
    }
    if !is_for_us(app, client.security.profile, &claims.aud, path) {
        return Err(OAuthError::InvalidClient.because("the assertion's aud is not this issuer"));
    }
    if claims.jti.is_empty() || claims.jti.len() > MOST_ID {
        return Err(OAuthError::InvalidClient.because("the assertion's jti is empty or too long"));
    }
    let until = claims.exp.saturating_add(LEEWAY).saturating_mul(1_000_000);
    if !replay::first_use(app, replay::Kind::Assertion, &client.id, &claims.jti, until).await? {
        return Err(OAuthError::InvalidClient.because("the assertion was used before"));
    }
    Ok(client)
}

fn is_of_now(claims: &Claims, now: i64) -> bool {
    let starts = [claims.iat, claims.nbf].into_iter().flatten().all(|start| start <= now + LEEWAY);
    starts && claims.exp > now - LEEWAY && claims.exp <= now + MOST_LIFETIME
}

/// FAPI 2.0 §5.3.2.1 wants the issuer as a string and nothing else, so that an assertion made for one endpoint of one
/// server serves nobody else; RFC 7523 §3 and RFC 9126 §2 also allow the endpoint.
fn is_for_us(app: &App, profile: Profile, audience: &Audience, path: &str) -> bool {
    let ours = |text: &String| {
        *text == app.issuer.url
            || *text == app.issuer.endpoint("/token")
            || *text == app.issuer.endpoint(path)
    };
    match (profile, audience) {
        (Profile::Fapi2, Audience::One(one)) => *one == app.issuer.url,
        (Profile::Fapi2, Audience::Many(_)) => false,
        (Profile::Basic, Audience::One(one)) => ours(one),
        (Profile::Basic, Audience::Many(many)) => many.iter().any(ours),
    }
}
