//! Single sign-on sessions: one row per signed-in browser.
//!
//! The cookie carries a bearer secret of which the row holds the keyed hash. The row's id is the
//! `sid` of the tokens and opens nothing. Signing in always issues a new secret, also when the same
//! person renews a session, so a cookie planted before sign-in is worth nothing after it.
//!
//! A session ends at sign-out, after its absolute lifetime, or when it was idle too long.

pub(crate) mod agent;

use quintet_store::{Sql, Store, Tx, args};

use crate::app::App;
use crate::caller::Caller;
use crate::factors::Methods;
use crate::time::span;
use crate::users::{self, User};
use crate::vault::{BearerSecret, Purpose, Vault};

/// Touching a session at every request would make each read a write.
const TOUCH_EVERY: std::time::Duration = std::time::Duration::from_mins(1);

/// A live session and who it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) user: User,
    pub(crate) auth_at: i64,
    pub(crate) methods: Methods,
}

/// How long sessions live, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    pub(crate) absolute: i64,
    pub(crate) idle: i64,
}

/// The live session of a cookie.
pub(crate) async fn find(
    store: &Store,
    vault: &Vault,
    cookie: &str,
    lifetimes: Lifetimes,
    now: i64,
) -> Result<Option<Session>, quintet_store::Error> {
    let row = store
        .fetch_optional(
            "SELECT id, user_id, auth_at, methods FROM identity_sessions \
             WHERE token_hash = $1 AND ended_at IS NULL AND expires_at > $2 AND last_seen_at > $3",
            args![vault.hash(Purpose::Session, cookie), now, now - lifetimes.idle],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let user_id: String = row.get("user_id")?;
    let Some(user) = users::by_id(store, &user_id).await?.filter(|user| !user.disabled) else {
        return Ok(None);
    };
    Ok(Some(Session {
        id: row.get("id")?,
        user,
        auth_at: row.get("auth_at")?,
        methods: row.parse("methods")?,
    }))
}

/// Whether the session `id` is live; for tokens that live no longer than their session.
pub(crate) async fn is_live(
    store: &Store,
    id: &str,
    lifetimes: Lifetimes,
    now: i64,
) -> Result<bool, quintet_store::Error> {
    let row = store
        .fetch_optional(
            "SELECT id FROM identity_sessions \
             WHERE id = $1 AND ended_at IS NULL AND expires_at > $2 AND last_seen_at > $3",
            args![id, now, now - lifetimes.idle],
        )
        .await?;
    Ok(row.is_some())
}

const HOLD_LIVE: Sql = Sql::per_dialect(
    "SELECT id FROM identity_sessions WHERE id = $1 AND ended_at IS NULL",
    "SELECT id FROM identity_sessions WHERE id = $1 AND ended_at IS NULL FOR SHARE",
);

/// Whether a session has not been ended, and will not be before the transaction's end: what ends sessions revokes their
/// grants, and would miss one that is made meanwhile.
pub(crate) async fn hold_live(tx: &mut Tx, id: &str) -> Result<bool, quintet_store::Error> {
    Ok(tx.fetch_optional(&HOLD_LIVE, args![id]).await?.is_some())
}

/// Starts a session, or renews `current` when the same person signed in again.
pub(crate) async fn start(
    tx: &mut Tx,
    app: &App,
    user: &User,
    methods: Methods,
    current: Option<&Session>,
    caller: &Caller,
) -> Result<(Session, BearerSecret), quintet_store::Error> {
    let now = app.now();
    let expires_at = now + app.lifetimes.session.absolute;
    let secret = BearerSecret::draw(app.entropy.as_ref(), "");
    let hash = app.vault.hash(Purpose::Session, secret.reveal());
    let (agent, address) = (agent::stored(&caller.agent), caller.shown_address());
    let renewed = current.filter(|current| current.user.id == user.id);
    if let Some(other) = current.filter(|current| current.user.id != user.id) {
        end(tx, &other.id, now).await?;
    }
    let id = if let Some(session) = renewed {
        tx.execute(
            "UPDATE identity_sessions SET token_hash = $1, auth_at = $2, last_seen_at = $2, expires_at = $3, \
             methods = $4, agent = $5, address = $6 WHERE id = $7",
            args![hash, now, expires_at, methods.to_string(), agent, address, &session.id],
        )
        .await?;
        session.id.clone()
    } else {
        let drawn = quintet_types::id::draw(app.clock.as_ref(), app.entropy.as_ref());
        let id = format!("ses_{}", quintet_types::id::encode(drawn));
        tx.execute(
            "INSERT INTO identity_sessions (id, token_hash, user_id, auth_at, last_seen_at, expires_at, methods, \
             agent, address) VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8)",
            args![&id, hash, user.id, now, expires_at, methods.to_string(), agent, address],
        )
        .await?;
        id
    };
    Ok((Session { id, user: user.clone(), auth_at: now, methods }, secret))
}

/// Adds a proof to a session, under a new secret. The instant of the sign-in stays that of the
/// password: a client that asks for a recent one gets what it asked for.
pub(crate) async fn raise(
    tx: &mut Tx,
    app: &App,
    session: &Session,
    by: Methods,
) -> Result<(Session, BearerSecret), quintet_store::Error> {
    let methods = session.methods.union(by);
    let secret = BearerSecret::draw(app.entropy.as_ref(), "");
    tx.execute(
        "UPDATE identity_sessions SET token_hash = $1, methods = $2, last_seen_at = $3 WHERE id = $4",
        args![app.vault.hash(Purpose::Session, secret.reveal()), methods.to_string(), app.now(), &session.id],
    )
    .await?;
    Ok((Session { methods, ..session.clone() }, secret))
}

/// Notes that the session is in use; at most once a minute.
pub(crate) async fn touch(tx: &mut Tx, id: &str, now: i64) -> Result<(), quintet_store::Error> {
    tx.execute(
        "UPDATE identity_sessions SET last_seen_at = $1 WHERE id = $2 AND last_seen_at < $3",
        args![now, id, now - span(TOUCH_EVERY)],
    )
    .await
    .map(drop)
}

/// Ends a session. What hangs on it is the caller's to revoke ([`crate::grants::revoke_session`]).
pub(crate) async fn end(tx: &mut Tx, id: &str, now: i64) -> Result<(), quintet_store::Error> {
    tx.execute(
        "UPDATE identity_sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL",
        args![now, id],
    )
    .await
    .map(drop)
}

/// Ends every session of a person.
pub(crate) async fn end_all(tx: &mut Tx, user_id: &str, now: i64) -> Result<u64, quintet_store::Error> {
    tx.execute(
        "UPDATE identity_sessions SET ended_at = $1 WHERE user_id = $2 AND ended_at IS NULL",
        args![now, user_id],
    )
    .await
}

/// A live session as its owner sees it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) address: String,
    pub(crate) auth_at: i64,
    pub(crate) last_seen_at: i64,
}

/// More than anybody looks through.
const MAX_LISTED: i64 = 100;

/// The live sessions of a person, those used last first.
pub(crate) async fn list(
    store: &Store,
    user_id: &str,
    lifetimes: Lifetimes,
    now: i64,
) -> Result<Vec<Listed>, quintet_store::Error> {
    store
        .fetch_all(
            "SELECT id, agent, address, auth_at, last_seen_at FROM identity_sessions \
             WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND last_seen_at > $3 \
             ORDER BY last_seen_at DESC LIMIT $4",
            args![user_id, now, now - lifetimes.idle, MAX_LISTED],
        )
        .await?
        .iter()
        .map(|row| {
            Ok(Listed {
                id: row.get("id")?,
                agent: row.get("agent")?,
                address: row.get("address")?,
                auth_at: row.get("auth_at")?,
                last_seen_at: row.get("last_seen_at")?,
            })
        })
        .collect()
}
