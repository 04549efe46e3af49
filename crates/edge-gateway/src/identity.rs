//! The gateway as a client of the identity provider: OpenID Connect code flow with PKCE (RFC 7636) over
//! the browser, tokens over a back channel.
//!
//! The back channel is configured, not discovered, and normally is the provider's unix socket. An ID token
//! received over it needs no signature check (OpenID Connect Core 1.0 section 3.1.3.7 item 6); its claims
//! are checked all the same.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quintet_auth::Verifier;
use quintet_http::{Client, ClientError, Origin};
use quintet_service::Secret;
use quintet_types::{Entropy as _, SystemEntropy};
use serde::Deserialize;

use crate::config::Issuer;
use crate::seal::Sealer;
use crate::session::{Refreshed, Refreshes, Session};

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
const MAX_ANSWER: usize = 64 * 1024;
/// Clocks of two machines may differ by this much, seconds.
const LEEWAY: i64 = 30;
/// Access-token lifetime where the provider does not say, seconds.
const DEFAULT_LIFETIME: i64 = 60;

/// Everything about the identity provider that requests need.
pub(crate) struct Identity {
    pub(crate) verifier: Verifier,
    pub(crate) issuer: Issuer,
    pub(crate) browser: Option<BrowserSignIn>,
    origin: Origin,
}

/// What signing browsers in needs besides.
pub(crate) struct BrowserSignIn {
    pub(crate) client_id: String,
    pub(crate) sealer: Sealer,
    pub(crate) scope: String,
    pub(crate) refreshes: Refreshes,
    client_secret: Secret,
}

/// Why no tokens were had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the identity provider does not answer")]
    Unreachable(#[source] ClientError),
    /// An OAuth error answer, by its code.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    #[error("the identity provider's answer is not usable: {0}")]
    Unusable(&'static str),
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    expires_in: Option<i64>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
}

#[derive(Deserialize)]
struct IdClaims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    nonce: Option<String>,
    name: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// The parts of a sign-in that the callback must match.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
}

impl Challenge {
    pub(crate) fn new() -> Self {
        Self { state: random_text(), nonce: random_text(), verifier: random_text() }
    }
}

