//! The SQL of `users_accounts`; no rule of the business is here.

use quintet_store::{Error, Row, Sql, Store, Tx, args};
use quintet_types::{OrganizationId, UserId, time};

use crate::accounts::Record;

const BY_ID: &str = "SELECT id, email, name, version, created_at, updated_at FROM users_accounts
     WHERE id = $1 AND organization_id = $2";

const BY_ID_LOCKED: Sql = Sql::per_dialect(
    BY_ID,
    "SELECT id, email, name, version, created_at, updated_at FROM users_accounts
     WHERE id = $1 AND organization_id = $2 FOR UPDATE",
);

fn record(row: &Row) -> Result<Record, Error> {
    Ok(Record {
        id: row.parse("id")?,
        email: row.get("email")?,
        name: row.get("name")?,
        version: row.get("version")?,
        created_at: row.timestamp("created_at")?,
        updated_at: row.timestamp("updated_at")?,
    })
}

pub(crate) async fn find(
    store: &Store,
    organization: OrganizationId,
    id: UserId,
) -> Result<Option<Record>, Error> {
    store.fetch_optional(BY_ID, args![id, organization]).await?.as_ref().map(record).transpose()
}

pub(crate) async fn find_in(
    tx: &mut Tx,
    organization: OrganizationId,
    id: UserId,
) -> Result<Option<Record>, Error> {
    tx.fetch_optional(BY_ID, args![id, organization]).await?.as_ref().map(record).transpose()
}

pub(crate) async fn lock(
    tx: &mut Tx,
    organization: OrganizationId,
    id: UserId,
) -> Result<Option<Record>, Error> {
    tx.fetch_optional(&BY_ID_LOCKED, args![id, organization]).await?.as_ref().map(record).transpose()
}

pub(crate) async fn list(
    store: &Store,
    organization: OrganizationId,
    below: String,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    let rows = store
        .fetch_all(
            "SELECT id, email, name, version, created_at, updated_at FROM users_accounts
             WHERE organization_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2",
            args![below, limit, organization],
        )
        .await?;
    rows.iter().map(record).collect()
}

pub(crate) async fn insert(
    tx: &mut Tx,
    organization: OrganizationId,
    record: &Record,
    email_key: &str,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO users_accounts (id, email, email_key, name, version, created_at, updated_at, organization_id)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7)",
        args![
            record.id,
            &record.email,
            email_key,
            &record.name,
            record.version,
            time::micros(record.created_at),
            organization
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn update(tx: &mut Tx, record: &Record, email_key: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE users_accounts SET email = $2, email_key = $3, name = $4, version = $5, updated_at = $6
         WHERE id = $1",
        args![record.id, &record.email, email_key, &record.name, record.version, record.updated_at],
    )
    .await?;
    Ok(())
}
