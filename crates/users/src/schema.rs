//! The tables of the users module.

use quintet_store::{Migration, Module, Sql};

/// The module's migrations.
pub static SCHEMA: Module = Module {
    name: "users",
    migrations: &[
        Migration {
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
        },
        Migration {
            version: 2,
            name: "accounts belong to organizations",
            sql: OF_ORGANIZATIONS,
            oldest_reader: 1,
        },
        Migration {
            version: 3,
            name: "organizations, members, invitations",
            sql: ORGANIZATIONS,
            oldest_reader: 1,
        },
    ],
};

/// What was there belongs to the default organization. An address is unique within one; SQLite cannot drop the old
/// rule, so there the table is written anew.
const OF_ORGANIZATIONS: Sql = Sql::per_dialect(
    "CREATE TABLE users_accounts_next (
        id TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        email_key TEXT NOT NULL,
        name TEXT NOT NULL,
        version BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000',
        UNIQUE (organization_id, email_key)
    );
    INSERT INTO users_accounts_next (id, email, email_key, name, version, created_at, updated_at)
        SELECT id, email, email_key, name, version, created_at, updated_at FROM users_accounts;
    DROP TABLE users_accounts;
    ALTER TABLE users_accounts_next RENAME TO users_accounts;
    CREATE INDEX users_accounts_organization ON users_accounts (organization_id, id)",
    "ALTER TABLE users_accounts ADD COLUMN organization_id TEXT NOT NULL DEFAULT 'org_00000000000000000000000000';
    ALTER TABLE users_accounts DROP CONSTRAINT users_accounts_email_key_key;
    ALTER TABLE users_accounts ADD CONSTRAINT users_accounts_email_key_key UNIQUE (organization_id, email_key);
    CREATE INDEX users_accounts_organization ON users_accounts (organization_id, id)",
);

/// The default organization needs no members: see `quintet_module::tenancy`. Of an invitation's secret only the SHA-256
/// is kept.
const ORGANIZATIONS: Sql = Sql::one(
    "CREATE TABLE users_organizations (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        version BIGINT NOT NULL,
        created_by TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL
    );
    INSERT INTO users_organizations (id, name, version, created_by, created_at, updated_at)
        VALUES ('org_00000000000000000000000000', 'Default organization', 1, 'quintet', 0, 0);
    CREATE TABLE users_members (
        organization_id TEXT NOT NULL REFERENCES users_organizations (id),
        subject TEXT NOT NULL,
        role TEXT NOT NULL,
        added_by TEXT NOT NULL,
        added_at BIGINT NOT NULL,
        PRIMARY KEY (organization_id, subject)
    );
    CREATE INDEX users_members_subject ON users_members (subject, organization_id);
    CREATE TABLE users_invitations (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL REFERENCES users_organizations (id),
        role TEXT NOT NULL,
        note TEXT NOT NULL,
        secret_hash TEXT NOT NULL UNIQUE,
        invited_by TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL
    );
    CREATE INDEX users_invitations_organization ON users_invitations (organization_id, id)",
);
