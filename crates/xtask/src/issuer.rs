//! Tokens for a load, and the key set with which those under test check them.

mod keys;

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_types::Clock as _;
use serde_json::{Value, json};

pub use self::keys::{listen, response};

/// Who issues the tokens.
pub const ISSUER: &str = "https://issuer.test/identity";
/// Whom the tokens are for.
pub const AUDIENCE: &str = "quintet";
const KEY_ID: &str = "test";
const SCOPES: &str = "jobs:read jobs:write jobs:enqueue jobs:work telemetry:read telemetry:write";
/// Valid on a node whose clock is an hour off, and until a long run ends.
const VALID_SECONDS: i64 = 24 * 3600;

/// A signing key that is made anew for each run.
pub struct Issuer(EcdsaKeyPair);

impl Issuer {
    /// Makes the key; fails where the machine gives no random numbers.
    pub fn new() -> anyhow::Result<Self> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self).ok().context("make a signing key")
    }

    /// The JWKS document.
    pub fn keys(&self) -> String {
        let point = self.0.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": x, "y": y });
        json!({ "keys": [key] }).to_string()
    }

    /// An access token of this client, with the scopes of jobs and telemetry, valid for a day.
    pub fn token(&self, client: &str) -> anyhow::Result<String> {
        let now = quintet_types::SystemClock.now().as_second();
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": KEY_ID });
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": client, "client_id": client, "jti": client, "scope": SCOPES,
            "iat": now - 2 * 3600, "exp": now + VALID_SECONDS,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).ok().context("sign a token")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
