//! Syslog: RFC 5424 and RFC 3164 over UDP, TCP and TLS.
//!
//! Messages are gathered for a moment and stored together. Syslog knows no answer: while the storage refuses
//! (a full disk, no memory), TCP and TLS connections are not read, so that their senders wait, and datagrams are
//! dropped and counted.
//!
//! Invariants: a message is at most [`MAX_MESSAGE`] bytes, and the rest of a longer one is thrown away; what
//! waits to be stored is bounded; a connection that sends nothing for ten minutes is closed; so is
//! one whose framing cannot be followed.

mod frames;
mod message;
mod server;

pub(crate) use self::frames::{Frames, MAX_MESSAGE};
pub(crate) use self::message::parse;
pub(crate) use self::server::listen;

use std::net::SocketAddr;
use std::path::PathBuf;

use quintet_service::Invalid;
use serde::Deserialize;

/// Where syslog is taken in. Without any address it is not.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SyslogSection {
    /// Addresses for datagrams, such as `0.0.0.0:514`.
    pub(crate) udp: Vec<SocketAddr>,
    /// Addresses for connections, by octet counting or one message a line (RFC 6587).
    pub(crate) tcp: Vec<SocketAddr>,
    /// Addresses for connections with TLS (RFC 5425), such as `0.0.0.0:6514`.
    pub(crate) tls: Vec<SocketAddr>,
    /// The certificate chain for `tls`, PEM.
    pub(crate) certificate: Option<PathBuf>,
    /// The private key for `tls`, PEM.
    pub(crate) private_key: Option<PathBuf>,
    /// The authorities whose certificates senders must show, PEM. Without it anybody may send.
    pub(crate) client_authorities: Option<PathBuf>,
}

impl SyslogSection {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.tls.is_empty() {
            return Ok(());
        }
        for (path, key) in
            [(&self.certificate, "syslog.certificate"), (&self.private_key, "syslog.private_key")]
        {
            if path.is_none() {
                return Err(Invalid::new(key, "syslog.tls needs it, the path of a PEM file"));
            }
        }
        Ok(())
    }
}
