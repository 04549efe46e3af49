//! Idempotent commands: the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header)
//! with the key's row written in the command's own transaction.
//!
//! Data layout: one row for each key and scope, the scope being the client, its subject, the
//! route, and the organization unless it is the default one. The row holds a fingerprint of the request and the answer as it was sent.
//!
//! Protocol: [`find`] first takes the key for the length of the transaction, then looks for its
//! row; the command runs; [`keep`] writes the row; one commit makes both durable. So a key is
//! known exactly if its command took effect, and a crash in between leaves neither. A command
//! that was refused (out of stock) rolled back and left no row: the same key may try again.
//!
//! Two requests with one key at once: on PostgreSQL the second finds the key taken and hears 409.
//! On SQLite write transactions run one after the other, so the second hears the first's answer.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quintet_auth::Principal;
use quintet_http::problem::Problem;
use quintet_store::{Error as StoreError, Migration, Sql, Store, Tx, args};
use quintet_types::{OrganizationId, Timestamp, time};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The table of keys; migrate it with the modules that accept keys.
pub static SCHEMA: quintet_store::Module = quintet_store::Module {
    name: "idempotency",
    migrations: &[Migration {
        version: 1,
        name: "keys",
        sql: Sql::one(
            "CREATE TABLE idempotency_keys (
                scope TEXT NOT NULL,
                idempotency_key TEXT NOT NULL,
                fingerprint TEXT NOT NULL,
                status BIGINT NOT NULL,
                location TEXT,
                body TEXT NOT NULL,
                created_at BIGINT NOT NULL,
                PRIMARY KEY (scope, idempotency_key)
            );
            CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at)",
        ),
        oldest_reader: 1,
    }],
};

/// How long a key is known: clients are promised a day, the second covers retries that straddle it.
pub const RETENTION: Duration = Duration::from_hours(48);

/// Keys longer than this are refused; a UUID has 36 characters.
const MAX_KEY_LENGTH: usize = 255;

static HEADER: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Why a keyed command did not run.
#[derive(Debug, Error)]
pub enum Error {
    /// The key was used for a request with other content.
    #[error("the idempotency key belongs to a request with other content")]
    Mismatch,
    /// A request with the same key is running now.
    #[error("a request with the same idempotency key is running")]
    InFlight,
    /// The database failed.
    #[error("cannot look up the idempotency key")]
    Store(#[from] quintet_store::Error),
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        match error {
            Error::Mismatch => Self::unprocessable(
                "idempotency_key_reused",
                "this Idempotency-Key was used for a request with another body; use a new key for a new request",
            ),
            Error::InFlight => Self::conflict(
                "idempotency_key_in_flight",
                "a request with this Idempotency-Key is still running; ask again in a moment",
            )
            .with_retry_after(Duration::from_secs(1)),
            Error::Store(error) => crate::store_problem(error),
        }
    }
}

/// The `Idempotency-Key` of a request; extracting it refuses requests without one.
#[derive(Debug, Clone)]
pub struct Key(String);

impl Key {
    /// The key in this text, if it is one: 1 to 255 visible ASCII characters.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (!text.is_empty() && text.len() <= MAX_KEY_LENGTH && visible).then(|| Self(text.to_owned()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let value = parts.headers.get(&HEADER).ok_or_else(|| {
            Problem::bad_request(
                "idempotency_key_missing",
                "send an Idempotency-Key header, such as a fresh UUID, and the same one with every retry",
            )
        })?;
        value.to_str().ok().and_then(Self::new).ok_or_else(|| {
            Problem::bad_request(
                "idempotency_key_invalid",
                format!("an Idempotency-Key has 1 to {MAX_KEY_LENGTH} visible ASCII characters"),
            )
        })
    }
}

/// A keyed request: who asks, for what, under which key.
#[derive(Debug, Clone)]
pub struct Request {
    scope: String,
    key: String,
    fingerprint: String,
}

impl Request {
    /// The request of `principal` to `route` (method and path template) with this content.
    ///
    /// # Errors
    /// When the content cannot be serialised, which no type made by an extractor does.
    pub fn new(
        key: Key,
        principal: &Principal,
        route: &'static str,
        content: &impl Serialize,
    ) -> Result<Self, Problem> {
        let claims = &principal.claims;
        let content = serde_json::to_vec(content).map_err(|error| Problem::internal(&error))?;
        Ok(Self {
            scope: format!("{}\n{}\n{route}", claims.client_id, claims.sub),
            key: key.0,
            fingerprint: hex(&Sha256::digest(content)),
        })
    }

