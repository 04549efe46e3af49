//! Items and their stock.
//!
//! Invariants:
//! - `0 <= reserved <= on_hand` for every item, held by conditional updates and a CHECK.
//! - Every change of a level writes one movement in the same transaction, so the sums of an
//!   item's movements are its level.
//! - Items are locked in the order of their ids, so two orders over the same items cannot wait
//!   for each other in a circle.

mod table;

use async_trait::async_trait;
use quintet_inventory_api as api;
use quintet_module::page::{Slice, Window};
use quintet_module::retry::{self, Retryable};
use quintet_store::{Asked, Store, Tx};
use quintet_types::{ItemId, OrganizationId, SharedClock, SystemEntropy, Timestamp};
use thiserror::Error;

use crate::images::Image;

quintet_types::define_id!(
    /// One line of the stock ledger.
    MovementId,
    "mov"
);

/// How many pieces of an item there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Pieces in the warehouse.
    pub on_hand: i64,
    /// Pieces of those that are promised to somebody.
    pub reserved: i64,
}

impl Level {
    /// Pieces that may still be promised.
    pub const fn available(self) -> i64 {
        self.on_hand - self.reserved
    }
}

/// An item as it is kept.
#[derive(Debug, Clone)]
pub struct Record {
    /// The item's id.
    pub id: ItemId,
    /// The stock keeping unit, unique within its organization.
    pub sku: String,
    /// What it is called.
    pub name: String,
    /// More words about it.
    pub description: String,
    /// Its stock.
    pub level: Level,
    /// Its picture.
    pub image: Option<Image>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it or its stock last changed.
    pub updated_at: Timestamp,
}

/// An item to make.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// The stock keeping unit.
    pub sku: String,
    /// What it is called.
    pub name: String,
    /// More words about it.
    pub description: String,
}

/// A correction of what is on hand: a delivery, a loss, a count.
#[derive(Debug, Clone)]
pub struct Adjustment {
    /// Pieces that came (positive) or went (negative).
    pub quantity: i64,
    /// Why, for the ledger.
    pub reason: String,
    /// Who says so.
    pub actor: String,
}

/// One line of the stock ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The line's id.
    pub id: MovementId,
    /// The item that moved.
    pub item_id: ItemId,
    /// `adjustment` or `reservation`.
    pub kind: String,
    /// Change of what is on hand.
    pub on_hand_delta: i64,
    /// Change of what is promised.
    pub reserved_delta: i64,
    /// The level after it.
    pub level: Level,
    /// Why: the given reason, or the reference of a reservation.
    pub reason: String,
    /// Who did it.
    pub actor: String,
    /// When.
    pub created_at: Timestamp,
}

/// A field that is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Invalid {
    /// The stock keeping unit.
    #[error("a sku has 1 to 64 letters, digits or the characters . _ - /")]
    Sku,
    /// The name.
    #[error("a name has 1 to 200 characters and no control characters")]
    Name,
    /// The description.
    #[error("a description has at most 5000 characters")]
    Description,
    /// The quantity of an adjustment.
    #[error("a quantity is not zero and at most 1000000000 in either direction")]
    Quantity,
    /// The reason of an adjustment.
    #[error("a reason has 1 to 200 characters and no control characters")]
    Reason,
}

/// Why an item could not be read, made or adjusted.
#[derive(Debug, Error)]
pub enum Error {
    /// A field is not acceptable.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Another item has this stock keeping unit.
    #[error("another item has this sku")]
    SkuTaken,
    /// There is no such item.
    #[error("item {0} does not exist")]
    Unknown(ItemId),
    /// The adjustment would leave fewer pieces than are promised, or absurdly many.
    #[error("{on_hand} pieces are on hand and {reserved} of them are reserved")]
    Level {
        /// Pieces on hand now.
        on_hand: i64,
        /// Pieces promised now.
        reserved: i64,
    },
    /// The database failed.
    #[error("cannot read or write stock")]
    Store(#[source] quintet_store::Error),
}

impl From<quintet_store::Error> for Error {
    fn from(error: quintet_store::Error) -> Self {
        if error.is_conflict_on("inventory_items", "sku") { Self::SkuTaken } else { Self::Store(error) }
    }
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }
}

/// The stock; cheap to clone.
#[derive(Clone)]
pub struct Stock {
    store: Store,
    clock: SharedClock,
}

