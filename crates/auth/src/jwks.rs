//! The issuer's public keys (RFC 7517), parsed once into their form for verification.
//!
//! Keys this crate does not use (other algorithms, encryption keys, keys without an id) are
//! skipped, so that an issuer can publish more than we understand. A set without any usable key
//! is an error: taking it over would lock everyone out.

use std::collections::HashMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

/// More keys than any rotation needs; the rest of a longer list is not read.
const MAX_KEYS: usize = 64;
const COORDINATE: usize = 32;

/// Why a key set cannot be used.
#[derive(Debug, Error)]
pub enum JwksError {
    /// It is no JWKS document.
    #[error("the key set is not a JWKS document")]
    Document(#[source] serde_json::Error),
    /// It has no ES256 or EdDSA verification key with an id.
    #[error("the key set has no usable key")]
    Empty,
}

/// The signature algorithms accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    public: ParsedPublicKey,
}

impl Key {
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

pub(crate) struct KeySet(HashMap<String, Key>);

impl KeySet {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, JwksError> {
        let document: Document = serde_json::from_slice(json).map_err(JwksError::Document)?;
        let mut keys = HashMap::new();
        for value in document.keys.into_iter().take(MAX_KEYS) {
            if let Some((id, key)) = serde_json::from_value::<Jwk>(value).ok().and_then(usable) {
                // Of two keys with one id the first counts, so that a later one cannot displace it.
                keys.entry(id).or_insert(key);
            }
        }
        if keys.is_empty() { Err(JwksError::Empty) } else { Ok(Self(keys)) }
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn usable(jwk: Jwk) -> Option<(String, Key)> {
    let id = jwk.kid.filter(|id| !id.is_empty())?;
    if jwk.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let x = coordinate(jwk.x.as_deref()?)?;
    let (algorithm, public) = match (jwk.kty.as_str(), jwk.crv.as_deref()?) {
        ("EC", "P-256") => {
            let y = coordinate(jwk.y.as_deref()?)?;
            // SEC 1 §2.3.3: an uncompressed point.
            let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
            (Algorithm::Es256, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?)
        }
        ("OKP", "Ed25519") => (Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, x).ok()?),
        _ => return None,
    };
    let named = jwk.alg.is_none_or(|alg| Algorithm::parse(&alg) == Some(algorithm));
    named.then_some((id, Key { algorithm, public }))
}

fn coordinate(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == COORDINATE)
}
