//! The orders module: the example of a command across modules.
//!
//! Owns the tables `orders_*` and the routes `/orders`. It composes users, billing and inventory
//! through their api crates in one transaction of its own, and never touches their tables.

mod orders;
mod receipt;
mod reports;
mod routes;
mod schema;

pub use orders::{Command, Error, Invalid, Line, Order, Orders, Parts, Wanted};
pub use reports::REPORTS;
pub use routes::{OrdersRead, OrdersWrite};
pub use schema::SCHEMA;

/// The module, ready to be mounted.
pub fn module(orders: Orders) -> quintet_module::Module {
    quintet_module::Module { schema: &SCHEMA, routes: routes::router(orders), reports: REPORTS }
}
