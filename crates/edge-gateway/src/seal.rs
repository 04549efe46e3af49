//! Seals what the gateway keeps in cookies: AES-256-GCM under a key from a file.
//!
//! A cookie's name is authenticated with its content, so one cookie cannot be passed off as another. Nonces
//! are random (RFC 5116 section 3.2): 2^32 cookies under one key keep the risk of a repeat below 2^-32.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::Serialize;
use serde::de::DeserializeOwned;

const KEY_BYTES: usize = 32;
/// Marks the format, so that a later one can be told apart.
const VERSION: &str = "v1.";

/// Seals and opens cookies.
pub(crate) struct Sealer(RandomizedNonceKey);

/// The key file does not hold a key.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cookie key must be 32 bytes, written as base64 or as 64 hexadecimal digits; make one with: openssl rand -base64 32"
)]
pub(crate) struct BadKey;

impl Sealer {
    /// A key in text form, as in its file.
    pub(crate) fn from_text(text: &str) -> Result<Self, BadKey> {
        let decoded = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
            .into_iter()
            .find_map(|engine| engine.decode(text).ok().filter(|bytes| bytes.len() == KEY_BYTES))
            .or_else(|| from_hex(text))
            .ok_or(BadKey)?;
        RandomizedNonceKey::new(&AES_256_GCM, &decoded).map(Self).map_err(|_| BadKey)
    }

    /// Seals `content` for the cookie `name`. None only if the content cannot be written as JSON.
    pub(crate) fn seal(&self, name: &str, content: &impl Serialize) -> Option<String> {
        let mut sealed = serde_json::to_vec(content).ok()?;
        let nonce = self.0.seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed).ok()?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        Some(format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Opens the value of the cookie `name`; None for anything that was not sealed here.
    pub(crate) fn open<T: DeserializeOwned>(&self, name: &str, value: &str) -> Option<T> {
        let mut bytes = URL_SAFE_NO_PAD.decode(value.strip_prefix(VERSION)?).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != KEY_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    (0..KEY_BYTES).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::from_text(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_again_under_the_same_key_and_name() {
        let sealed = sealer(1).seal("a", &"content").unwrap();
        assert_eq!(sealer(1).open::<String>("a", &sealed).as_deref(), Some("content"));
        assert!(!sealed.contains("content"));
    }

    #[test]
    fn another_key_another_name_or_a_changed_byte_does_not_open() {
        let sealed = sealer(1).seal("a", &"content").unwrap();
        assert_eq!(sealer(2).open::<String>("a", &sealed), None);
        assert_eq!(sealer(1).open::<String>("b", &sealed), None);
        for at in VERSION.len()..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            if changed != sealed.as_bytes() {
                assert_eq!(
                    sealer(1).open::<String>("a", std::str::from_utf8(&changed).unwrap()),
                    None,
                    "byte {at}"
                );
            }
        }
    }

    #[test]
    fn rubbish_does_not_open() {
        for value in ["", "v1.", "v1.AAAA", "v2.AAAA", "ü", "v1.!!!!"] {
            assert_eq!(sealer(1).open::<String>("a", value), None, "{value}");
        }
    }

    #[test]
    fn a_key_is_taken_as_hex_or_base64_and_must_have_32_bytes() {
        let hex = "07".repeat(32);
        let sealed = sealer(7).seal("a", &1).unwrap();
        assert_eq!(Sealer::from_text(&hex).unwrap().open::<i32>("a", &sealed), Some(1));
        assert!(Sealer::from_text("short").is_err());
        assert!(Sealer::from_text(&"0".repeat(63)).is_err());
    }
}
