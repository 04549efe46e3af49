//! What tests of several crates share: real databases, a clock that stands still, token issuers.
//!
//! A dev-dependency only. Each database is the test's own and empty; SQLite always, PostgreSQL
//! where `QUINTET_TEST_POSTGRES` names a server (`cargo xtask test` starts one and sets it). On CI
//! a missing server is a failure, so that a green run always means both databases.

mod clock;
mod database;
pub mod issuer;
#[cfg(feature = "s3")]
pub mod s3;
mod seeds;

pub use clock::FakeClock;
pub use database::{TestDatabase, databases};
pub use seeds::replay;
