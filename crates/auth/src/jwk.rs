//! One public key (RFC 7517), of the kinds that sign in this system: P-256, Ed25519 and RSA.
//!
//! A key says by its type which algorithms it verifies; what a token's header names must be one of them, and the
//! caller says which it accepts (RFC 8725 §3.1). Private parts are refused, so that nobody registers a secret.

use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

const COORDINATE: usize = 32;
/// Least length of an RSA modulus in bytes (RFC 7518 §3.3).
const LEAST_MODULUS: usize = 256;
/// Checking a signature costs the square of it.
const MOST_MODULUS: usize = 512;

/// The signature algorithms known here (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256; for clients that can do nothing better.
    Rs256,
}

impl Algorithm {
    /// The algorithm of a header's `alg`. `none` and everything with a shared secret is not one.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "PS256" => Some(Self::Ps256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    /// The name in headers and metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }
}

/// Why a JWK is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JwkError {
    /// It does not have the members of a JWK.
    #[error("the key is not a JWK")]
    Malformed,
    /// It has `d` or another private member.
    #[error("the key has private members; publish the public ones alone")]
    Private,
    /// Another key type or curve, or an RSA modulus below 2048 or above 4096 bits.
    #[error("the key is none of P-256, Ed25519 and RSA of 2048 to 4096 bits")]
    Unsupported,
    /// Meant for encryption, or for an algorithm of another key type.
    #[error("the key is not meant for signatures of its type")]
    Purpose,
}

#[derive(Debug)]
enum Material {
    Ec { public: ParsedPublicKey, x: String, y: String },
    Ed { public: ParsedPublicKey, x: String },
    Rsa { pss: ParsedPublicKey, pkcs1: ParsedPublicKey, n: String, e: String },
}

/// A public key that verifies signatures.
#[derive(Debug)]
pub struct PublicKey {
    key_id: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
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
    n: Option<String>,
    e: Option<String>,
    d: Option<serde_json::Value>,
    k: Option<serde_json::Value>,
}

impl PublicKey {
    /// Reads a JWK.
    pub fn from_jwk(value: &serde_json::Value) -> Result<Self, JwkError> {
        let jwk = Jwk::deserialize(value).map_err(|_| JwkError::Malformed)?;
        if jwk.d.is_some() || jwk.k.is_some() {
            return Err(JwkError::Private);
        }
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(JwkError::Purpose);
        }
        let material = material(&jwk)?;
        let algorithm = match jwk.alg.as_deref() {
            None => None,
            Some(name) => Some(Algorithm::parse(name).ok_or(JwkError::Purpose)?),
        };
        let key = Self { key_id: jwk.kid.filter(|id| !id.is_empty()), algorithm, material };
        if algorithm.is_some_and(|algorithm| !key.is_of(algorithm)) {
            return Err(JwkError::Purpose);
        }
        Ok(key)
    }

    /// The key's id.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The algorithm that its type leaves no choice of, or that the JWK names.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        match self.material {
            Material::Ec { .. } => Some(Algorithm::Es256),
            Material::Ed { .. } => Some(Algorithm::EdDsa),
            Material::Rsa { .. } => self.algorithm,
        }
    }

    fn is_of(&self, algorithm: Algorithm) -> bool {
        matches!(
            (&self.material, algorithm),
            (Material::Ec { .. }, Algorithm::Es256)
                | (Material::Ed { .. }, Algorithm::EdDsa)
                | (Material::Rsa { .. }, Algorithm::Ps256 | Algorithm::Rs256)
        )
    }

    /// Whether `signature` by `algorithm` over `message` is this key's. A key that names an algorithm is of no other.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return false;
        }
        let key = match (&self.material, algorithm) {
            (Material::Ec { public, .. }, Algorithm::Es256)
            | (Material::Ed { public, .. }, Algorithm::EdDsa) => public,
            (Material::Rsa { pss, .. }, Algorithm::Ps256) => pss,
            (Material::Rsa { pkcs1, .. }, Algorithm::Rs256) => pkcs1,
            _ => return false,
        };
        key.verify_sig(message, signature).is_ok()
    }

    /// The SHA-256 thumbprint of RFC 7638, by which DPoP-bound tokens name a key (`jkt`).
    pub fn thumbprint(&self) -> String {
        // RFC 7638 §3.2: the required members in lexicographic order, without white space.
        let text = match &self.material {
            Material::Ec { x, y, .. } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Material::Ed { x, .. } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Material::Rsa { n, e, .. } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
    }
}

