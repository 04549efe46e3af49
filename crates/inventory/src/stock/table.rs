//! The SQL of `inventory_items` and `inventory_movements`; no rule of the business is here.
//!
//! Both level changes are one conditional UPDATE. At READ COMMITTED a second writer waits for the
//! row and evaluates the condition again on what the first one left, so no check can be stale.

use quintet_store::{Asked, Error, Row, Sql, Store, Tx, args};
use quintet_types::{ItemId, OrganizationId, Timestamp};

use super::{Level, Movement, Record};
use crate::images::Image;

const ITEMS: &str =
    "SELECT i.id, i.sku, i.name, i.description, i.on_hand, i.reserved, i.created_at, i.updated_at,
        m.digest, m.media_type, m.width, m.height, m.size_bytes, m.state
     FROM inventory_items i LEFT JOIN inventory_images m ON m.digest = i.image_digest";

/// The largest stock of one item; keeps sums far from the end of 64 bits.
pub(super) const MAX_ON_HAND: i64 = 1_000_000_000_000;

fn by_id() -> Sql {
    Sql::dynamic(format!("{ITEMS} WHERE i.id = $1 AND i.organization_id = $2"))
}

fn level(row: &Row) -> Result<Level, Error> {
    Ok(Level { on_hand: row.get("on_hand")?, reserved: row.get("reserved")? })
}

fn record(row: &Row) -> Result<Record, Error> {
    let image = row.get::<Option<String>>("digest")?.map(|_| Image::from_row(row)).transpose()?;
    Ok(Record {
        id: row.parse("id")?,
        sku: row.get("sku")?,
        name: row.get("name")?,
        description: row.get("description")?,
        level: level(row)?,
        image,
        created_at: row.timestamp("created_at")?,
        updated_at: row.timestamp("updated_at")?,
    })
}

fn movement(row: &Row) -> Result<Movement, Error> {
    Ok(Movement {
        id: row.parse("id")?,
        item_id: row.parse("item_id")?,
        kind: row.get("kind")?,
        on_hand_delta: row.get("on_hand_delta")?,
        reserved_delta: row.get("reserved_delta")?,
        level: level(row)?,
        reason: row.get("reason")?,
        actor: row.get("actor")?,
        created_at: row.timestamp("created_at")?,
    })
}

pub(super) async fn insert(tx: &mut Tx, organization: OrganizationId, record: &Record) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO inventory_items (id, sku, name, description, on_hand, reserved, created_at, updated_at, organization_id)
         VALUES ($1, $2, $3, $4, 0, 0, $5, $5, $6)",
        args![record.id, &record.sku, &record.name, &record.description, record.created_at, organization],
    )
    .await?;
    Ok(())
}

pub(super) async fn find(
    store: &Store,
    organization: OrganizationId,
    id: ItemId,
) -> Result<Option<Record>, Error> {
    store.fetch_optional(by_id(), args![id, organization]).await?.as_ref().map(record).transpose()
}

pub(super) async fn find_in(
    tx: &mut Tx,
    organization: OrganizationId,
    id: ItemId,
) -> Result<Option<Record>, Error> {
    tx.fetch_optional(by_id(), args![id, organization]).await?.as_ref().map(record).transpose()
}

pub(super) async fn list(
    store: &Store,
    organization: OrganizationId,
    below: String,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    let sql = Sql::dynamic(format!(
        "{ITEMS} WHERE i.organization_id = $3 AND i.id < $1 ORDER BY i.id DESC LIMIT $2"
    ));
    store.fetch_all(sql, args![below, limit, organization]).await?.iter().map(record).collect()
}

/// Adds to what is on hand; nothing when the item is unknown or the result is out of bounds.
pub(super) async fn adjust(
    tx: &mut Tx,
    organization: OrganizationId,
    id: ItemId,
    delta: i64,
    now: Timestamp,
) -> Result<Option<Level>, Error> {
    let row = tx
        .fetch_optional(
            "UPDATE inventory_items SET on_hand = on_hand + $2, updated_at = $3
             WHERE id = $1 AND organization_id = $5 AND on_hand + $2 >= reserved AND on_hand + $2 <= $4
             RETURNING on_hand, reserved",
            args![id, delta, now, MAX_ON_HAND, organization],
        )
        .await?;
    row.as_ref().map(level).transpose()
}

/// Sets pieces aside; see [`reserved`].
pub(super) async fn reserve(
    tx: &mut Tx,
    organization: OrganizationId,
    id: ItemId,
    quantity: i64,
    now: Timestamp,
) -> Result<Asked, Error> {
    tx.ask(
        "UPDATE inventory_items SET reserved = reserved + $2, updated_at = $3
             WHERE id = $1 AND organization_id = $4 AND on_hand - reserved >= $2
             RETURNING sku, name, on_hand, reserved",
        args![id, quantity, now, organization],
    )
    .await
}

/// The item's stock keeping unit and name, and its level now; nothing when it is unknown or too few are available.
pub(super) async fn reserved(tx: &mut Tx, asked: Asked) -> Result<Option<(String, String, Level)>, Error> {
    let rows = tx.answer(asked).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some((row.get("sku")?, row.get("name")?, level(row)?)))
}

pub(super) async fn record_movement(tx: &mut Tx, movement: &Movement) -> Result<(), Error> {
    tx.send(
        "INSERT INTO inventory_movements
            (id, item_id, kind, on_hand_delta, reserved_delta, on_hand, reserved, reason, actor, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        args![
            movement.id.to_string(),
            movement.item_id,
            &movement.kind,
            movement.on_hand_delta,
            movement.reserved_delta,
            movement.level.on_hand,
            movement.level.reserved,
            &movement.reason,
            &movement.actor,
            movement.created_at
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn movements(
    store: &Store,
    organization: OrganizationId,
    item: ItemId,
    below: String,
    limit: i64,
) -> Result<Vec<Movement>, Error> {
    let rows = store
        .fetch_all(
            "SELECT id, item_id, kind, on_hand_delta, reserved_delta, on_hand, reserved, reason, actor, created_at
             FROM inventory_movements
             WHERE item_id = (SELECT id FROM inventory_items WHERE id = $1 AND organization_id = $4) AND id < $2
             ORDER BY id DESC LIMIT $3",
            args![item, below, limit, organization],
        )
        .await?;
    rows.iter().map(movement).collect()
}
