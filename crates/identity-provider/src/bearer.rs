//! Access tokens at this provider's own endpoints: unlike other services, it can also see whether a
//! token, its grant or its session was revoked.

use axum::http::{HeaderMap, header};
use quintet_auth::Scheme;
use quintet_auth::dpop::{self, Proof};

use crate::app::App;
use crate::claims::AccessClaims;
use crate::fault::Fault;
use crate::keys::TokenType;
use crate::time::seconds;
use crate::token::AUDIENCE;
use crate::{grants, sessions};

/// The claims of a bearer token for this provider that is good at this moment. One that is bound to a key is refused here
/// (RFC 9449 §7.2), and taken by [`held`].
pub(crate) async fn active(app: &App, token: &str) -> Result<Option<AccessClaims>, Fault> {
    let claims = known(app, token).await?;
    Ok(claims.filter(|claims| claims.aud == AUDIENCE && claims.cnf.is_none()))
}

/// The claims of the token in a request's header, for this provider and from its holder.
pub(crate) async fn held(
    app: &App,
    method: &str,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<AccessClaims>, Fault> {
    let Ok((scheme, token)) = quintet_auth::presented(headers) else { return Ok(None) };
    let Some(claims) = known(app, token).await?.filter(|claims| claims.aud == AUDIENCE) else {
        return Ok(None);
    };
    let bound = claims.cnf.clone().unwrap_or_default();
    if bound.certificate.is_some() && bound.certificate != quintet_auth::certificate_thumbprint(headers) {
        return Ok(None);
    }
    let holds = match (bound.key, scheme) {
        (None, scheme) => scheme == Scheme::Bearer,
        (Some(_), Scheme::Bearer) => false,
        (Some(key), Scheme::Dpop) => {
            let url = app.issuer.endpoint(path);
            let text = dpop::header(headers).ok().flatten().unwrap_or_default();
            match Proof::check(text, method, &url, seconds(app.now())) {
                Ok(proof) if proof.thumbprint == key && proof.is_for(token) => {
                    crate::dpop::note(app, &proof).await?
                }
                _ => false,
            }
        }
    };
    Ok(holds.then_some(claims))
}

/// The claims of an access token for whatever service, bound or not, that is good at this moment.
pub(crate) async fn known(app: &App, token: &str) -> Result<Option<AccessClaims>, Fault> {
    let Ok(claims) = app.keys.verify::<AccessClaims>(TokenType::Access, token) else { return Ok(None) };
    let now = app.now();
    if claims.iss != app.issuer.url || claims.exp <= seconds(now) {
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
