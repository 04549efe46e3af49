//! The tables of the billing module.
//!
//! A price is never changed: a new one supersedes it, and the partial unique index keeps exactly
//! one current price for each item and currency. The ledger has one row for each transfer, with
//! the debited and the credited account side by side: an unbalanced booking cannot be written.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "billing",
    migrations: &[
        FIRST,
        Migration {
            version: 2,
            name: "books belong to organizations",
            sql: OF_ORGANIZATIONS,
            oldest_reader: 1,
        },
    ],
};

const FIRST: Migration = Migration {
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
};

/// What was there belongs to the default organization. A number is unique within one; SQLite cannot drop the old rule,
/// so there the table is written anew, and with it the one that refers to it.
const OF_ORGANIZATIONS: Sql = Sql::per_dialect(
    "CREATE TABLE billing_invoices_next (
        id TEXT PRIMARY KEY,
        number TEXT NOT NULL,
        account_id TEXT NOT NULL,
        reference TEXT NOT NULL UNIQUE,
        currency TEXT NOT NULL,
        total BIGINT NOT NULL CHECK (total >= 0),
        status TEXT NOT NULL,
        issued_at BIGINT NOT NULL,
        organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000',
        UNIQUE (organization_id, number)
    );
    INSERT INTO billing_invoices_next
            (id, number, account_id, reference, currency, total, status, issued_at)
        SELECT id, number, account_id, reference, currency, total, status, issued_at FROM billing_invoices;
    CREATE TABLE billing_invoice_lines_next (
        invoice_id TEXT NOT NULL REFERENCES billing_invoices_next (id),
        position BIGINT NOT NULL,
        item_id TEXT NOT NULL,
        description TEXT NOT NULL,
        quantity BIGINT NOT NULL CHECK (quantity > 0),
        unit_amount BIGINT NOT NULL CHECK (unit_amount >= 0),
        amount BIGINT NOT NULL,
        PRIMARY KEY (invoice_id, position),
        CHECK (amount = quantity * unit_amount)
    );
    INSERT INTO billing_invoice_lines_next
            (invoice_id, position, item_id, description, quantity, unit_amount, amount)
        SELECT invoice_id, position, item_id, description, quantity, unit_amount, amount
        FROM billing_invoice_lines;
    DROP TABLE billing_invoice_lines;
    DROP TABLE billing_invoices;
    ALTER TABLE billing_invoices_next RENAME TO billing_invoices;
    ALTER TABLE billing_invoice_lines_next RENAME TO billing_invoice_lines;
    CREATE INDEX billing_invoices_account ON billing_invoices (account_id, id);
    CREATE INDEX billing_invoices_organization ON billing_invoices (organization_id, id);
    ALTER TABLE billing_prices
        ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000';
    CREATE INDEX billing_prices_organization ON billing_prices (organization_id, id);
    ALTER TABLE billing_transfers
        ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000'",
    "ALTER TABLE billing_invoices ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000';
    ALTER TABLE billing_invoices DROP CONSTRAINT billing_invoices_number_key;
    ALTER TABLE billing_invoices ADD CONSTRAINT billing_invoices_number_key UNIQUE (organization_id, number);
    CREATE INDEX billing_invoices_organization ON billing_invoices (organization_id, id);
    ALTER TABLE billing_prices ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000';
    CREATE INDEX billing_prices_organization ON billing_prices (organization_id, id);
    ALTER TABLE billing_transfers ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000'",
);