fn material(jwk: &Jwk) -> Result<Material, JwkError> {
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("EC", Some("P-256")) => {
            let (x, y) = (coordinate(jwk.x.as_deref())?, coordinate(jwk.y.as_deref())?);
            // SEC 1 §2.3.3: an uncompressed point.
            let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
            let public =
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| JwkError::Malformed)?;
            Ok(Material::Ec { public, x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) })
        }
        ("OKP", Some("Ed25519")) => {
            let x = coordinate(jwk.x.as_deref())?;
            let text = URL_SAFE_NO_PAD.encode(&x);
            let public = ParsedPublicKey::new(&ED25519, x).map_err(|_| JwkError::Malformed)?;
            Ok(Material::Ed { public, x: text })
        }
        ("RSA", _) => rsa(jwk.n.as_deref(), jwk.e.as_deref()),
        _ => Err(JwkError::Unsupported),
    }
}

fn rsa(n: Option<&str>, e: Option<&str>) -> Result<Material, JwkError> {
    let (n, e) = (unsigned(n)?, unsigned(e)?);
    if !(LEAST_MODULUS..=MOST_MODULUS).contains(&n.len()) || e.len() > 4 {
        return Err(JwkError::Unsupported);
    }
    let (n_text, e_text) = (URL_SAFE_NO_PAD.encode(&n), URL_SAFE_NO_PAD.encode(&e));
    let key = PublicKeyComponents { n, e };
    let parse = |parameters| key.to_parsed_public_key(parameters).map_err(|_| JwkError::Malformed);
    Ok(Material::Rsa {
        pss: parse(&RSA_PSS_2048_8192_SHA256)?,
        pkcs1: parse(&RSA_PKCS1_2048_8192_SHA256)?,
        n: n_text,
        e: e_text,
    })
}

fn coordinate(text: Option<&str>) -> Result<Vec<u8>, JwkError> {
    let bytes = URL_SAFE_NO_PAD.decode(text.ok_or(JwkError::Malformed)?).map_err(|_| JwkError::Malformed)?;
    if bytes.len() == COORDINATE { Ok(bytes) } else { Err(JwkError::Malformed) }
}

/// Base64urlUInt (RFC 7518 §2): no leading zero octet, not empty.
fn unsigned(text: Option<&str>) -> Result<Vec<u8>, JwkError> {
    let bytes = URL_SAFE_NO_PAD.decode(text.ok_or(JwkError::Malformed)?).map_err(|_| JwkError::Malformed)?;
    if bytes.first().is_none_or(|first| *first == 0) { Err(JwkError::Malformed) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7638 §3.1 and RFC 8037 appendix A.3.
    #[test]
    fn thumbprints_are_those_of_the_specifications() {
        let rsa = json!({
            "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        });
        let key = PublicKey::from_jwk(&rsa).unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(key.key_id(), Some("2011-04-29"));
        let ed =
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let key = PublicKey::from_jwk(&ed).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn private_encrypting_short_and_unknown_keys_are_refused() {
        let ed = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for (jwk, error) in [
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": ed, "d": ed }), JwkError::Private),
            (json!({ "kty": "oct", "k": "c2VjcmV0" }), JwkError::Private),
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": ed, "use": "enc" }), JwkError::Purpose),
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": ed, "alg": "ES256" }), JwkError::Purpose),
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": ed, "alg": "HS256" }), JwkError::Purpose),
            (json!({ "kty": "OKP", "crv": "X25519", "x": ed }), JwkError::Unsupported),
            (json!({ "kty": "EC", "crv": "P-384", "x": ed, "y": ed }), JwkError::Unsupported),
            (json!({ "kty": "EC", "crv": "P-256", "x": ed, "y": ed }), JwkError::Malformed),
            (json!({ "kty": "RSA", "n": ed, "e": "AQAB" }), JwkError::Unsupported),
            (json!("text"), JwkError::Malformed),
        ] {
            assert_eq!(PublicKey::from_jwk(&jwk).err(), Some(error), "{jwk}");
        }
    }
}
