//! What the tokens of one request are bound to, and whom they are for.

use axum::http::HeaderMap;
use quintet_auth::Confirmation;

use super::mint::AUDIENCE;
use super::{OAuthError, Refusal};
use crate::app::App;
use crate::clients::Client;
use crate::dpop;
use crate::params::Params;

/// The key and the certificate that tokens are bound to; neither for bearer tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Binding {
    /// Thumbprint of the key of the request's DPoP proof (RFC 9449 §6).
    pub(super) key: Option<String>,
    /// Thumbprint of the certificate of the connection (RFC 8705 §3).
    certificate: Option<String>,
}

impl Binding {
    /// What a request to the token endpoint proves to hold.
    pub(super) async fn of(app: &App, client: &Client, headers: &HeaderMap) -> Result<Self, Refusal> {
        let key = dpop::proof(app, headers, "/token").await?.map(|proof| proof.thumbprint);
        if client.security.requires_dpop && key.is_none() {
            return Err(
                OAuthError::InvalidDpopProof.because("this client gets no token without a DPoP proof")
            );
        }
        let certificate = if client.security.binds_certificate {
            let text = "this client's tokens are bound to its certificate, and the connection has none";
            Some(
                quintet_auth::certificate_thumbprint(headers)
                    .ok_or(OAuthError::InvalidRequest.because(text))?,
            )
        } else {
            None
        };
        Ok(Self { key, certificate })
    }

    /// The claim `cnf`.
    pub(super) fn confirmation(&self) -> Option<Confirmation> {
        (self.key.is_some() || self.certificate.is_some())
            .then(|| Confirmation { key: self.key.clone(), certificate: self.certificate.clone() })
    }

    /// How the token is to be presented.
    pub(super) fn token_type(&self) -> &'static str {
        if self.key.is_some() { "DPoP" } else { "Bearer" }
    }
}

/// What `resource` names, if it is there and the client may have tokens for it (RFC 8707 §2).
pub(crate) fn resource(client: &Client, params: &Params) -> Result<Option<String>, &'static str> {
    match params.get("resource") {
        None => Ok(None),
        Some(wanted) if client.security.resources.iter().any(|known| known == wanted) => {
            Ok(Some(wanted.to_owned()))
        }
        Some(_) => Err("this client may have no tokens for that resource"),
    }
}

/// The audience of a token: one service, which the grant may have fixed before.
pub(super) fn audience(client: &Client, params: &Params, granted: Option<&str>) -> Result<String, Refusal> {
    let wanted = resource(client, params).map_err(|text| OAuthError::InvalidTarget.because(text))?;
    match (wanted, granted) {
        (Some(wanted), Some(granted)) if wanted != granted => {
            Err(OAuthError::InvalidTarget.because("the grant is for another resource"))
        }
        (Some(wanted), _) => Ok(wanted),
        (None, granted) => Ok(granted.unwrap_or(AUDIENCE).to_owned()),
    }
}
