//! The compact form of a signed token (RFC 7515 §7.1), taken apart without trusting any of it.
//!
//! Only `alg`, `typ`, `kid`, `jwk` and `crit` of the header are read; `jku` and `x5u` would have us fetch what a stranger
//! names. A header that names critical extensions is refused because none is understood (RFC 7515 §4.1.11).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::claims::Claims;
use crate::jwk::{Algorithm, PublicKey};
use crate::rejection::Rejection;

/// No token of ours comes near it, and header limits in front are about as large.
const MAX_TOKEN: usize = 16 * 1024;

/// Why a text is no signed token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompactError {
    /// Longer than 16 KiB.
    #[error("it is too long")]
    TooLong,
    /// Not three parts.
    #[error("it is not a JWT")]
    Parts,
    /// A header that is no JSON object with `alg`.
    #[error("its header cannot be read")]
    Header,
    /// `none`, a shared secret, or something unknown.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// `crit`.
    #[error("it names critical extensions")]
    Critical,
    /// Not base64url.
    #[error("its signature cannot be read")]
    Signature,
    /// Not the JSON expected.
    #[error("its claims cannot be read")]
    Claims,
}

/// A signed token whose signature is not checked yet.
#[derive(Debug)]
pub struct Compact<'a> {
    /// What the header says it is signed with.
    pub algorithm: Algorithm,
    /// `typ` in lower case and without `application/`; empty when absent (RFC 7515 §4.1.9).
    pub kind: String,
    /// `kid`.
    pub key_id: Option<String>,
    /// `jwk`, for proofs of possession alone.
    pub key: Option<serde_json::Value>,
    signed: &'a [u8],
    signature: Vec<u8>,
    payload: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    jwk: Option<serde_json::Value>,
    crit: Option<serde_json::Value>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    pub fn parse(token: &'a str) -> Result<Self, CompactError> {
        if token.len() > MAX_TOKEN {
            return Err(CompactError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(CompactError::Parts)?;
        let (header, payload) = signed
            .split_once('.')
            .filter(|(_, payload)| !payload.contains('.'))
            .ok_or(CompactError::Parts)?;
        let header: Header =
            decode(header).and_then(|json| serde_json::from_slice(&json).ok()).ok_or(CompactError::Header)?;
        let algorithm = Algorithm::parse(&header.alg).ok_or(CompactError::Algorithm)?;
        if header.crit.is_some() {
            return Err(CompactError::Critical);
        }
        let kind = header.typ.unwrap_or_default().to_ascii_lowercase();
        Ok(Self {
            algorithm,
            kind: kind.strip_prefix("application/").map_or(kind.clone(), str::to_owned),
            key_id: header.kid,
            key: header.jwk,
            signed: signed.as_bytes(),
            signature: decode(signature).ok_or(CompactError::Signature)?,
            payload,
        })
    }

    /// Whether the signature is `key`'s.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.algorithm, self.signed, &self.signature)
    }

    /// The claims; meaningful only once the signature has been checked.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, CompactError> {
        decode(self.payload).and_then(|json| serde_json::from_slice(&json).ok()).ok_or(CompactError::Claims)
    }
}

/// An access token whose signature is not checked yet.
pub(crate) struct Unverified<'a> {
    compact: Compact<'a>,
    pub(crate) key_id: String,
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, Rejection> {
        let mut compact = Compact::parse(token).map_err(malformed)?;
        // Access tokens are never signed with RSA here, so nothing is gained by verifying it.
        if !matches!(compact.algorithm, Algorithm::Es256 | Algorithm::EdDsa) {
            return Err(malformed(CompactError::Algorithm));
        }
        if compact.kind != "at+jwt" {
            return Err(Rejection::Malformed("its type is not at+jwt"));
        }
        let key_id = compact.key_id.take().ok_or(Rejection::Malformed("it names no key"))?;
        Ok(Self { compact, key_id })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.compact.algorithm
    }

    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.compact.is_signed_by(key)
    }

    /// The claims; meaningful only once the signature has been checked.
    pub(crate) fn claims(&self) -> Result<Claims, Rejection> {
        self.compact.claims().map_err(malformed)
    }
}

fn malformed(error: CompactError) -> Rejection {
    Rejection::Malformed(match error {
        CompactError::TooLong => "it is too long",
        CompactError::Parts => "it is not a JWT",
        CompactError::Header => "its header cannot be read",
        CompactError::Algorithm => "its algorithm is not accepted",
        CompactError::Critical => "it names critical extensions",
        CompactError::Signature => "its signature cannot be read",
        CompactError::Claims => "its claims cannot be read",
    })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
