//! What other modules may know of inventory: which items exist, and reserving stock.
//!
//! Quantities are whole pieces. Nothing here says how stock is kept; implementations live in the
//! inventory module.

use async_trait::async_trait;
use quintet_store::Tx;
use quintet_types::{ItemId, OrganizationId};
use thiserror::Error;

/// A thing that can be stocked and sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The item's id.
    pub id: ItemId,
    /// Its stock keeping unit, as the company labels it.
    pub sku: String,
    /// What it is called.
    pub name: String,
}

/// Pieces of one item to set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Which item.
    pub item_id: ItemId,
    /// How many pieces, at least one.
    pub quantity: i64,
}

/// Why stock could not be reserved.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no such item.
    #[error("item {0} does not exist")]
    UnknownItem(ItemId),
    /// Fewer pieces are available than asked for; nothing may be kept of the transaction.
    #[error("item {item_id} has {available} pieces available, {requested} were asked for")]
    OutOfStock {
        /// The item that is short.
        item_id: ItemId,
        /// How many pieces were asked for.
        requested: i64,
        /// How many were available at that moment.
        available: i64,
    },
    /// The database failed.
    #[error("cannot read or reserve stock")]
    Store(#[from] quintet_store::Error),
}

/// The inventory module, as the other modules call it.
#[async_trait]
pub trait Inventory: Send + Sync {
    /// The item behind `id` of an organization, read in the caller's transaction. That of another organization does
    /// not exist.
    async fn item(&self, tx: &mut Tx, organization: OrganizationId, id: ItemId) -> Result<Item, Error>;

    /// Sets pieces of an organization's items aside for `reference` (such as an order's id), all lines or none: after
    /// an error the caller must drop its transaction. Each item stands in at most one line. Returns
    /// the items in the order of the lines.
    async fn reserve(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        reference: &str,
        lines: &[Reservation],
    ) -> Result<Vec<Item>, Error>;
}
