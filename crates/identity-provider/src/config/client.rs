//! One `[[clients]]` section. The keys that OpenID Connect Dynamic Registration has names for are called by them.

use std::path::PathBuf;
use std::time::Duration;

use quintet_service::SecretFile;
use quintet_service::config::Invalid;
use serde::Deserialize;
use url::Url;

use super::redirect_target;
use crate::backchannel;
use crate::client_auth::{AuthMethod, KeySource, RemoteKeys};
use crate::clients::{Client, GrantType, Profile, SecretDigest, Security};
use crate::scopes::Scopes;
use crate::time::span;

/// RFC 9700 §4.14.2 wants reuse noticed; what is answered again for longer is a second token.
const MOST_GRACE_SECONDS: u64 = 60;

/// `[[clients]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientConfig {
    /// `client_id`.
    pub(crate) id: String,
    /// What people are shown; the id when absent.
    pub(crate) name: Option<String>,
    /// The client's secret; absent for a public client, and for one that authenticates by a key.
    pub(crate) secret_file: Option<SecretFile>,
    /// Where codes may be sent, compared exactly.
    #[serde(default)]
    pub(crate) redirect_uris: Vec<String>,
    /// What the client may ask the token endpoint for.
    #[serde(default = "default_grant_types")]
    pub(crate) grant_types: Vec<GrantType>,
    /// The most the client may be granted.
    pub(crate) scopes: Vec<String>,
    /// Where people may be sent after signing out, compared exactly.
    #[serde(default)]
    pub(crate) post_logout_redirect_uris: Vec<String>,
    /// Whether people are asked before the client gets anything; off for our own clients.
    #[serde(default = "yes")]
    pub(crate) consent: bool,
    /// Whether the client may introspect tokens that are not its own.
    #[serde(default)]
    pub(crate) introspection: bool,
    /// Overrides `tokens.refresh_grace_seconds` for this client.
    pub(crate) refresh_grace_seconds: Option<u64>,
    /// The rules the client is held to: those of RFC 9700, or of the FAPI 2.0 Security Profile.
    #[serde(default)]
    pub(crate) profile: Profile,
    /// How the client authenticates; by its secret if it has one, else not at all.
    pub(crate) token_endpoint_auth_method: Option<AuthMethod>,
    /// A file with the client's public keys as a JWKS document.
    pub(crate) jwks_file: Option<PathBuf>,
    /// Where the client publishes its public keys as a JWKS document; instead of `jwks_file`.
    pub(crate) jwks_uri: Option<String>,
    /// The DNS name that the client's certificate is for.
    pub(crate) tls_client_auth_san_dns: Option<String>,
    /// The URI that the client's certificate is for, such as a SPIFFE id.
    pub(crate) tls_client_auth_san_uri: Option<String>,
    /// Whether the client's access tokens are bound to the certificate it connects with.
    #[serde(default)]
    pub(crate) tls_client_certificate_bound_access_tokens: bool,
    /// Whether the client gets no token without a DPoP proof.
    #[serde(default)]
    pub(crate) dpop_bound_access_tokens: bool,
    /// Whether the client must push its authorization requests.
    #[serde(default)]
    pub(crate) require_pushed_authorization_requests: bool,
    /// Whether the client must sign its authorization requests.
    #[serde(default)]
    pub(crate) require_signed_request_object: bool,
    /// Whether the client must use PKCE; a client that authenticates may be let off, if it checks `nonce`.
    #[serde(default = "yes")]
    pub(crate) require_pkce: bool,
    /// The services that the client may ask for tokens for, as `resource` names them; ours need no mention.
    #[serde(default)]
    pub(crate) resources: Vec<String>,
    /// The clients whose access tokens this one may exchange for its own, with `token_exchange` among `grant_types`.
    #[serde(default)]
    pub(crate) exchange_tokens_of: Vec<String>,
    /// Where the client is told that a session with it has ended (OpenID Connect Back-Channel Logout).
    pub(crate) backchannel_logout_uri: Option<String>,
}

fn default_grant_types() -> Vec<GrantType> {
    vec![GrantType::AuthorizationCode, GrantType::RefreshToken]
}

const fn yes() -> bool {
    true
}

impl ClientConfig {
    /// The client, with the digest of its secret where that was read.
    pub(crate) fn build(
        &self,
        index: usize,
        grace_seconds: u64,
        secret: Option<SecretDigest>,
    ) -> Result<Client, Invalid> {
        let invalid = |key: &str, message: String| Invalid::new(format!("clients.{index}.{key}"), message);
        if self.id.is_empty()
            || !self.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        {
            return Err(invalid("id", "a client id is made of letters, digits, '-', '.' and '_'".to_owned()));
        }
        let scopes = Scopes::known(self.scopes.iter().map(String::as_str))
            .map_err(|unknown| invalid("scopes", unknown.to_string()))?;
        let redirect_uris = self
            .redirect_uris
            .iter()
            .map(|uri| redirect_target(uri).map_err(|message| invalid("redirect_uris", message)))
            .collect::<Result<Vec<_>, _>>()?;
        for uri in &self.post_logout_redirect_uris {
            redirect_target(uri).map_err(|message| invalid("post_logout_redirect_uris", message))?;
        }
        let by_code = self.grant_types.contains(&GrantType::AuthorizationCode);
        if by_code && redirect_uris.is_empty() {
            return Err(invalid("redirect_uris", "a client with authorization_code needs one".to_owned()));
        }
        let grace_seconds = self.refresh_grace_seconds.unwrap_or(grace_seconds);
        if grace_seconds > MOST_GRACE_SECONDS {
            return Err(invalid("refresh_grace_seconds", format!("at most {MOST_GRACE_SECONDS}")));
        }
        let security = self.security().map_err(|(key, message)| invalid(key, message))?;
        if security.authentication == AuthMethod::None
            && self.grant_types.contains(&GrantType::ClientCredentials)
        {
            let message = "client_credentials needs a secret_file, or a token_endpoint_auth_method by key";
            return Err(invalid("grant_types", message.to_owned()));
        }
        let exchanges = self.grant_types.contains(&GrantType::TokenExchange);
        if exchanges == self.exchange_tokens_of.is_empty()
            || (exchanges && security.authentication == AuthMethod::None)
        {
            let message = "goes with the grant type token_exchange, for clients that authenticate";
            return Err(invalid("exchange_tokens_of", message.to_owned()));
        }
        Ok(Client {
            id: self.id.clone(),
            name: self.name.clone().unwrap_or_else(|| self.id.clone()),
            secret,
            redirect_uris,
            redirect_texts: self.redirect_uris.clone(),
            post_logout_redirect_uris: self.post_logout_redirect_uris.clone(),
            grant_types: self.grant_types.clone(),
            scopes,
            consent: self.consent,
            introspection: self.introspection,
            refresh_grace: span(Duration::from_secs(grace_seconds)),
            security,
        })
    }

