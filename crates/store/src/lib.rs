//! One interface to SQLite and PostgreSQL, chosen once by URL.
//!
//! Callers write SQL with `$1…$n` placeholders. Where one text serves both databases it is a
//! plain `&'static str`; where the dialects differ both texts stand side by side in
//! [`Sql::per_dialect`]. Nothing outside this crate asks which database it talks to.
//!
//! What every caller may rely on, on both databases:
//! - [`Store::begin`] opens a write transaction; dropping it undoes everything.
//! - [`Tx::commit`] returns after the transaction is durable (on SQLite several transactions
//!   share one physical commit, see [`sqlite`]).
//! - Integers are 64 bits, instants are microseconds since the Unix epoch, ids are text.
//! - Migrations run under a lock, forward only, each in a transaction ([`migrate`]).

mod bulk;
mod clock;
mod error;
pub mod migrate;
mod postgres;
mod row;
mod settings;
mod sql;
pub mod sqlite;
mod store;
mod value;

pub use bulk::{Bulk, Column, ColumnType};
pub use clock::DatabaseClock;
pub use error::{BoxError, Error};
pub use migrate::{Migration, Module};
pub use row::{FromColumn, Row};
pub use settings::Settings;
pub use sql::{Dialect, Sql};
pub use store::{Asked, Snapshot, Store, Tx};
pub use value::Value;
