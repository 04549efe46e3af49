//! The SQL of `orders_orders` and `orders_lines`.

use std::collections::HashMap;

use quintet_store::{Error, Row, Sql, Store, Tx, args};
use quintet_types::{Currency, Money, OrderId, OrganizationId};

use super::{Line, Order};

pub(super) async fn insert(tx: &mut Tx, organization: OrganizationId, order: &Order) -> Result<(), Error> {
    tx.send(
        "INSERT INTO orders_orders
            (id, account_id, currency, total, status, invoice_id, invoice_number, placed_by, placed_at,
            organization_id)
         VALUES ($1, $2, $3, $4, 'placed', $5, $6, $7, $8, $9)",
        args![
            order.id,
            order.account_id,
            order.total.currency,
            order.total.amount,
            order.invoice_id,
            &order.invoice_number,
            &order.placed_by,
            order.placed_at,
            organization
        ],
    )
    .await?;
    for (position, line) in (1i64..).zip(&order.lines) {
        tx.send(
            "INSERT INTO orders_lines (order_id, position, item_id, sku, name, quantity, unit_amount, amount)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            args![
                order.id,
                position,
                line.item_id,
                &line.sku,
                &line.name,
                line.quantity,
                line.unit.amount,
                line.amount.amount
            ],
        )
        .await?;
    }
    Ok(())
}

fn line(row: &Row, currency: Currency) -> Result<Line, Error> {
    Ok(Line {
        item_id: row.parse("item_id")?,
        sku: row.get("sku")?,
        name: row.get("name")?,
        quantity: row.get("quantity")?,
        unit: Money::new(row.get("unit_amount")?, currency),
        amount: Money::new(row.get("amount")?, currency),
    })
}

fn order(row: &Row, lines: &mut HashMap<String, Vec<Row>>) -> Result<Order, Error> {
    let id: OrderId = row.parse("id")?;
    let currency = row.parse("currency")?;
    let lines = lines.remove(&id.to_string()).unwrap_or_default();
    Ok(Order {
        id,
        account_id: row.parse("account_id")?,
        lines: lines.iter().map(|row| line(row, currency)).collect::<Result<_, _>>()?,
        total: Money::new(row.get("total")?, currency),
        invoice_id: row.parse("invoice_id")?,
        invoice_number: row.get("invoice_number")?,
        placed_by: row.get("placed_by")?,
        placed_at: row.timestamp("placed_at")?,
    })
}

pub(super) async fn find(
    store: &Store,
    organization: OrganizationId,
    id: OrderId,
) -> Result<Option<Order>, Error> {
    let row = store
        .fetch_optional(
            "SELECT id, account_id, currency, total, invoice_id, invoice_number, placed_by, placed_at
             FROM orders_orders WHERE id = $1 AND organization_id = $2",
            args![id, organization],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut lines = store.fetch_children(std::slice::from_ref(&row), &LINES, "order_id").await?;
    order(&row, &mut lines).map(Some)
}

pub(super) async fn list(
    store: &Store,
    organization: OrganizationId,
    below: String,
    limit: i64,
) -> Result<Vec<Order>, Error> {
    let rows = store
        .fetch_all(
            "SELECT id, account_id, currency, total, invoice_id, invoice_number, placed_by, placed_at
             FROM orders_orders WHERE organization_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2",
            args![below, limit, organization],
        )
        .await?;
    let mut lines = store.fetch_children(&rows, &LINES, "order_id").await?;
    rows.iter().map(|row| order(row, &mut lines)).collect()
}

/// An order and its lines never change after the transaction that wrote both, so reading them one after the
/// other needs no common snapshot.
const LINES: Sql = Sql::per_dialect(
    "SELECT order_id, item_id, sku, name, quantity, unit_amount, amount FROM orders_lines
     WHERE order_id IN (SELECT value FROM json_each($1)) ORDER BY order_id, position",
    "SELECT order_id, item_id, sku, name, quantity, unit_amount, amount FROM orders_lines
     WHERE order_id = ANY($1) ORDER BY order_id, position",
);