impl Stock {
    /// The stock in `store`.
    pub fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// Makes an item with nothing on hand.
    pub async fn create(&self, organization: OrganizationId, item: NewItem) -> Result<Record, Error> {
        let now = self.clock.now();
        let record = Record {
            id: ItemId::generate(&*self.clock, &SystemEntropy),
            sku: checked_sku(&item.sku)?,
            name: checked_text(&item.name, 200).ok_or(Invalid::Name)?,
            description: checked_description(&item.description)?,
            level: Level { on_hand: 0, reserved: 0 },
            image: None,
            created_at: now,
            updated_at: now,
        };
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            table::insert(&mut tx, organization, &record).await?;
            tx.commit().await?;
            Ok(record.clone())
        })
        .await
    }

    /// One item.
    pub async fn find(&self, organization: OrganizationId, id: ItemId) -> Result<Record, Error> {
        table::find(&self.store, organization, id).await?.ok_or(Error::Unknown(id))
    }

    /// Items, newest first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        window: Window<ItemId>,
    ) -> Result<Slice<Record>, Error> {
        let below = window.upper_bound(ItemId::PREFIX);
        let rows = table::list(&self.store, organization, below, window.fetch_limit()).await?;
        Ok(window.slice(rows))
    }

    /// Corrects what is on hand of an item.
    pub async fn adjust(
        &self,
        organization: OrganizationId,
        id: ItemId,
        adjustment: Adjustment,
    ) -> Result<Movement, Error> {
        let Adjustment { quantity, reason, actor } = adjustment;
        if quantity == 0 || quantity.unsigned_abs() > MAX_ADJUSTMENT {
            return Err(Invalid::Quantity.into());
        }
        let reason = checked_text(&reason, 200).ok_or(Invalid::Reason)?;
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            let now = self.clock.now();
            let Some(level) = table::adjust(&mut tx, organization, id, quantity, now).await? else {
                let record = table::find_in(&mut tx, organization, id).await?.ok_or(Error::Unknown(id))?;
                return Err(Error::Level { on_hand: record.level.on_hand, reserved: record.level.reserved });
            };
            let movement = Movement {
                id: MovementId::generate(&*self.clock, &SystemEntropy),
                item_id: id,
                kind: "adjustment".to_owned(),
                on_hand_delta: quantity,
                reserved_delta: 0,
                level,
                reason: reason.clone(),
                actor: actor.clone(),
                created_at: now,
            };
            table::record_movement(&mut tx, &movement).await?;
            tx.commit().await?;
            Ok(movement)
        })
        .await
    }

    /// The ledger of an item, newest first.
    pub async fn movements(
        &self,
        organization: OrganizationId,
        item: ItemId,
        window: Window<MovementId>,
    ) -> Result<Slice<Movement>, Error> {
        let below = window.upper_bound(MovementId::PREFIX);
        let rows = table::movements(&self.store, organization, item, below, window.fetch_limit()).await?;
        if rows.is_empty() {
            // An empty ledger and an unknown item are different answers.
            self.find(organization, item).await?;
        }
        Ok(window.slice(rows))
    }

    /// Writes a reservation that was asked for into the ledger.
    async fn settle_one(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        reference: &str,
        line: api::Reservation,
        asked: Asked,
        now: Timestamp,
    ) -> Result<api::Item, api::Error> {
        let api::Reservation { item_id, quantity } = line;
        let Some((sku, name, level)) = table::reserved(tx, asked).await? else {
            let record =
                table::find_in(tx, organization, item_id).await?.ok_or(api::Error::UnknownItem(item_id))?;
            let available = record.level.available();
            return Err(api::Error::OutOfStock { item_id, requested: quantity, available });
        };
        let movement = Movement {
            id: MovementId::generate(&*self.clock, &SystemEntropy),
            item_id,
            kind: "reservation".to_owned(),
            on_hand_delta: 0,
            reserved_delta: quantity,
            level,
            reason: reference.to_owned(),
            actor: reference.to_owned(),
            created_at: now,
        };
        table::record_movement(tx, &movement).await?;
        Ok(api::Item { id: item_id, sku, name })
    }
}

#[async_trait]
impl api::Inventory for Stock {
    async fn item(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        id: ItemId,
    ) -> Result<api::Item, api::Error> {
        let record = table::find_in(tx, organization, id).await?.ok_or(api::Error::UnknownItem(id))?;
        Ok(api::Item { id: record.id, sku: record.sku, name: record.name })
    }

    async fn reserve(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        reference: &str,
        lines: &[api::Reservation],
    ) -> Result<Vec<api::Item>, api::Error> {
        let mut ordered: Vec<(usize, api::Reservation)> = lines.iter().copied().enumerate().collect();
        ordered.sort_unstable_by_key(|(_, line)| line.item_id);
        let now = self.clock.now();
        let mut asked = Vec::with_capacity(lines.len());
        for (position, line) in ordered {
            let reserving = table::reserve(tx, organization, line.item_id, line.quantity, now).await?;
            asked.push((position, line, reserving));
        }
        let mut items = Vec::with_capacity(lines.len());
        for (position, line, asked) in asked {
            let item = self.settle_one(tx, organization, reference, line, asked, now).await?;
            items.push((position, item));
        }
        items.sort_unstable_by_key(|(position, _)| *position);
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }
}

/// A thousand million pieces in one movement is a typing error.
const MAX_ADJUSTMENT: u64 = 1_000_000_000;

fn checked_sku(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if plain && (1..=64).contains(&text.len()) { Ok(text.to_owned()) } else { Err(Invalid::Sku) }
}

fn checked_text(text: &str, max: usize) -> Option<String> {
    let text = text.trim();
    let plain = !text.chars().any(char::is_control);
    (plain && (1..=max).contains(&text.chars().count())).then(|| text.to_owned())
}

fn checked_description(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    // PostgreSQL text cannot hold NUL.
    if text.chars().count() <= 5000 && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err(Invalid::Description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_a_short_label_without_spaces() {
        assert_eq!(checked_sku(" MUG-01/a ").as_deref(), Ok("MUG-01/a"));
        for text in ["", "two words", "naïve", &"x".repeat(65)] {
            assert_eq!(checked_sku(text), Err(Invalid::Sku), "{text}");
        }
    }

    #[test]
    fn a_description_may_have_lines_but_no_nul() {
        assert!(checked_description("two\nlines").is_ok());
        assert_eq!(checked_description("a\0b"), Err(Invalid::Description));
    }
}
