//! HTTP/2 (RFC 9113) and HPACK (RFC 7541) for a server whose connections each live on one thread.
//!
//! A [`Connection`] is one future: it reads, decodes, runs the handlers of its streams, and writes. Nothing of it is
//! `Send`, and there are no locks, channels or tasks between a request and its answer. What a client sends is checked
//! here to the end of section 8, so that a handler sees only well-formed requests. Everything that a client can make
//! the connection hold or do is bounded: streams, bodies by flow control, heads by [`Config::header_bytes`], output by
//! [`Config::send_buffer`], and frames that bring nothing by `patience`.
//!
//! It knows no TLS, no time limits and no routing: whoever polls the connection ends it when it has waited too long.

mod body;
mod connection;
mod error;
mod flow;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hpack;
mod interim;
mod message;
mod output;
mod patience;
mod streams;
mod wakes;

pub use self::body::{BodyError, RequestBody};
pub use self::connection::{Config, Connection};
pub use self::error::{Error, Reason};
pub use self::hpack::decode_huffman;
pub use self::interim::Interim;
