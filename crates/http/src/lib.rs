//! HTTP as every Quintet binary speaks it: listeners on TCP and unix sockets, a server with limits
//! and a drain, RFC 9457 problems, extractors that answer with them, and a small pooled client.
//!
//! It knows nothing of tokens, traces or business rules; those are layers that others add.
//!
//! Invariants:
//! - Nothing is unbounded: connections, concurrent requests, bodies in both directions, and the
//!   time spent on any of them all have a limit with a default.
//! - Every error answer made here is `application/problem+json` with a stable `code` and carries
//!   the request id.
//! - A drain finishes what was accepted and accepts nothing more.

pub mod client;
pub mod extract;
pub mod health;
pub mod listen;
pub mod middleware;
pub mod origin;
pub mod problem;
pub mod request_id;
pub mod server;
pub mod upgrade;

pub use client::{Client, ClientError};
pub use listen::{Address, Listener, Peer};
pub use middleware::standard;
pub use origin::Origin;
pub use problem::{FieldError, Problem};
pub use request_id::RequestId;
pub use server::{Limits, serve};
pub use upgrade::{Tunnel, Upgrade};
