//! `grant_type=refresh_token` (RFC 6749 §6) with rotation and reuse detection (RFC 9700 §4.14.2).
//!
//! Each refresh re-reads the person and the client, so a lost role, a narrowed client or a disabled
//! account takes effect at the next refresh.

use super::answer::{OAuthError, Refusal, Tokens};
use super::binding::audience;
use super::mint::Shape;
use super::{Ask, kill_family, mint};
use crate::app::App;
use crate::audit::Kind;
use crate::caller::Caller;
use crate::clients::{Client, Profile};
use crate::grants::{self, Grant, Rotation};
use crate::scopes::Scopes;
use crate::{sessions, users};

const NOT_VALID: Refusal = OAuthError::InvalidGrant.because("the refresh token is not valid");

pub(super) async fn exchange(app: &App, ask: &Ask<'_>) -> Result<Tokens, Refusal> {
    let Ask { client, params, caller, .. } = *ask;
    let text =
        params.get("refresh_token").ok_or(OAuthError::InvalidRequest.because("refresh_token is missing"))?;
    let (state, grant) = grants::find_refresh(&app.store, &app.vault, text).await?.ok_or(NOT_VALID)?;
    let now = app.now();
    if grant.client_id != client.id {
        tracing::warn!(client = %client.id, owner = %grant.client_id, "refresh token presented by another client");
        return Err(NOT_VALID);
    }
    if grant.dpop_jkt.is_some() && grant.dpop_jkt != ask.binding.key {
        return Err(OAuthError::InvalidGrant.because("the refresh token is bound to another DPoP key"));
    }
    if grant.revoked || grant.expires_at <= now || state.expires_at <= now {
        return Err(NOT_VALID);
    }
    if state.used_at.is_some_and(|used_at| used_at <= now - client.refresh_grace) {
        return reused(app, &grant, client, caller).await;
    }
    let session_lives = sessions::is_live(&app.store, &grant.session_id, app.lifetimes.session, now).await?;
    if !grant.offline && !session_lives {
        return Err(OAuthError::InvalidGrant.because("the session has ended"));
    }
    let user = users::by_id(&app.store, &grant.user_id).await?.filter(|user| !user.disabled);
    let user = user.ok_or(NOT_VALID)?;
    let allowed = Scopes::requested(&grant.scope) & client.scopes & user.role.scopes();
    let scopes = narrowed(params.get("scope"), Scopes::requested(&grant.scope), allowed)?;
    let shape =
        Shape { audience: audience(client, params, grant.resource.as_deref())?, binding: &ask.binding };
    let mut tokens = mint::for_user(app, client, &user, &grant, scopes, None, &shape)?;

    let mut tx = app.store.begin().await?;
    // Revocation may have come in between; it and this transaction serialize on the grant's row.
    if !grants::lock_live(&mut tx, &grant.id).await? {
        return Err(NOT_VALID);
    }
    let expires_at = grant.expires_at.min(now + app.lifetimes.refresh_idle);
    if client.security.profile == Profile::Fapi2 {
        // FAPI 2.0 §5.3.2.1, item 9: no rotation; the token is of use to nobody without the client's key.
        grants::extend_refresh(&mut tx, &app.vault, text, expires_at).await?;
    } else {
        if grants::rotate(&mut tx, &app.vault, text, client.refresh_grace, now).await? == Rotation::Reused {
            drop(tx);
            return reused(app, &grant, client, caller).await;
        }
        let secret =
            grants::issue_refresh(&mut tx, &app.vault, app.entropy.as_ref(), &grant.id, expires_at).await?;
        tokens.refresh_token = Some(secret.reveal().to_owned());
    }
    if session_lives {
        sessions::touch(&mut tx, &grant.session_id, now).await?;
    }
    tx.commit().await?;
    Ok(tokens)
}

async fn reused(app: &App, grant: &Grant, client: &Client, caller: &Caller) -> Result<Tokens, Refusal> {
    kill_family(app, &grant.id, client, Kind::RefreshReused, caller).await?;
    Err(NOT_VALID)
}

/// RFC 6749 §6: a refresh may ask for less than was granted, never for more.
fn narrowed(wanted: Option<&str>, granted: Scopes, allowed: Scopes) -> Result<Scopes, Refusal> {
    let wanted = wanted.map_or(granted, Scopes::requested);
    if !granted.contains(wanted) {
        return Err(OAuthError::InvalidScope.because("more was asked for than was granted"));
    }
    let scopes = wanted & allowed;
    if scopes.is_empty() {
        return Err(OAuthError::InvalidScope.because("nothing of what was granted is still allowed"));
    }
    Ok(scopes)
}
