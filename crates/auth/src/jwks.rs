//! The issuer's public keys (RFC 7517), parsed once into their form for verification.
//!
//! Keys this crate does not use (other algorithms, encryption keys, keys without an id) are
//! skipped, so that an issuer can publish more than we understand. A set without any usable key
//! is an error: taking it over would lock everyone out.

use std::collections::HashMap;

use serde::Deserialize;
use thiserror::Error;

use crate::jwk::{Algorithm, PublicKey};

/// More keys than any rotation needs; the rest of a longer list is not read.
const MAX_KEYS: usize = 64;

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

/// The keys of `json`, at most 64, without those that [`PublicKey::from_jwk`] refuses.
pub fn public_keys(json: &[u8]) -> Result<Vec<PublicKey>, JwksError> {
    let document: Document = serde_json::from_slice(json).map_err(JwksError::Document)?;
    let keys: Vec<_> =
        document.keys.iter().take(MAX_KEYS).filter_map(|jwk| PublicKey::from_jwk(jwk).ok()).collect();
    if keys.is_empty() { Err(JwksError::Empty) } else { Ok(keys) }
}

/// The keys that verify access tokens, by id.
pub(crate) struct KeySet(HashMap<String, PublicKey>);

impl KeySet {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, JwksError> {
        let mut keys = HashMap::new();
        for key in public_keys(json)? {
            let usable = matches!(key.algorithm(), Some(Algorithm::Es256 | Algorithm::EdDsa));
            if let Some(id) = key.key_id().filter(|_| usable).map(str::to_owned) {
                // Of two keys with one id the first counts, so that a later one cannot displace it.
                keys.entry(id).or_insert(key);
            }
        }
        if keys.is_empty() { Err(JwksError::Empty) } else { Ok(Self(keys)) }
    }

    pub(crate) fn find(&self, id: &str) -> Option<&PublicKey> {
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