    /// The request within an organization. The default one is not named, as it was not before there were others: keys
    /// of then are still known.
    #[must_use]
    pub fn within(mut self, organization: OrganizationId) -> Self {
        if organization != OrganizationId::DEFAULT {
            self.scope = format!("{}\n{organization}", self.scope);
        }
        self
    }

    /// The text under which the key is taken while its transaction runs.
    fn lock_name(&self) -> String {
        format!("{}\n{}", self.scope, self.key)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The answer to a keyed command, kept as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Where the made resource is.
    pub location: Option<String>,
    /// The JSON document.
    pub body: String,
}

/// A keyed command's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command ran.
    Done(Answer),
    /// It had run before; this is what was answered then.
    Replayed(Answer),
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let (answer, replayed) = match self {
            Self::Done(answer) => (answer, false),
            Self::Replayed(answer) => (answer, true),
        };
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/json")], answer.body).into_response();
        let headers = response.headers_mut();
        if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if replayed {
            headers.insert(&REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// The lock is released with the transaction. A collision of two names costs one of them a 409.
const TAKE: Sql = Sql::per_dialect(
    "SELECT TRUE AS free WHERE $1 <> ''",
    "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS free",
);

/// Takes the key for this transaction and returns what was answered under it before, if anything.
///
/// # Errors
/// [`Error::InFlight`] when another transaction has the key, [`Error::Mismatch`] when it was used
/// for other content.
pub async fn find(tx: &mut Tx, request: &Request) -> Result<Option<Answer>, Error> {
    let free = tx.ask(&TAKE, args![request.lock_name()]).await?;
    // A statement of its own, which sees what whoever had the key before has committed.
    let known = tx
        .ask(
            "SELECT fingerprint, status, location, body FROM idempotency_keys
             WHERE scope = $1 AND idempotency_key = $2",
            args![&request.scope, &request.key],
        )
        .await?;
    let free: bool = tx.answer(free).await?.first().ok_or(StoreError::RowMissing)?.get("free")?;
    if !free {
        return Err(Error::InFlight);
    }
    let known = tx.answer(known).await?;
    let Some(row) = known.first() else { return Ok(None) };
    if row.get::<String>("fingerprint")? != request.fingerprint {
        return Err(Error::Mismatch);
    }
    metrics::counter!("quintet_idempotent_replays_total").increment(1);
    let status = u16::try_from(row.get::<i64>("status")?).unwrap_or(200);
    Ok(Some(Answer { status, location: row.get("location")?, body: row.get("body")? }))
}

/// Writes the answer under the key, in the command's transaction.
pub async fn keep(tx: &mut Tx, request: &Request, answer: &Answer, now: Timestamp) -> Result<(), Error> {
    tx.send(
        "INSERT INTO idempotency_keys (scope, idempotency_key, fingerprint, status, location, body, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![
            &request.scope,
            &request.key,
            &request.fingerprint,
            i64::from(answer.status),
            answer.location.clone(),
            &answer.body,
            now
        ],
    )
    .await?;
    Ok(())
}

/// Rows removed in one transaction: few, so that the writer of an embedded database is soon free.
const PRUNE_BATCH: i64 = 500;

/// Forgets keys older than [`RETENTION`]; the number of rows removed.
pub async fn prune(store: &Store, now: Timestamp) -> Result<u64, quintet_store::Error> {
    let retention = i64::try_from(RETENTION.as_micros()).unwrap_or(i64::MAX);
    let before = time::micros(now).saturating_sub(retention);
    let mut removed = 0;
    loop {
        let mut tx = store.begin().await?;
        let batch = tx
            .execute(
                "DELETE FROM idempotency_keys WHERE (scope, idempotency_key) IN (
                     SELECT scope, idempotency_key FROM idempotency_keys
                     WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
                args![before, PRUNE_BATCH],
            )
            .await?;
        tx.commit().await?;
        removed += batch;
        if batch < PRUNE_BATCH.unsigned_abs() {
            return Ok(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        let long = "k".repeat(MAX_KEY_LENGTH + 1);
        for (text, accepted) in [
            ("a-1", true),
            ("\"quoted\"", true),
            ("", false),
            ("a b", false),
            ("\u{e4}", false),
            (&*long, false),
        ] {
            assert_eq!(Key::new(text).is_some(), accepted, "{text}");
        }
    }
}