    fn security(&self) -> Result<Security, (&'static str, String)> {
        let authentication = self.auth_method()?;
        let security = Security {
            profile: self.profile,
            keys: self.keys()?,
            certificate_dns: self.tls_client_auth_san_dns.clone(),
            certificate_uri: self.tls_client_auth_san_uri.clone(),
            binds_certificate: self.tls_client_certificate_bound_access_tokens
                || authentication == AuthMethod::TlsClientAuth,
            requires_dpop: self.dpop_bound_access_tokens,
            requires_pushed_requests: self.require_pushed_authorization_requests,
            requires_signed_requests: self.require_signed_request_object,
            requires_pkce: self.require_pkce,
            resources: self.resources.iter().map(|text| resource(text)).collect::<Result<_, _>>()?,
            exchanges_of: self.exchange_tokens_of.clone(),
            backchannel_logout: self
                .backchannel_logout_uri
                .as_deref()
                .map(backchannel::address)
                .transpose()
                .map_err(|message| ("backchannel_logout_uri", message))?,
            authentication,
        };
        let has_keys = !matches!(security.keys, KeySource::None);
        if authentication == AuthMethod::PrivateKeyJwt && !has_keys {
            return Err((
                "token_endpoint_auth_method",
                "private_key_jwt needs jwks_file or jwks_uri".to_owned(),
            ));
        }
        if security.requires_signed_requests && !has_keys {
            return Err(("require_signed_request_object", "needs jwks_file or jwks_uri".to_owned()));
        }
        if !security.requires_pkce && authentication == AuthMethod::None {
            return Err(("require_pkce", "a client that does not authenticate must use PKCE".to_owned()));
        }
        match self.profile {
            Profile::Basic => Ok(security),
            Profile::Fapi2 => fapi2(security),
        }
    }

    fn auth_method(&self) -> Result<AuthMethod, (&'static str, String)> {
        let implied = if self.secret_file.is_some() { AuthMethod::Secret } else { AuthMethod::None };
        let method = self.token_endpoint_auth_method.unwrap_or(implied);
        if (method == AuthMethod::Secret) != self.secret_file.is_some() {
            return Err((
                "token_endpoint_auth_method",
                "secret_file and an authentication by secret go together".to_owned(),
            ));
        }
        let named = self.tls_client_auth_san_dns.is_some() != self.tls_client_auth_san_uri.is_some();
        if method == AuthMethod::TlsClientAuth && !named {
            let message = "tls_client_auth needs one of tls_client_auth_san_dns and tls_client_auth_san_uri";
            return Err(("token_endpoint_auth_method", message.to_owned()));
        }
        Ok(method)
    }

    fn keys(&self) -> Result<KeySource, (&'static str, String)> {
        match (&self.jwks_file, &self.jwks_uri) {
            (None, None) => Ok(KeySource::None),
            (Some(_), Some(_)) => Err(("jwks_uri", "either jwks_file or jwks_uri".to_owned())),
            (Some(path), None) => {
                let text = std::fs::read(path)
                    .map_err(|error| ("jwks_file", format!("cannot read {}: {error}", path.display())))?;
                let keys = quintet_auth::public_keys(&text)
                    .map_err(|error| ("jwks_file", format!("{}: {error}", path.display())))?;
                Ok(KeySource::Fixed(keys.into()))
            }
            (None, Some(uri)) => {
                RemoteKeys::new(uri).map(KeySource::Remote).map_err(|message| ("jwks_uri", message))
            }
        }
    }
}

/// FAPI 2.0 Security Profile §5.3.2.1: confidential clients with a key, pushed requests, PKCE and bound tokens.
fn fapi2(security: Security) -> Result<Security, (&'static str, String)> {
    if !matches!(security.authentication, AuthMethod::PrivateKeyJwt | AuthMethod::TlsClientAuth) {
        let message = "the profile fapi2 needs private_key_jwt or tls_client_auth";
        return Err(("token_endpoint_auth_method", message.to_owned()));
    }
    if !security.requires_pkce {
        return Err(("require_pkce", "the profile fapi2 needs PKCE".to_owned()));
    }
    let requires_dpop = security.requires_dpop || !security.binds_certificate;
    Ok(Security { requires_dpop, requires_pushed_requests: true, ..security })
}

/// RFC 8707 §2: an absolute URI without a fragment.
fn resource(text: &str) -> Result<String, (&'static str, String)> {
    match Url::parse(text) {
        Ok(url) if url.fragment().is_none() => Ok(text.to_owned()),
        _ => Err(("resources", format!("{text} is not an absolute URI without a fragment"))),
    }
}
