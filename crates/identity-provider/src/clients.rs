//! The registered clients: configuration as code, read once at start.
//!
//! Secrets are long and machine-made, so a keyed hash is enough to keep them out of reach of a
//! memory dump's reader and gives a comparison in constant time; a slow password hash would only
//! make the token endpoint slow.

mod security;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quintet_types::Entropy;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use url::{Host, Url};
use zeroize::Zeroizing;

pub(crate) use self::security::{Profile, Security};
use crate::client_auth::AuthMethod;
use crate::params::Params;
use crate::scopes::Scopes;

/// What a client may ask the token endpoint for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GrantType {
    /// Exchange a code from the authorization endpoint.
    AuthorizationCode,
    /// Exchange a refresh token for newer tokens.
    RefreshToken,
    /// A token for the client itself.
    ClientCredentials,
    /// Tokens for a device whose code a person entered elsewhere.
    DeviceCode,
    /// A token in place of another client's.
    TokenExchange,
}

impl GrantType {
    /// The name in metrics and in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "device_code",
            Self::TokenExchange => "token_exchange",
        }
    }
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Absent: a public client, which authenticates by PKCE alone, or one that has a key.
    pub(crate) secret: Option<SecretDigest>,
    pub(crate) redirect_uris: Vec<Url>,
    pub(crate) redirect_texts: Vec<String>,
    pub(crate) post_logout_redirect_uris: Vec<String>,
    pub(crate) grant_types: Vec<GrantType>,
    pub(crate) scopes: Scopes,
    /// Whether people are asked before the client gets anything.
    pub(crate) consent: bool,
    /// Whether the client may introspect tokens that are not its own.
    pub(crate) introspection: bool,
    /// How long a used refresh token is still answered, in microseconds.
    pub(crate) refresh_grace: i64,
    pub(crate) security: Security,
}

impl Client {
    /// Whether the client does not authenticate.
    pub(crate) fn is_public(&self) -> bool {
        self.security.authentication == AuthMethod::None
    }

    /// Whether the client may use `grant`.
    pub(crate) fn may(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    /// The registered redirect that `wanted` is, compared as text (RFC 9700 §4.1.3). The port of a
    /// loopback address is free, because a native application cannot know it (RFC 8252 §7.3).
    pub(crate) fn redirect(&self, wanted: &str) -> Option<Url> {
        if self.redirect_texts.iter().any(|registered| registered == wanted) {
            return Url::parse(wanted).ok();
        }
        let wanted = Url::parse(wanted).ok().filter(is_plain_loopback)?;
        self.redirect_uris.iter().any(|registered| same_but_for_port(registered, &wanted)).then_some(wanted)
    }
}

fn is_plain_loopback(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        _ => false,
    };
    loopback && url.scheme() == "http" && url.username().is_empty() && url.password().is_none()
}

fn same_but_for_port(registered: &Url, wanted: &Url) -> bool {
    let mut ported = registered.clone();
    is_plain_loopback(registered) && ported.set_port(wanted.port()).is_ok() && ported == *wanted
}

/// The keyed hash of a client secret, under a key that lives as long as the process.
#[derive(Debug)]
pub(crate) struct SecretDigest([u8; 32]);

/// Every registered client.
pub(crate) struct Clients {
    by_id: HashMap<String, Arc<Client>>,
    key: hmac::Key,
}

/// Why a client was not let in. All variants but the first look alike from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ClientError {
    /// Two ways to authenticate at once, or a header that cannot be read.
    #[error("the client authentication is malformed")]
    Malformed,
    /// No such client, a wrong secret, none, or one where there is none.
    #[error("the client could not be authenticated")]
    Rejected,
}

impl Clients {
    /// An empty registry with a hashing key of its own.
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0u8; 32]);
        entropy.fill(key.as_mut_slice());
        Self { by_id: HashMap::new(), key: hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()) }
    }

    /// The digest of a secret.
    pub(crate) fn digest(&self, secret: &[u8]) -> SecretDigest {
        let mut digest = [0u8; 32];
        for (to, from) in digest.iter_mut().zip(hmac::sign(&self.key, secret).as_ref()) {
            *to = *from;
        }
        SecretDigest(digest)
    }

    /// Adds a client.
    pub(crate) fn insert(&mut self, client: Client) {
        self.by_id.insert(client.id.clone(), Arc::new(client));
    }

    /// The client with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Client>> {
        self.by_id.get(id).cloned()
    }

    /// The client that a request comes from (RFC 6749 §2.3.1): `client_secret_basic`, `client_secret_post`, or `none` for
    /// a public one. Clients with a key are [`crate::client_auth`]'s.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        params: &Params,
    ) -> Result<Arc<Client>, ClientError> {
        let mut authorization = headers.get_all(header::AUTHORIZATION).iter();
        let basic = match (authorization.next(), authorization.next()) {
            (None, _) => None,
            (Some(value), None) => Some(parse_basic(value.as_bytes())?),
            (Some(_), Some(_)) => return Err(ClientError::Malformed),
        };
        let posted_id = params.get("client_id");
        let (id, secret) = match (basic, params.get("client_secret")) {
            (Some(_), Some(_)) => return Err(ClientError::Malformed),
            (Some((id, secret)), None) => {
                if posted_id.is_some_and(|posted| posted != id.as_str()) {
                    return Err(ClientError::Malformed);
                }
                (id, Some(secret))
            }
            (None, secret) => (
                posted_id.map(str::to_owned).ok_or(ClientError::Rejected)?,
                secret.map(|secret| Zeroizing::new(secret.to_owned())),
            ),
        };
        let client = self.find(&id);
        let fits = match (client.as_ref().and_then(|client| client.secret.as_ref()), &secret) {
            (Some(expected), Some(secret)) => self.digest(secret.as_bytes()).0.ct_eq(&expected.0).into(),
            (None, None) => client.as_ref().is_some_and(|client| client.is_public()),
            _ => false,
        };
        client.filter(|_| fits).ok_or(ClientError::Rejected)
    }
}

