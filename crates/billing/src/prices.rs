//! Prices: what one piece of an item costs in one currency.
//!
//! Invariants: exactly one current price for each item and currency; prices are never changed,
//! so an invoice can always be traced to the price it was made from.

mod table;

use std::sync::Arc;

use quintet_billing_api as api;
use quintet_inventory_api::{self as inventory, Inventory};
use quintet_module::page::{Slice, Window};
use quintet_module::retry::{self, Retryable};
use quintet_store::{Store, Tx};
use quintet_types::{
    Currency, ItemId, Money, OrganizationId, PriceId, SharedClock, SystemEntropy, Timestamp,
};
use thiserror::Error;

/// A price as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPrice {
    /// The price's id.
    pub id: PriceId,
    /// The item it is for.
    pub item_id: ItemId,
    /// The price of one piece.
    pub unit: Money,
    /// Since when it holds.
    pub created_at: Timestamp,
    /// When a newer one took its place.
    pub superseded_at: Option<Timestamp>,
}

/// A price to set.
#[derive(Debug, Clone, Copy)]
pub struct NewPrice {
    /// The item it is for.
    pub item_id: ItemId,
    /// The price of one piece.
    pub unit: Money,
}

/// Why a price could not be set or read.
#[derive(Debug, Error)]
pub enum PriceError {
    /// The amount is negative or absurdly large.
    #[error("an amount is from 0 to {MAX_AMOUNT} minor units")]
    Amount,
    /// There is no such item.
    #[error("item {0} does not exist")]
    UnknownItem(ItemId),
    /// There is no such price.
    #[error("price {0} does not exist")]
    Unknown(PriceId),
    /// Somebody else set this price at the same time, again and again.
    #[error("the price is being set by somebody else")]
    Contended,
    /// The database failed.
    #[error("cannot read or write the price")]
    Store(#[source] quintet_store::Error),
}

impl From<quintet_store::Error> for PriceError {
    fn from(error: quintet_store::Error) -> Self {
        if error.is_conflict() { Self::Contended } else { Self::Store(error) }
    }
}

impl From<inventory::Error> for PriceError {
    fn from(error: inventory::Error) -> Self {
        match error {
            inventory::Error::UnknownItem(item_id) | inventory::Error::OutOfStock { item_id, .. } => {
                Self::UnknownItem(item_id)
            }
            inventory::Error::Store(error) => Self::Store(error),
        }
    }
}

impl Retryable for PriceError {
    fn is_retryable(&self) -> bool {
        // The rival's price is committed by then, so the next try supersedes it.
        matches!(self, Self::Contended) || matches!(self, Self::Store(error) if error.is_retryable())
    }
}

/// A million million minor units: more than anything costs, far from the end of 64 bits.
const MAX_AMOUNT: i64 = 1_000_000_000_000;

/// The prices; cheap to clone.
#[derive(Clone)]
pub struct Prices {
    store: Store,
    clock: SharedClock,
    inventory: Arc<dyn Inventory>,
}

impl Prices {
    /// The prices in `store`, for items of `inventory`.
    pub fn new(store: Store, clock: SharedClock, inventory: Arc<dyn Inventory>) -> Self {
        Self { store, clock, inventory }
    }

    /// Sets the current price of an item in one currency.
    pub async fn set(
        &self,
        organization: OrganizationId,
        price: NewPrice,
    ) -> Result<StoredPrice, PriceError> {
        if !(0..=MAX_AMOUNT).contains(&price.unit.amount) {
            return Err(PriceError::Amount);
        }
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            self.inventory.item(&mut tx, organization, price.item_id).await?;
            let stored = StoredPrice {
                id: PriceId::generate(&*self.clock, &SystemEntropy),
                item_id: price.item_id,
                unit: price.unit,
                created_at: self.clock.now(),
                superseded_at: None,
            };
            table::supersede(&mut tx, &stored).await?;
            table::insert(&mut tx, organization, &stored).await?;
            tx.commit().await?;
            Ok(stored)
        })
        .await
    }

    /// One price.
    pub async fn find(&self, organization: OrganizationId, id: PriceId) -> Result<StoredPrice, PriceError> {
        table::find(&self.store, organization, id).await?.ok_or(PriceError::Unknown(id))
    }

    /// Prices, newest first, superseded ones among them.
    pub async fn list(
        &self,
        organization: OrganizationId,
        window: Window<PriceId>,
    ) -> Result<Slice<StoredPrice>, PriceError> {
        let below = window.upper_bound(PriceId::PREFIX);
        let rows = table::list(&self.store, organization, below, window.fetch_limit()).await?;
        Ok(window.slice(rows))
    }

    /// The current prices of `items`, in that order.
    pub(crate) async fn current(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        currency: Currency,
        items: &[ItemId],
    ) -> Result<Vec<api::Price>, api::Error> {
        let found = table::current(tx, organization, currency, items).await?;
        items
            .iter()
            .map(|item_id| {
                let price = found.iter().find(|price| price.item_id == *item_id);
                price.cloned().ok_or(api::Error::NoPrice { item_id: *item_id, currency })
            })
            .collect()
    }
}
