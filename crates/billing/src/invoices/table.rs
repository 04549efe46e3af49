//! The SQL of `billing_invoices`, their lines and number series.

use std::collections::HashMap;

use quintet_billing_api::{Invoice, Line};
use quintet_store::{Asked, Error, Row, Sql, Store, Tx, args};
use quintet_types::{Currency, InvoiceId, Money, OrganizationId};

use super::{Status, StoredInvoice};

/// Asks for the next number of a series, named by its counter. The row stays locked until the caller's transaction ends, which
/// is what makes the series gapless and why this is asked late.
pub(super) async fn take_number(tx: &mut Tx, counter: &str) -> Result<Asked, Error> {
    tx.ask(
        "INSERT INTO billing_series (series, last_number) VALUES ($1, 1)
             ON CONFLICT (series) DO UPDATE SET last_number = billing_series.last_number + 1
             RETURNING last_number",
        args![counter],
    )
    .await
}

pub(super) async fn number(tx: &mut Tx, asked: Asked) -> Result<i64, Error> {
    tx.answer(asked).await?.first().ok_or(Error::RowMissing)?.get("last_number")
}

pub(super) async fn insert(
    tx: &mut Tx,
    organization: OrganizationId,
    invoice: &Invoice,
    status: Status,
) -> Result<(), Error> {
    tx.send(
        "INSERT INTO billing_invoices (id, number, account_id, reference, currency, total, status, issued_at,
            organization_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        args![
            invoice.id,
            &invoice.number,
            invoice.account_id,
            &invoice.reference,
            invoice.total.currency,
            invoice.total.amount,
            status.as_str(),
            invoice.issued_at,
            organization
        ],
    )
    .await?;
    for (position, line) in (1i64..).zip(&invoice.lines) {
        tx.send(
            "INSERT INTO billing_invoice_lines
                (invoice_id, position, item_id, description, quantity, unit_amount, amount)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            args![
                invoice.id,
                position,
                line.item_id,
                &line.description,
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
        description: row.get("description")?,
        quantity: row.get("quantity")?,
        unit: Money::new(row.get("unit_amount")?, currency),
        amount: Money::new(row.get("amount")?, currency),
    })
}

fn stored(row: &Row, lines: &mut HashMap<String, Vec<Row>>) -> Result<StoredInvoice, Error> {
    let id: InvoiceId = row.parse("id")?;
    let currency = row.parse("currency")?;
    let lines = lines.remove(&id.to_string()).unwrap_or_default();
    let invoice = Invoice {
        id,
        number: row.get("number")?,
        account_id: row.parse("account_id")?,
        reference: row.get("reference")?,
        lines: lines.iter().map(|row| line(row, currency)).collect::<Result<_, _>>()?,
        total: Money::new(row.get("total")?, currency),
        issued_at: row.timestamp("issued_at")?,
    };
    // The one status there is; a database that holds another was written by a newer release.
    Ok(StoredInvoice { invoice, status: Status::Open })
}

pub(super) async fn find(
    store: &Store,
    organization: OrganizationId,
    id: InvoiceId,
) -> Result<Option<StoredInvoice>, Error> {
    let row = store
        .fetch_optional(
            "SELECT id, number, account_id, reference, currency, total, status, issued_at
             FROM billing_invoices WHERE id = $1 AND organization_id = $2",
            args![id, organization],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut lines = store.fetch_children(std::slice::from_ref(&row), &LINES, "invoice_id").await?;
    stored(&row, &mut lines).map(Some)
}

pub(super) async fn list(
    store: &Store,
    organization: OrganizationId,
    below: String,
    limit: i64,
) -> Result<Vec<StoredInvoice>, Error> {
    let rows = store
        .fetch_all(
            "SELECT id, number, account_id, reference, currency, total, status, issued_at
             FROM billing_invoices WHERE organization_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2",
            args![below, limit, organization],
        )
        .await?;
    let mut lines = store.fetch_children(&rows, &LINES, "invoice_id").await?;
    rows.iter().map(|row| stored(row, &mut lines)).collect()
}

/// An invoice and its lines never change after the transaction that wrote both, so reading them one after the
/// other needs no common snapshot.
const LINES: Sql = Sql::per_dialect(
    "SELECT invoice_id, item_id, description, quantity, unit_amount, amount FROM billing_invoice_lines
     WHERE invoice_id IN (SELECT value FROM json_each($1)) ORDER BY invoice_id, position",
    "SELECT invoice_id, item_id, description, quantity, unit_amount, amount FROM billing_invoice_lines
     WHERE invoice_id = ANY($1) ORDER BY invoice_id, position",
);
