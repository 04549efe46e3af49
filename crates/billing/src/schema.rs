//! The tables of the billing module.
//!
//! A price is never changed: a new one supersedes it, and the partial unique index keeps exactly
//! one current price for each item and currency. The ledger has one row for each transfer, with
//! the debited and the credited account side by side: an unbalanced booking cannot be written.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "billing",
    migrations: &[Migration {
        version: 1,
        name: "prices, invoices, ledger",
        sql: Sql::one(
            "CREATE TABLE billing_prices (
                id TEXT PRIMARY KEY,
                item_id TEXT NOT NULL,
                currency TEXT NOT NULL,
                amount BIGINT NOT NULL CHECK (amount >= 0),
                created_at BIGINT NOT NULL,
                superseded_at BIGINT
            );
            CREATE UNIQUE INDEX billing_prices_current ON billing_prices (item_id, currency)
                WHERE superseded_at IS NULL;
            CREATE TABLE billing_series (
                series TEXT PRIMARY KEY,
                last_number BIGINT NOT NULL
            );
            CREATE TABLE billing_invoices (
                id TEXT PRIMARY KEY,
                number TEXT NOT NULL UNIQUE,
                account_id TEXT NOT NULL,
                reference TEXT NOT NULL UNIQUE,
                currency TEXT NOT NULL,
                total BIGINT NOT NULL CHECK (total >= 0),
                status TEXT NOT NULL,
                issued_at BIGINT NOT NULL
            );
            CREATE INDEX billing_invoices_account ON billing_invoices (account_id, id);
            CREATE TABLE billing_invoice_lines (
                invoice_id TEXT NOT NULL REFERENCES billing_invoices (id),
                position BIGINT NOT NULL,
                item_id TEXT NOT NULL,
                description TEXT NOT NULL,
                quantity BIGINT NOT NULL CHECK (quantity > 0),
                unit_amount BIGINT NOT NULL CHECK (unit_amount >= 0),
                amount BIGINT NOT NULL,
                PRIMARY KEY (invoice_id, position),
                CHECK (amount = quantity * unit_amount)
            );
            CREATE TABLE billing_transfers (
                id TEXT PRIMARY KEY,
                debit_account TEXT NOT NULL,
                credit_account TEXT NOT NULL,
                amount BIGINT NOT NULL CHECK (amount > 0),
                currency TEXT NOT NULL,
                reference TEXT NOT NULL,
                created_at BIGINT NOT NULL,
                CHECK (debit_account <> credit_account)
            );
            CREATE INDEX billing_transfers_debit ON billing_transfers (debit_account, id);
            CREATE INDEX billing_transfers_credit ON billing_transfers (credit_account, id);
            CREATE INDEX billing_transfers_reference ON billing_transfers (reference)",
        ),
        oldest_reader: 1,
    }],
};
