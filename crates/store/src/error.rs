//! What can go wrong, by what a caller does about it.

use thiserror::Error;

/// The driver's error behind ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
    Unavailable(#[source] BoxError),
    /// Another transaction stood in the way (lock, deadlock, serialization); run it again.
    #[error("the database is busy with another transaction")]
    Busy(#[source] BoxError),
    /// The disk under the database is full; nothing of this transaction was kept.
    #[error("the disk under the database is full")]
    Full(#[source] BoxError),
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
        source: BoxError,
    },
    /// No row where one must be.
    #[error("the row does not exist")]
    RowMissing,
    /// Anything else the database refused.
    #[error("the database refused the statement")]
    Database(#[source] BoxError),
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
        let class = match &error {
            sqlx::Error::RowNotFound => return Self::RowMissing,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Class::Unavailable,
            sqlx::Error::Database(database) => classify_sqlite(database.as_ref()),
            _ => Class::Other,
        };
        class.wrap(Box::new(error))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let class = match error.as_db_error() {
            Some(refused) => classify_postgres(refused),
            None if is_of_the_connection(&error) => Class::Unavailable,
            None => Class::Other,
        };
        class.wrap(Box::new(error))
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

impl Class {
    fn wrap(self, error: BoxError) -> Error {
        match self {
            Self::Conflict(constraint) => Error::Conflict { constraint },
            Self::Check(constraint) => Error::Check { constraint },
            Self::ForeignKey => Error::ForeignKey,
            Self::Busy => Error::Busy(error),
            Self::Full => Error::Full(error),
            Self::Unavailable => Error::Unavailable(error),
            Self::Other => Error::Database(error),
        }
    }
}

fn classify_sqlite(error: &dyn sqlx::error::DatabaseError) -> Class {
    use sqlx::error::ErrorKind;
    // SQLite names the columns or the constraint only in its message, after the colon.
    let named = || error.message().split_once("failed: ").map_or("", |(_, rest)| rest).to_owned();
    match error.kind() {
        ErrorKind::UniqueViolation => return Class::Conflict(named()),
        ErrorKind::CheckViolation => return Class::Check(named()),
        ErrorKind::ForeignKeyViolation => return Class::ForeignKey,
        _ => {}
    }
    match error.code().as_deref().unwrap_or_default().parse::<i32>().map(|code| code & 0xff) {
        Ok(sqlite_code::BUSY | sqlite_code::LOCKED) => Class::Busy,
        Ok(sqlite_code::FULL) => Class::Full,
        Ok(sqlite_code::IOERR | sqlite_code::CANTOPEN) => Class::Unavailable,
        _ => Class::Other,
    }
}

fn classify_postgres(error: &tokio_postgres::error::DbError) -> Class {
    let named = || error.constraint().unwrap_or_default().to_owned();
    // Classes of SQLSTATE: 40 is a rolled back transaction, 55P03 a lock that was not free, 53
    // resources, 57P0x a server going away, 08 the connection.
    match error.code().code() {
        "23505" => Class::Conflict(named()),
        "23514" => Class::Check(named()),
        "23503" => Class::ForeignKey,
        "40001" | "40P01" | "55P03" => Class::Busy,
        "53100" => Class::Full,
        "57P01" | "57P02" | "57P03" | "53300" => Class::Unavailable,
        code if code.starts_with("08") => Class::Unavailable,
        _ => Class::Other,
    }
}

/// Whether an error that the server did not send is of the way to it, and not of a value.
fn is_of_the_connection(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    // A wait for the server that ran out has neither a source nor a kind to ask for.
    error.is_closed() || error.source().is_none_or(<dyn std::error::Error>::is::<std::io::Error>)
}
