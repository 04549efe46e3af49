//! `grant_type=authorization_code` (RFC 6749 §4.1.3) with PKCE (RFC 7636 §4.6).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::answer::{OAuthError, Refusal, Tokens};
use super::binding::audience;
use super::mint::Shape;
use super::{Ask, kill_family, mint};
use crate::app::App;
use crate::audit::{self, Event, Kind};
use crate::clients::GrantType;
use crate::device;
use crate::grants::{self, Code, Grant};
use crate::scopes::Scopes;
use crate::{sessions, users};

const NOT_VALID: Refusal = OAuthError::InvalidGrant.because("the code is not valid");

pub(super) async fn exchange(app: &App, ask: &Ask<'_>) -> Result<Tokens, Refusal> {
    let Ask { client, params, caller, .. } = *ask;
    let text = params.get("code").ok_or(OAuthError::InvalidRequest.because("code is missing"))?;
    let code = grants::find_code(&app.store, &app.vault, text).await?.ok_or(NOT_VALID)?;
    check(ask, &code)?;
    if code.used {
        kill_family(app, &code.grant_id, client, Kind::CodeReused, caller).await?;
        return Err(NOT_VALID);
    }
    if code.expires_at <= app.now() {
        return Err(OAuthError::InvalidGrant.because("the code has expired"));
    }
    redeem(app, ask, text, code).await
}

/// Everything that binds a code to the one who asked for it. A code that fails here is not used
/// up: whoever found it in a log must not be able to spoil it for its owner.
fn check(ask: &Ask<'_>, code: &Code) -> Result<(), Refusal> {
    let Ask { client, params, .. } = *ask;
    if code.client_id != client.id {
        tracing::warn!(client = %client.id, owner = %code.client_id, "code presented by another client");
        return Err(NOT_VALID);
    }
    // RFC 9700 lets PKCE stand in for this parameter; where it is sent, it must fit.
    match params.get("redirect_uri") {
        Some(uri) if uri == code.redirect_uri => {}
        Some(_) => {
            return Err(
                OAuthError::InvalidGrant.because("redirect_uri differs from the authorization request")
            );
        }
        None => return Err(OAuthError::InvalidRequest.because("redirect_uri is missing")),
    }
    // RFC 9449 §10.
    if code.dpop_jkt.is_some() && code.dpop_jkt != ask.binding.key {
        return Err(OAuthError::InvalidGrant.because("the code is bound to another DPoP key"));
    }
    verified(params.get("code_verifier"), &code.code_challenge)
}

/// PKCE (RFC 7636 §4.6). A verifier for a code without a challenge means that somebody took the challenge out of the
/// authorization request (RFC 9700 §4.8.2).
fn verified(verifier: Option<&str>, challenge: &str) -> Result<(), Refusal> {
    match (verifier, challenge) {
        (None, "") => Ok(()),
        (Some(_), "") => {
            Err(OAuthError::InvalidGrant.because("the authorization request had no code_challenge"))
        }
        (None, _) => Err(OAuthError::InvalidRequest.because("code_verifier is missing")),
        (Some(verifier), challenge) if proves(verifier, challenge) => Ok(()),
        (Some(_), _) => {
            Err(OAuthError::InvalidGrant.because("code_verifier does not fit the code_challenge"))
        }
    }
}

/// Whether a verifier is well-formed (RFC 7636 §4.1) and the one whose hash was sent as `challenge`.
pub(crate) fn proves(verifier: &str, challenge: &str) -> bool {
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let hashed = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    let fits: bool = hashed.as_bytes().ct_eq(challenge.as_bytes()).into();
    well_formed && fits
}

/// `grant_type=urn:ietf:params:oauth:grant-type:device_code` (RFC 8628 §3.4): what a person allowed is a code under the
/// device's secret.
pub(super) async fn of_device(app: &App, ask: &Ask<'_>) -> Result<Tokens, Refusal> {
    let text =
        ask.params.get("device_code").ok_or(OAuthError::InvalidRequest.because("device_code is missing"))?;
    device::poll(app, &ask.client.id, text).await?;
    let code = grants::find_code(&app.store, &app.vault, text).await?.ok_or(NOT_VALID)?;
    if code.used {
        kill_family(app, &code.grant_id, ask.client, Kind::CodeReused, ask.caller).await?;
        return Err(NOT_VALID);
    }
    if code.expires_at <= app.now() {
        return Err(OAuthError::ExpiredToken.because("the tokens were not fetched in time"));
    }
    redeem(app, ask, text, code).await
}

async fn redeem(app: &App, ask: &Ask<'_>, text: &str, code: Code) -> Result<Tokens, Refusal> {
    let Ask { client, params, caller, .. } = *ask;
    let now = app.now();
    let session_lives = sessions::is_live(&app.store, &code.session_id, app.lifetimes.session, now).await?;
    let user = users::by_id(&app.store, &code.user_id).await?.filter(|user| !user.disabled && session_lives);
    let user = user.ok_or(OAuthError::InvalidGrant.because("the person is not signed in any more"))?;
    let scopes = Scopes::requested(&code.scope) & client.scopes & user.role.scopes();
    let shape =
        Shape { audience: audience(client, params, code.resource.as_deref())?, binding: &ask.binding };
    let grant = Grant {
        id: code.grant_id,
        client_id: code.client_id,
        user_id: code.user_id,
        session_id: code.session_id,
        scope: scopes.to_string(),
        offline: scopes.has("offline_access"),
        auth_at: code.auth_at,
        methods: code.methods,
        expires_at: now + app.lifetimes.refresh_max,
        revoked: false,
        resource: code.resource,
        // RFC 9449 §5: a client that does not authenticate keeps its refresh tokens by its key.
        dpop_jkt: ask.binding.key.clone().filter(|_| client.is_public()),
    };
    let mut tokens = mint::for_user(app, client, &user, &grant, scopes, code.nonce.as_deref(), &shape)?;
    let mut tx = app.store.begin().await?;
    if !grants::use_code(&mut tx, &app.vault, text, now).await? {
        drop(tx);
        kill_family(app, &grant.id, client, Kind::CodeReused, caller).await?;
        return Err(NOT_VALID);
    }
    if !sessions::hold_live(&mut tx, &grant.session_id).await? {
        return Err(OAuthError::InvalidGrant.because("the person is not signed in any more"));
    }
    grants::create(&mut tx, &grant, now).await?;
    if client.may(GrantType::RefreshToken) {
        let expires_at = grant.expires_at.min(now + app.lifetimes.refresh_idle);
        let secret =
            grants::issue_refresh(&mut tx, &app.vault, app.entropy.as_ref(), &grant.id, expires_at).await?;
        tokens.refresh_token = Some(secret.reveal().to_owned());
    }
    let event = Event {
        actor: grant.user_id,
        subject: grant.id,
        client_id: grant.client_id,
        detail: audit::detail([("scope", grant.scope)]),
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::GrantIssued, event).await?;
    tx.commit().await?;
    Ok(tokens)
}
