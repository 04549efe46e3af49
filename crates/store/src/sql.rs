//! SQL texts and the dialects they are written for.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// Which database a [`Store`](crate::Store) talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, the embedded default.
    Sqlite,
    /// PostgreSQL or a server that speaks its protocol and dialect.
    Postgres,
}

/// A statement, in one text for both databases or one for each.
#[derive(Debug, Clone)]
pub struct Sql(Text);

#[derive(Debug, Clone)]
enum Text {
    Same(&'static str),
    PerDialect { sqlite: &'static str, postgres: &'static str },
    Dynamic(Arc<str>),
}

impl Sql {
    /// One text that both databases understand.
    pub const fn one(text: &'static str) -> Self {
        Self(Text::Same(text))
    }

    /// Both texts side by side, for what the dialects say differently.
    pub const fn per_dialect(sqlite: &'static str, postgres: &'static str) -> Self {
        Self(Text::PerDialect { sqlite, postgres })
    }

    /// A text assembled at run time. Every part must be a constant of the program: input reaches
    /// a statement through arguments alone.
    pub fn dynamic(text: impl Into<Arc<str>>) -> Self {
        Self(Text::Dynamic(text.into()))
    }

    /// The text for one dialect, as the driver takes it.
    pub(crate) fn text(&self, dialect: Dialect) -> SqlStr {
        match (&self.0, dialect) {
            (Text::Same(text), _)
            | (Text::PerDialect { sqlite: text, .. }, Dialect::Sqlite)
            | (Text::PerDialect { postgres: text, .. }, Dialect::Postgres) => text.into_sql_str(),
            (Text::Dynamic(text), _) => AssertSqlSafe(Arc::clone(text)).into_sql_str(),
        }
    }

    /// The text for one dialect, to hash or show.
    pub fn as_str(&self, dialect: Dialect) -> &str {
        match (&self.0, dialect) {
            (Text::Same(text), _)
            | (Text::PerDialect { sqlite: text, .. }, Dialect::Sqlite)
            | (Text::PerDialect { postgres: text, .. }, Dialect::Postgres) => text,
            (Text::Dynamic(text), _) => text,
        }
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self::one(text)
    }
}

impl From<&Sql> for Sql {
    fn from(sql: &Sql) -> Self {
        sql.clone()
    }
}
