//! One authorization request: read, checked, sealed.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use url::Url;

use super::response::{Destination, ResponseMode};
use super::source::{Requested, Source};
use crate::app::App;
use crate::claims::IdClaims;
use crate::clients::{Client, GrantType};
use crate::factors::Assurance;
use crate::fault::Fault;
use crate::keys::TokenType;
use crate::params::Params;
use crate::scopes::Scopes;
use crate::sessions::Session;
use crate::users::User;
use crate::vault::Vault;

/// Bounds what a client may make us carry through the flow; long URLs die in proxies.
const MAX_CARRIED_BYTES: usize = 2048;

/// BASE64URL(SHA-256) without padding (RFC 7636 §4.2).
const CHALLENGE_CHARS: usize = 43;

/// BASE64URL(SHA-256) of a key (RFC 7638 §3.1).
const THUMBPRINT_CHARS: usize = 43;

/// Longest list of languages.
const MAX_HINT_BYTES: usize = 256;

/// What `prompt` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prompt {
    pub(crate) none: bool,
    pub(crate) login: bool,
    pub(crate) consent: bool,
}

/// A request whose client and redirect are known and whose parameters make sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthorizationRequest {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    scope: String,
    pub(crate) state: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) code_challenge: String,
    pub(crate) prompt: Prompt,
    max_age: Option<i64>,
    /// The least that `acr_values` asks for.
    #[serde(default)]
    assurance: Option<Assurance>,
    pub(crate) login_hint: Option<String>,
    /// The person an `id_token_hint` names; nobody else will do.
    subject: Option<String>,
    issued_at: i64,
    /// Who allowed this very request; set by the consent form alone. It counts for nobody else.
    #[serde(default)]
    pub(crate) consented_by: Option<String>,
    #[serde(default)]
    response_mode: ResponseMode,
    /// The one service the tokens are for (RFC 8707).
    #[serde(default)]
    pub(crate) resource: Option<String>,
    /// The DPoP key that the code will be for (RFC 9449 §10).
    #[serde(default)]
    pub(crate) dpop_jkt: Option<String>,
    /// The languages the person reads, best first.
    #[serde(default)]
    pub(crate) ui_locales: Option<String>,
}

/// Why a request is not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The person is told; there is no client to send back to.
    Page(&'static str),
    /// The client is told.
    Redirect(Box<ErrorRedirect>),
    /// It is our doing.
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct ErrorRedirect {
    pub(crate) destination: Destination,
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
}

/// The client that `client_id` names.
pub(crate) fn client(app: &App, params: &Params) -> Result<Arc<Client>, Refusal> {
    params
        .get("client_id")
        .and_then(|id| app.clients.find(id))
        .ok_or(Refusal::Page("The application that sent you here is not registered."))
}

/// An error for the client where its redirect is registered, else for the person.
pub(crate) fn refusal(
    client: &Client,
    params: &Params,
    error: &'static str,
    description: &'static str,
) -> Refusal {
    let Some(wanted) = params.get("redirect_uri") else {
        return Refusal::Page("The application did not say where to send you back to.");
    };
    let Some(to) = client.redirect(wanted) else {
        return Refusal::Page("The address to send you back to is not registered for this application.");
    };
    let state = params.get("state").filter(|state| state.len() <= MAX_CARRIED_BYTES).map(str::to_owned);
    let mode = ResponseMode::parse(params.get("response_mode")).unwrap_or_default();
    let destination = Destination { to, mode, state };
    Refusal::Redirect(Box::new(ErrorRedirect { destination, error, description }))
}

/// Checks the parameters of an authorization request.
pub(crate) fn validate(app: &App, requested: &Requested) -> Result<AuthorizationRequest, Refusal> {
    let params = &requested.params;
    let client = client(app, params)?;
    let refused = |error, description| refusal(&client, params, error, description);
    let Some(redirect_uri) = params.get("redirect_uri").filter(|wanted| client.redirect(wanted).is_some())
    else {
        return Err(refused("invalid_request", "redirect_uri is missing or not registered"));
    };
    if params.get("state").is_some_and(|state| state.len() > MAX_CARRIED_BYTES) {
        return Err(refused("invalid_request", "state is too long"));
    }
    if client.security.requires_pushed_requests && requested.source != Source::Pushed {
        return Err(refused("invalid_request", "this client must push its requests to /par"));
    }
    check(app, params, &client, redirect_uri).map_err(|(error, description)| refused(error, description))
}

fn check(
    app: &App,
    params: &Params,
    client: &Client,
    redirect_uri: &str,
) -> Result<AuthorizationRequest, (&'static str, &'static str)> {
    if params.get("registration").is_some() {
        return Err(("registration_not_supported", "clients are registered beforehand"));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "response_type must be code")),
        None => return Err(("invalid_request", "response_type is missing")),
    }
    let response_mode = ResponseMode::parse(params.get("response_mode"))
        .ok_or(("invalid_request", "response_mode must be query or form_post"))?;
    if !client.may(GrantType::AuthorizationCode) {
        return Err(("unauthorized_client", "this client may not use authorization codes"));
    }
    if params.get("scope").is_none() {
        return Err(("invalid_scope", "scope is missing"));
    }
    let nonce = params.get("nonce").map(str::to_owned);
    if nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_CARRIED_BYTES) {
        return Err(("invalid_request", "nonce is too long"));
    }
    Ok(AuthorizationRequest {
        client_id: client.id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        // Only what can be granted is carried on.
        scope: Scopes::requested(params.get("scope").unwrap_or_default()).to_string(),
        state: params.get("state").map(str::to_owned),
        nonce,
        code_challenge: if client.security.requires_pkce || uses_pkce(params) {
            code_challenge(params)?
        } else {
            String::new()
        },
        prompt: prompt(params)?,
        max_age: max_age(params)?,
        assurance: params.get("acr_values").and_then(Assurance::asked_by),
        login_hint: params.get("login_hint").filter(|hint| hint.len() <= 254).map(str::to_owned),
        subject: subject(app, params)?,
        issued_at: app.now(),
        consented_by: None,
        response_mode,
        resource: crate::token::resource(client, params).map_err(|text| ("invalid_target", text))?,
        dpop_jkt: dpop_jkt(params)?,
        ui_locales: params.get("ui_locales").filter(|text| text.len() <= MAX_HINT_BYTES).map(str::to_owned),
    })
}

