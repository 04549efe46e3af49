//! Invoices: opening them for other modules, and reading them.
//!
//! Invariants:
//! - Numbers are gapless within an organization's series (`INV-2026` for the year of issue, in UTC): the counter's
//!   row is changed in the transaction that writes the invoice, so a roll-back takes both back.
//! - An invoice's total is the sum of its lines, and equals what was booked to the ledger.
//! - One invoice for each reference.

mod table;

use jiff::tz::TimeZone;
use quintet_billing_api as api;
use quintet_module::page::{Slice, Window};
use quintet_store::{Store, Tx};
use quintet_types::{InvoiceId, Money, MoneyError, OrganizationId, SharedClock, SystemEntropy, Timestamp};

use crate::ledger::{self, Account, Transfer, TransferId};

/// Where an invoice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing is paid yet.
    Open,
}

impl Status {
    /// The name in the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
        }
    }
}

/// An invoice as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInvoice {
    /// What it says.
    pub invoice: api::Invoice,
    /// Where it stands.
    pub status: Status,
}

/// The invoices; cheap to clone.
#[derive(Clone)]
pub struct Invoices {
    store: Store,
    clock: SharedClock,
}

impl Invoices {
    /// The invoices in `store`.
    pub fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// Takes the number of an invoice to open.
    pub(crate) async fn take_number(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
    ) -> Result<api::TakenNumber, api::Error> {
        let taken_at = self.clock.now();
        let series = series(taken_at);
        let asked = table::take_number(tx, &counter(organization, &series)).await?;
        Ok(api::TakenNumber { series, taken_at, asked })
    }

    /// Opens an invoice and books it.
    pub(crate) async fn open(
        &self,
        tx: &mut Tx,
        number: api::TakenNumber,
        new: api::NewInvoice,
    ) -> Result<api::Invoice, api::Error> {
        let (lines, total) = totalled(&new)?;
        let api::TakenNumber { series, taken_at: now, asked } = number;
        let number = table::number(tx, asked).await?;
        let invoice = api::Invoice {
            id: InvoiceId::generate(&*self.clock, &SystemEntropy),
            number: format!("{series}-{number:06}"),
            account_id: new.account_id,
            reference: new.reference,
            lines,
            total,
            issued_at: now,
        };
        table::insert(tx, new.organization, &invoice, Status::Open).await?;
        let transfer = Transfer {
            organization: new.organization,
            debit: Account::Receivable(invoice.account_id),
            credit: Account::Revenue,
            money: total,
            reference: invoice.id.to_string(),
        };
        ledger::book(tx, TransferId::generate(&*self.clock, &SystemEntropy), &transfer, now).await?;
        Ok(invoice)
    }

    /// One invoice with its lines.
    pub async fn find(
        &self,
        organization: OrganizationId,
        id: InvoiceId,
    ) -> Result<Option<StoredInvoice>, quintet_store::Error> {
        table::find(&self.store, organization, id).await
    }

    /// Invoices with their lines, newest first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        window: Window<InvoiceId>,
    ) -> Result<Slice<StoredInvoice>, quintet_store::Error> {
        let below = window.upper_bound(InvoiceId::PREFIX);
        let rows = table::list(&self.store, organization, below, window.fetch_limit()).await?;
        Ok(window.slice(rows))
    }
}

fn series(now: Timestamp) -> String {
    format!("INV-{:04}", now.to_zoned(TimeZone::UTC).year())
}

/// The row that counts an organization's series. Without an organization in its name it is the default one's, as it was
/// before there were others.
fn counter(organization: OrganizationId, series: &str) -> String {
    if organization == OrganizationId::DEFAULT {
        return series.to_owned();
    }
    format!("{organization}/{series}")
}

fn totalled(new: &api::NewInvoice) -> Result<(Vec<api::Line>, Money), MoneyError> {
    let mut total = Money::new(0, new.currency);
    let mut lines = Vec::with_capacity(new.lines.len());
    for line in &new.lines {
        let amount = line.unit.checked_mul(line.quantity)?;
        total = total.checked_add(amount)?;
        lines.push(api::Line {
            item_id: line.item_id,
            description: line.description.clone(),
            quantity: line.quantity,
            unit: line.unit,
            amount,
        });
    }
    Ok((lines, total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quintet_types::{ItemId, UserId};

    use super::*;

    fn invoice(lines: &[(i64, i64)]) -> api::NewInvoice {
        let currency = "EUR".parse().unwrap();
        let line = |(quantity, unit): &(i64, i64)| api::NewLine {
            item_id: ItemId::new(),
            description: String::new(),
            quantity: *quantity,
            unit: Money::new(*unit, currency),
        };
        api::NewInvoice {
            organization: OrganizationId::DEFAULT,
            account_id: UserId::new(),
            reference: "ord".to_owned(),
            currency,
            lines: lines.iter().map(line).collect(),
        }
    }

    /// Everyday numbers and huge ones; twenty products of the largest still fit 128 bits.
    fn line() -> impl Strategy<Value = (i64, i64)> {
        prop_oneof![(1i64..1000, 0i64..1_000_000), (1i64..1 << 61, 0i64..1 << 61)]
    }

    proptest! {
        #[test]
        fn the_total_is_the_exact_sum_or_refused(lines in prop::collection::vec(line(), 1..20)) {
            let exact: i128 = lines.iter().map(|(quantity, unit)| i128::from(*quantity) * i128::from(*unit)).sum();
            match totalled(&invoice(&lines)) {
                Ok((_, total)) => prop_assert_eq!(i128::from(total.amount), exact),
                Err(error) => {
                    prop_assert_eq!(error, MoneyError::Overflow);
                    prop_assert!(exact > i128::from(i64::MAX));
                }
            }
        }
    }

    #[test]
    fn a_line_in_another_currency_is_refused() {
        let mut invoice = invoice(&[(1, 100)]);
        invoice.currency = "USD".parse().unwrap();
        assert!(matches!(totalled(&invoice), Err(MoneyError::Mixed { .. })));
    }

    #[test]
    fn the_series_turns_with_the_year_in_utc() {
        assert_eq!(series("2026-12-31T23:59:59Z".parse().unwrap()), "INV-2026");
        assert_eq!(series("2027-01-01T00:00:00Z".parse().unwrap()), "INV-2027");
    }
}
