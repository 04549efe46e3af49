//! What other modules may know of billing: current prices, and opening an invoice.
//!
//! Amounts are integer minor units. Nothing here says how invoices are kept or numbered;
//! implementations live in the billing module.

use async_trait::async_trait;
use quintet_store::{Asked, Tx};
use quintet_types::{
    Currency, InvoiceId, ItemId, Money, MoneyError, OrganizationId, PriceId, Timestamp, UserId,
};
use thiserror::Error;

/// What one piece of an item costs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The price's id.
    pub id: PriceId,
    /// The item it is for.
    pub item_id: ItemId,
    /// The price of one piece.
    pub unit: Money,
}

/// One line of an invoice to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// The item that is sold.
    pub item_id: ItemId,
    /// What the line says.
    pub description: String,
    /// How many pieces.
    pub quantity: i64,
    /// The price of one piece.
    pub unit: Money,
}

/// An invoice to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvoice {
    /// Who is owed the money: the organization whose series the number was taken from.
    pub organization: OrganizationId,
    /// Who owes the money.
    pub account_id: UserId,
    /// What the invoice is for, such as an order's id; one invoice for each reference.
    pub reference: String,
    /// The currency of every line.
    pub currency: Currency,
    /// The lines, at least one.
    pub lines: Vec<NewLine>,
}

/// One line of an opened invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The item that is sold.
    pub item_id: ItemId,
    /// What the line says.
    pub description: String,
    /// How many pieces.
    pub quantity: i64,
    /// The price of one piece.
    pub unit: Money,
    /// `quantity` times `unit`.
    pub amount: Money,
}

/// An opened invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// The invoice's id.
    pub id: InvoiceId,
    /// Its number, gapless within a series: `INV-2026-000001`.
    pub number: String,
    /// Who owes the money.
    pub account_id: UserId,
    /// What it is for.
    pub reference: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// The sum of the lines.
    pub total: Money,
    /// When it was opened.
    pub issued_at: Timestamp,
}

/// The number of an invoice to open in the same transaction. Without that invoice the transaction must be undone, or
/// the series has a gap.
#[derive(Debug)]
#[must_use = "a number without an invoice leaves a gap in its series"]
pub struct TakenNumber {
    /// Of which series, such as `INV-2026`.
    pub series: String,
    /// When it was taken, which is when the invoice is issued.
    pub taken_at: Timestamp,
    /// One row with the number as `last_number`.
    pub asked: Asked,
}

/// Why billing refused.
#[derive(Debug, Error)]
pub enum Error {
    /// The item has no price in that currency.
    #[error("item {item_id} has no price in {currency}")]
    NoPrice {
        /// The item without a price.
        item_id: ItemId,
        /// The asked currency.
        currency: Currency,
    },
    /// A sum does not fit, or currencies were mixed.
    #[error("cannot total the invoice")]
    Money(#[from] MoneyError),
    /// The database failed.
    #[error("cannot read prices or open the invoice")]
    Store(#[from] quintet_store::Error),
}

/// The billing module, as the other modules call it.
#[async_trait]
pub trait Billing: Send + Sync {
    /// The current prices of an organization's `items`, in that order, read in the caller's transaction.
    async fn prices(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        currency: Currency,
        items: &[ItemId],
    ) -> Result<Vec<Price>, Error>;

    /// Takes the number of an invoice that an organization will open. One transaction at a time has the organization's
    /// series until it ends, so call this late; the number is on its way while the caller locks what else it needs.
    async fn take_number(&self, tx: &mut Tx, organization: OrganizationId) -> Result<TakenNumber, Error>;

    /// Opens an invoice under a number and books it, in the caller's transaction.
    async fn open_invoice(
        &self,
        tx: &mut Tx,
        number: TakenNumber,
        invoice: NewInvoice,
    ) -> Result<Invoice, Error>;
}
