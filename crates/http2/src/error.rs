//! Error codes, and what they end: a stream or the connection.

use std::io;

/// Why a stream or a connection ended (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// Not an error.
    NoError = 0x0,
    /// The peer did what the protocol does not allow.
    Protocol = 0x1,
    /// Something went wrong on this side.
    Internal = 0x2,
    /// The peer sent more than its window, or made one too large.
    FlowControl = 0x3,
    /// A frame came for a stream that the peer had ended.
    StreamClosed = 0x5,
    /// A frame is longer or shorter than it may be.
    FrameSize = 0x6,
    /// The stream was not begun; the request can be sent again.
    RefusedStream = 0x7,
    /// A header block cannot be decoded.
    Compression = 0x9,
    /// The peer makes work and brings nothing.
    EnhanceYourCalm = 0xb,
}

impl Reason {
    pub(crate) fn code(self) -> u32 {
        self as u32
    }
}

/// How a connection ended, where not by both sides' wish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client broke the protocol or was a nuisance; it was told so by a GOAWAY.
    #[error("the client broke HTTP/2 ({0:?}): {1}")]
    Protocol(Reason, &'static str),
    /// The byte stream failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

/// What is wrong with a frame, and how far that reaches (RFC 9113 section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Connection(Reason, &'static str),
    Stream(u32, Reason),
}

/// A fault of the whole connection.
pub(crate) fn broken<T>(reason: Reason, detail: &'static str) -> Result<T, Fault> {
    Err(Fault::Connection(reason, detail))
}
