//! Addresses that get no mail: those that bounced, and those an operator put here.
//!
//! Mailing an address that bounced again and again is what costs a sender its reputation. Addresses are kept in lower
//! case: no provider of note tells `Ada@` from `ada@`.

use lettre::Address;
use quintet_store::{Migration, Module, Sql, Store, args};
use quintet_types::{SharedClock, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The tables of the mail handler.
pub(crate) static SCHEMA: Module = Module {
    name: "mail",
    migrations: &[Migration {
        version: 1,
        name: "suppressions",
        sql: Sql::one(
            "CREATE TABLE mail_suppressions (
                address TEXT NOT NULL PRIMARY KEY,
                reason TEXT NOT NULL CHECK (reason IN ('bounce', 'complaint', 'manual')),
                detail TEXT NOT NULL,
                created_at BIGINT NOT NULL
            )",
        ),
        oldest_reader: 1,
    }],
};

/// What a mail server said is kept to this length.
const MAX_DETAIL: usize = 500;

/// Why an address gets no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SuppressionReason)]
pub(crate) enum Reason {
    /// Its mail server refused it for good.
    Bounce,
    /// Whoever reads it called a message of ours spam.
    Complaint,
    /// An operator's decision.
    Manual,
}

/// An address that gets no mail.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Suppression {
    pub(crate) address: String,
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    pub(crate) created_at: Timestamp,
}

/// The list; cheap to clone.
#[derive(Clone)]
pub(crate) struct Suppressions {
    store: Store,
    clock: SharedClock,
}

impl Suppressions {
    pub(crate) fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    pub(crate) async fn contains(&self, address: &Address) -> Result<bool, quintet_store::Error> {
        let sql = "SELECT 1 AS found FROM mail_suppressions WHERE address = $1";
        Ok(self.store.fetch_optional(sql, args![key(address)]).await?.is_some())
    }

    /// Whether the address is new on the list; the first reason stays.
    pub(crate) async fn add(
        &self,
        address: &Address,
        reason: Reason,
        detail: &str,
    ) -> Result<bool, quintet_store::Error> {
        let detail: String = detail.chars().take(MAX_DETAIL).collect();
        let mut tx = self.store.begin().await?;
        let added = tx
            .execute(
                "INSERT INTO mail_suppressions (address, reason, detail, created_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (address) DO NOTHING",
                args![key(address), reason.name(), detail, self.clock.now()],
            )
            .await?;
        tx.commit().await?;
        Ok(added == 1)
    }

    /// Whether the address was on the list.
    pub(crate) async fn remove(&self, address: &Address) -> Result<bool, quintet_store::Error> {
        let mut tx = self.store.begin().await?;
        let removed =
            tx.execute("DELETE FROM mail_suppressions WHERE address = $1", args![key(address)]).await?;
        tx.commit().await?;
        Ok(removed == 1)
    }

    /// Up to `limit` entries by address, those after `after`.
    pub(crate) async fn list(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Suppression>, quintet_store::Error> {
        let sql = "SELECT address, reason, detail, created_at FROM mail_suppressions
                   WHERE address > $1 ORDER BY address LIMIT $2";
        let rows = self.store.fetch_all(sql, args![after, i64::from(limit)]).await?;
        rows.iter()
            .map(|row| {
                Ok(Suppression {
                    address: row.get("address")?,
                    reason: Reason::named(&row.get::<String>("reason")?),
                    detail: row.get("detail")?,
                    created_at: row.timestamp("created_at")?,
                })
            })
            .collect()
    }
}

fn key(address: &Address) -> String {
    let text: &str = address.as_ref();
    text.to_lowercase()
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
            Self::Manual => "manual",
        }
    }

    /// The table's CHECK admits these three.
    fn named(name: &str) -> Self {
        match name {
            "bounce" => Self::Bounce,
            "complaint" => Self::Complaint,
            _ => Self::Manual,
        }
    }
}
