//! An issuer of access tokens for tests: a fresh ES256 key, its JWKS, and a builder that can make
//! a token wrong in any single way.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot make its token should stop right there"
)]

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_auth::Verifier;
use quintet_types::{JobId, SharedClock, SystemClock};
use serde_json::{Map, Value, json};

/// Issues access tokens and publishes the key that verifies them.
pub struct TestIssuer {
    /// What tokens carry as `iss`.
    pub issuer: String,
    /// What tokens carry as `aud` unless the builder says otherwise.
    pub audience: String,
    key_id: String,
    key: EcdsaKeyPair,
    clock: SharedClock,
}

impl Default for TestIssuer {
    fn default() -> Self {
        Self::new()
    }
}

impl TestIssuer {
    /// `https://issuer.test/identity` with the audience `quintet`, on the system's clock.
    pub fn new() -> Self {
        Self::with_clock(SystemClock::shared())
    }

    /// The same on the given clock.
    pub fn with_clock(clock: SharedClock) -> Self {
        Self {
            issuer: "https://issuer.test/identity".to_owned(),
            audience: "quintet".to_owned(),
            key_id: unique("key"),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key can be made"),
            clock,
        }
    }

    /// The id of the signing key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Replaces the signing key, as a rotation without overlap would.
    pub fn rotate(&mut self) {
        let fresh = Self::with_clock(self.clock.clone());
        self.key = fresh.key;
        self.key_id = fresh.key_id;
    }

    /// The public key's uncompressed point (65 bytes).
    pub fn public_point(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let point = self.public_point().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    /// The JWKS document with this one key.
    pub fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// A router that serves the JWKS where services look for it.
    pub fn router(&self) -> Router {
        let jwks = self.jwks();
        Router::new().route("/identity/jwks.json", get(move || async move { jwks }))
    }

    /// A verifier that knows this issuer's key and fetches nothing.
    pub fn verifier(&self) -> Arc<Verifier> {
        let verifier = Verifier::with_static_keys(
            self.issuer.clone(),
            self.audience.clone(),
            &self.jwks(),
            self.clock.clone(),
        );
        Arc::new(verifier.expect("its own key set is usable"))
    }

    /// Starts a token for `subject`: valid for five minutes, without scopes or roles.
    pub fn token(&self, subject: &str) -> TestToken<'_> {
        let now = self.clock.now().as_second();
        let claims = json!({
            "iss": self.issuer, "aud": self.audience, "sub": subject, "client_id": "test-client",
            "iat": now, "exp": now + 300, "jti": unique("jti"), "scope": "",
        });
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.key_id });
        TestToken { issuer: self, header: object(header), claims: object(claims), now }
    }

    /// A bearer header value for `subject` with `scopes`.
    pub fn bearer(&self, subject: &str, scopes: &[&str]) -> String {
        format!("Bearer {}", self.token(subject).scopes(scopes).mint())
    }

    fn sign(&self, signed: &str) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        signature.expect("signing does not fail").as_ref().to_vec()
    }
}

/// A token being made; [`TestToken::mint`] gives its text.
#[must_use]
pub struct TestToken<'a> {
    issuer: &'a TestIssuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    now: i64,
}

impl TestToken<'_> {
    /// The scopes it carries.
    pub fn scopes(self, scopes: &[&str]) -> Self {
        self.claim("scope", scopes.join(" "))
    }

    /// The roles it carries.
    pub fn roles(self, roles: &[&str]) -> Self {
        self.claim("roles", json!(roles))
    }

    /// The client it was issued to.
    pub fn client(self, client_id: &str) -> Self {
        self.claim("client_id", client_id)
    }

    /// Expires this many seconds from now; negative means in the past.
    pub fn expires_in(self, seconds: i64) -> Self {
        let expiry = self.now + seconds;
        self.claim("exp", expiry)
    }

    /// Becomes valid this many seconds from now.
    pub fn valid_in(self, seconds: i64) -> Self {
        let start = self.now + seconds;
        self.claim("nbf", start)
    }

    /// The audience: a string or an array of strings.
    pub fn audience(self, audience: impl Into<Value>) -> Self {
        self.claim("aud", audience)
    }

    /// Another issuer in `iss`.
    pub fn issuer(self, issuer: &str) -> Self {
        self.claim("iss", issuer)
    }

    /// Any claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Any header parameter, such as `typ`, `alg` or `kid`; `null` leaves it out.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        match value.into() {
            Value::Null => self.header.remove(name),
            value => self.header.insert(name.to_owned(), value),
        };
        self
    }

    /// The token, signed by its issuer.
    pub fn mint(self) -> String {
        let issuer = self.issuer;
        self.mint_with(|signed| issuer.sign(signed))
    }

    /// The token, signed by another issuer's key under this issuer's key id.
    pub fn mint_with_key_of(self, other: &TestIssuer) -> String {
        self.mint_with(|signed| other.sign(signed))
    }

    /// The token with whatever `sign` makes of the text to be signed.
    pub fn mint_with(self, sign: impl FnOnce(&str) -> Vec<u8>) -> String {
        let part = |value: &Map<String, Value>| {
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("a JSON object has a text form"))
        };
        let signed = format!("{}.{}", part(&self.header), part(&self.claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(&signed));
        format!("{signed}.{signature}")
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Ids of jobs are unique texts; here only that matters.
fn unique(kind: &str) -> String {
    format!("{kind}-{}", JobId::new())
}
