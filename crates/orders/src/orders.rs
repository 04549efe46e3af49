//! Placing orders.
//!
//! One transaction: the account is checked, prices are read, stock is reserved, an invoice is
//! opened, the order is written, the receipt's e-mail is enqueued and the answer is kept under the
//! idempotency key. All of it happens or nothing does.
//!
//! Within it the order of steps is chosen for the locks: the invoice series before items (in the order of their ids),
//! and both as late as possible because every order waits for the series.

mod table;

use std::collections::HashSet;
use std::sync::Arc;

use quintet_billing_api::{self as billing, Billing, NewInvoice, NewLine};
use quintet_inventory_api::{self as inventory, Inventory, Reservation};
use quintet_module::idempotency::{self, Answer, Outcome};
use quintet_module::page::{Slice, Window};
use quintet_module::retry::{self, Retryable};
use quintet_store::{Store, Tx};
use quintet_types::{
    Currency, InvoiceId, ItemId, Money, OrderId, OrganizationId, SharedClock, SystemEntropy, Timestamp,
    UserId,
};
use quintet_users_api::{self as users, Users};
use serde::Serialize;
use thiserror::Error;

use crate::receipt;

/// An order to place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Who sells: the tenant that everything named here belongs to. Not part of what a client says, so not of what its
    /// idempotency key is bound to; the key's scope has it.
    #[serde(skip)]
    pub organization: OrganizationId,
    /// Who buys.
    pub account_id: UserId,
    /// The currency to pay in.
    pub currency: Currency,
    /// What is bought; each item at most once.
    pub lines: Vec<Wanted>,
}

/// One line of an order to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Which item.
    pub item_id: ItemId,
    /// How many pieces.
    pub quantity: i64,
}

/// A placed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order's id.
    pub id: OrderId,
    /// Who bought.
    pub account_id: UserId,
    /// What was bought.
    pub lines: Vec<Line>,
    /// The sum of the lines.
    pub total: Money,
    /// The invoice that was opened for it.
    pub invoice_id: InvoiceId,
    /// That invoice's number.
    pub invoice_number: String,
    /// Who placed it.
    pub placed_by: String,
    /// When.
    pub placed_at: Timestamp,
}

/// One line of a placed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which item.
    pub item_id: ItemId,
    /// Its stock keeping unit at the time.
    pub sku: String,
    /// Its name at the time.
    pub name: String,
    /// How many pieces.
    pub quantity: i64,
    /// The price of one piece at the time.
    pub unit: Money,
    /// `quantity` times `unit`.
    pub amount: Money,
}

/// A command that is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Invalid {
    /// No lines, or too many.
    #[error("an order has 1 to {MAX_LINES} lines")]
    Lines,
    /// A quantity out of range.
    #[error("a quantity is from 1 to {MAX_QUANTITY}")]
    Quantity {
        /// Which line, from zero.
        line: usize,
    },
    /// An item in two lines.
    #[error("the item stands in an earlier line already")]
    Repeated {
        /// Which line, from zero.
        line: usize,
    },
}

