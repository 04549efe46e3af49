//! The tables of the inventory module.
//!
//! `inventory_items` holds each item's level; `inventory_movements` is the ledger whose deltas
//! sum to it, written in the same statement sequence. The CHECK is the last line of defence
//! against overselling, behind the conditional updates in `stock`.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "inventory",
    migrations: &[Migration {
        version: 1,
        name: "items, stock ledger, images",
        sql: Sql::one(
            "CREATE TABLE inventory_images (
                digest TEXT PRIMARY KEY,
                media_type TEXT NOT NULL,
                width BIGINT NOT NULL,
                height BIGINT NOT NULL,
                size_bytes BIGINT NOT NULL,
                state TEXT NOT NULL,
                failure TEXT,
                created_at BIGINT NOT NULL
            );
            CREATE TABLE inventory_renditions (
                source_digest TEXT NOT NULL REFERENCES inventory_images (digest),
                size BIGINT NOT NULL,
                format TEXT NOT NULL,
                digest TEXT NOT NULL,
                width BIGINT NOT NULL,
                height BIGINT NOT NULL,
                size_bytes BIGINT NOT NULL,
                PRIMARY KEY (source_digest, size, format)
            );
            CREATE TABLE inventory_items (
                id TEXT PRIMARY KEY,
                sku TEXT NOT NULL UNIQUE,
                name TEXT NOT NULL,
                description TEXT NOT NULL,
                on_hand BIGINT NOT NULL,
                reserved BIGINT NOT NULL,
                image_digest TEXT REFERENCES inventory_images (digest),
                created_at BIGINT NOT NULL,
                updated_at BIGINT NOT NULL,
                CONSTRAINT inventory_items_level CHECK (reserved >= 0 AND on_hand >= reserved)
            );
            CREATE TABLE inventory_movements (
                id TEXT PRIMARY KEY,
                item_id TEXT NOT NULL REFERENCES inventory_items (id),
                kind TEXT NOT NULL,
                on_hand_delta BIGINT NOT NULL,
                reserved_delta BIGINT NOT NULL,
                on_hand BIGINT NOT NULL,
                reserved BIGINT NOT NULL,
                reason TEXT NOT NULL,
                actor TEXT NOT NULL,
                created_at BIGINT NOT NULL
            );
            CREATE INDEX inventory_movements_item ON inventory_movements (item_id, id)",
        ),
        oldest_reader: 1,
    }],
};
