//! The tables of the users module.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "users",
    migrations: &[Migration {
        version: 1,
        name: "accounts",
        // email_key is the address in lower case: the one form in which addresses are compared.
        sql: Sql::one(
            "CREATE TABLE users_accounts (
                id TEXT PRIMARY KEY,
                email TEXT NOT NULL,
                email_key TEXT NOT NULL UNIQUE,
                name TEXT NOT NULL,
                version BIGINT NOT NULL,
                created_at BIGINT NOT NULL,
                updated_at BIGINT NOT NULL
            )",
        ),
        oldest_reader: 1,
    }],
};
