//! The signing keys: made at first start, sealed in the database, published, rotated, retired.
//!
//! A key's state follows from the clock and two instants, so that several nodes agree without
//! talking: it is published from the moment its row exists, signs from `activates_at` until a
//! newer key does, and stays published for [`RETAIN`] after that, longer than any token it signed
//! can live. A new key is published [`PUBLISH_LEAD`] before it signs, so that a verifier which
//! fetches its key set at leisure never meets an unknown key.
//!
//! Tokens are signed here with ES256 alone; nothing reads an algorithm from a token to choose one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_store::{Sql, Store, Tx, args};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::time::span;
use crate::vault::{Vault, VaultError};

/// How long a new key is published before it signs.
const PUBLISH_LEAD: Duration = Duration::from_hours(24);

/// How long a key is published after a newer one took over; above every token lifetime allowed.
const RETAIN: Duration = Duration::from_hours(7 * 24);

/// An uncompressed P-256 point: one marker byte and two coordinates.
const POINT_BYTES: usize = 65;

/// The longest token that is looked at; ours are below 1.5 KiB.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why the keys could not be used.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    /// The database failed.
    #[error("cannot read or write the signing keys")]
    Store(#[from] quintet_store::Error),
    /// The sealing key is not the one under which the keys were sealed.
    #[error(
        "keys.file does not open signing key {kid} of this database; restore the sealing key that \
         belongs to it"
    )]
    WrongSealingKey {
        /// The key that did not open.
        kid: String,
    },
    /// A key could not be made, sealed or used.
    #[error("cannot make or use a signing key")]
    Crypto(#[source] VaultError),
    /// Claims that do not serialize.
    #[error("cannot write the claims of a token")]
    Claims(#[from] serde_json::Error),
}

/// Why a token is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum TokenError {
    /// Not three base64url parts with the JSON that belongs there.
    #[error("the token is malformed")]
    Malformed,
    /// Another algorithm or another kind of token than asked for.
    #[error("the token is of another kind")]
    Kind,
    /// Signed by no key that is published now.
    #[error("the token is signed by an unknown key")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature does not fit")]
    Signature,
}

/// The `typ` of a token, which keeps one kind from standing in for another (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    /// An access token (RFC 9068).
    Access,
    /// An ID token (OpenID Connect Core).
    Id,
    /// A logout token (OpenID Connect Back-Channel Logout §2.4).
    Logout,
}

impl TokenType {
    const fn name(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Id => "JWT",
            Self::Logout => "logout+jwt",
        }
    }
}

/// What a key is for at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// Known to verifiers, and not signing yet.
    Published,
    /// Signing.
    Active,
    /// Published for what it signed before.
    Retired,
}

