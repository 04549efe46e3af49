//! Rows, decoded by column name.

use sqlx::sqlite::SqliteRow;

use crate::error::Error;

/// One row of a result.
#[derive(Debug)]
pub struct Row(pub(crate) Inner);

#[derive(Debug)]
pub(crate) enum Inner {
    Sqlite(SqliteRow),
    Postgres(tokio_postgres::Row),
}

/// A Rust type that a column of either database decodes into.
pub trait FromColumn: Sized {
    #[doc(hidden)]
    fn from_row(row: &Row, column: &'static str) -> Result<Self, Error>;
}

impl Row {
    /// The value of `column`: `i64`, `f64`, `bool`, `String`, `Vec<u8>` or an `Option` of those.
    pub fn get<T: FromColumn>(&self, column: &'static str) -> Result<T, Error> {
        T::from_row(self, column)
    }

    /// The value of a text column parsed into `T`, such as an id.
    pub fn parse<T>(&self, column: &'static str) -> Result<T, Error>
    where
        T: std::str::FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text: String = self.get(column)?;
        text.parse().map_err(|error: T::Err| Error::Decode { column, source: Box::new(error) })
    }

    /// The instant that a `BIGINT` column of microseconds stands for.
    pub fn timestamp(&self, column: &'static str) -> Result<quintet_types::Timestamp, Error> {
        self.get(column).map(quintet_types::time::from_micros)
    }
}

fn undecodable(column: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode { column, source: Box::new(error) }
}

macro_rules! columns {
    ($($type:ty),+) => {
        $(
            impl FromColumn for $type {
                fn from_row(row: &Row, column: &'static str) -> Result<Self, Error> {
                    // Through Option: SQLite's driver reads NULL as zero or an empty text.
                    let source = Box::new(sqlx::error::UnexpectedNullError);
                    Option::from_row(row, column)?.ok_or(Error::Decode { column, source })
                }
            }

            impl FromColumn for Option<$type> {
                fn from_row(row: &Row, column: &'static str) -> Result<Self, Error> {
                    match &row.0 {
                        Inner::Sqlite(row) => {
                            sqlx::Row::try_get(row, column).map_err(|error| undecodable(column, error))
                        }
                        Inner::Postgres(row) => {
                            row.try_get(column).map_err(|error| undecodable(column, error))
                        }
                    }
                }
            }
        )+
    };
}

columns!(i64, f64, bool, String, Vec<u8>);
