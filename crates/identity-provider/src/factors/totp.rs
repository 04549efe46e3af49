//! Codes of an authenticator app: TOTP as RFC 6238 defines it, with what every app can do, that is
//! SHA-1, six digits and steps of 30 seconds.
//!
//! A code works once: the newest step used is stored, and a step that is not newer is refused by the
//! condition of the update that stores it, in whichever process it arrives (RFC 6238 §5.2).
//!
//! The secret is sealed in the database and bound to its owner.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use qrcode::{Color, QrCode};
use quintet_store::{Store, Tx, args};
use quintet_types::Entropy;
use subtle::ConstantTimeEq as _;
use url::Url;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::vault::{Sealing, Vault};

/// RFC 4226 §4 asks for at least 128 bits and recommends the length of the hash.
const SECRET_BYTES: usize = 20;
const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
const MODULUS: u32 = 1_000_000;
/// Steps that a clock may be off or a person slow, either way (RFC 6238 §5.2 recommends one).
const TOLERANCE: i64 = 1;
/// The light margin that ISO/IEC 18004 asks for around a QR code.
const QUIET_MODULES: usize = 4;

/// The secret that an app and this provider share.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

/// What a code turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Right, and not used before.
    Accepted,
    /// Right, and used before.
    Replayed,
    /// Not a code of now, or nobody's.
    Wrong,
}

impl Secret {
    /// A fresh secret.
    pub(crate) fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// A secret as [`bytes`](Self::bytes) gave it.
    pub(crate) fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (bytes.len() == SECRET_BYTES).then_some(Self(bytes))
    }

    /// The bytes, for sealing.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text to type where no camera is at hand: base32 (RFC 4648 §6) in groups of four.
    pub(crate) fn text(&self) -> Zeroizing<String> {
        let plain = base32(&self.0);
        let mut grouped = Zeroizing::new(String::with_capacity(plain.len() * 5 / 4 + 1));
        for (index, letter) in plain.chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                grouped.push(' ');
            }
            grouped.push(letter);
        }
        grouped
    }

    /// The address that authenticator apps read from a QR code.
    pub(crate) fn address(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let mut url = Zeroizing::new(String::from("otpauth://totp/"));
        // The label is a path segment: a form's `+` for a blank would be shown as it stands.
        let segment = |text: &str| {
            let mut holder = Url::parse("https://host/").ok()?;
            holder.path_segments_mut().ok()?.clear().push(text);
            Some(holder.path().trim_start_matches('/').to_owned())
        };
        let (issuer, account) = (segment(issuer).unwrap_or_default(), segment(account).unwrap_or_default());
        let secret = base32(&self.0);
        // Writing to a String cannot fail.
        let _ = write!(url, "{issuer}:{account}?secret={}&issuer={issuer}", secret.as_str());
        url
    }

    /// The step of `code` around `now`, in microseconds, if it is a code of this secret.
    pub(crate) fn step_of(&self, code: &str, now: i64) -> Option<i64> {
        let code: String = code.chars().filter(|letter| !letter.is_whitespace()).take(DIGITS + 1).collect();
        let current = crate::time::seconds(now).div_euclid(STEP_SECONDS);
        let mut found = None;
        // Every candidate is compared, so that the time taken tells nothing.
        for step in current - TOLERANCE..=current + TOLERANCE {
            let right: bool = self.code_at(step).as_bytes().ct_eq(code.as_bytes()).into();
            if right {
                found = Some(step);
            }
        }
        found
    }

    /// The code of a step: HOTP of RFC 4226 §5.3 with the step as its counter.
    pub(crate) fn code_at(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let bytes = tag.as_ref();
        let offset = usize::from(bytes.last().copied().unwrap_or_default() & 0x0f);
        let truncated = bytes
            .get(offset..offset + 4)
            .and_then(|four| <[u8; 4]>::try_from(four).ok())
            .map_or(0, u32::from_be_bytes);
        format!("{:0DIGITS$}", (truncated & 0x7fff_ffff) % MODULUS)
    }
}

fn base32(bytes: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 8 / 5 + 1));
    for chunk in bytes.chunks(5) {
        let bits =
            chunk.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)) << ((5 - chunk.len()) * 8);
        for index in 0..(chunk.len() * 8).div_ceil(5) {
            let five = usize::try_from(bits >> (35 - 5 * index) & 0x1f).unwrap_or_default();
            text.push(char::from(ALPHABET.get(five).copied().unwrap_or_default()));
        }
    }
    text
}

/// A QR code as the path of an SVG: its width in modules, margin included, and the dark modules.
pub(crate) struct Picture {
    pub(crate) modules: usize,
    pub(crate) path: Zeroizing<String>,
}

