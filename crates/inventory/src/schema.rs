//! The tables of the inventory module.
//!
//! `inventory_items` holds each item's level; `inventory_movements` is the ledger whose deltas
//! sum to it, written in the same statement sequence. The CHECK is the last line of defence
//! against overselling, behind the conditional updates in `stock`.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "inventory",
    migrations: &[
        FIRST,
        Migration {
            version: 2,
            name: "items belong to organizations",
            sql: OF_ORGANIZATIONS,
            oldest_reader: 1,
        },
    ],
};

const FIRST: Migration = Migration {
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
};

/// What was there belongs to the default organization. A stock keeping unit is unique within one; SQLite cannot drop
/// the old rule, so there the table is written anew, and with it the one that refers to it.
const OF_ORGANIZATIONS: Sql = Sql::per_dialect(
    "CREATE TABLE inventory_items_next (
        id TEXT PRIMARY KEY,
        sku TEXT NOT NULL,
        name TEXT NOT NULL,
        description TEXT NOT NULL,
        on_hand BIGINT NOT NULL,
        reserved BIGINT NOT NULL,
        image_digest TEXT REFERENCES inventory_images (digest),
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000',
        CONSTRAINT inventory_items_level CHECK (reserved >= 0 AND on_hand >= reserved),
        UNIQUE (organization_id, sku)
    );
    INSERT INTO inventory_items_next
            (id, sku, name, description, on_hand, reserved, image_digest, created_at, updated_at)
        SELECT id, sku, name, description, on_hand, reserved, image_digest, created_at, updated_at
        FROM inventory_items;
    CREATE TABLE inventory_movements_next (
        id TEXT PRIMARY KEY,
        item_id TEXT NOT NULL REFERENCES inventory_items_next (id),
        kind TEXT NOT NULL,
        on_hand_delta BIGINT NOT NULL,
        reserved_delta BIGINT NOT NULL,
        on_hand BIGINT NOT NULL,
        reserved BIGINT NOT NULL,
        reason TEXT NOT NULL,
        actor TEXT NOT NULL,
        created_at BIGINT NOT NULL
    );
    INSERT INTO inventory_movements_next
            (id, item_id, kind, on_hand_delta, reserved_delta, on_hand, reserved, reason, actor, created_at)
        SELECT id, item_id, kind, on_hand_delta, reserved_delta, on_hand, reserved, reason, actor, created_at
        FROM inventory_movements;
    DROP TABLE inventory_movements;
    DROP TABLE inventory_items;
    ALTER TABLE inventory_items_next RENAME TO inventory_items;
    ALTER TABLE inventory_movements_next RENAME TO inventory_movements;
    CREATE INDEX inventory_movements_item ON inventory_movements (item_id, id);
    CREATE INDEX inventory_items_organization ON inventory_items (organization_id, id)",
    "ALTER TABLE inventory_items ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000';
    ALTER TABLE inventory_items DROP CONSTRAINT inventory_items_sku_key;
    ALTER TABLE inventory_items ADD CONSTRAINT inventory_items_sku_key UNIQUE (organization_id, sku);
    CREATE INDEX inventory_items_organization ON inventory_items (organization_id, id)",
);
