//! Passkeys: key pairs of which the browser's side never leaves its authenticator (WebAuthn Level 3).
//!
//! Attestation is not asked for: this provider does not choose which authenticators people buy, and
//! without it a registration is what the browser says, over TLS, in a session that is already proved.
//! So the verifier ([`webauthn`]) is short enough to be our own; the crates for it bring every format of
//! attestation, and for them X.509 and a second implementation of RSA and of each curve.
//!
//! A challenge needs no storage: it is a keyed hash over what it is for, the browser and the instant
//! ([`Challenge`]). What was signed over it is stored, once, so that nothing is accepted twice.

pub(crate) mod cose;
pub(crate) mod webauthn;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_store::{Row, Store, Tx, args};
use subtle::ConstantTimeEq as _;

use self::webauthn::{Asserted, Registered};
use crate::app::App;
use crate::vault::Purpose;

/// More than anybody has; a bound for the page and the ceremony.
pub(crate) const MAX_PASSKEYS: i64 = 20;
const MAX_NAME_CHARS: usize = 60;
const RANDOM_BYTES: usize = 16;

/// What a challenge is for; one for a sign-in registers nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ceremony {
    /// Signing in, as the first step or the second.
    SignIn,
    /// Adding a passkey.
    Register,
}

/// Challenges of one ceremony in one browser.
pub(crate) struct Challenge<'a> {
    pub(crate) app: &'a App,
    pub(crate) ceremony: Ceremony,
    /// What only this browser has: its login cookie, or its session's id.
    pub(crate) binding: &'a str,
}

impl Challenge<'_> {
    /// A fresh challenge in base64url.
    pub(crate) fn draw(&self) -> String {
        let mut random = [0u8; RANDOM_BYTES];
        self.app.entropy.fill(&mut random);
        let at = self.app.now().to_be_bytes();
        URL_SAFE_NO_PAD.encode([random.as_slice(), &at, &self.tag(&random, &at)].concat())
    }

    /// Whether `text` was drawn for this ceremony in this browser, not longer ago than a sign-in may take.
    pub(crate) fn is_ours(&self, text: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return false };
        let Some((random, rest)) = bytes.split_at_checked(RANDOM_BYTES) else { return false };
        let Some((at, tag)) = rest.split_first_chunk::<8>() else { return false };
        let age = self.app.now().saturating_sub(i64::from_be_bytes(*at));
        let right: bool = self.tag(random, at).as_slice().ct_eq(tag).into();
        right && (0..=self.app.lifetimes.flow).contains(&age)
    }

    fn tag(&self, random: &[u8], at: &[u8]) -> [u8; 32] {
        let ceremony: &[u8] = match self.ceremony {
            Ceremony::SignIn => b"sign in",
            Ceremony::Register => b"register",
        };
        self.app.vault.mac(Purpose::Challenge, &[ceremony, self.binding.as_bytes(), random, at])
    }
}

/// A passkey as stored.
#[derive(Debug, Clone)]
pub(crate) struct Passkey {
    pub(crate) id: String,
    pub(crate) user_id: String,
    /// In base64url, as browsers name it.
    pub(crate) credential_id: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) name: String,
    pub(crate) backed_up: bool,
    pub(crate) created_at: i64,
    pub(crate) last_used_at: Option<i64>,
}

const COLUMNS: &str = "id, user_id, credential_id, public_key, name, backed_up, created_at, last_used_at";

fn from_row(row: &Row) -> Result<Passkey, quintet_store::Error> {
    Ok(Passkey {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        credential_id: row.get("credential_id")?,
        public_key: row.get("public_key")?,
        name: row.get("name")?,
        backed_up: row.get("backed_up")?,
        created_at: row.get("created_at")?,
        last_used_at: row.get("last_used_at")?,
    })
}

/// The passkey with this credential id.
pub(crate) async fn find(
    store: &Store,
    credential_id: &str,
) -> Result<Option<Passkey>, quintet_store::Error> {
    let sql = quintet_store::Sql::dynamic(format!(
        "SELECT {COLUMNS} FROM identity_passkeys WHERE credential_id = $1"
    ));
    store.fetch_optional(sql, args![credential_id]).await?.as_ref().map(from_row).transpose()
}

