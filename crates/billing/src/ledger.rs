//! The double-entry ledger.
//!
//! One row is one transfer from a credited to a debited account, so debits equal credits by
//! construction, row by row, and no sum has to be trusted. A booking over several accounts is
//! several transfers with one reference. Rows are only ever added.

use std::collections::BTreeMap;
use std::fmt;

use quintet_store::{Error, Store, Tx, args};
use quintet_types::{Money, OrganizationId, Timestamp, UserId};

quintet_types::define_id!(
    /// One transfer of the ledger.
    TransferId,
    "trf"
);

/// An account of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// What one customer owes us.
    Receivable(UserId),
    /// What we have earned.
    Revenue,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receivable(customer) => write!(f, "receivable:{customer}"),
            Self::Revenue => f.write_str("revenue"),
        }
    }
}

/// One transfer to book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Whose books.
    pub organization: OrganizationId,
    /// The account that is debited.
    pub debit: Account,
    /// The account that is credited.
    pub credit: Account,
    /// How much; zero is not booked, a negative sum is refused by the table.
    pub money: Money,
    /// What it is for.
    pub reference: String,
}

/// Books a transfer in the caller's transaction.
pub(crate) async fn book(
    tx: &mut Tx,
    id: TransferId,
    transfer: &Transfer,
    now: Timestamp,
) -> Result<(), Error> {
    if transfer.money.amount == 0 {
        return Ok(());
    }
    tx.send(
        "INSERT INTO billing_transfers (id, debit_account, credit_account, amount, currency, reference, created_at,
            organization_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        args![
            id.to_string(),
            transfer.debit.to_string(),
            transfer.credit.to_string(),
            transfer.money.amount,
            transfer.money.currency,
            &transfer.reference,
            now,
            transfer.organization
        ],
    )
    .await?;
    Ok(())
}

/// The balance of every account of an organization, by account and currency: debits less credits, in minor units.
/// They sum to zero for each currency. Meant for audits and tests: it reads the whole ledger.
pub async fn balances(
    store: &Store,
    organization: OrganizationId,
) -> Result<BTreeMap<(String, String), i64>, Error> {
    let rows = store
        .fetch_all(
            "SELECT account, currency, CAST(SUM(amount) AS BIGINT) AS balance FROM (
                 SELECT debit_account AS account, currency, amount FROM billing_transfers
                 WHERE organization_id = $1
                 UNION ALL
                 SELECT credit_account AS account, currency, -amount AS amount FROM billing_transfers
                 WHERE organization_id = $1
             ) AS entries GROUP BY account, currency",
            args![organization],
        )
        .await?;
    rows.iter().map(|row| Ok(((row.get("account")?, row.get("currency")?), row.get("balance")?))).collect()
}

#[cfg(test)]
mod tests {
    use quintet_testkit::{FakeClock, databases};
    use quintet_types::SystemEntropy;

    use super::*;

    async fn booked(store: &Store, debit: Account, credit: Account, money: Money) -> Result<(), Error> {
        let clock = FakeClock::default().shared();
        let id = TransferId::generate(&*clock, &SystemEntropy);
        let organization = OrganizationId::DEFAULT;
        let transfer = Transfer { organization, debit, credit, money, reference: "inv".to_owned() };
        let mut tx = store.begin().await.unwrap();
        book(&mut tx, id, &transfer, clock.now()).await?;
        tx.commit().await
    }

    fn euro(amount: i64) -> Money {
        Money::new(amount, "EUR".parse().unwrap())
    }

    #[tokio::test]
    async fn balances_are_what_was_booked_and_sum_to_zero_in_each_currency() {
        for database in databases().await {
            let store = &database.store;
            store.migrate(&[&crate::SCHEMA]).await.unwrap();
            let [ann, bob] = [UserId::new(), UserId::new()].map(Account::Receivable);
            let yen = Money::new(7, "JPY".parse().unwrap());
            booked(store, ann, Account::Revenue, euro(1250)).await.unwrap();
            booked(store, ann, Account::Revenue, yen).await.unwrap();
            booked(store, bob, Account::Revenue, euro(300)).await.unwrap();
            booked(store, Account::Revenue, ann, euro(250)).await.unwrap();
            booked(store, bob, Account::Revenue, euro(0)).await.unwrap();
            let balances = balances(store, OrganizationId::DEFAULT).await.unwrap();
            let expected = [(ann, "EUR", 1000), (ann, "JPY", 7), (bob, "EUR", 300)]
                .into_iter()
                .chain([(Account::Revenue, "EUR", -1300), (Account::Revenue, "JPY", -7)])
                .map(|(account, currency, sum)| ((account.to_string(), currency.to_owned()), sum))
                .collect();
            assert_eq!(balances, expected, "{}", database.name);
        }
    }

    #[tokio::test]
    async fn a_negative_transfer_and_one_to_itself_are_refused_by_the_table() {
        for database in databases().await {
            let store = &database.store;
            store.migrate(&[&crate::SCHEMA]).await.unwrap();
            let ann = Account::Receivable(UserId::new());
            for (debit, credit, money) in [(ann, Account::Revenue, euro(-1)), (ann, ann, euro(1))] {
                let refused = booked(store, debit, credit, money).await;
                assert!(matches!(refused, Err(Error::Check { .. })), "{}: {refused:?}", database.name);
            }
            assert!(balances(store, OrganizationId::DEFAULT).await.unwrap().is_empty(), "{}", database.name);
        }
    }
}