/// Draws `text` as a QR code; `None` when it is too long for one.
pub(crate) fn picture(text: &str) -> Option<Picture> {
    let code = QrCode::new(text).ok()?;
    let width = code.width();
    let mut path = Zeroizing::new(String::new());
    for (index, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let (x, y) = (index % width + QUIET_MODULES, index / width + QUIET_MODULES);
            let _ = write!(path, "M{x} {y}h1v1h-1z");
        }
    }
    Some(Picture { modules: width + 2 * QUIET_MODULES, path })
}

/// When the app of a person was set up and last used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) created_at: i64,
    pub(crate) last_used_at: Option<i64>,
}

/// The app of a person.
pub(crate) async fn facts(store: &Store, user_id: &str) -> Result<Option<Facts>, quintet_store::Error> {
    let sql = "SELECT created_at, last_used_at FROM identity_totp WHERE user_id = $1";
    let Some(row) = store.fetch_optional(sql, args![user_id]).await? else { return Ok(None) };
    Ok(Some(Facts { created_at: row.get("created_at")?, last_used_at: row.get("last_used_at")? }))
}

/// Stores a secret whose first code, of `step`, was shown; an older one of the person is replaced.
pub(crate) async fn enrol(
    tx: &mut Tx,
    vault: &Vault,
    user_id: &str,
    secret: &Secret,
    step: i64,
    now: i64,
) -> Result<(), Fault> {
    let sealed = vault.seal(Sealing::Factor, user_id, secret.bytes())?;
    tx.execute(
        "INSERT INTO identity_totp (user_id, sealed_secret, last_step, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (user_id) DO UPDATE SET sealed_secret = excluded.sealed_secret, \
         last_step = excluded.last_step, created_at = excluded.created_at, last_used_at = NULL",
        args![user_id, sealed, step, now],
    )
    .await?;
    Ok(())
}

/// Removes the app of a person; `false` when there is none.
pub(crate) async fn remove(tx: &mut Tx, user_id: &str) -> Result<bool, quintet_store::Error> {
    Ok(tx.execute("DELETE FROM identity_totp WHERE user_id = $1", args![user_id]).await? == 1)
}

/// Checks a code and uses it up.
pub(crate) async fn verify(
    store: &Store,
    vault: &Vault,
    user_id: &str,
    code: &str,
    now: i64,
) -> Result<Outcome, Fault> {
    let sql = "SELECT sealed_secret FROM identity_totp WHERE user_id = $1";
    let Some(row) = store.fetch_optional(sql, args![user_id]).await? else { return Ok(Outcome::Wrong) };
    let sealed: String = row.get("sealed_secret")?;
    let secret = Secret::from_bytes(vault.open(Sealing::Factor, user_id, &sealed)?);
    let Some(step) = secret.and_then(|secret| secret.step_of(code, now)) else { return Ok(Outcome::Wrong) };
    let mut tx = store.begin().await?;
    let updated = tx
        .execute(
            "UPDATE identity_totp SET last_step = $1, last_used_at = $2 \
             WHERE user_id = $3 AND last_step < $1 AND sealed_secret = $4",
            args![step, now, user_id, sealed],
        )
        .await?;
    tx.commit().await?;
    Ok(if updated == 1 { Outcome::Accepted } else { Outcome::Replayed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Secret {
        Secret::from_bytes(Zeroizing::new(b"12345678901234567890".to_vec())).unwrap()
    }

    /// RFC 6238 appendix B, SHA-1; six digits are the last six of its eight.
    #[test]
    fn codes_are_those_of_the_standards_table() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(reference().code_at(seconds / STEP_SECONDS), code, "{seconds}");
        }
    }

    #[test]
    fn a_code_of_the_step_before_and_after_is_taken_and_no_other() {
        let now = 1_111_111_111 * 1_000_000;
        let step = 1_111_111_111 / STEP_SECONDS;
        for (offset, taken) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let code = reference().code_at(step + offset);
            assert_eq!(reference().step_of(&code, now), taken.then_some(step + offset), "{offset}");
        }
        assert_eq!(reference().step_of("050 471", now), Some(step));
        for wrong in ["", "50471", "0504710", "05047१"] {
            assert_eq!(reference().step_of(wrong, now), None, "{wrong}");
        }
    }

    /// RFC 4648 §10.
    #[test]
    fn base32_is_that_of_the_standards_examples() {
        for (plain, text) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foob", "MZXW6YQ"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(base32(plain.as_bytes()).as_str(), text);
        }
    }

    #[test]
    fn the_address_names_issuer_and_account_and_fits_a_qr_code() {
        let address = reference().address("Quintet Ltd", "ada@example.com");
        assert_eq!(
            address.as_str(),
            "otpauth://totp/Quintet%20Ltd:ada@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Quintet%20Ltd"
        );
        let picture = picture(&address).unwrap();
        assert!(picture.modules > 21 + 2 * QUIET_MODULES && picture.path.starts_with("M4 4h1v1h-1z"));
    }
}
