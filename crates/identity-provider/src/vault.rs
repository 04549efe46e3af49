//! The keys derived from the one sealing key, and what they protect.
//!
//! The sealing key itself is used for nothing but HKDF-SHA256 (RFC 5869); each use below has its
//! own derived key, so that no ciphertext or tag of one kind can stand in for another.
//!
//! Bearer secrets (codes, refresh tokens, session tokens) are 32 random bytes. The database holds
//! their HMAC, so a copy of the database alone opens nothing and lets nobody test guesses.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use quintet_types::Entropy;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

/// Length of the sealing key in bytes.
pub(crate) const SEALING_KEY_BYTES: usize = 32;

/// Entropy of a bearer secret in bytes; guessing 256 bits is out of reach, so no rate limit is needed.
const TOKEN_BYTES: usize = 32;

/// Why a sealed text did not open or a key could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum VaultError {
    /// The text is not base64url, is too short, was changed, or was sealed under another key.
    #[error("the sealed value does not open")]
    Unsealable,
    /// The cryptographic library refused an operation that cannot fail with the lengths used here.
    #[error("a cryptographic operation failed")]
    Crypto,
    /// The sealing key is not 32 bytes in hexadecimal or base64.
    #[error("the sealing key must be 32 bytes, written as 64 hexadecimal digits or as base64")]
    SealingKey,
}

/// What a keyed hash is for; a hash for one purpose never equals one for another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The browser's session cookie.
    Session,
    /// An authorization code.
    Code,
    /// A refresh token.
    Refresh,
    /// A form's protection against cross-site requests.
    Form,
    /// The cookie that tells a known browser from a stranger.
    Device,
    /// An account name as the throttle and the audit log hold it.
    Account,
    /// One link of the audit chain.
    Audit,
    /// A recovery code.
    Recovery,
    /// A challenge to a passkey, and that it was used.
    Challenge,
    /// The secret in a link.
    MailToken,
    /// What a person knew when a sign-in began, so that it ends with a changed password.
    Password,
    /// The id of a token that is good once.
    SingleUse,
    /// A nonce for DPoP proofs.
    DpopNonce,
    /// The name of a pushed authorization request.
    PushedRequest,
    /// The short code of a device.
    UserCode,
}

/// What is sealed; what was sealed as one thing never opens as another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sealing {
    /// The secret of a second factor, in the database.
    Factor,
    /// A sign-in that waits for its second factor, in a cookie.
    Pending,
    /// A second factor that is being set up, in a form.
    Enrolment,
    /// A letter that waits for the mail server, in the database.
    Letter,
}

impl Sealing {
    const fn label(self) -> &'static str {
        match self {
            Self::Factor => "factor",
            Self::Pending => "pending",
            Self::Enrolment => "enrolment",
            Self::Letter => "letter",
        }
    }
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"session",
            Self::Code => b"code",
            Self::Refresh => b"refresh",
            Self::Form => b"form",
            Self::Device => b"device",
            Self::Account => b"account",
            Self::Audit => b"audit",
            Self::Recovery => b"recovery",
            Self::Challenge => b"challenge",
            Self::MailToken => b"mail token",
            Self::Password => b"password",
            Self::SingleUse => b"single use",
            Self::DpopNonce => b"dpop nonce",
            Self::PushedRequest => b"pushed request",
            Self::UserCode => b"user code",
        }
    }
}

/// A bearer secret on its way to the client: never logged, wiped when dropped.
pub(crate) struct BearerSecret(Zeroizing<String>);

