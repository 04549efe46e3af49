//! Message bodies on their way through: streamed in both directions, counted, bounded, never collected.
//!
//! [`RequestBody`] runs from client to upstream and enforces the route's size limit on what really
//! arrives. [`ResponseBody`] runs from upstream to client; it owns the upstream connection while the
//! answer streams, does its I/O, and gives it back to the pool when the answer is complete.

mod client;
mod pace;
mod request;
mod response;

pub(crate) use self::client::{ClientBody, ClientBodyError};
pub(crate) use self::pace::MinRate;
pub(crate) use self::request::{RequestBody, Upload, UploadPhase};
pub(crate) use self::response::{ResponseBody, Streaming};
use crate::wire::WireError;

/// What goes wrong in a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request body is larger than the route allows")]
    TooLarge,
    #[error("the client sends the request body too slowly")]
    TooSlow,
    #[error("the client's request body broke off")]
    Client(#[source] ClientBodyError),
    #[error("the upstream's answer broke off")]
    Upstream(#[source] WireError),
    #[error("the upstream stopped sending")]
    Stalled,
    #[error("the file broke off")]
    File(#[source] std::io::Error),
    #[error("the answer could not be compressed")]
    Encode(#[source] std::io::Error),
}
