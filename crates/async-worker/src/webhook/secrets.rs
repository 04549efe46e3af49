//! Endpoints' secrets: how they sign (Standard Webhooks) and how they are kept (sealed).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quintet_service::Secret as SecretText;
use quintet_types::{Entropy, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Standard Webhooks asks for 24 to 64 bytes.
const SECRET_BYTES: usize = 32;
const PREFIX: &str = "whsec_";

/// A key is not what it should be.
#[derive(Debug, Error)]
pub(crate) enum SecretError {
    #[error("a sealing key is 32 bytes in hexadecimal; make one with: openssl rand -hex 32")]
    SealingKey,
    #[error("a stored secret was sealed with another key; add that key to webhooks.previous_key_files")]
    Unsealable,
    #[error("a secret cannot be sealed")]
    Seal,
}

/// What an endpoint checks signatures with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secret {
    /// `whsec_` and the key in base64.
    text: String,
    /// Until when it signs, in microseconds; only the newest has no end.
    until: Option<i64>,
}

impl Secret {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; SECRET_BYTES];
        entropy.fill(&mut bytes);
        Self { text: format!("{PREFIX}{}", BASE64.encode(bytes)), until: None }
    }

    /// What the endpoint's owner is shown, once.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }

    /// The same secret, for as long as both sides change to the next.
    pub(crate) fn until(self, end: Timestamp) -> Self {
        let end = quintet_types::time::micros(end);
        Self { until: Some(self.until.map_or(end, |until| until.min(end))), ..self }
    }

    pub(crate) fn signs(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| quintet_types::time::micros(now) < until)
    }

    fn key(&self) -> hmac::Key {
        let text = self.text.strip_prefix(PREFIX).unwrap_or(&self.text);
        // Made here, so it is base64; a broken one signs nothing anybody accepts.
        hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(text).unwrap_or_default())
    }
}

/// The value of `webhook-signature`: one signature for each secret in use.
pub(crate) fn sign(secrets: &[Secret], id: &str, now: Timestamp, body: &str) -> String {
    let signed = format!("{id}.{}.{body}", now.as_second());
    let signature =
        |secret: &Secret| format!("v1,{}", BASE64.encode(hmac::sign(&secret.key(), signed.as_bytes())));
    secrets.iter().filter(|secret| secret.signs(now)).map(signature).collect::<Vec<_>>().join(" ")
}

/// Seals secrets for the database, each bound to its endpoint.
pub(crate) struct Sealer {
    /// The first seals, all open.
    keys: Vec<RandomizedNonceKey>,
}

impl Sealer {
    pub(crate) fn new(keys: &[SecretText]) -> Result<Self, SecretError> {
        let key = |text: &SecretText| {
            let bytes = from_hex(text.expose()).ok_or(SecretError::SealingKey)?;
            RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| SecretError::SealingKey)
        };
        let keys = keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { keys })
    }

    pub(crate) fn seal(&self, endpoint: &str, secrets: &[Secret]) -> Result<String, SecretError> {
        let key = self.keys.first().ok_or(SecretError::Seal)?;
        let mut body = serde_json::to_vec(secrets).map_err(|_| SecretError::Seal)?;
        let nonce = key
            .seal_in_place_append_tag(Aad::from(endpoint.as_bytes()), &mut body)
            .map_err(|_| SecretError::Seal)?;
        Ok(BASE64.encode([nonce.as_ref().as_slice(), &body].concat()))
    }

    pub(crate) fn open(&self, endpoint: &str, sealed: &str) -> Result<Vec<Secret>, SecretError> {
        let sealed = BASE64.decode(sealed).map_err(|_| SecretError::Unsealable)?;
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(SecretError::Unsealable)?;
        let opened = self.keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut body = body.to_vec();
            let plain = key.open_in_place(nonce, Aad::from(endpoint.as_bytes()), &mut body).ok()?;
            serde_json::from_slice(plain).ok()
        });
        opened.ok_or(SecretError::Unsealable)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use quintet_types::SystemEntropy;

    use super::*;

    fn key(byte: u8) -> SecretText {
        SecretText::new(format!("{byte:02x}").repeat(32))
    }

    #[test]
    fn a_signature_is_the_one_of_the_standards_libraries() {
        // From the tests of github.com/standard-webhooks/standard-webhooks.
        let secret = Secret { text: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), until: None };
        let now = Timestamp::from_second(1_614_265_330).unwrap();
        let signature = sign(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", now, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_replaced_secret_signs_beside_its_successor_until_its_end() {
        let (old, new) = (Secret::generate(&SystemEntropy), Secret::generate(&SystemEntropy));
        let end = Timestamp::from_second(1000).unwrap();
        let secrets = [new, old.until(end)];
        let count =
            |second| sign(&secrets, "m", Timestamp::from_second(second).unwrap(), "").split(' ').count();
        assert_eq!((count(999), count(1000)), (2, 1));
    }

    #[test]
    fn a_sealed_secret_opens_for_its_endpoint_and_with_its_key_alone() {
        let sealer = Sealer::new(&[key(1)]).unwrap();
        let secret = Secret::generate(&SystemEntropy);
        let sealed = sealer.seal("a", std::slice::from_ref(&secret)).unwrap();
        assert!(!sealed.contains(secret.expose()));
        let changed = Sealer::new(&[key(2), key(1)]).unwrap();
        assert_eq!(changed.open("a", &sealed).unwrap()[0].expose(), secret.expose());
        assert!(matches!(sealer.open("b", &sealed), Err(SecretError::Unsealable)));
        assert!(matches!(Sealer::new(&[key(2)]).unwrap().open("a", &sealed), Err(SecretError::Unsealable)));
        for broken in ["", "00", &"0g".repeat(32), &"00".repeat(33), &"0".repeat(63)] {
            let key = SecretText::new(broken.to_owned());
            assert!(matches!(Sealer::new(&[key]), Err(SecretError::SealingKey)), "{broken}");
        }
    }
}