impl BearerSecret {
    /// Draws a fresh secret; `prefix` lets secret scanners recognise a leaked one.
    pub(crate) fn draw(entropy: &dyn Entropy, prefix: &str) -> Self {
        let mut bytes = Zeroizing::new([0u8; TOKEN_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        Self(Zeroizing::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
    }

    /// The text to send.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Every key that the provider uses beside its signing keys.
pub(crate) struct Vault {
    hashing: hmac::Key,
    flows: RandomizedNonceKey,
    signing_keys: RandomizedNonceKey,
    factors: RandomizedNonceKey,
    letters: RandomizedNonceKey,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault([redacted])")
    }
}

/// The length of an HKDF output.
struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        SEALING_KEY_BYTES
    }
}

impl Vault {
    /// Derives all keys from the sealing key.
    pub(crate) fn new(sealing_key: &[u8; SEALING_KEY_BYTES]) -> Result<Self, VaultError> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"quintet identity-provider v1").extract(sealing_key);
        let derive = |label: &[u8]| -> Result<Zeroizing<[u8; SEALING_KEY_BYTES]>, VaultError> {
            let mut key = Zeroizing::new([0u8; SEALING_KEY_BYTES]);
            root.expand(&[label], KeyLength)
                .and_then(|okm| okm.fill(key.as_mut_slice()))
                .map_err(|_| VaultError::Crypto)?;
            Ok(key)
        };
        let aead = |algorithm, label: &[u8]| {
            RandomizedNonceKey::new(algorithm, derive(label)?.as_slice()).map_err(|_| VaultError::Crypto)
        };
        Ok(Self {
            hashing: hmac::Key::new(hmac::HMAC_SHA256, derive(b"keyed hashes")?.as_slice()),
            // One flow is sealed per visit, without bound over the years: SIV stays safe past the
            // 2^32 random nonces at which plain GCM stops.
            flows: aead(&AES_256_GCM_SIV, b"authorization flows")?,
            signing_keys: aead(&AES_256_GCM, b"signing keys")?,
            factors: aead(&AES_256_GCM_SIV, b"second factors")?,
            letters: aead(&AES_256_GCM_SIV, b"letters")?,
        })
    }

    /// The keyed hash of `parts`; each part is framed by its length, so no two lists collide.
    pub(crate) fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.hashing);
        let mut update = |bytes: &[u8]| {
            context.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(bytes);
        };
        update(purpose.label());
        for part in parts {
            update(part);
        }
        let tag = context.sign();
        let mut out = [0u8; 32];
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        out
    }

    /// [`mac`](Self::mac) as the text that the database holds.
    pub(crate) fn hash(&self, purpose: Purpose, secret: &str) -> String {
        self.hash_parts(purpose, &[secret.as_bytes()])
    }

    /// [`hash`](Self::hash) of more than one part.
    pub(crate) fn hash_parts(&self, purpose: Purpose, parts: &[&[u8]]) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(purpose, parts))
    }

    /// Seals `plain`, bound to `place`, which opening it has to name.
    pub(crate) fn seal(&self, what: Sealing, place: &str, plain: &[u8]) -> Result<String, VaultError> {
        seal(self.key_of(what), &context(what, place), plain)
    }

    /// Opens what [`seal`](Self::seal) made of the same thing for the same place.
    pub(crate) fn open(
        &self,
        what: Sealing,
        place: &str,
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        open(self.key_of(what), &context(what, place), sealed)
    }

    const fn key_of(&self, what: Sealing) -> &RandomizedNonceKey {
        match what {
            Sealing::Factor => &self.factors,
            Sealing::Letter => &self.letters,
            Sealing::Pending | Sealing::Enrolment => &self.flows,
        }
    }

    /// Seals the state of an authorization flow into text that fits a URL.
    pub(crate) fn seal_flow(&self, plain: &[u8]) -> Result<String, VaultError> {
        seal(&self.flows, b"flow", plain)
    }

    /// Opens what [`seal_flow`](Self::seal_flow) made.
    pub(crate) fn open_flow(&self, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        open(&self.flows, b"flow", sealed)
    }

    /// Seals a private signing key, bound to its key id.
    pub(crate) fn seal_signing_key(&self, kid: &str, plain: &[u8]) -> Result<String, VaultError> {
        seal(&self.signing_keys, kid.as_bytes(), plain)
    }

    /// Opens what [`seal_signing_key`](Self::seal_signing_key) made for the same key id.
    pub(crate) fn open_signing_key(&self, kid: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        open(&self.signing_keys, kid.as_bytes(), sealed)
    }
}

/// Labels have no colon, so no two pairs give the same bytes.
fn context(what: Sealing, place: &str) -> Vec<u8> {
    format!("{}:{place}", what.label()).into_bytes()
}

