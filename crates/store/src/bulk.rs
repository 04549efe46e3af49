//! Many rows in few statements.
//!
//! PostgreSQL takes the columns as arrays, in one statement whatever their length. SQLite takes rows as `VALUES`, so
//! that it parses no JSON; their number in one statement is one of few, so that each statement is prepared once and
//! stays in the connection's cache.

use std::fmt::Write as _;

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};

use crate::error::Error;
use crate::sql::{Dialect, Sql};
use crate::value::Value;

/// Rows of one statement of SQLite. A hundred thousand rows have one remainder, so only the first counts.
const ROWS: [usize; 3] = [64, 8, 1];

/// What a column of a [`Bulk`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// TEXT.
    Text,
    /// BIGINT.
    Int,
}

/// An insertion of many rows; a constant of the program.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    /// The table.
    pub table: &'static str,
    /// Its columns in the order in which their values are given.
    pub columns: &'static [(&'static str, ColumnType)],
    /// What follows, such as `ON CONFLICT (id) DO NOTHING`.
    pub then: &'static str,
}

/// The values of one column, as many as there are rows.
#[derive(Debug, Clone)]
pub enum Column {
    /// For [`ColumnType::Text`].
    Texts(Vec<String>),
    /// For [`ColumnType::Text`], with NULL among them.
    OptionalTexts(Vec<Option<String>>),
    /// For [`ColumnType::Int`].
    Ints(Vec<i64>),
}

impl Column {
    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Texts(values) => values.len(),
            Self::OptionalTexts(values) => values.len(),
            Self::Ints(values) => values.len(),
        }
    }
}

impl Bulk {
    fn head(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("INSERT INTO {} ({})", self.table, names.join(", "))
    }

    /// The statement that inserts all rows, whose arguments are the columns.
    pub(crate) fn postgres(&self) -> Sql {
        let mut text = self.head();
        text.push_str(" SELECT * FROM unnest(");
        for (index, (_, of)) in self.columns.iter().enumerate() {
            let array = match of {
                ColumnType::Text => "text[]",
                ColumnType::Int => "bigint[]",
            };
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}${}::{array}", index + 1);
        }
        let _ = write!(text, ") {}", self.then);
        Sql::dynamic(text)
    }

    fn sqlite(&self, rows: usize) -> Sql {
        let row = format!("({})", vec!["?"; self.columns.len()].join(","));
        let mut text = self.head();
        let _ = write!(text, " VALUES {} {}", vec![row; rows].join(","), self.then);
        Sql::dynamic(text)
    }

    /// The statements that insert all rows.
    pub(crate) fn sqlite_queries(
        &self,
        columns: Vec<Column>,
    ) -> Vec<Query<'static, Sqlite, SqliteArguments>> {
        let mut left = columns.first().map_or(0, Column::len);
        let mut columns: Vec<Values> = columns.into_iter().map(Values::from).collect();
        let mut queries = Vec::new();
        for rows in ROWS {
            let sql = self.sqlite(rows);
            while left >= rows {
                let query = sqlx::query::<Sqlite>(sql.text(Dialect::Sqlite));
                queries.push((0..rows).fold(query, |query, _| {
                    columns.iter_mut().fold(query, |query, column| column.bind_next(query))
                }));
                left -= rows;
            }
        }
        queries
    }

    /// Refuses columns that are not those of the table or differ in length: a bug of the caller.
    pub(crate) fn check(&self, columns: &[Column]) -> Result<usize, Error> {
        let rows = columns.first().map_or(0, Column::len);
        if columns.len() == self.columns.len() && columns.iter().all(|column| column.len() == rows) {
            return Ok(rows);
        }
        let text = format!("the columns for {} are not as many or not as long as they must be", self.table);
        Err(Error::Database(text.into()))
    }
}

impl From<Column> for Value {
    fn from(column: Column) -> Self {
        match column {
            Column::Texts(values) => Self::Texts(values),
            Column::OptionalTexts(values) => Self::OptionalTexts(values),
            Column::Ints(values) => Self::Ints(values),
        }
    }
}

enum Values {
    Texts(std::vec::IntoIter<String>),
    OptionalTexts(std::vec::IntoIter<Option<String>>),
    Ints(std::vec::IntoIter<i64>),
}

impl From<Column> for Values {
    fn from(column: Column) -> Self {
        match column {
            Column::Texts(values) => Self::Texts(values.into_iter()),
            Column::OptionalTexts(values) => Self::OptionalTexts(values.into_iter()),
            Column::Ints(values) => Self::Ints(values.into_iter()),
        }
    }
}

impl Values {
    fn bind_next(
        &mut self,
        query: Query<'static, Sqlite, SqliteArguments>,
    ) -> Query<'static, Sqlite, SqliteArguments> {
        match self {
            Self::Texts(values) => query.bind(values.next()),
            Self::OptionalTexts(values) => query.bind(values.next().flatten()),
            Self::Ints(values) => query.bind(values.next()),
        }
    }
}
