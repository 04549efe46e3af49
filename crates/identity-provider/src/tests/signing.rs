//! A client's key: assertions, request objects and DPoP proofs, any part of which a test can make wrong.

use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_types::{Entropy as _, SystemEntropy};
use serde_json::{Value, json};

use super::harness::*;

pub(super) const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(super) struct ClientKey(EcdsaKeyPair);

pub(super) fn unique() -> String {
    let mut bytes = [0u8; 16];
    SystemEntropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

impl ClientKey {
    pub(super) fn fresh() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// The key of the clients of [`config`], made at the first call.
    pub(super) fn in_directory(directory: &Path) -> Self {
        let path = directory.join("client-key");
        if !path.exists() {
            std::fs::write(&path, Self::fresh().0.to_pkcs8v1().unwrap().as_ref()).unwrap();
        }
        let pkcs8 = std::fs::read(path).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap())
    }

    pub(super) fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
    }

    pub(super) fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    pub(super) fn thumbprint(&self) -> String {
        quintet_auth::PublicKey::from_jwk(&self.jwk()).unwrap().thumbprint()
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The claims of a good assertion of `client`.
    pub(super) fn assertion_claims(provider: &Provider, client: &str) -> Value {
        let now = provider.app.now() / 1_000_000;
        json!({ "iss": client, "sub": client, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": unique() })
    }

    pub(super) fn assertion(&self, provider: &Provider, client: &str) -> String {
        self.sign(&json!({ "alg": "ES256" }), &Self::assertion_claims(provider, client))
    }

    /// The claims of a good proof for a POST to `path`.
    pub(super) fn proof_claims(provider: &Provider, path: &str, nonce: &str) -> Value {
        let now = provider.app.now() / 1_000_000;
        json!({ "htm": "POST", "htu": format!("{ORIGIN}{path}"), "iat": now, "jti": unique(), "nonce": nonce })
    }

    pub(super) fn prove(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": self.jwk() }), claims)
    }

    /// A proof for an access token at `method url`.
    pub(super) fn prove_with(&self, provider: &Provider, method: &str, url: &str, token: &str) -> String {
        let now = provider.app.now() / 1_000_000;
        let hash = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()));
        self.prove(&json!({ "htm": method, "htu": url, "iat": now, "jti": unique(), "ath": hash }))
    }
}

impl Provider {
    /// The key that the clients with a key have.
    pub(super) fn key(&self) -> ClientKey {
        ClientKey::in_directory(self.directory.path())
    }

    /// A call of `path` by `client`, which signs an assertion.
    pub(super) async fn signed(&self, path: &str, client: &str, pairs: &[(&str, &str)]) -> Answer {
        let assertion = self.key().assertion(self, client);
        let mut all = vec![("client_assertion_type", ASSERTION), ("client_assertion", &assertion)];
        all.extend_from_slice(pairs);
        self.post(path, &[], &all).await
    }

    /// The nonce that proofs must repeat now.
    pub(super) async fn nonce(&self) -> String {
        let answer = self.post("/identity/token", &[("dpop", "x")], &[]).await;
        answer.header("dpop-nonce").to_owned()
    }
}
