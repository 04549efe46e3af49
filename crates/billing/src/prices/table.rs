//! The SQL of `billing_prices`.

use quintet_billing_api::Price;
use quintet_store::{Error, Row, Sql, Store, Tx, args};
use quintet_types::{Currency, ItemId, Money, OrganizationId, PriceId, time};

use super::StoredPrice;

fn stored(row: &Row) -> Result<StoredPrice, Error> {
    Ok(StoredPrice {
        id: row.parse("id")?,
        item_id: row.parse("item_id")?,
        unit: Money::new(row.get("amount")?, row.parse("currency")?),
        created_at: row.timestamp("created_at")?,
        superseded_at: row.get::<Option<i64>>("superseded_at")?.map(time::from_micros),
    })
}

pub(super) async fn supersede(tx: &mut Tx, by: &StoredPrice) -> Result<(), Error> {
    tx.execute(
        "UPDATE billing_prices SET superseded_at = $3
         WHERE item_id = $1 AND currency = $2 AND superseded_at IS NULL",
        args![by.item_id, by.unit.currency, by.created_at],
    )
    .await?;
    Ok(())
}

pub(super) async fn insert(
    tx: &mut Tx,
    organization: OrganizationId,
    price: &StoredPrice,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO billing_prices (id, item_id, currency, amount, created_at, organization_id)
         VALUES ($1, $2, $3, $4, $5, $6)",
        args![
            price.id,
            price.item_id,
            price.unit.currency,
            price.unit.amount,
            price.created_at,
            organization
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn find(
    store: &Store,
    organization: OrganizationId,
    id: PriceId,
) -> Result<Option<StoredPrice>, Error> {
    let row = store
        .fetch_optional(
            "SELECT id, item_id, currency, amount, created_at, superseded_at FROM billing_prices
             WHERE id = $1 AND organization_id = $2",
            args![id, organization],
        )
        .await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn list(
    store: &Store,
    organization: OrganizationId,
    below: String,
    limit: i64,
) -> Result<Vec<StoredPrice>, Error> {
    let rows = store
        .fetch_all(
            "SELECT id, item_id, currency, amount, created_at, superseded_at FROM billing_prices
             WHERE organization_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2",
            args![below, limit, organization],
        )
        .await?;
    rows.iter().map(stored).collect()
}

const CURRENT: Sql = Sql::per_dialect(
    "SELECT id, item_id, amount FROM billing_prices
     WHERE currency = $1 AND superseded_at IS NULL AND item_id IN (SELECT value FROM json_each($2))
         AND organization_id = $3",
    "SELECT id, item_id, amount FROM billing_prices
     WHERE currency = $1 AND superseded_at IS NULL AND item_id = ANY($2)
         AND organization_id = $3",
);

pub(super) async fn current(
    tx: &mut Tx,
    organization: OrganizationId,
    currency: Currency,
    items: &[ItemId],
) -> Result<Vec<Price>, Error> {
    let items: Vec<String> = items.iter().map(ItemId::to_string).collect();
    let rows = tx.fetch_all(&CURRENT, args![currency, items, organization]).await?;
    rows.iter()
        .map(|row| {
            let unit = Money::new(row.get("amount")?, currency);
            Ok(Price { id: row.parse("id")?, item_id: row.parse("item_id")?, unit })
        })
        .collect()
}