/// `Basic base64(urlencode(id):urlencode(secret))`.
fn parse_basic(value: &[u8]) -> Result<(String, Zeroizing<String>), ClientError> {
    let text = std::str::from_utf8(value).map_err(|_| ClientError::Malformed)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(ClientError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(ClientError::Malformed);
    }
    let pair = STANDARD.decode(encoded.trim()).map(Zeroizing::new).map_err(|_| ClientError::Malformed)?;
    let pair = std::str::from_utf8(&pair).map_err(|_| ClientError::Malformed)?;
    let (id, secret) = pair.split_once(':').ok_or(ClientError::Malformed)?;
    Ok((decode_component(id), Zeroizing::new(decode_component(secret))))
}

/// A lone component has no `=` or `&` left to split at once it is encoded, so the form parser's
/// first name is all of it.
fn decode_component(text: &str) -> String {
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use quintet_types::SystemEntropy;

    use super::*;

    fn client(redirects: &[&str]) -> Client {
        Client {
            id: "app".to_owned(),
            name: "App".to_owned(),
            secret: None,
            redirect_uris: redirects.iter().map(|uri| Url::parse(uri).unwrap()).collect(),
            redirect_texts: redirects.iter().map(|&uri| uri.to_owned()).collect(),
            post_logout_redirect_uris: Vec::new(),
            grant_types: vec![GrantType::AuthorizationCode],
            scopes: Scopes::all(),
            consent: false,
            introspection: false,
            refresh_grace: 0,
            security: Security::default(),
        }
    }

    #[test]
    fn only_the_registered_redirect_matches_and_loopback_ports_are_free() {
        let client =
            client(&["https://app.example/callback", "http://127.0.0.1/cb", "http://localhost:3000/cb"]);
        for (wanted, matches) in [
            ("https://app.example/callback", true),
            ("https://app.example/callback/", false),
            ("https://app.example/callback?x=1", false),
            ("https://app.example:443/callback", false),
            ("https://app.example.evil.test/callback", false),
            ("https://badapp.example/callback", false),
            ("https://app.example/callback#f", false),
            ("http://127.0.0.1:49152/cb", true),
            ("http://127.0.0.1:49152/other", false),
            ("http://user@127.0.0.1:49152/cb", false),
            ("https://127.0.0.1:49152/cb", false),
            ("http://localhost:3001/cb", false),
            ("http://localhost:3000/cb", true),
            ("javascript:alert(1)", false),
        ] {
            assert_eq!(client.redirect(wanted).is_some(), matches, "{wanted}");
        }
    }

    fn registry() -> Clients {
        let mut clients = Clients::new(&SystemEntropy);
        let secret = Some(clients.digest(b"s3cret:+%"));
        let security = Security { authentication: AuthMethod::Secret, ..Security::default() };
        clients.insert(Client { id: "backend".to_owned(), secret, security, ..client(&[]) });
        let security = Security { authentication: AuthMethod::PrivateKeyJwt, ..Security::default() };
        clients.insert(Client { id: "signer".to_owned(), security, ..client(&[]) });
        clients.insert(client(&[]));
        clients
    }

    fn outcome(authorization: Option<&str>, form: &str) -> Result<String, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let clients = registry();
        let params = Params::parse(form.as_bytes()).unwrap();
        clients.authenticate(&headers, &params).map(|client| client.id.clone())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn a_confidential_client_needs_its_secret_by_exactly_one_method() {
        let good = basic("backend:s3cret%3A%2B%25");
        assert_eq!(outcome(Some(&good), ""), Ok("backend".to_owned()));
        assert_eq!(
            outcome(None, "client_id=backend&client_secret=s3cret%3A%2B%25"),
            Ok("backend".to_owned())
        );
        assert_eq!(outcome(Some(&good), "client_id=backend&client_secret=x"), Err(ClientError::Malformed));
        assert_eq!(outcome(Some(&good), "client_id=app"), Err(ClientError::Malformed));
        assert_eq!(outcome(Some(&basic("backend:wrong")), ""), Err(ClientError::Rejected));
        assert_eq!(outcome(None, "client_id=backend"), Err(ClientError::Rejected));
        assert_eq!(outcome(Some("Bearer x"), ""), Err(ClientError::Malformed));
        assert_eq!(outcome(Some("Basic ???"), ""), Err(ClientError::Malformed));
    }

    #[test]
    fn a_public_client_names_itself_and_may_not_send_a_secret() {
        assert_eq!(outcome(None, "client_id=app"), Ok("app".to_owned()));
        assert_eq!(outcome(None, "client_id=app&client_secret=x"), Err(ClientError::Rejected));
        assert_eq!(outcome(None, "client_id=signer"), Err(ClientError::Rejected), "it has a key to show");
        assert_eq!(outcome(None, "client_id=nobody"), Err(ClientError::Rejected));
        assert_eq!(outcome(None, ""), Err(ClientError::Rejected));
    }
}