impl KeyState {
    /// The name in the administration API.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// What may be told of a key.
#[derive(Debug, Clone)]
pub(crate) struct KeyFacts {
    pub(crate) kid: String,
    pub(crate) state: KeyState,
    pub(crate) activates_at: i64,
}

struct SigningKey {
    kid: String,
    pair: EcdsaKeyPair,
    activates_at: i64,
}

impl SigningKey {
    fn coordinates(&self) -> Option<(String, String)> {
        let point: &[u8; POINT_BYTES] = self.pair.public_key().as_ref().try_into().ok()?;
        let (x, y) = point.get(1..)?.split_at_checked(32)?;
        Some((URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
    }
}

/// What is published and used at one moment.
struct Published {
    signing: Option<Arc<SigningKey>>,
    by_kid: HashMap<String, Arc<SigningKey>>,
    jwks: Arc<str>,
}

/// The signing keys of this provider.
pub(crate) struct KeyRing {
    store: Store,
    vault: Arc<Vault>,
    rotate_after: Duration,
    published: ArcSwap<Published>,
}

const SELECT: &str =
    "SELECT kid, sealed_key, activates_at FROM identity_signing_keys ORDER BY activates_at, kid";

/// Locks what a second node starting at the same moment would write.
const LOCK: Sql = Sql::per_dialect(
    "SELECT id FROM identity_audit_head WHERE id = 1",
    "SELECT id FROM identity_audit_head WHERE id = 1 FOR UPDATE",
);

impl KeyRing {
    /// Loads the keys, making the first one in an empty database.
    pub(crate) async fn open(
        store: Store,
        vault: Arc<Vault>,
        rotate_after: Duration,
        now: i64,
    ) -> Result<Self, KeyError> {
        let empty = Published { signing: None, by_kid: HashMap::new(), jwks: Arc::from("{\"keys\":[]}") };
        let ring = Self { store, vault, rotate_after, published: ArcSwap::from_pointee(empty) };
        ring.maintain(now).await?;
        Ok(ring)
    }

    /// Makes the key that is due, drops those past use, and takes over what other nodes did.
    pub(crate) async fn maintain(&self, now: i64) -> Result<(), KeyError> {
        let mut keys = self.load(self.store.fetch_all(SELECT, args![]).await?)?;
        if self.needs_key(&keys, now) || past_use(&keys, now) > 0 {
            let mut tx = self.store.begin().await?;
            tx.fetch_one(LOCK, args![]).await?;
            keys = self.load(tx.fetch_all(SELECT, args![]).await?)?;
            if self.needs_key(&keys, now) {
                let activates_at = if keys.is_empty() { now } else { now + span(PUBLISH_LEAD) };
                keys.push(self.create(&mut tx, now, activates_at).await?);
            }
            for key in keys.drain(..past_use(&keys, now)) {
                tx.execute("DELETE FROM identity_signing_keys WHERE kid = $1", args![&key.kid]).await?;
                tracing::info!(kid = %key.kid, "signing key removed");
            }
            tx.commit().await?;
        }
        self.publish(keys, now);
        Ok(())
    }

    /// Makes a key that signs from now on, for when nobody wants to wait for the next rotation. Verifiers meet an unknown
    /// key and fetch the set.
    pub(crate) async fn rotate(&self, now: i64) -> Result<String, KeyError> {
        let mut tx = self.store.begin().await?;
        tx.fetch_one(LOCK, args![]).await?;
        let key = self.create(&mut tx, now, now).await?;
        tx.commit().await?;
        self.maintain(now).await?;
        Ok(key.kid.clone())
    }

    /// The keys there are, oldest first.
    pub(crate) fn facts(&self) -> Vec<KeyFacts> {
        let published = self.published.load();
        let mut facts: Vec<_> = published
            .by_kid
            .values()
            .map(|key| {
                let state = match &published.signing {
                    Some(signing) if signing.kid == key.kid => KeyState::Active,
                    Some(signing) if key.activates_at > signing.activates_at => KeyState::Published,
                    _ => KeyState::Retired,
                };
                KeyFacts { kid: key.kid.clone(), state, activates_at: key.activates_at }
            })
            .collect();
        facts.sort_by(|a, b| (a.activates_at, &a.kid).cmp(&(b.activates_at, &b.kid)));
        facts
    }

    fn load(&self, rows: Vec<quintet_store::Row>) -> Result<Vec<Arc<SigningKey>>, KeyError> {
        let known = self.published.load();
        rows.into_iter()
            .map(|row| {
                let kid: String = row.get("kid")?;
                if let Some(key) = known.by_kid.get(&kid) {
                    return Ok(Arc::clone(key));
                }
                let sealed: String = row.get("sealed_key")?;
                let pkcs8 = self
                    .vault
                    .open_signing_key(&kid, &sealed)
                    .map_err(|_| KeyError::WrongSealingKey { kid: kid.clone() })?;
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
                    .map_err(|_| KeyError::Crypto(VaultError::Crypto))?;
                Ok(Arc::new(SigningKey { kid, pair, activates_at: row.get("activates_at")? }))
            })
            .collect()
    }

    fn needs_key(&self, keys: &[Arc<SigningKey>], now: i64) -> bool {
        keys.last()
            .is_none_or(|newest| newest.activates_at + span(self.rotate_after) <= now + span(PUBLISH_LEAD))
    }

    async fn create(&self, tx: &mut Tx, now: i64, activates_at: i64) -> Result<Arc<SigningKey>, KeyError> {
        let crypto = |_| KeyError::Crypto(VaultError::Crypto);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(crypto)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(crypto)?;
        let key = SigningKey { kid: thumbprint(&pair), pair, activates_at };
        let sealed = self.vault.seal_signing_key(&key.kid, pkcs8.as_ref()).map_err(KeyError::Crypto)?;
        tx.execute(
            "INSERT INTO identity_signing_keys (kid, sealed_key, created_at, activates_at) VALUES ($1, $2, $3, $4)",
            args![&key.kid, sealed, now, activates_at],
        )
        .await?;
        tracing::info!(kid = %key.kid, "signing key created");
        Ok(Arc::new(key))
    }

    fn publish(&self, keys: Vec<Arc<SigningKey>>, now: i64) {
        let signing = keys.iter().rev().find(|key| key.activates_at <= now).or(keys.first()).map(Arc::clone);
        let jwks: Vec<_> = keys
            .iter()
            .filter_map(|key| {
                let (x, y) = key.coordinates()?;
                Some(serde_json::json!({
                    "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key.kid, "x": x, "y": y,
                }))
            })
            .collect();
        self.published.store(Arc::new(Published {
            signing,
            jwks: Arc::from(serde_json::json!({ "keys": jwks }).to_string()),
            by_kid: keys.into_iter().map(|key| (key.kid.clone(), key)).collect(),
        }));
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub(crate) fn jwks(&self) -> Arc<str> {
        Arc::clone(&self.published.load().jwks)
    }

    /// A signed token of the given kind in compact form.
    pub(crate) fn sign(&self, kind: TokenType, claims: &impl Serialize) -> Result<String, KeyError> {
        let published = self.published.load();
        let key = published.signing.as_ref().ok_or(KeyError::Crypto(VaultError::Crypto))?;
        let header = format!(r#"{{"alg":"ES256","typ":"{}","kid":"{}"}}"#, kind.name(), key.kid);
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
        let signature = key
            .pair
            .sign(&rand::SystemRandom::new(), token.as_bytes())
            .map_err(|_| KeyError::Crypto(VaultError::Crypto))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }

    /// The claims of a token that this provider signed. Says nothing of expiry or revocation.
    pub(crate) fn verify<T: DeserializeOwned>(&self, kind: TokenType, token: &str) -> Result<T, TokenError> {
        #[derive(serde::Deserialize)]
        struct Header {
            alg: String,
            typ: String,
            kid: String,
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        if header.alg != "ES256" || header.typ != kind.name() {
            return Err(TokenError::Kind);
        }
        let published = self.published.load();
        let key = published.by_kid.get(&header.kid).ok_or(TokenError::UnknownKey)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key())
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| TokenError::Signature)?;
        serde_json::from_slice(&decode(payload)?).map_err(|_| TokenError::Malformed)
    }
}

/// How many of the oldest keys nothing valid can be signed with any more.
fn past_use(keys: &[Arc<SigningKey>], now: i64) -> usize {
    keys.iter().skip(1).take_while(|successor| successor.activates_at + span(RETAIN) <= now).count()
}

/// The key id: a digest of the public key, so that it is the same wherever it is computed.
fn thumbprint(pair: &EcdsaKeyPair) -> String {
    let digest = digest::digest(&digest::SHA256, pair.public_key().as_ref());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default())
}
