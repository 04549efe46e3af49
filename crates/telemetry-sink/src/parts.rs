//! What the memory heads are written out to: immutable Parquet files, merged as they age.
//!
//! # Layout
//!
//! ```text
//! DIR/parts/signal={metrics,logs,spans}/date=2026-11-23/0000000000000012-1a2b-00c0ffee.parquet
//! DIR/parts/signal=…/date=…/0000000000000012-1a2b-00c0ffee.remote    the tail of a part whose data is in object storage
//! DIR/parts/signal=…/quarantine/                         parts that could not be opened
//! ```
//!
//! Any engine that reads Parquet reads them (`docs/operator/telemetry/storage.md` shows how). A part's
//! day is that of its oldest row.
//!
//! # Protocol
//!
//! A part is written beside its directory, synced, read again and then renamed: it is there whole or
//! not at all. Its footer says which log segments its content came from, and only after the rename are
//! those deleted; a start that finds both drops the segments. Merging writes the new part, which names
//! the old ones, and then deletes them; a start that finds both drops the old.
//!
//! Every byte has a checksum that is compared before it is believed (see [`checked`]). Rows that cannot
//! be read are left out of answers and counted; they never fail a query nor end the process.

mod checked;
mod columns;
#[cfg(feature = "conformance")]
pub(crate) mod engines;
mod json;
pub(crate) mod merge;
pub(crate) mod part;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod samples;
mod shelf;
pub(crate) mod stub;

pub(crate) use part::Part;
pub(crate) use records::Columnar;
pub(crate) use shelf::Shelf;

#[cfg(test)]
pub(crate) mod tests;
