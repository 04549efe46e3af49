//! The table of the exports module.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "exports",
    migrations: &[Migration {
        version: 1,
        name: "exports",
        sql: Sql::one(
            "CREATE TABLE exports_exports (
                id TEXT PRIMARY KEY,
                organization_id TEXT NOT NULL,
                report TEXT NOT NULL,
                format TEXT NOT NULL,
                from_at BIGINT NOT NULL,
                until_at BIGINT NOT NULL,
                requested_by TEXT NOT NULL,
                created_at BIGINT NOT NULL,
                state TEXT NOT NULL,
                failure TEXT,
                digest TEXT,
                row_count BIGINT,
                size_bytes BIGINT,
                finished_at BIGINT
            );
            CREATE INDEX exports_exports_organization ON exports_exports (organization_id, id)",
        ),
        oldest_reader: 1,
    }],
};