fn seal(key: &RandomizedNonceKey, context: &[u8], plain: &[u8]) -> Result<String, VaultError> {
    let mut buffer = Zeroizing::new(plain.to_vec());
    let (nonce, tag) =
        key.seal_in_place_separate_tag(Aad::from(context), &mut buffer).map_err(|_| VaultError::Crypto)?;
    let mut sealed = nonce.as_ref().to_vec();
    sealed.extend_from_slice(&buffer);
    sealed.extend_from_slice(tag.as_ref());
    Ok(URL_SAFE_NO_PAD.encode(sealed))
}

fn open(key: &RandomizedNonceKey, context: &[u8], sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| VaultError::Unsealable)?;
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(VaultError::Unsealable)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Unsealable)?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain =
        key.open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| VaultError::Unsealable)?.len();
    body.truncate(plain);
    Ok(body)
}

/// Reads a sealing key from the text of its file.
pub(crate) fn parse_sealing_key(text: &str) -> Result<Zeroizing<[u8; SEALING_KEY_BYTES]>, VaultError> {
    let text = text.trim();
    let mut bytes = decode_hex(text)
        .or_else(|| {
            [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD].iter().find_map(|engine| engine.decode(text).ok())
        })
        .ok_or(VaultError::SealingKey)?;
    let key = <[u8; SEALING_KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| VaultError::SealingKey);
    bytes.zeroize();
    key.map(Zeroizing::new)
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != SEALING_KEY_BYTES * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(&[byte; SEALING_KEY_BYTES]).unwrap()
    }

    proptest! {
        #[test]
        fn sealed_flows_open_under_the_same_key_alone(plain in proptest::collection::vec(any::<u8>(), 0..512)) {
            let sealed = vault(1).seal_flow(&plain).unwrap();
            let opened = vault(1).open_flow(&sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), plain.as_slice());
            prop_assert_eq!(vault(2).open_flow(&sealed).unwrap_err(), VaultError::Unsealable);
        }

        #[test]
        fn arbitrary_text_never_opens(text in ".{0,200}") {
            prop_assert_eq!(vault(1).open_flow(&text).unwrap_err(), VaultError::Unsealable);
        }
    }

    #[test]
    fn a_signing_key_sealed_for_one_kid_does_not_open_for_another() {
        let vault = vault(3);
        let sealed = vault.seal_signing_key("a", b"private").unwrap();
        assert_eq!(vault.open_signing_key("a", &sealed).unwrap().as_slice(), b"private");
        assert_eq!(vault.open_signing_key("b", &sealed), Err(VaultError::Unsealable));
    }

    #[test]
    fn what_is_sealed_for_one_place_or_as_one_thing_does_not_open_as_another() {
        let vault = vault(3);
        let sealed = vault.seal(Sealing::Pending, "a", b"state").unwrap();
        assert_eq!(vault.open(Sealing::Pending, "a", &sealed).unwrap().as_slice(), b"state");
        assert_eq!(vault.open(Sealing::Pending, "b", &sealed), Err(VaultError::Unsealable));
        assert_eq!(vault.open(Sealing::Enrolment, "a", &sealed), Err(VaultError::Unsealable));
        assert!(vault.open_flow(&sealed).is_err());
    }

    #[test]
    fn hashes_differ_by_purpose_and_by_framing() {
        let vault = vault(4);
        assert_ne!(vault.hash(Purpose::Code, "x"), vault.hash(Purpose::Refresh, "x"));
        assert_ne!(vault.mac(Purpose::Form, &[b"ab", b"c"]), vault.mac(Purpose::Form, &[b"a", b"bc"]));
    }

    #[test]
    fn a_sealing_key_is_read_from_hex_and_from_base64_and_nothing_shorter() {
        let hex = "0f".repeat(32);
        assert_eq!(parse_sealing_key(&hex).unwrap().as_slice(), [0x0f; 32]);
        let base64 = STANDARD.encode([7u8; 32]);
        assert_eq!(parse_sealing_key(&format!("{base64}\n")).unwrap().as_slice(), [7; 32]);
        for wrong in ["", "0f", "not a key", &STANDARD.encode([7u8; 31])] {
            assert_eq!(parse_sealing_key(wrong).unwrap_err(), VaultError::SealingKey, "{wrong}");
        }
    }
}
