//! Codes, grants and refresh tokens.
//!
//! A grant is what one person allowed one client in one sign-in. A code turns into a grant once; a
//! grant has a family of refresh tokens, each of which is exchanged once for the next.
//!
//! Single use is held by a conditional update, `… WHERE used_at IS NULL`, whose row count decides:
//! of two requests with the same code or token, in any two processes, exactly one wins. State is in
//! the database alone, so reuse is noticed across restarts and nodes.
//!
//! Used tokens stay until they expire, because only a known token can be recognised as reused.

use quintet_store::{Row, Sql, Store, Tx, args};
use quintet_types::{Clock, Entropy};

use crate::factors::Methods;
use crate::vault::{BearerSecret, Purpose, Vault};

/// Lets secret scanners recognise a leaked refresh token.
pub(crate) const REFRESH_PREFIX: &str = "qrt_";

/// How many extra successors one refresh token may get within its grace period.
const MAX_GRACE_USES: i64 = 3;

/// How long a used or expired code is remembered, so that a late replay still revokes its grant.
const REMEMBER_CODES: i64 = 24 * 60 * 60 * 1_000_000;

/// A code as issued.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "code_challenge is RFC 7636's name")]
pub(crate) struct Code {
    pub(crate) grant_id: String,
    pub(crate) client_id: String,
    pub(crate) user_id: String,
    pub(crate) session_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) nonce: Option<String>,
    pub(crate) code_challenge: String,
    pub(crate) auth_at: i64,
    pub(crate) methods: Methods,
    pub(crate) expires_at: i64,
    pub(crate) used: bool,
    /// The one service that the tokens are for, if the client named it.
    pub(crate) resource: Option<String>,
    /// The DPoP key that the code is for (RFC 9449 §10).
    pub(crate) dpop_jkt: Option<String>,
}

/// A grant.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) user_id: String,
    pub(crate) session_id: String,
    pub(crate) scope: String,
    /// Outlives the session it began in.
    pub(crate) offline: bool,
    pub(crate) auth_at: i64,
    pub(crate) methods: Methods,
    pub(crate) expires_at: i64,
    pub(crate) revoked: bool,
    /// The one service that the tokens are for, if the client named it.
    pub(crate) resource: Option<String>,
    /// The DPoP key that its refresh tokens are bound to.
    pub(crate) dpop_jkt: Option<String>,
}

/// A refresh token as stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefreshState {
    pub(crate) expires_at: i64,
    pub(crate) used_at: Option<i64>,
}

/// What became of presenting a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// First use, or a repeat within the grace period: hand out a successor.
    Accepted,
    /// A repeat after it: somebody else holds a copy.
    Reused,
}

/// A fresh id for a grant.
pub(crate) fn fresh_id(clock: &dyn Clock, entropy: &dyn Entropy) -> String {
    format!("grt_{}", quintet_types::id::encode(quintet_types::id::draw(clock, entropy)))
}

/// Stores a code and returns its text.
pub(crate) async fn issue_code(
    tx: &mut Tx,
    vault: &Vault,
    entropy: &dyn Entropy,
    code: &Code,
) -> Result<BearerSecret, quintet_store::Error> {
    let secret = BearerSecret::draw(entropy, "");
    insert_code(tx, &vault.hash(Purpose::Code, secret.reveal()), code).await?;
    Ok(secret)
}

/// Stores a code under the hash of its text.
pub(crate) async fn insert_code(tx: &mut Tx, hash: &str, code: &Code) -> Result<(), quintet_store::Error> {
    tx.execute(
        "INSERT INTO identity_codes (code_hash, grant_id, client_id, user_id, session_id, redirect_uri, scope, \
         nonce, code_challenge, auth_at, expires_at, methods, resource, dpop_jkt) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        args![
            hash,
            &code.grant_id,
            &code.client_id,
            &code.user_id,
            &code.session_id,
            &code.redirect_uri,
            &code.scope,
            code.nonce.as_deref(),
            &code.code_challenge,
            code.auth_at,
            code.expires_at,
            code.methods.to_string(),
            code.resource.as_deref(),
            code.dpop_jkt.as_deref()
        ],
    )
    .await
    .map(drop)
}

