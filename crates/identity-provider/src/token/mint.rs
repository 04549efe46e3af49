//! Makes access tokens and ID tokens.

use quintet_types::id;

use super::answer::Tokens;
use super::binding::Binding;
use crate::app::App;
use crate::claims::{AccessClaims, Actor, IdClaims, Profile, at_hash};
use crate::clients::Client;
use crate::fault::Fault;
use crate::grants::Grant;
use crate::keys::TokenType;
use crate::scopes::Scopes;
use crate::time::seconds;
use crate::users::User;

/// Who access tokens are for where no `resource` is named: the fleet's binaries, which check scopes among themselves.
pub(crate) const AUDIENCE: &str = "quintet";

/// What does not follow from whom a token speaks for.
pub(super) struct Shape<'a> {
    /// The one service it is for (RFC 9068 §2.2).
    pub(super) audience: String,
    pub(super) binding: &'a Binding,
}

/// The tokens of a client on its own behalf.
pub(super) fn for_client(
    app: &App,
    client: &Client,
    scopes: Scopes,
    shape: &Shape<'_>,
) -> Result<Tokens, Fault> {
    let claims = AccessClaims {
        sub: client.id.clone(),
        roles: Vec::new(),
        sid: None,
        grant_id: None,
        auth_time: None,
        acr: None,
        email: None,
        name: None,
        ..base(app, client, scopes, shape)
    };
    Ok(Tokens {
        access_token: app.keys.sign(TokenType::Access, &claims)?,
        token_type: shape.binding.token_type(),
        expires_in: seconds(app.lifetimes.access),
        scope: claims.scope,
        refresh_token: None,
        id_token: None,
        issued_token_type: None,
    })
}

/// The token of a client that acts in place of another with its token: no longer, for no one else.
pub(super) fn in_place_of(
    app: &App,
    client: &Client,
    subject: AccessClaims,
    scopes: Scopes,
    shape: &Shape<'_>,
) -> Result<Tokens, Fault> {
    let fresh = base(app, client, scopes, shape);
    let exp = fresh.exp.min(subject.exp);
    // RFC 8693 §4.1: the newest actor is the outermost.
    let act = Actor { sub: client.id.clone(), act: subject.act.map(Box::new) };
    let claims = AccessClaims {
        client_id: fresh.client_id,
        aud: fresh.aud,
        scope: fresh.scope,
        iat: fresh.iat,
        exp,
        jti: fresh.jti,
        cnf: fresh.cnf,
        act: Some(act),
        ..subject
    };
    Ok(Tokens {
        access_token: app.keys.sign(TokenType::Access, &claims)?,
        token_type: shape.binding.token_type(),
        expires_in: exp - claims.iat,
        scope: claims.scope,
        refresh_token: None,
        id_token: None,
        issued_token_type: None,
    })
}

/// The tokens of a client on a person's behalf, without a refresh token.
pub(super) fn for_user(
    app: &App,
    client: &Client,
    user: &User,
    grant: &Grant,
    scopes: Scopes,
    nonce: Option<&str>,
    shape: &Shape<'_>,
) -> Result<Tokens, Fault> {
    let claims = AccessClaims {
        sub: user.id.to_string(),
        roles: vec![user.role.name().to_owned()],
        sid: Some(grant.session_id.clone()),
        grant_id: Some(grant.id.clone()),
        auth_time: Some(seconds(grant.auth_at)),
        acr: Some(grant.methods.assurance().acr().to_owned()),
        email: Some(user.email.clone()),
        name: Some(user.name.clone()),
        ..base(app, client, scopes, shape)
    };
    let access_token = app.keys.sign(TokenType::Access, &claims)?;
    let id_token = if scopes.has("openid") {
        let claims = IdClaims {
            iss: app.issuer.url.clone(),
            sub: claims.sub.clone(),
            aud: client.id.clone(),
            azp: client.id.clone(),
            iat: claims.iat,
            exp: seconds(app.now() + app.lifetimes.id),
            auth_time: seconds(grant.auth_at),
            nonce: nonce.map(str::to_owned),
            acr: grant.methods.assurance().acr().to_owned(),
            amr: grant.methods.amr(),
            at_hash: at_hash(&access_token),
            sid: grant.session_id.clone(),
            profile: profile(user, scopes),
        };
        Some(app.keys.sign(TokenType::Id, &claims)?)
    } else {
        None
    };
    Ok(Tokens {
        access_token,
        token_type: shape.binding.token_type(),
        expires_in: seconds(app.lifetimes.access),
        scope: claims.scope,
        refresh_token: None,
        id_token,
        issued_token_type: None,
    })
}

/// What the scopes tell of a person.
pub(crate) fn profile(user: &User, scopes: Scopes) -> Profile {
    let email = scopes.has("email");
    let profile = scopes.has("profile");
    Profile {
        email: email.then(|| user.email.clone()),
        email_verified: email.then_some(user.email_verified),
        name: profile.then(|| user.name.clone()),
        preferred_username: profile.then(|| user.email.clone()),
    }
}

/// The claims that do not depend on whom the token is for.
fn base(app: &App, client: &Client, scopes: Scopes, shape: &Shape<'_>) -> AccessClaims {
    let now = app.now();
    AccessClaims {
        iss: app.issuer.url.clone(),
        sub: String::new(),
        aud: shape.audience.clone(),
        client_id: client.id.clone(),
        scope: scopes.to_string(),
        roles: Vec::new(),
        iat: seconds(now),
        exp: seconds(now + app.lifetimes.access),
        jti: format!("tok_{}", id::encode(id::draw(app.clock.as_ref(), app.entropy.as_ref()))),
        sid: None,
        grant_id: None,
        auth_time: None,
        acr: None,
        email: None,
        name: None,
        cnf: shape.binding.confirmation(),
        act: None,
    }
}
