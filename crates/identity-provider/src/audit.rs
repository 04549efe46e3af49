//! The audit log: who did what to which account, in an order nobody can rewrite unseen.
//!
//! Every event is written in the transaction that makes it true, so the log neither misses a
//! change nor reports one that was rolled back. Each event's hash is a keyed hash over its fields
//! and the hash before it: whoever can write to the database but not read the sealing key cannot
//! change, drop or insert an event without breaking the chain from there on. Cutting the newest
//! events off is seen by comparing with a head recorded elsewhere.
//!
//! The head row serializes writers. [`append`] is therefore the last statement of a transaction.
//!
//! An event never holds a secret, nor the address typed at a failed sign-in (people type
//! passwords there): an unknown account appears as a keyed hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_store::{Row, Sql, Store, Tx, args};
use serde::Serialize;

use crate::caller::Caller;
use crate::vault::{Purpose, Vault};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    UserCreated,
    LoginSucceeded,
    LoginFailed,
    SecondFactorFailed,
    FactorAdded,
    FactorRemoved,
    PasskeyRefused,
    RecoveryCodesMade,
    RecoveryCodeUsed,
    SessionRaised,
    SessionsEnded,
    ConsentWithdrawn,
    ResetAsked,
    PasswordReset,
    EmailVerified,
    LoggedOut,
    ConsentGranted,
    CodeIssued,
    GrantIssued,
    GrantRevoked,
    CodeReused,
    RefreshReused,
    KeyRotated,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::UserCreated => "user.created",
            Self::LoginSucceeded => "login.succeeded",
            Self::LoginFailed => "login.failed",
            Self::SecondFactorFailed => "second_factor.failed",
            Self::FactorAdded => "factor.added",
            Self::FactorRemoved => "factor.removed",
            Self::PasskeyRefused => "passkey.refused",
            Self::RecoveryCodesMade => "recovery_codes.made",
            Self::RecoveryCodeUsed => "recovery_code.used",
            Self::SessionRaised => "session.raised",
            Self::SessionsEnded => "sessions.ended",
            Self::ConsentWithdrawn => "consent.withdrawn",
            Self::ResetAsked => "password_reset.asked",
            Self::PasswordReset => "password.reset",
            Self::EmailVerified => "email.verified",
            Self::LoggedOut => "logout",
            Self::ConsentGranted => "consent.granted",
            Self::CodeIssued => "code.issued",
            Self::GrantIssued => "grant.issued",
            Self::GrantRevoked => "grant.revoked",
            Self::CodeReused => "code.reused",
            Self::RefreshReused => "refresh_token.reused",
            Self::KeyRotated => "signing_key.rotated",
        }
    }
}

/// An event before it has a place in the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    /// Who did it: a user or client id, or `system`.
    pub(crate) actor: String,
    /// What it was done to.
    pub(crate) subject: String,
    /// Through which client; empty when through none.
    pub(crate) client_id: String,
    /// Further facts; never a secret.
    pub(crate) detail: serde_json::Map<String, serde_json::Value>,
}

/// The detail of an event from pairs of text.
pub(crate) fn detail<const N: usize>(
    pairs: [(&str, String); N],
) -> serde_json::Map<String, serde_json::Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// An event of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    #[serde(serialize_with = "instant")]
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) actor: String,
    pub(crate) subject: String,
    pub(crate) client_id: String,
    pub(crate) address: String,
    pub(crate) request_id: String,
    #[serde(serialize_with = "json_text")]
    pub(crate) detail: String,
    pub(crate) hash: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn instant<S: serde::Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&quintet_types::time::from_micros(*micros))
}

fn json_text<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<serde_json::Value>(text).unwrap_or_default().serialize(serializer)
}

impl Entry {
    fn chained(&self, vault: &Vault, previous: &str) -> String {
        let fields = [
            previous,
            &self.seq.to_string(),
            &self.at.to_string(),
            &self.kind,
            &self.actor,
            &self.subject,
            &self.client_id,
            &self.address,
            &self.request_id,
            &self.detail,
        ];
        URL_SAFE_NO_PAD.encode(vault.mac(Purpose::Audit, &fields.map(str::as_bytes)))
    }
}

const LOCK_HEAD: Sql = Sql::per_dialect(
    "SELECT seq, hash FROM identity_audit_head WHERE id = 1",
    "SELECT seq, hash FROM identity_audit_head WHERE id = 1 FOR UPDATE",
);

/// Writes an event as part of `tx`.
pub(crate) async fn append(
    tx: &mut Tx,
    vault: &Vault,
    now: i64,
    caller: &Caller,
    kind: Kind,
    event: Event,
) -> Result<(), quintet_store::Error> {
    let head = tx.fetch_one(LOCK_HEAD, args![]).await?;
    let previous: String = head.get("hash")?;
    let mut entry = Entry {
        seq: head.get::<i64>("seq")? + 1,
        at: now,
        kind: kind.name().to_owned(),
        actor: event.actor,
        subject: event.subject,
        client_id: event.client_id,
        address: caller.shown_address(),
        request_id: caller.request_id.clone(),
        detail: serde_json::Value::Object(event.detail).to_string(),
        hash: String::new(),
    };
    entry.hash = entry.chained(vault, &previous);
    tx.execute(
        "INSERT INTO identity_audit (seq, at, kind, actor, subject, client_id, address, request_id, detail, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        args![
            entry.seq,
            entry.at,
            &entry.kind,
            &entry.actor,
            &entry.subject,
            &entry.client_id,
            &entry.address,
            &entry.request_id,
            &entry.detail,
            &entry.hash
        ],
    )
    .await?;
    tx.execute(
        "UPDATE identity_audit_head SET seq = $1, hash = $2 WHERE id = 1",
        args![entry.seq, &entry.hash],
    )
    .await
    .map(drop)
}

const COLUMNS: &str = "seq, at, kind, actor, subject, client_id, address, request_id, detail, hash";

fn from_row(row: &Row) -> Result<Entry, quintet_store::Error> {
    Ok(Entry {
        seq: row.get("seq")?,
        at: row.get("at")?,
        kind: row.get("kind")?,
        actor: row.get("actor")?,
        subject: row.get("subject")?,
        client_id: row.get("client_id")?,
        address: row.get("address")?,
        request_id: row.get("request_id")?,
        detail: row.get("detail")?,
        hash: row.get("hash")?,
    })
}

/// A page of the log, newest first, and whether its chain holds.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// The first sequence number, counting up, whose hash does not follow from the one before.
    pub(crate) broken_at: Option<i64>,
}

/// The newest `limit` entries before `before`, checked against each other.
pub(crate) async fn page(
    store: &Store,
    vault: &Vault,
    before: i64,
    limit: i64,
) -> Result<Page, quintet_store::Error> {
    let sql = Sql::dynamic(format!(
        "SELECT {COLUMNS} FROM identity_audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2"
    ));
    // One more than asked for: the oldest shown is checked against its predecessor.
    let rows = store.fetch_all(sql, args![before, limit + 1]).await?;
    let mut entries = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let mut broken_at = None;
    for (index, entry) in entries.iter().enumerate() {
        let predecessor = entries.get(index + 1);
        let previous = match predecessor {
            Some(predecessor) => predecessor.hash.as_str(),
            None if entry.seq == 1 => "",
            None => break,
        };
        let follows = predecessor.is_none_or(|predecessor| predecessor.seq + 1 == entry.seq);
        if !follows || entry.chained(vault, previous) != entry.hash {
            broken_at = Some(entry.seq);
        }
    }
    entries.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(Page { entries, broken_at })
}
