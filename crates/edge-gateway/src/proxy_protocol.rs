//! The PROXY protocol, versions 1 and 2 (haproxy.org, `doc/proxy-protocol.txt`): who the client is, as told by the
//! proxy in front of the gateway and to upstreams behind it.
//!
//! A header stands before the first byte of a connection, TLS included. It is believed from configured networks
//! alone, and there it must be sent: a listener that guessed by the first bytes would let any client of
//! such a network write its own address. Nothing is read beyond the header, so the connection goes on as if
//! there had been none.

mod checksum;
mod encode;
mod read;
mod v1;
mod v2;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

pub(crate) use self::read::{ReadError, read};
use crate::limits::Networks;

/// The most that a header may have: 16 bytes and 4 KiB of addresses and TLVs.
pub(crate) const MAX_HEADER: usize = v2::PREFIX + v2::MAX_REST;

/// Which connections must begin with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expect {
    /// Configured addresses of the listeners that it is for; empty for all.
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) from: Networks,
    pub(crate) others: Others,
    /// Time for the whole header.
    pub(crate) timeout: Duration,
}

/// What becomes of connections from elsewhere than `from`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Others {
    /// They are closed.
    #[default]
    Refuse,
    /// They are clients of their own; a header from them is malformed input.
    Direct,
}

/// Which version is sent to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The two ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) source: SocketAddr,
    /// Where it connected to.
    pub(crate) destination: SocketAddr,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// The proxy passes on a connection of these ends.
    Proxied(Ends),
    /// The connection is the proxy's own, such as a health check, or of a kind without IP addresses: the socket's
    /// address stays.
    Local,
}

/// How far the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The header has this many bytes.
    Whole(Header, usize),
    /// More may make it one.
    Incomplete,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("there is no PROXY header")]
    Missing,
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
    #[error("the PROXY header is longer than {MAX_HEADER} bytes")]
    TooLong,
}

impl Expect {
    /// Whether connections that this listener accepts are to have a header.
    pub(crate) fn covers(&self, listener: SocketAddr) -> bool {
        self.listeners.is_empty() || self.listeners.contains(&listener)
    }
}

impl Ends {
    /// With IPv4 written as such, and both of one family, as headers need them.
    pub(crate) fn new(source: SocketAddr, destination: Option<SocketAddr>) -> Self {
        let source = canonical(source);
        let same = |one: &SocketAddr| one.is_ipv4() == source.is_ipv4();
        // Unknown for a connection that was open before a reload asked for it.
        let unknown =
            if source.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0u16; 8], 0)) };
        Self { source, destination: destination.map(canonical).filter(same).unwrap_or(unknown) }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads a header from the beginning of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if begins(bytes, &v2::SIGNATURE) {
        return v2::parse(bytes);
    }
    if begins(bytes, v1::SIGNATURE) {
        return v1::parse(bytes);
    }
    Err(HeaderError::Missing)
}

/// Whether the bytes may be, or become, a header of this signature.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let common = bytes.len().min(signature.len());
    bytes.get(..common) == signature.get(..common)
}

#[cfg(test)]
mod tests;