/// The code with this text, used or not.
pub(crate) async fn find_code(
    store: &Store,
    vault: &Vault,
    code: &str,
) -> Result<Option<Code>, quintet_store::Error> {
    let row = store
        .fetch_optional(
            "SELECT grant_id, client_id, user_id, session_id, redirect_uri, scope, nonce, code_challenge, auth_at, \
             expires_at, used_at, methods, resource, dpop_jkt FROM identity_codes WHERE code_hash = $1",
            args![vault.hash(Purpose::Code, code)],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Code {
        grant_id: row.get("grant_id")?,
        client_id: row.get("client_id")?,
        user_id: row.get("user_id")?,
        session_id: row.get("session_id")?,
        redirect_uri: row.get("redirect_uri")?,
        scope: row.get("scope")?,
        nonce: row.get("nonce")?,
        code_challenge: row.get("code_challenge")?,
        auth_at: row.get("auth_at")?,
        methods: row.parse("methods")?,
        expires_at: row.get("expires_at")?,
        used: row.get::<Option<i64>>("used_at")?.is_some(),
        resource: row.get("resource")?,
        dpop_jkt: row.get("dpop_jkt")?,
    }))
}

/// Marks a code as used; `false` when it was already.
pub(crate) async fn use_code(
    tx: &mut Tx,
    vault: &Vault,
    code: &str,
    now: i64,
) -> Result<bool, quintet_store::Error> {
    let updated = tx
        .execute(
            "UPDATE identity_codes SET used_at = $1 WHERE code_hash = $2 AND used_at IS NULL",
            args![now, vault.hash(Purpose::Code, code)],
        )
        .await?;
    Ok(updated == 1)
}

/// Writes the grant that a code turned into.
pub(crate) async fn create(tx: &mut Tx, grant: &Grant, now: i64) -> Result<(), quintet_store::Error> {
    tx.execute(
        "INSERT INTO identity_grants (id, client_id, user_id, session_id, scope, offline, auth_at, created_at, \
         expires_at, methods, resource, dpop_jkt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        args![
            &grant.id,
            &grant.client_id,
            &grant.user_id,
            &grant.session_id,
            &grant.scope,
            grant.offline,
            grant.auth_at,
            now,
            grant.expires_at,
            grant.methods.to_string(),
            grant.resource.as_deref(),
            grant.dpop_jkt.as_deref()
        ],
    )
    .await
    .map(drop)
}

fn grant_from_row(row: &Row) -> Result<Grant, quintet_store::Error> {
    Ok(Grant {
        id: row.get("id")?,
        client_id: row.get("client_id")?,
        user_id: row.get("user_id")?,
        session_id: row.get("session_id")?,
        scope: row.get("scope")?,
        offline: row.get("offline")?,
        auth_at: row.get("auth_at")?,
        methods: row.parse("methods")?,
        expires_at: row.get("expires_at")?,
        revoked: row.get::<Option<i64>>("revoked_at")?.is_some(),
        resource: row.get("resource")?,
        dpop_jkt: row.get("dpop_jkt")?,
    })
}

/// The grant with this id.
pub(crate) async fn find(store: &Store, id: &str) -> Result<Option<Grant>, quintet_store::Error> {
    store
        .fetch_optional(
            "SELECT id, client_id, user_id, session_id, scope, offline, auth_at, expires_at, revoked_at, methods, \
             resource, dpop_jkt FROM identity_grants WHERE id = $1",
            args![id],
        )
        .await?
        .as_ref()
        .map(grant_from_row)
        .transpose()
}