fn dpop_jkt(params: &Params) -> Result<Option<String>, (&'static str, &'static str)> {
    match params.get("dpop_jkt") {
        Some(text) if text.len() != THUMBPRINT_CHARS => {
            Err(("invalid_request", "dpop_jkt is not a SHA-256 thumbprint"))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// Whether anything of PKCE is there; then all of it must be.
fn uses_pkce(params: &Params) -> bool {
    params.get("code_challenge").is_some() || params.get("code_challenge_method").is_some()
}

pub(crate) fn code_challenge(params: &Params) -> Result<String, (&'static str, &'static str)> {
    let challenge =
        params.get("code_challenge").ok_or(("invalid_request", "code_challenge is missing (PKCE)"))?;
    if params.get("code_challenge_method") != Some("S256") {
        return Err(("invalid_request", "code_challenge_method must be S256"));
    }
    let well_formed = challenge.len() == CHALLENGE_CHARS
        && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if well_formed {
        Ok(challenge.to_owned())
    } else {
        Err(("invalid_request", "code_challenge is malformed"))
    }
}

pub(crate) fn prompt(params: &Params) -> Result<Prompt, (&'static str, &'static str)> {
    let mut prompt = Prompt::default();
    for word in params.get("prompt").unwrap_or_default().split(' ').filter(|word| !word.is_empty()) {
        match word {
            "none" => prompt.none = true,
            // There is one account per session, so choosing another means signing in anew.
            "login" | "select_account" => prompt.login = true,
            "consent" => prompt.consent = true,
            _ => return Err(("invalid_request", "prompt has an unknown value")),
        }
    }
    if prompt.none && (prompt.login || prompt.consent) {
        return Err(("invalid_request", "prompt=none stands alone"));
    }
    Ok(prompt)
}

pub(crate) fn max_age(params: &Params) -> Result<Option<i64>, (&'static str, &'static str)> {
    let Some(text) = params.get("max_age") else { return Ok(None) };
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Some(i64::from(seconds))),
        Err(_) => Err(("invalid_request", "max_age is not a number of seconds")),
    }
}

fn subject(app: &App, params: &Params) -> Result<Option<String>, (&'static str, &'static str)> {
    let Some(hint) = params.get("id_token_hint") else { return Ok(None) };
    // An expired ID token is a good hint; a foreign one is not.
    match app.keys.verify::<IdClaims>(TokenType::Id, hint) {
        Ok(claims) => Ok(Some(claims.sub)),
        Err(_) => Err(("invalid_request", "id_token_hint is not a token of this issuer")),
    }
}

impl AuthorizationRequest {
    /// Where the answer goes, `to` being the registered redirect.
    pub(crate) fn destination(&self, to: Url) -> Destination {
        Destination { to, mode: self.response_mode, state: self.state.clone() }
    }

    /// The scopes asked for.
    pub(crate) fn scopes(&self) -> Scopes {
        Scopes::requested(&self.scope)
    }

    /// The client and its redirect, as they are registered now.
    pub(crate) fn client(&self, app: &App) -> Option<(Arc<Client>, Url)> {
        let client = app.clients.find(&self.client_id)?;
        let redirect = client.redirect(&self.redirect_uri)?;
        Some((client, redirect))
    }

    /// Whether `session` is recent enough and of the right person.
    pub(crate) fn accepts(&self, session: &Session, now: i64) -> bool {
        let right_person =
            self.subject.as_ref().is_none_or(|subject| *subject == session.user.id.to_string());
        let since_request = session.auth_at >= self.issued_at;
        let recent = !self.prompt.login
            && self.max_age.is_none_or(|seconds| now - session.auth_at <= seconds.saturating_mul(1_000_000));
        right_person && (since_request || recent)
    }

    /// The least that a sign-in of `user` must be worth for this request.
    pub(crate) fn least_assurance(&self, app: &App, user: &User) -> Assurance {
        app.factors.least(user).max(self.assurance.unwrap_or(Assurance::OneFactor))
    }

    /// The request as text for a URL or a hidden field.
    pub(crate) fn seal(&self, vault: &Vault) -> Result<String, Fault> {
        let json = serde_json::to_vec(self).map_err(crate::keys::KeyError::from)?;
        Ok(vault.seal_flow(&json)?)
    }

    /// Opens a sealed request; one that is too old, or not sealed by us, is none.
    pub(crate) fn open(app: &App, sealed: &str) -> Option<Self> {
        let json = app.vault.open_flow(sealed).ok()?;
        let request: Self = serde_json::from_slice(&json).ok()?;
        (app.now() - request.issued_at <= app.lifetimes.flow).then_some(request)
    }
}

/// What a person is told whose sealed request does not open.
pub(crate) const EXPIRED: (StatusCode, &str) = (
    StatusCode::BAD_REQUEST,
    "Signing in took too long, or the link was changed. Go back to the application and start again.",
);
