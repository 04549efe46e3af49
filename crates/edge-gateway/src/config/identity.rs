//! `[identity]`: the identity provider, and the gateway as its client.

use quintet_http::origin::Origin;
use quintet_service::{Invalid, SecretFile};
use serde::Deserialize;

use super::invalid;

/// The identity provider: what tokens must say, and sign-in of browsers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Exact `iss` of tokens, and the base of the provider's public URLs.
    pub(crate) issuer: String,
    #[serde(default = "default_audience")]
    pub(crate) audience: String,
    /// Origin of the back channel: keys at `/identity/jwks.json`, tokens at `/identity/token`.
    pub(crate) jwks: Origin,
    /// Path prefix on the back channel; the issuer's path where unset.
    pub(crate) path: Option<String>,
    #[serde(default = "default_client_id")]
    pub(crate) client_id: String,
    pub(crate) client_secret_file: Option<SecretFile>,
    /// 32 bytes as base64 (either alphabet) or 64 hexadecimal digits: seals the session cookies.
    pub(crate) cookie_key_file: Option<SecretFile>,
    /// Scopes asked for at sign-in besides the OpenID ones.
    #[serde(default = "default_scopes")]
    pub(crate) scopes: Vec<String>,
}

fn default_audience() -> String {
    "quintet".to_owned()
}
fn default_client_id() -> String {
    "console".to_owned()
}
fn default_scopes() -> Vec<String> {
    [
        "users:read",
        "users:write",
        "billing:read",
        "billing:write",
        "inventory:read",
        "inventory:write",
        "orders:read",
        "orders:write",
        "exports:read",
        "exports:write",
        "jobs:read",
        "jobs:write",
        "telemetry:read",
        "telemetry:write",
        "identity:admin",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The issuer URL in the parts that the gateway needs.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) origin: String,
    pub(crate) path: String,
}

pub(super) fn issuer(identity: &Identity) -> Result<Issuer, Invalid> {
    let parsed = url::Url::parse(&identity.issuer).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.host().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let Some(url) = parsed else {
        return invalid("identity.issuer", "must be a URL such as https://example.com/identity");
    };
    let path = identity.path.clone().unwrap_or_else(|| url.path().trim_end_matches('/').to_owned());
    Ok(Issuer { url: identity.issuer.clone(), origin: url.origin().ascii_serialization(), path })
}
