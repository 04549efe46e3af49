//! What can go wrong, by what a caller does about it.

use thiserror::Error;

/// An error of the store.
#[derive(Debug, Error)]
pub enum Error {
    /// A unique or primary key already holds that value.
    #[error("a row with the same key exists ({constraint})")]
    Conflict {
        /// PostgreSQL: the constraint's name. SQLite: `table.column[, table.column]`.
        constraint: String,
    },
    /// A referenced row does not exist, or a row is still referenced.
    #[error("a referenced row is missing or still in use")]
    ForeignKey,
    /// A CHECK constraint refused the row.
    #[error("a row breaks the rule {constraint}")]
    Check {
        /// The constraint's name.
        constraint: String,
    },
    /// The database cannot be reached or gave no connection in time; trying later may help.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Another transaction stood in the way (lock, deadlock, serialization); run it again.
    #[error("the database is busy with another transaction")]
    Busy(#[source] sqlx::Error),
    /// The disk under the database is full; nothing of this transaction was kept.
    #[error("the disk under the database is full")]
    Full(#[source] sqlx::Error),
    /// The database was migrated by a newer release that says this one cannot work on it.
    #[error(
        "the {module} schema is at version {found} and needs a release that knows version {needs}, \
         this one knows {known}; start the newer release again"
    )]
    NewerSchema {
        /// The module whose schema is newer.
        module: &'static str,
        /// The version found in the database.
        found: i64,
        /// The oldest version a binary must know to work on it.
        needs: i64,
        /// The newest version this binary knows.
        known: i64,
    },
    /// An applied migration differs from the one in this binary.
    #[error("migration {version} of {module} was changed after it ran; restore the released text")]
    EditedMigration {
        /// The module the migration belongs to.
        module: &'static str,
        /// The migration's version.
        version: i64,
    },
    /// A migration failed; its transaction was rolled back.
    #[error("cannot apply migration {version} of {module}")]
    Migration {
        /// The module the migration belongs to.
        module: &'static str,
        /// The migration's version.
        version: i64,
        /// What the database said.
        #[source]
        source: Box<Error>,
    },
    /// The `[database]` section cannot be used; the text says what to change.
    #[error("{0}")]
    Settings(String),
    /// A column does not hold what the code expects.
    #[error("cannot read column {column}")]
    Decode {
        /// The column's name.
        column: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No row where one must be.
    #[error("the row does not exist")]
    RowMissing,
    /// Anything else the database refused.
    #[error("the database refused the statement")]
    Database(#[source] sqlx::Error),
}

impl Error {
    /// Whether a unique or primary key stood in the way.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Whether the conflict is on `column` of `table`; PostgreSQL constraints are matched by the
    /// default names `table_column_key` and `table_pkey`.
    pub fn is_conflict_on(&self, table: &str, column: &str) -> bool {
        let Self::Conflict { constraint } = self else { return false };
        constraint == &format!("{table}_{column}_key")
            || constraint.split(", ").any(|part| part == format!("{table}.{column}"))
            || constraint == &format!("{table}_pkey")
    }

    /// Whether running the whole transaction again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_))
    }

    /// Whether the failure is of the moment (reachability, load, disk) and not of the request.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_) | Self::Full(_))
    }
}

/// SQLite's result codes that matter here (<https://www.sqlite.org/rescode.html>), primary part.
mod sqlite_code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const IOERR: i32 = 10;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::RowMissing,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(database) => match classify(database.as_ref()) {
                Class::Conflict(constraint) => Self::Conflict { constraint },
                Class::Check(constraint) => Self::Check { constraint },
                Class::ForeignKey => Self::ForeignKey,
                Class::Busy => Self::Busy(error),
                Class::Full => Self::Full(error),
                Class::Unavailable => Self::Unavailable(error),
                Class::Other => Self::Database(error),
            },
            _ => Self::Database(error),
        }
    }
}

enum Class {
    Conflict(String),
    Check(String),
    ForeignKey,
    Busy,
    Full,
    Unavailable,
    Other,
}

fn classify(error: &dyn sqlx::error::DatabaseError) -> Class {
    use sqlx::error::ErrorKind;
    // SQLite names the columns or the constraint only in its message, after the colon.
    let named = || {
        error.constraint().map_or_else(
            || error.message().split_once("failed: ").map_or("", |(_, rest)| rest).to_owned(),
            str::to_owned,
        )
    };
    match error.kind() {
        ErrorKind::UniqueViolation => Class::Conflict(named()),
        ErrorKind::CheckViolation => Class::Check(named()),
        ErrorKind::ForeignKeyViolation => Class::ForeignKey,
        _ => classify_code(error.code().as_deref().unwrap_or_default()),
    }
}

fn classify_code(code: &str) -> Class {
    // SQLSTATE (five characters) first: class 40 is a rolled back transaction, 55P03 a lock that
    // was not free, 53 resources, 57P0x a server going away, 08 the connection.
    match code {
        "40001" | "40P01" | "55P03" => return Class::Busy,
        "53100" => return Class::Full,
        "57P01" | "57P02" | "57P03" | "53300" => return Class::Unavailable,
        _ if code.len() == 5 && code.starts_with("08") => return Class::Unavailable,
        _ => {}
    }
    match code.parse::<i32>().map(|code| code & 0xff) {
        Ok(sqlite_code::BUSY | sqlite_code::LOCKED) if code.len() < 5 => Class::Busy,
        Ok(sqlite_code::FULL) if code.len() < 5 => Class::Full,
        Ok(sqlite_code::IOERR | sqlite_code::CANTOPEN) if code.len() < 5 => Class::Unavailable,
        _ => Class::Other,
    }
}