/// The refresh token with this text and its grant.
pub(crate) async fn find_refresh(
    store: &Store,
    vault: &Vault,
    token: &str,
) -> Result<Option<(RefreshState, Grant)>, quintet_store::Error> {
    let row = store
        .fetch_optional(
            "SELECT t.expires_at AS token_expires_at, t.used_at, g.id, g.client_id, g.user_id, \
             g.session_id, g.scope, g.offline, g.auth_at, g.expires_at, g.revoked_at, g.methods, g.resource, \
             g.dpop_jkt \
             FROM identity_refresh_tokens t JOIN identity_grants g ON g.id = t.grant_id WHERE t.token_hash = $1",
            args![vault.hash(Purpose::Refresh, token)],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let state = RefreshState { expires_at: row.get("token_expires_at")?, used_at: row.get("used_at")? };
    Ok(Some((state, grant_from_row(&row)?)))
}

/// Stores a new refresh token of a grant and returns its text.
pub(crate) async fn issue_refresh(
    tx: &mut Tx,
    vault: &Vault,
    entropy: &dyn Entropy,
    grant_id: &str,
    expires_at: i64,
) -> Result<BearerSecret, quintet_store::Error> {
    let secret = BearerSecret::draw(entropy, REFRESH_PREFIX);
    tx.execute(
        "INSERT INTO identity_refresh_tokens (token_hash, grant_id, expires_at, grace_uses) VALUES ($1, $2, $3, 0)",
        args![vault.hash(Purpose::Refresh, secret.reveal()), grant_id, expires_at],
    )
    .await?;
    Ok(secret)
}

/// Lets a refresh token that is not rotated live until `expires_at`.
pub(crate) async fn extend_refresh(
    tx: &mut Tx,
    vault: &Vault,
    token: &str,
    expires_at: i64,
) -> Result<(), quintet_store::Error> {
    tx.execute(
        "UPDATE identity_refresh_tokens SET expires_at = $1 WHERE token_hash = $2",
        args![expires_at, vault.hash(Purpose::Refresh, token)],
    )
    .await
    .map(drop)
}

/// Uses a refresh token, or a second time within `grace` of its first use.
///
/// The grace period exists for browsers with several tabs and for answers lost on the way; it is
/// counted from the first use and allows a few repeats, no chain of them.
pub(crate) async fn rotate(
    tx: &mut Tx,
    vault: &Vault,
    token: &str,
    grace: i64,
    now: i64,
) -> Result<Rotation, quintet_store::Error> {
    let hash = vault.hash(Purpose::Refresh, token);
    let first = tx
        .execute(
            "UPDATE identity_refresh_tokens SET used_at = $1 WHERE token_hash = $2 AND used_at IS NULL",
            args![now, &hash],
        )
        .await?;
    if first == 1 {
        return Ok(Rotation::Accepted);
    }
    let repeated = tx
        .execute(
            "UPDATE identity_refresh_tokens SET grace_uses = grace_uses + 1 \
             WHERE token_hash = $1 AND used_at > $2 AND grace_uses < $3",
            args![&hash, now - grace, MAX_GRACE_USES],
        )
        .await?;
    Ok(if repeated == 1 { Rotation::Accepted } else { Rotation::Reused })
}

const LOCK: Sql = Sql::per_dialect(
    "SELECT revoked_at FROM identity_grants WHERE id = $1",
    "SELECT revoked_at FROM identity_grants WHERE id = $1 FOR UPDATE",
);

/// Holds the grant until the transaction ends; `false` when it is revoked or gone.
pub(crate) async fn lock_live(tx: &mut Tx, grant_id: &str) -> Result<bool, quintet_store::Error> {
    let row = tx.fetch_optional(LOCK, args![grant_id]).await?;
    row.map_or(Ok(false), |row| Ok(row.get::<Option<i64>>("revoked_at")?.is_none()))
}

/// Revokes a grant and with it its refresh tokens; `false` when it was revoked before.
pub(crate) async fn revoke(
    tx: &mut Tx,
    grant_id: &str,
    because: &'static str,
    now: i64,
) -> Result<bool, quintet_store::Error> {
    let updated = tx
        .execute(
            "UPDATE identity_grants SET revoked_at = $1, revoked_because = $2 WHERE id = $3 AND revoked_at IS NULL",
            args![now, because, grant_id],
        )
        .await?;
    Ok(updated == 1)
}

/// Revokes the grants that live no longer than a session, and those of the client that asked for
/// its end, which has no further use for them.
pub(crate) async fn revoke_session(
    tx: &mut Tx,
    session_id: &str,
    asking_client: &str,
    now: i64,
) -> Result<u64, quintet_store::Error> {
    // Every client that knows the session hears of its end (crate::backchannel).
    tx.execute(
        "INSERT INTO identity_logout_deliveries (session_id, client_id, user_id, next_at, attempts) \
         SELECT DISTINCT session_id, client_id, user_id, CAST($1 AS BIGINT), 0 FROM identity_grants \
         WHERE session_id = $2 ON CONFLICT (session_id, client_id) DO NOTHING",
        args![now, session_id],
    )
    .await?;
    tx.execute(
        "UPDATE identity_grants SET revoked_at = $1, revoked_because = 'logout' \
         WHERE session_id = $2 AND (offline = FALSE OR client_id = $3) AND revoked_at IS NULL",
        args![now, session_id, asking_client],
    )
    .await
}

/// Revokes every grant of a person, whose sessions are about to end.
pub(crate) async fn revoke_all(
    tx: &mut Tx,
    user_id: &str,
    because: &'static str,
    now: i64,
) -> Result<u64, quintet_store::Error> {
    tx.execute(
        "INSERT INTO identity_logout_deliveries (session_id, client_id, user_id, next_at, attempts) \
         SELECT DISTINCT session_id, client_id, user_id, CAST($1 AS BIGINT), 0 FROM identity_grants \
         WHERE user_id = $2 AND session_id IN \
         (SELECT id FROM identity_sessions WHERE user_id = $2 AND ended_at IS NULL) \
         ON CONFLICT (session_id, client_id) DO NOTHING",
        args![now, user_id],
    )
    .await?;
    tx.execute(
        "UPDATE identity_grants SET revoked_at = $1, revoked_because = $2 \
         WHERE user_id = $3 AND revoked_at IS NULL",
        args![now, because, user_id],
    )
    .await
}

/// Revokes what a person granted one client.
pub(crate) async fn revoke_client(
    tx: &mut Tx,
    user_id: &str,
    client_id: &str,
    now: i64,
) -> Result<u64, quintet_store::Error> {
    tx.execute(
        "UPDATE identity_grants SET revoked_at = $1, revoked_because = 'consent withdrawn' \
         WHERE user_id = $2 AND client_id = $3 AND revoked_at IS NULL",
        args![now, user_id, client_id],
    )
    .await
}

/// Refuses one access token from now on at this provider's own endpoints.
pub(crate) async fn revoke_access(
    tx: &mut Tx,
    token_id: &str,
    expires_at: i64,
) -> Result<(), quintet_store::Error> {
    tx.execute(
        "INSERT INTO identity_revoked_tokens (token_id, expires_at) VALUES ($1, $2) ON CONFLICT (token_id) DO NOTHING",
        args![token_id, expires_at],
    )
    .await
    .map(drop)
}

/// Whether an access token was refused by [`revoke_access`].
pub(crate) async fn access_revoked(store: &Store, token_id: &str) -> Result<bool, quintet_store::Error> {
    let row = store
        .fetch_optional("SELECT token_id FROM identity_revoked_tokens WHERE token_id = $1", args![token_id])
        .await?;
    Ok(row.is_some())
}

/// Deletes what can no longer matter; returns how many rows.
pub(crate) async fn prune(store: &Store, now: i64) -> Result<u64, quintet_store::Error> {
    let mut deleted = 0;
    for (sql, before) in [
        ("DELETE FROM identity_codes WHERE expires_at < $1", now - REMEMBER_CODES),
        ("DELETE FROM identity_refresh_tokens WHERE expires_at < $1", now),
        // Tokens of an expired grant go with it.
        ("DELETE FROM identity_grants WHERE expires_at < $1", now),
        ("DELETE FROM identity_revoked_tokens WHERE expires_at < $1", now),
        ("DELETE FROM identity_sessions WHERE expires_at < $1", now),
        ("DELETE FROM identity_used_ids WHERE expires_at < $1", now),
        ("DELETE FROM identity_pushed_requests WHERE expires_at < $1", now),
        // As long as its code is remembered.
        ("DELETE FROM identity_device_requests WHERE expires_at < $1", now - REMEMBER_CODES),
    ] {
        // One transaction each: the write lock of SQLite is shared with every login.
        let mut tx = store.begin().await?;
        deleted += tx.execute(sql, args![before]).await?;
        tx.commit().await?;
    }
    Ok(deleted)
}
