//! Token exchange (RFC 8693): a service that was called with a person's token gets one for the service it calls itself.
//!
//! What comes out is never more than what came in: the scopes are those of the old token that the client may have too, it
//! ends with the old token at the latest, and it hangs on the same grant and session, so that their end is its own. The
//! claim `act` says who acts (§4.1). A client exchanges only tokens of the clients that its `exchange_tokens_of` names;
//! a token that is bound to somebody's key is not exchanged, because presenting it proves nothing here.

use super::answer::{OAuthError, Refusal, Tokens};
use super::binding::resource;
use super::mint::Shape;
use super::{AUDIENCE, Ask, mint};
use crate::app::App;
use crate::bearer;
use crate::clients::Client;
use crate::params::Params;
use crate::scopes::Scopes;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

pub(super) async fn exchange(app: &App, ask: &Ask<'_>) -> Result<Tokens, Refusal> {
    let Ask { client, params, .. } = *ask;
    crate::client_auth::confidential(client)?;
    let token =
        params.get("subject_token").ok_or(OAuthError::InvalidRequest.because("subject_token is missing"))?;
    let kinds = [params.get("subject_token_type"), params.get("requested_token_type").or(Some(ACCESS_TOKEN))];
    if kinds.iter().any(|kind| *kind != Some(ACCESS_TOKEN)) {
        return Err(OAuthError::InvalidRequest.because("only access tokens are exchanged, for access tokens"));
    }
    if params.get("actor_token").is_some() {
        return Err(OAuthError::InvalidRequest
            .because("the actor is the client that authenticates; leave actor_token out"));
    }
    let subject = bearer::known(app, token).await?.filter(|subject| subject.cnf.is_none());
    let subject = subject
        .ok_or(OAuthError::InvalidRequest.because("the subject_token is not valid, or bound to a key"))?;
    if !client.security.exchanges_of.contains(&subject.client_id) {
        return Err(OAuthError::InvalidTarget.because("this client may not exchange tokens of that client"));
    }
    let allowed = subject.scopes() & client.scopes;
    let scopes = match params.get("scope").map(Scopes::requested) {
        None => allowed,
        Some(wanted) if subject.scopes().contains(wanted) => wanted & allowed,
        Some(_) => {
            return Err(OAuthError::InvalidScope.because("more was asked for than the subject_token allows"));
        }
    };
    // Nothing of a sign-in: the new token is for services.
    let scopes = scopes & Scopes::all().without(Scopes::requested("openid offline_access"));
    if scopes.is_empty() {
        return Err(OAuthError::InvalidScope
            .because("nothing of the subject_token's scopes is allowed to this client"));
    }
    let shape = Shape { audience: target(client, params, &subject.aud)?, binding: &ask.binding };
    let mut tokens = mint::in_place_of(app, client, subject, scopes, &shape)?;
    tokens.issued_token_type = Some(ACCESS_TOKEN);
    Ok(tokens)
}

/// The service that the new token is for (RFC 8693 §2.1, by `audience` or RFC 8707's `resource`): one that the client may have
/// tokens for. Without either the one that the old token is for, so that leaving it out widens nothing.
fn target(client: &Client, params: &Params, before: &str) -> Result<String, Refusal> {
    let refused = |text| OAuthError::InvalidTarget.because(text);
    let named = resource(client, params).map_err(refused)?;
    let known =
        |wanted: &str| wanted == before || client.security.resources.iter().any(|known| known == wanted);
    match (named, params.get("audience")) {
        (Some(resource), Some(audience)) if resource != audience => {
            Err(refused("audience and resource name different services"))
        }
        (Some(resource), _) => Ok(resource),
        (None, Some(audience)) if known(audience) => Ok(audience.to_owned()),
        (None, Some(_)) => Err(refused("this client may have no tokens for that audience")),
        (None, None) if before == AUDIENCE || known(before) => Ok(before.to_owned()),
        (None, None) => Err(refused("name the service by resource")),
    }
}