/// Why an order was not placed.
#[derive(Debug, Error)]
pub enum Error {
    /// The command is not acceptable.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The idempotency key does not allow it.
    #[error(transparent)]
    Idempotency(#[from] idempotency::Error),
    /// The users module refused.
    #[error(transparent)]
    Users(#[from] users::Error),
    /// The inventory module refused.
    #[error(transparent)]
    Inventory(#[from] inventory::Error),
    /// The billing module refused.
    #[error(transparent)]
    Billing(#[from] billing::Error),
    /// The receipt could not be enqueued.
    #[error("cannot enqueue the receipt")]
    Jobs(#[from] quintet_jobs::Error),
    /// The answer could not be written as JSON.
    #[error("cannot write the order as JSON")]
    Json(#[from] serde_json::Error),
    /// The database failed.
    #[error("cannot read or write the order")]
    Store(#[from] quintet_store::Error),
}

impl Error {
    /// A short, stable word for why, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Idempotency(idempotency::Error::Mismatch) => "idempotency_mismatch",
            Self::Idempotency(idempotency::Error::InFlight) => "idempotency_in_flight",
            Self::Users(users::Error::UnknownAccount(_)) => "unknown_account",
            Self::Inventory(inventory::Error::OutOfStock { .. }) => "out_of_stock",
            Self::Inventory(inventory::Error::UnknownItem(_)) => "unknown_item",
            Self::Billing(billing::Error::NoPrice { .. }) => "no_price",
            Self::Billing(billing::Error::Money(_)) => "total",
            _ => "error",
        }
    }

    /// The database's error behind this one, if that is what it is.
    pub fn store(&self) -> Option<&quintet_store::Error> {
        match self {
            Self::Store(error)
            | Self::Idempotency(idempotency::Error::Store(error))
            | Self::Users(users::Error::Store(error))
            | Self::Inventory(inventory::Error::Store(error))
            | Self::Billing(billing::Error::Store(error))
            | Self::Jobs(quintet_jobs::Error::Store(error)) => Some(error),
            _ => None,
        }
    }
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        self.store().is_some_and(quintet_store::Error::is_retryable)
    }
}

const MAX_LINES: usize = 100;
/// Keeps amount times quantity far from the end of 64 bits for every price there can be.
const MAX_QUANTITY: i64 = 1_000_000;

/// What orders are made with.
#[derive(Clone)]
pub struct Parts {
    /// The database that all modules share.
    pub store: Store,
    /// The time.
    pub clock: SharedClock,
    /// The users module.
    pub users: Arc<dyn Users>,
    /// The inventory module.
    pub inventory: Arc<dyn Inventory>,
    /// The billing module.
    pub billing: Arc<dyn Billing>,
}

/// The orders; cheap to clone.
#[derive(Clone)]
pub struct Orders {
    parts: Parts,
}

impl Orders {
    /// Orders made with `parts`.
    pub fn new(parts: Parts) -> Self {
        // A counter that first appears at one hides its first event from `rate`.
        metrics::counter!("quintet_orders_placed_total").increment(0);
        Self { parts }
    }

    /// Places an order under an idempotency key. `present` writes the answer that is sent now and
    /// with every repetition.
    pub async fn place(
        &self,
        request: &idempotency::Request,
        command: &Command,
        placed_by: &str,
        present: fn(Order) -> Result<Answer, serde_json::Error>,
    ) -> Result<Outcome, Error> {
        let outcome = match checked(command) {
            Ok(()) => {
                retry::transaction(async || self.attempt(request, command, placed_by, present).await).await
            }
            Err(invalid) => Err(invalid.into()),
        };
        match &outcome {
            Ok(Outcome::Done(_)) => metrics::counter!("quintet_orders_placed_total").increment(1),
            Ok(Outcome::Replayed(_)) => {}
            Err(error) => {
                metrics::counter!("quintet_orders_rejected_total", "reason" => error.reason()).increment(1);
            }
        }
        outcome
    }

    async fn attempt(
        &self,
        request: &idempotency::Request,
        command: &Command,
        placed_by: &str,
        present: fn(Order) -> Result<Answer, serde_json::Error>,
    ) -> Result<Outcome, Error> {
        let mut tx = self.parts.store.begin().await?;
        if let Some(answer) = idempotency::find(&mut tx, request).await? {
            return Ok(Outcome::Replayed(answer));
        }
        let order = self.write(&mut tx, command, placed_by).await?;
        let placed_at = order.placed_at;
        let answer = present(order)?;
        idempotency::keep(&mut tx, request, &answer, placed_at).await?;
        tx.commit().await?;
        Ok(Outcome::Done(answer))
    }

    async fn write(&self, tx: &mut Tx, command: &Command, placed_by: &str) -> Result<Order, Error> {
        let Parts { clock, users, inventory, billing, .. } = &self.parts;
        let organization = command.organization;
        let id = OrderId::generate(&**clock, &SystemEntropy);
        let reference = id.to_string();

        let account = users.account(tx, organization, command.account_id).await?;
        let item_ids: Vec<ItemId> = command.lines.iter().map(|line| line.item_id).collect();
        let prices = billing.prices(tx, organization, command.currency, &item_ids).await?;
        let reservations: Vec<Reservation> = command
            .lines
            .iter()
            .map(|line| Reservation { item_id: line.item_id, quantity: line.quantity })
            .collect();
        // Every order waits for the invoice series, and from here on it holds locks. The number and the items' levels
        // come with one answer; what is written then waits for none.
        tx.take_turn("orders").await?;
        let number = billing.take_number(tx, organization).await?;
        let items = inventory.reserve(tx, organization, &reference, &reservations).await?;

        let new_lines = command.lines.iter().zip(&items).zip(&prices).map(|((line, item), price)| NewLine {
            item_id: line.item_id,
            description: format!("{} ({})", item.name, item.sku),
            quantity: line.quantity,
            unit: price.unit,
        });
        let invoice = NewInvoice {
            organization,
            account_id: account.id,
            reference,
            currency: command.currency,
            lines: new_lines.collect(),
        };
        let invoice = billing.open_invoice(tx, number, invoice).await?;
        let lines = invoice.lines.into_iter().zip(items).map(|(line, item)| Line {
            item_id: item.id,
            sku: item.sku,
            name: item.name,
            quantity: line.quantity,
            unit: line.unit,
            amount: line.amount,
        });
        let order = Order {
            id,
            account_id: account.id,
            lines: lines.collect(),
            total: invoice.total,
            invoice_id: invoice.id,
            invoice_number: invoice.number,
            placed_by: placed_by.to_owned(),
            placed_at: clock.now(),
        };
        table::insert(tx, organization, &order).await?;
        quintet_jobs::enqueue(tx, &**clock, receipt::job(&order, &account)).await?;
        Ok(order)
    }

    /// One order with its lines.
    pub async fn find(
        &self,
        organization: OrganizationId,
        id: OrderId,
    ) -> Result<Option<Order>, quintet_store::Error> {
        table::find(&self.parts.store, organization, id).await
    }

    /// Orders with their lines, newest first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        window: Window<OrderId>,
    ) -> Result<Slice<Order>, quintet_store::Error> {
        let below = window.upper_bound(OrderId::PREFIX);
        let rows = table::list(&self.parts.store, organization, below, window.fetch_limit()).await?;
        Ok(window.slice(rows))
    }
}

fn checked(command: &Command) -> Result<(), Invalid> {
    if !(1..=MAX_LINES).contains(&command.lines.len()) {
        return Err(Invalid::Lines);
    }
    let mut seen = HashSet::new();
    for (line, wanted) in command.lines.iter().enumerate() {
        if !(1..=MAX_QUANTITY).contains(&wanted.quantity) {
            return Err(Invalid::Quantity { line });
        }
        if !seen.insert(wanted.item_id) {
            return Err(Invalid::Repeated { line });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(lines: Vec<Wanted>) -> Command {
        Command {
            organization: OrganizationId::DEFAULT,
            account_id: UserId::new(),
            currency: "EUR".parse().unwrap(),
            lines,
        }
    }

    #[test]
    fn an_order_has_lines_with_distinct_items_and_sane_quantities() {
        let item = ItemId::new();
        let line = |item_id, quantity| Wanted { item_id, quantity };
        let cases = [
            (vec![line(item, 1), line(ItemId::new(), MAX_QUANTITY)], Ok(())),
            (vec![], Err(Invalid::Lines)),
            (vec![line(item, 1); MAX_LINES + 1], Err(Invalid::Lines)),
            (vec![line(item, 0)], Err(Invalid::Quantity { line: 0 })),
            (vec![line(item, -1)], Err(Invalid::Quantity { line: 0 })),
            (vec![line(item, MAX_QUANTITY + 1)], Err(Invalid::Quantity { line: 0 })),
            (vec![line(item, 1), line(item, 2)], Err(Invalid::Repeated { line: 1 })),
        ];
        for (lines, expected) in cases {
            assert_eq!(checked(&command(lines.clone())), expected, "{lines:?}");
        }
    }
}
