//! The billing module: prices, invoices and the ledger they are booked in.
//!
//! Owns the tables `billing_*` and the routes `/prices` and `/invoices`. Other modules see only
//! `quintet-billing-api`. It knows no stock and no orders: an invoice carries a reference that
//! means something to whoever had it opened.

mod invoices;
mod ledger;
mod prices;
mod reports;
mod routes;
mod schema;

use async_trait::async_trait;
use quintet_billing_api as api;
use quintet_store::Tx;
use quintet_types::{Currency, ItemId, OrganizationId};

pub use invoices::{Invoices, Status, StoredInvoice};
pub use ledger::{Account, Transfer, balances};
pub use prices::{NewPrice, PriceError, Prices, StoredPrice};
pub use reports::REPORTS;
pub use routes::{BillingRead, BillingWrite};
pub use schema::SCHEMA;

/// The module's parts as the other modules call them.
#[derive(Clone)]
pub struct Billing {
    /// The prices.
    pub prices: Prices,
    /// The invoices.
    pub invoices: Invoices,
}

#[async_trait]
impl api::Billing for Billing {
    async fn prices(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        currency: Currency,
        items: &[ItemId],
    ) -> Result<Vec<api::Price>, api::Error> {
        self.prices.current(tx, organization, currency, items).await
    }

    async fn take_number(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
    ) -> Result<api::TakenNumber, api::Error> {
        self.invoices.take_number(tx, organization).await
    }

    async fn open_invoice(
        &self,
        tx: &mut Tx,
        number: api::TakenNumber,
        invoice: api::NewInvoice,
    ) -> Result<api::Invoice, api::Error> {
        self.invoices.open(tx, number, invoice).await
    }
}

/// The module, ready to be mounted.
pub fn module(billing: Billing) -> quintet_module::Module {
    quintet_module::Module { schema: &SCHEMA, routes: routes::router(billing), reports: REPORTS }
}
