//! The core API: the business logic as a modular monolith.
//!
//! The modules users, billing, inventory and orders run in one process on one database. This
//! binary composes them, mounts their routes under `/api/v1` behind token verification, and serves
//! their OpenAPI document. It holds no business rule itself.

mod app;
mod binary;
mod config;
mod upkeep;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use quintet_memory as _;

fn main() -> ExitCode {
    quintet_service::run::<binary::CoreApi>()
}
