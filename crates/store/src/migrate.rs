//! Forward-only migrations, per module, under a lock.
//!
//! Each module of the program owns its tables and numbers its migrations from 1. What ran is in
//! the table `quintet_schema`, with a checksum of the text, so that an edited migration is found.
//!
//! A roll-back of the system never needs a database restore: migrations expand first and contract
//! later. Each one says in `oldest_reader` which version a binary must know to go on working after
//! it ran. A binary that meets a newer schema starts as long as it knows at least that version
//! and refuses with [`Error::NewerSchema`] otherwise.
//!
//! The lock is the write transaction on SQLite and an advisory lock in the same transaction on
//! PostgreSQL; two nodes that start at once therefore migrate one after the other. All pending
//! migrations of a module run in one transaction: all or none.

use sha2::{Digest as _, Sha256};

use quintet_types::{Clock, SystemClock};

use crate::args;
use crate::error::Error;
use crate::sql::{Dialect, Sql};
use crate::store::{Store, Tx};

/// The advisory lock that all Quintet binaries take to migrate: "quintet" in ASCII.
const POSTGRES_LOCK: i64 = 0x71_75_69_6e_74_65_74;

const CREATE_LEDGER: &str = "CREATE TABLE IF NOT EXISTS quintet_schema (
    module TEXT NOT NULL,
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    oldest_reader BIGINT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (module, version)
)";

/// The tables of one module of the program.
#[derive(Debug)]
pub struct Module {
    /// The module's name, also the prefix of its tables.
    pub name: &'static str,
    /// Its migrations, versions rising by one from 1.
    pub migrations: &'static [Migration],
}

/// One step of a schema.
#[derive(Debug)]
pub struct Migration {
    /// 1 for the first, rising by one.
    pub version: i64,
    /// A few words for the operator.
    pub name: &'static str,
    /// The statements, separated by semicolons.
    pub sql: Sql,
    /// The oldest version whose binary still works after this migration: its own number for one
    /// that contracts, an earlier one for one that only adds.
    pub oldest_reader: i64,
}

pub(crate) async fn run(store: &Store, modules: &[&'static Module]) -> Result<(), Error> {
    for module in modules {
        let mut tx = store.begin().await?;
        if tx.dialect() == Dialect::Postgres {
            tx.execute("SELECT pg_advisory_xact_lock($1)", args![POSTGRES_LOCK]).await?;
        }
        tx.execute(CREATE_LEDGER, args![]).await?;
        let applied = check_applied(&mut tx, module).await?;
        for migration in module.migrations.iter().filter(|migration| migration.version > applied) {
            apply(&mut tx, module, migration).await.map_err(|source| Error::Migration {
                module: module.name,
                version: migration.version,
                source: Box::new(source),
            })?;
        }
        tx.commit().await?;
    }
    Ok(())
}

/// The newest applied version, once everything applied was found to agree with this binary.
async fn check_applied(tx: &mut Tx, module: &'static Module) -> Result<i64, Error> {
    let known = module.migrations.last().map_or(0, |migration| migration.version);
    let dialect = tx.dialect();
    let rows = tx
        .fetch_all(
            "SELECT version, checksum, oldest_reader FROM quintet_schema WHERE module = $1 ORDER BY version",
            args![module.name],
        )
        .await?;
    let mut newest = 0;
    for row in rows {
        let version: i64 = row.get("version")?;
        newest = newest.max(version);
        match module.migrations.iter().find(|migration| migration.version == version) {
            Some(migration) if row.get::<String>("checksum")? != checksum(&migration.sql, dialect) => {
                return Err(Error::EditedMigration { module: module.name, version });
            }
            Some(_) => {}
            None => {
                let needs: i64 = row.get("oldest_reader")?;
                if needs > known {
                    return Err(Error::NewerSchema { module: module.name, found: version, needs, known });
                }
            }
        }
    }
    Ok(newest)
}

async fn apply(tx: &mut Tx, module: &Module, migration: &Migration) -> Result<(), Error> {
    tx.execute_script(&migration.sql).await?;
    let checksum = checksum(&migration.sql, tx.dialect());
    tx.execute(
        "INSERT INTO quintet_schema (module, version, name, checksum, oldest_reader, applied_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        args![
            module.name,
            migration.version,
            migration.name,
            checksum,
            migration.oldest_reader,
            SystemClock.now_micros()
        ],
    )
    .await?;
    tracing::info!(
        module = module.name,
        version = migration.version,
        name = migration.name,
        "applied a migration"
    );
    Ok(())
}

fn checksum(sql: &Sql, dialect: Dialect) -> String {
    let digest = Sha256::digest(sql.as_str(dialect));
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
