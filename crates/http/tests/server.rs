//! The server and its standard middleware over real sockets, mostly with clients that misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests stop the test right there"
)]

#[path = "server/bodies.rs"]
mod bodies;
#[path = "server/connections.rs"]
mod connections;
#[path = "server/drain.rs"]
mod drain;
#[path = "server/harness.rs"]
mod harness;
#[path = "server/middleware.rs"]
mod middleware;
#[path = "server/upgrade.rs"]
mod upgrade;
