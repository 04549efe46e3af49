//! The compact form of a signed token (RFC 7515 §7.1), taken apart without trusting any of it.
//!
//! Only `alg`, `typ`, `kid` and `crit` of the header are read. A header that names critical
//! extensions is refused because none is understood (RFC 7515 §4.1.11).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::claims::Claims;
use crate::jwks::Algorithm;
use crate::rejection::Rejection;

/// No token of ours comes near it, and header limits in front are about as large.
const MAX_TOKEN: usize = 16 * 1024;

/// An access token whose signature is not checked yet.
pub(crate) struct Unverified<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: String,
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
    payload: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, Rejection> {
        if token.len() > MAX_TOKEN {
            return Err(Rejection::Malformed("it is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed("it is not a JWT"))?;
        let (header, payload) = signed
            .split_once('.')
            .filter(|(_, payload)| !payload.contains('.'))
            .ok_or(Rejection::Malformed("it is not a JWT"))?;
        let header: Header = decode(header)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(Rejection::Malformed("its header cannot be read"))?;
        let (algorithm, key_id) = accept(header)?;
        let signature = decode(signature).ok_or(Rejection::Malformed("its signature cannot be read"))?;
        Ok(Self { algorithm, key_id, signed: signed.as_bytes(), signature, payload })
    }

    /// The claims; meaningful only once the signature has been checked.
    pub(crate) fn claims(&self) -> Result<Claims, Rejection> {
        decode(self.payload)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(Rejection::Malformed("its claims cannot be read"))
    }
}

fn accept(header: Header) -> Result<(Algorithm, String), Rejection> {
    let algorithm =
        Algorithm::parse(&header.alg).ok_or(Rejection::Malformed("its algorithm is not accepted"))?;
    let typ = header.typ.unwrap_or_default().to_ascii_lowercase();
    if typ.strip_prefix("application/").unwrap_or(&typ) != "at+jwt" {
        return Err(Rejection::Malformed("its type is not at+jwt"));
    }
    if header.crit.is_some() {
        return Err(Rejection::Malformed("it names critical extensions"));
    }
    let key_id = header.kid.ok_or(Rejection::Malformed("it names no key"))?;
    Ok((algorithm, key_id))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
