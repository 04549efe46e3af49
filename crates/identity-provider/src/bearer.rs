//! Access tokens at this provider's own endpoints: unlike other services, it can also see whether a
//! token, its grant or its session was revoked.

use axum::http::{HeaderMap, header};

use crate::app::App;
use crate::claims::AccessClaims;
use crate::fault::Fault;
use crate::keys::TokenType;
use crate::time::seconds;
use crate::token::AUDIENCE;
use crate::{grants, sessions};

/// The claims of an access token that is good at this moment.
pub(crate) async fn active(app: &App, token: &str) -> Result<Option<AccessClaims>, Fault> {
    let Ok(claims) = app.keys.verify::<AccessClaims>(TokenType::Access, token) else { return Ok(None) };
    let now = app.now();
    if claims.iss != app.issuer.url || claims.aud != AUDIENCE || claims.exp <= seconds(now) {
        return Ok(None);
    }
    if grants::access_revoked(&app.store, &claims.jti).await? {
        return Ok(None);
    }
    if let Some(grant_id) = &claims.grant_id {
        let Some(grant) = grants::find(&app.store, grant_id).await?.filter(|grant| !grant.revoked) else {
            return Ok(None);
        };
        let lives = grant.offline
            || sessions::is_live(&app.store, &grant.session_id, app.lifetimes.session, now).await?;
        if !lives {
            return Ok(None);
        }
    }
    Ok(Some(claims))
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn from_header(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}
