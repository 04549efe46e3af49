//! What both sides of the gateway need of HTTP/1.1 (RFC 9112): header fields, bodies in their framing, and the buffers
//! of the thread. [`crate::connection`] answers clients with it, [`crate::wire`] asks upstreams.

mod chunked;
mod fields;
mod outgoing;
mod scratch;

pub(crate) use self::chunked::{Chunked, Piece};
pub(crate) use self::fields::{
    Noticed, decimal, has_option, header_map, keeps, write_field, write_fields, write_length,
};
pub(crate) use self::outgoing::{Framing, Outgoing, OutgoingError};
pub(crate) use self::scratch::{Input, output};

/// The most that is read at once of a body, and held of a head and what comes behind it.
pub(crate) const READ_AHEAD: usize = 64 * 1024;
/// Read at once at first. So a peer that takes nothing makes the gateway hold little.
const FIRST_READ: usize = 8 * 1024;

/// Bytes that are no HTTP/1.1, or could be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);