/// 256 random bits.
fn random_text() -> String {
    let mut bytes = [0u8; 32];
    SystemEntropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Identity {
    pub(crate) fn new(
        issuer: Issuer,
        origin: Origin,
        verifier: Verifier,
        browser: Option<BrowserSignIn>,
    ) -> Self {
        Self { verifier, issuer, browser, origin }
    }

    /// A client for the back channel, to be used on the runtime that made it.
    pub(crate) fn back_channel(&self) -> Client {
        Client::new(self.origin.clone()).timeout(TIMEOUT).max_body(MAX_ANSWER)
    }

    /// Where browsers come back to.
    pub(crate) fn redirect_uri(&self) -> String {
        format!("{}/.auth/callback", self.issuer.origin)
    }

    /// Where the browser signs in.
    pub(crate) fn authorize_url(&self, browser: &BrowserSignIn, challenge: &Challenge) -> String {
        let code_challenge =
            URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, challenge.verifier.as_bytes()).as_ref());
        let query = query(&[
            ("response_type", "code"),
            ("client_id", &browser.client_id),
            ("redirect_uri", &self.redirect_uri()),
            ("scope", &browser.scope),
            ("state", &challenge.state),
            ("nonce", &challenge.nonce),
            ("code_challenge", &code_challenge),
            ("code_challenge_method", "S256"),
        ]);
        format!("{}/authorize?{query}", self.issuer.url)
    }

    /// Where the browser signs out (OpenID Connect RP-Initiated Logout 1.0).
    pub(crate) fn logout_url(&self, browser: &BrowserSignIn, id_token: Option<&str>) -> String {
        let back = format!("{}/", self.issuer.origin);
        let mut pairs = vec![("client_id", browser.client_id.as_str()), ("post_logout_redirect_uri", &back)];
        pairs.extend(id_token.map(|token| ("id_token_hint", token)));
        format!("{}/logout?{}", self.issuer.url, query(&pairs))
    }

    /// Turns an authorization code into a session.
    pub(crate) async fn exchange(
        &self,
        client: &Client,
        browser: &BrowserSignIn,
        code: &str,
        challenge: &Challenge,
        now: i64,
    ) -> Result<Session, TokenError> {
        let answer = self
            .ask(
                client,
                browser,
                &[
                    ("grant_type", "authorization_code"),
                    ("code", code),
                    ("redirect_uri", &self.redirect_uri()),
                    ("code_verifier", &challenge.verifier),
                ],
            )
            .await?;
        let id_token = answer.id_token.as_deref().ok_or(TokenError::Unusable("it holds no ID token"))?;
        let claims = self.id_claims(browser, id_token, now)?;
        if claims.nonce.as_deref() != Some(&challenge.nonce) {
            return Err(TokenError::Unusable("the ID token's nonce is not the one sent"));
        }
        Ok(Session {
            sub: claims.sub,
            name: claims.name.or(claims.preferred_username),
            email: claims.email,
            scope: answer.scope.unwrap_or_else(|| browser.scope.clone()),
            access_token: answer.access_token,
            expires_at: now.saturating_add(answer.expires_in.unwrap_or(DEFAULT_LIFETIME)),
            refresh_token: answer.refresh_token,
            id_token: answer.id_token,
        })
    }

    /// Renews a session's access token. Errors mean that nothing is known; trying again may help.
    pub(crate) async fn refresh(
        &self,
        client: &Client,
        browser: &BrowserSignIn,
        session: &Session,
        now: i64,
    ) -> Result<Refreshed, TokenError> {
        let Some(refresh_token) = &session.refresh_token else { return Ok(Refreshed::Over) };
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let answer = match self.ask(client, browser, &form).await {
            Ok(answer) => answer,
            Err(TokenError::Refused(code)) if code == "invalid_grant" => return Ok(Refreshed::Over),
            Err(error) => return Err(error),
        };
        if let Some(id_token) = &answer.id_token
            && self.id_claims(browser, id_token, now)?.sub != session.sub
        {
            return Err(TokenError::Unusable("the refreshed ID token is about someone else"));
        }
        Ok(Refreshed::Renewed(Box::new(Session {
            scope: answer.scope.unwrap_or_else(|| session.scope.clone()),
            access_token: answer.access_token,
            expires_at: now.saturating_add(answer.expires_in.unwrap_or(DEFAULT_LIFETIME)),
            refresh_token: answer.refresh_token.or_else(|| session.refresh_token.clone()),
            id_token: answer.id_token.or_else(|| session.id_token.clone()),
            ..session.clone()
        })))
    }

    async fn ask(
        &self,
        client: &Client,
        browser: &BrowserSignIn,
        form: &[(&str, &str)],
    ) -> Result<TokenAnswer, TokenError> {
        let invalid = TokenError::Unusable("the request could not be built");
        let mut request = Request::new(Bytes::from(query(form)));
        *request.method_mut() = Method::POST;
        let Ok(uri) = format!("{}/token", self.issuer.path).parse() else { return Err(invalid) };
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let Ok(authorization) = HeaderValue::try_from(browser.basic()) else { return Err(invalid) };
        headers.insert(AUTHORIZATION, authorization);
        let response = client.request(request).await.map_err(TokenError::Unreachable)?;
        if response.status() != StatusCode::OK {
            let refused = serde_json::from_slice::<ErrorAnswer>(response.body());
            return Err(match refused {
                Ok(answer) if response.status().is_client_error() => TokenError::Refused(answer.error),
                _ => TokenError::Unusable("its status is no success and no OAuth error"),
            });
        }
        let answer: TokenAnswer = serde_json::from_slice(response.body())
            .map_err(|_| TokenError::Unusable("it is not a token response"))?;
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Unusable("the token is no bearer token"));
        }
        Ok(answer)
    }

    fn id_claims(&self, browser: &BrowserSignIn, id_token: &str, now: i64) -> Result<IdClaims, TokenError> {
        let malformed = || TokenError::Unusable("the ID token is malformed");
        let payload = id_token.split('.').nth(1).ok_or_else(malformed)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed())?;
        let claims: IdClaims = serde_json::from_slice(&payload).map_err(|_| malformed())?;
        if claims.iss != self.issuer.url {
            return Err(TokenError::Unusable("the ID token is from another issuer"));
        }
        let for_us = match &claims.aud {
            Audience::One(one) => *one == browser.client_id,
            Audience::Many(many) => many.contains(&browser.client_id),
        };
        if !for_us {
            return Err(TokenError::Unusable("the ID token is for another client"));
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err(TokenError::Unusable("the ID token has expired"));
        }
        Ok(claims)
    }
}

impl BrowserSignIn {
    pub(crate) fn new(client_id: String, client_secret: Secret, sealer: Sealer, scopes: &[String]) -> Self {
        let scope = ["openid", "profile", "email", "offline_access"]
            .into_iter()
            .chain(scopes.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ");
        Self { client_id, client_secret, sealer, scope, refreshes: Refreshes::default() }
    }

    /// RFC 6749 section 2.3.1: both parts are form-encoded first.
    fn basic(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pair = format!("{}:{}", encode(&self.client_id), encode(self.client_secret.expose()));
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// Form-encodes pairs, for queries and bodies alike.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    serde_urlencoded::to_string(pairs).unwrap_or_default()
}
