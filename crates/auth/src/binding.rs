//! Tokens that only their holder can use: bound to a key by DPoP (RFC 9449) or to a certificate by mutual TLS
//! (RFC 8705 §3).
//!
//! A bound token that comes without its proof is refused (RFC 9449 §7.1), or binding it would have been for nothing; a
//! proof for a token that is bound to nothing is refused too, because its sender believes otherwise.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use crate::claims::Claims;
use crate::dpop::{self, Noted, Proof, ProofError};
use crate::rejection::Rejection;
use crate::verifier::Verifier;

/// The certificate of the client, from the gateway alone (RFC 9440).
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// How a token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Bearer,
    /// `Authorization: DPoP` (RFC 9449 §7.1).
    Dpop,
}

/// The token of a request and how it is presented; the scheme's case does not matter (RFC 9110 §11.1).
pub fn presented(headers: &HeaderMap) -> Result<(Scheme, &str), Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Rejection::Missing)?;
    if values.next().is_some() {
        return Err(Rejection::Malformed("there are several Authorization headers"));
    }
    let text = value.to_str().map_err(|_| Rejection::Malformed("it is not text"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let scheme = if scheme.eq_ignore_ascii_case("bearer") {
        Scheme::Bearer
    } else if scheme.eq_ignore_ascii_case("dpop") {
        Scheme::Dpop
    } else {
        return Err(Rejection::Missing);
    };
    match token.trim_matches(' ') {
        "" => Err(Rejection::Missing),
        token => Ok((scheme, token)),
    }
}

/// The SHA-256 thumbprint of the certificate that [`CLIENT_CERT`] carries, as `cnf.x5t#S256` has it.
pub fn certificate_thumbprint(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CLIENT_CERT).iter();
    let text = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let der = STANDARD.decode(text.strip_prefix(':')?.strip_suffix(':')?).ok()?;
    Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &der)))
}

/// What a request shows beside its token.
pub struct Possession<'a> {
    /// How the token is presented.
    pub scheme: Scheme,
    /// The token.
    pub token: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request's headers, for the proof.
    pub headers: &'a HeaderMap,
    /// Thumbprint of the certificate of the connection, if it has one.
    pub certificate: Option<String>,
}

impl Verifier {
    /// Checks that whoever sent a verified token may: `url` is the request's own, as the client wrote it, and asked for
    /// only where the token is bound to a key.
    pub fn confirm(
        &self,
        claims: &Claims,
        possession: &Possession<'_>,
        url: impl FnOnce() -> Option<String>,
    ) -> Result<(), Rejection> {
        let confirmation = claims.cnf.as_ref();
        if let Some(expected) = confirmation.and_then(|confirmation| confirmation.certificate.as_deref())
            && possession.certificate.as_deref() != Some(expected)
        {
            return Err(Rejection::Certificate);
        }
        let Some(expected) = confirmation.and_then(|confirmation| confirmation.key.as_deref()) else {
            return match possession.scheme {
                Scheme::Bearer => Ok(()),
                Scheme::Dpop => Err(Rejection::Malformed("it is not bound to a key; send it as Bearer")),
            };
        };
        if possession.scheme == Scheme::Bearer {
            return Err(Rejection::Proof(ProofError::Missing));
        }
        let text = dpop::header(possession.headers)?.ok_or(ProofError::Missing)?;
        let url = url().ok_or(ProofError::Target)?;
        let now = self.now();
        let proof = Proof::check(text, possession.method, &url, now)?;
        if !proof.is_for(possession.token) {
            return Err(ProofError::Token.into());
        }
        if proof.thumbprint != expected {
            return Err(ProofError::Key.into());
        }
        match self.seen().note(&proof, now) {
            Noted::First => Ok(()),
            Noted::Again => Err(ProofError::Replayed.into()),
            Noted::Full => Err(Rejection::Unavailable),
        }
    }
}