/// The passkeys of a person, oldest first.
pub(crate) async fn of(store: &Store, user_id: &str) -> Result<Vec<Passkey>, quintet_store::Error> {
    let sql = quintet_store::Sql::dynamic(format!(
        "SELECT {COLUMNS} FROM identity_passkeys WHERE user_id = $1 ORDER BY id LIMIT {MAX_PASSKEYS}"
    ));
    store.fetch_all(sql, args![user_id]).await?.iter().map(from_row).collect()
}

/// A name as it is stored: trimmed, without control characters, never empty.
pub(crate) fn clean_name(wanted: &str) -> String {
    let name: String = wanted.trim().chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    if name.is_empty() { "Passkey".to_owned() } else { name }
}

/// Stores a new passkey; one that somebody has already is a conflict.
pub(crate) async fn insert(
    tx: &mut Tx,
    app: &App,
    user_id: &str,
    name: &str,
    registered: &Registered,
) -> Result<(), quintet_store::Error> {
    let drawn = quintet_types::id::draw(app.clock.as_ref(), app.entropy.as_ref());
    tx.execute(
        "INSERT INTO identity_passkeys (id, user_id, credential_id, public_key, sign_count, backed_up, name, \
         created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        args![
            format!("pky_{}", quintet_types::id::encode(drawn)),
            user_id,
            URL_SAFE_NO_PAD.encode(&registered.credential_id),
            registered.public_key.as_slice(),
            i64::from(registered.sign_count),
            registered.backed_up,
            clean_name(name),
            app.now()
        ],
    )
    .await
    .map(drop)
}

/// What became of a valid signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It counts.
    Accepted,
    /// The same answer was given before.
    Replayed,
    /// The authenticator counts signatures, and it has counted further than this one: there are two of it.
    Cloned,
}

/// Uses an answer up. The challenge is remembered for as long as it would be accepted.
pub(crate) async fn record_use(
    app: &App,
    passkey: &Passkey,
    asserted: &Asserted,
) -> Result<Use, quintet_store::Error> {
    let now = app.now();
    let mut tx = app.store.begin().await?;
    if !use_challenge(&mut tx, app, &asserted.challenge).await? {
        return Ok(Use::Replayed);
    }
    let count = i64::from(asserted.sign_count);
    // WebAuthn §6.1.1: zero stays zero with authenticators that do not count.
    let updated = tx
        .execute(
            "UPDATE identity_passkeys SET sign_count = $1, backed_up = $2, last_used_at = $3 \
             WHERE id = $4 AND (sign_count < $1 OR (sign_count = 0 AND $1 = 0))",
            args![count, asserted.backed_up, now, &passkey.id],
        )
        .await?;
    tx.commit().await?;
    Ok(if updated == 1 { Use::Accepted } else { Use::Cloned })
}

/// Remembers a challenge; `false` when it was used before.
pub(crate) async fn use_challenge(
    tx: &mut Tx,
    app: &App,
    challenge: &str,
) -> Result<bool, quintet_store::Error> {
    let inserted = tx
        .execute(
            "INSERT INTO identity_used_challenges (challenge_hash, expires_at) VALUES ($1, $2) \
             ON CONFLICT (challenge_hash) DO NOTHING",
            args![app.vault.hash(Purpose::Challenge, challenge), app.now() + app.lifetimes.flow],
        )
        .await?;
    Ok(inserted == 1)
}

/// Gives a passkey of a person another name.
pub(crate) async fn rename(
    store: &Store,
    user_id: &str,
    id: &str,
    name: &str,
) -> Result<(), quintet_store::Error> {
    let mut tx = store.begin().await?;
    tx.execute(
        "UPDATE identity_passkeys SET name = $1 WHERE id = $2 AND user_id = $3",
        args![clean_name(name), id, user_id],
    )
    .await?;
    tx.commit().await
}

/// Removes a passkey of a person; `false` when there is no such.
pub(crate) async fn remove(tx: &mut Tx, user_id: &str, id: &str) -> Result<bool, quintet_store::Error> {
    let sql = "DELETE FROM identity_passkeys WHERE id = $1 AND user_id = $2";
    Ok(tx.execute(sql, args![id, user_id]).await? == 1)
}

/// Forgets challenges that are too old to be accepted anyway.
pub(crate) async fn prune(store: &Store, now: i64) -> Result<u64, quintet_store::Error> {
    let mut tx = store.begin().await?;
    let deleted =
        tx.execute("DELETE FROM identity_used_challenges WHERE expires_at < $1", args![now]).await?;
    tx.commit().await?;
    Ok(deleted)
}
