//! What a browser answers in the two ceremonies of WebAuthn Level 3, verified: registration (§7.1) and
//! authentication (§7.2). Knows neither the database nor where challenges come from.
//!
//! Answers arrive as JSON with binary members in base64url, written by `pages/passkeys.js`.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

use super::cose::PublicKey;

/// Of WebAuthn §4: credential ids have at most 1023 bytes.
const MAX_CREDENTIAL_ID: usize = 1023;

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;

/// Why an answer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    #[error("the answer cannot be read")]
    Malformed,
    #[error("the answer is of another ceremony")]
    Ceremony,
    #[error("the challenge is not one of ours, too old, or another browser's")]
    Challenge,
    #[error("the answer was given to another site")]
    Origin,
    #[error("nobody touched the authenticator")]
    Absent,
    #[error("the key is of a kind that is not supported")]
    Key,
    #[error("the signature does not fit")]
    Signature,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RelyingParty<'a> {
    /// The host that passkeys are bound to.
    pub(crate) id: &'a str,
    /// The origin of the pages.
    pub(crate) origin: &'a str,
}

/// A new credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) challenge: String,
    pub(crate) credential_id: Vec<u8>,
    /// The COSE key as it came.
    pub(crate) public_key: Vec<u8>,
    pub(crate) sign_count: u32,
    pub(crate) user_verified: bool,
    pub(crate) backed_up: bool,
}

/// A proof by a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asserted {
    pub(crate) challenge: String,
    pub(crate) sign_count: u32,
    pub(crate) user_verified: bool,
    pub(crate) backed_up: bool,
}

/// The answer to `navigator.credentials.create`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registration {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    authenticator_data: String,
}

/// The answer to `navigator.credentials.get`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Assertion {
    /// The credential's id in base64url.
    pub(crate) id: String,
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    authenticator_data: String,
    signature: String,
    /// The account that a discoverable credential was made for.
    #[serde(default)]
    user_handle: Option<String>,
}

/// What the browser signs for (§5.8.1).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

impl Registration {
    /// The answer in `json`.
    pub(crate) fn parse(json: &str) -> Result<Self, Refused> {
        serde_json::from_str(json).map_err(|_| Refused::Malformed)
    }

    /// §7.1, without attestation.
    pub(crate) fn verify(
        &self,
        party: RelyingParty<'_>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<Registered, Refused> {
        let (client, _) = ClientData::verify(&self.client_data, "webauthn.create", party, is_ours)?;
        let bytes = decode(&self.authenticator_data)?;
        let data = AuthenticatorData::read(&bytes, party)?;
        let (credential_id, public_key) = data.attested.ok_or(Refused::Malformed)?;
        Ok(Registered {
            challenge: client.challenge,
            credential_id: credential_id.to_vec(),
            public_key: public_key.to_vec(),
            sign_count: data.sign_count,
            user_verified: data.flags & USER_VERIFIED != 0,
            backed_up: data.flags & BACKED_UP != 0,
        })
    }
}

impl Assertion {
    /// The answer in `json`.
    pub(crate) fn parse(json: &str) -> Result<Self, Refused> {
        serde_json::from_str(json).map_err(|_| Refused::Malformed)
    }

    /// Whether the authenticator names `user_id` as the account, or none.
    pub(crate) fn is_for(&self, user_id: &str) -> bool {
        self.user_handle
            .as_ref()
            .is_none_or(|handle| decode(handle).is_ok_and(|handle| handle == user_id.as_bytes()))
    }

    /// §7.2 with the public key of the credential.
    pub(crate) fn verify(
        &self,
        party: RelyingParty<'_>,
        public_key: &[u8],
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<Asserted, Refused> {
        let (client, client_bytes) = ClientData::verify(&self.client_data, "webauthn.get", party, is_ours)?;
        let bytes = decode(&self.authenticator_data)?;
        let data = AuthenticatorData::read(&bytes, party)?;
        let (key, _) = PublicKey::read(public_key).ok_or(Refused::Key)?;
        let signed = [bytes.as_slice(), digest(&SHA256, &client_bytes).as_ref()].concat();
        if !key.verifies(&signed, &decode(&self.signature)?) {
            return Err(Refused::Signature);
        }
        Ok(Asserted {
            challenge: client.challenge,
            sign_count: data.sign_count,
            user_verified: data.flags & USER_VERIFIED != 0,
            backed_up: data.flags & BACKED_UP != 0,
        })
    }
}

impl ClientData {
    fn verify(
        text: &str,
        kind: &str,
        party: RelyingParty<'_>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<(Self, Vec<u8>), Refused> {
        let bytes = decode(text)?;
        let data: Self = serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed)?;
        if data.kind != kind {
            return Err(Refused::Ceremony);
        }
        if !is_ours(&data.challenge) {
            return Err(Refused::Challenge);
        }
        if data.origin != party.origin || data.cross_origin {
            return Err(Refused::Origin);
        }
        Ok((data, bytes))
    }
}

/// §6.1.
struct AuthenticatorData<'a> {
    flags: u8,
    sign_count: u32,
    attested: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> AuthenticatorData<'a> {
    fn read(bytes: &'a [u8], party: RelyingParty<'_>) -> Result<Self, Refused> {
        let (hash, rest) = bytes.split_at_checked(32).ok_or(Refused::Malformed)?;
        if hash != digest(&SHA256, party.id.as_bytes()).as_ref() {
            return Err(Refused::Origin);
        }
        let (flags, rest) = rest.split_first().ok_or(Refused::Malformed)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(Refused::Malformed)?;
        if flags & USER_PRESENT == 0 {
            return Err(Refused::Absent);
        }
        // §7.1 step 19: what is backed up must be able to be.
        if flags & BACKED_UP != 0 && flags & BACKUP_ELIGIBLE == 0 {
            return Err(Refused::Malformed);
        }
        let (attested, rest) = if flags & ATTESTED == 0 { (None, rest) } else { attested(rest)? };
        // Extensions are not asked for; bytes without the flag for them belong to nothing.
        if flags & EXTENSIONS == 0 && !rest.is_empty() {
            return Err(Refused::Malformed);
        }
        Ok(Self { flags: *flags, sign_count: u32::from_be_bytes(*count), attested })
    }
}

type Attested<'a> = (Option<(&'a [u8], &'a [u8])>, &'a [u8]);

/// §6.5.1: the id and the key of a credential, and what follows them.
fn attested(bytes: &[u8]) -> Result<Attested<'_>, Refused> {
    let (_model, rest) = bytes.split_at_checked(16).ok_or(Refused::Malformed)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(Refused::Malformed)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > MAX_CREDENTIAL_ID {
        return Err(Refused::Malformed);
    }
    let (id, rest) = rest.split_at_checked(length).ok_or(Refused::Malformed)?;
    let (_, length) = PublicKey::read(rest).ok_or(Refused::Key)?;
    let (key, rest) = rest.split_at_checked(length).ok_or(Refused::Malformed)?;
    Ok((Some((id, key)), rest))
}

fn decode(text: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Malformed)
}
