//! The tables of the orders module.
//!
//! Names, prices and the invoice's number are copied into the order: it says what was agreed, even
//! after an item is renamed, and reading it needs no other module.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "orders",
    migrations: &[
        FIRST,
        Migration {
            version: 2,
            name: "orders belong to organizations",
            // What was there belongs to the default one.
            sql: Sql::one(
                "ALTER TABLE orders_orders
                    ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000';
                CREATE INDEX orders_orders_organization ON orders_orders (organization_id, id)",
            ),
            oldest_reader: 1,
        },
    ],
};

const FIRST: Migration = Migration {
    version: 1,
    name: "orders and their lines",
    sql: Sql::one(
        "CREATE TABLE orders_orders (
                id TEXT PRIMARY KEY,
                account_id TEXT NOT NULL,
                currency TEXT NOT NULL,
                total BIGINT NOT NULL,
                status TEXT NOT NULL,
                invoice_id TEXT NOT NULL UNIQUE,
                invoice_number TEXT NOT NULL,
                placed_by TEXT NOT NULL,
                placed_at BIGINT NOT NULL
            );
            CREATE INDEX orders_orders_account ON orders_orders (account_id, id);
            CREATE TABLE orders_lines (
                order_id TEXT NOT NULL REFERENCES orders_orders (id),
                position BIGINT NOT NULL,
                item_id TEXT NOT NULL,
                sku TEXT NOT NULL,
                name TEXT NOT NULL,
                quantity BIGINT NOT NULL CHECK (quantity > 0),
                unit_amount BIGINT NOT NULL,
                amount BIGINT NOT NULL,
                PRIMARY KEY (order_id, position)
            )",
    ),
    oldest_reader: 1,
};
