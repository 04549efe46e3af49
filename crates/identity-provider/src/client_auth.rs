//! Who a request to the token, revocation, introspection or pushed-request endpoint comes from: by a secret, by a
//! signed assertion (RFC 7523, OpenID Connect Core §9), or by the certificate of the connection (RFC 8705 §2).
//!
//! A client authenticates by the one method it is registered with; a request that uses two is refused (RFC 6749 §2.3).
//! All failures look alike from outside.

mod assertion;
mod keys;

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::app::App;
use crate::clients::{Client, ClientError};
use crate::params::Params;
use crate::token::{OAuthError, Refusal};

pub(crate) use self::keys::{KeySource, RemoteKeys, signed_by_client};

/// The names that the gateway found in a verified certificate, such as `DNS:a.example, URI:spiffe://a.example/b`.
const CLIENT_NAMES: &str = "x-quintet-client-names";

/// How a client authenticates. Both ways to send a secret are one method here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(crate) enum AuthMethod {
    /// Not at all.
    #[serde(rename = "none")]
    None,
    /// By its secret, in the header or in the form.
    #[serde(rename = "client_secret_basic", alias = "client_secret_post")]
    Secret,
    /// By an assertion that it signs.
    #[serde(rename = "private_key_jwt")]
    PrivateKeyJwt,
    /// By a certificate of an authority that the gateway trusts.
    #[serde(rename = "tls_client_auth")]
    TlsClientAuth,
}

/// The client that sent a request to the endpoint at `path`.
pub(crate) async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    path: &str,
) -> Result<Arc<Client>, Refusal> {
    if params.get("client_assertion").is_some() || params.get("client_assertion_type").is_some() {
        if headers.contains_key(header::AUTHORIZATION) || params.get("client_secret").is_some() {
            return Err(ClientError::Malformed.into());
        }
        return assertion::authenticate(app, params, path).await;
    }
    let named = params.get("client_id").and_then(|id| app.clients.find(id));
    match named.filter(|client| client.security.authentication == AuthMethod::TlsClientAuth) {
        Some(client) => {
            let alone = !headers.contains_key(header::AUTHORIZATION) && params.get("client_secret").is_none();
            if alone && shows_certificate(&client, headers) {
                Ok(client)
            } else {
                Err(ClientError::Rejected.into())
            }
        }
        None => app.clients.authenticate(headers, params).map_err(Refusal::from),
    }
}

/// RFC 8705 §2.1.2. The gateway verified the chain and took away what clients claim of themselves.
fn shows_certificate(client: &Client, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CLIENT_NAMES).iter();
    let (Some(names), None) = (values.next().and_then(|value| value.to_str().ok()), values.next()) else {
        return false;
    };
    let has = |kind: &str, wanted: &Option<String>, same: fn(&str, &str) -> bool| {
        wanted.as_deref().is_some_and(|wanted| {
            names.split(", ").filter_map(|name| name.strip_prefix(kind)).any(|name| same(name, wanted))
        })
    };
    let by_dns = has("DNS:", &client.security.certificate_dns, str::eq_ignore_ascii_case);
    let by_uri = has("URI:", &client.security.certificate_uri, |a, b| a == b);
    quintet_auth::certificate_thumbprint(headers).is_some() && (by_dns || by_uri)
}

/// A refusal for clients that authenticate but must not do this without.
pub(crate) fn confidential(client: &Client) -> Result<(), Refusal> {
    if client.is_public() {
        return Err(OAuthError::InvalidClient.because("a public client may not do this"));
    }
    Ok(())
}
