//! What a module lets be exported: the rows of one of its tables, a page at a time.
//!
//! A report is a statement and the names of its columns. Rows come in the order of their ids, which is the order in which they
//! were made, so that an export goes on where it was however many rows there are, and what arrives meanwhile comes after
//! its end.

use quintet_store::{Error, Row, Sql, Store, args};
use quintet_types::time::from_micros;
use quintet_types::{OrganizationId, Timestamp};

/// Something that can be exported.
#[derive(Debug)]
pub struct Report {
    /// Its name, unique among all modules, such as `invoices`.
    pub name: &'static str,
    /// What it holds, for people.
    pub about: &'static str,
    /// The scope without which nobody may export it: that of reading the same rows one by one.
    pub scope: &'static str,
    /// Its columns; the first is the row's id.
    pub columns: &'static [Column],
    /// Its rows: of the organization `$1`, made from `$2` and before `$3`, with an id above `$4`, in the order of their ids, at
    /// most `$5`.
    pub rows: Sql,
}

/// A column, with its name in the statement and in the export.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Text, or nothing.
    Text(&'static str),
    /// A whole number, such as a sum in minor units.
    Integer(&'static str),
    /// An instant, which is kept in microseconds.
    Instant(&'static str),
}

impl Column {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Integer(name) | Self::Instant(name) => name,
        }
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Nothing is known.
    Nothing,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// An instant.
    Instant(Timestamp),
}

/// Which rows of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Whose.
    pub organization: OrganizationId,
    /// Made at this instant or later.
    pub from: Timestamp,
    /// Made before this instant.
    pub until: Timestamp,
}

impl Report {
    /// Up to `limit` rows behind the one with the id `after`; from the first where it is empty.
    pub async fn page(
        &self,
        store: &Store,
        selection: Selection,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Vec<Cell>>, Error> {
        let Selection { organization, from, until } = selection;
        let arguments = args![organization, from, until, after, limit];
        let rows = store.fetch_all(&self.rows, arguments).await?;
        rows.iter().map(|row| self.columns.iter().map(|column| cell(row, *column)).collect()).collect()
    }
}

fn cell(row: &Row, column: Column) -> Result<Cell, Error> {
    Ok(match column {
        Column::Text(name) => row.get::<Option<String>>(name)?.map_or(Cell::Nothing, Cell::Text),
        Column::Integer(name) => row.get::<Option<i64>>(name)?.map_or(Cell::Nothing, Cell::Integer),
        Column::Instant(name) => {
            row.get::<Option<i64>>(name)?.map_or(Cell::Nothing, |micros| Cell::Instant(from_micros(micros)))
        }
    })
}
