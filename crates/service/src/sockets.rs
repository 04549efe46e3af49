//! Sockets that systemd opened and handed over, found by name (`FileDescriptorName=`).
//!
//! systemd keeps such a socket across restarts of the process, so a restart refuses no connection. A process that is
//! being upgraded hands its sockets to its successor in the same way (see [`crate::upgrade`]).

use std::ffi::OsStr;
use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use listenfd::ListenFd;
use quintet_http::listen::{BindError, Listener};

/// The inherited sockets that nobody took yet.
pub(crate) struct Inherited {
    sockets: ListenFd,
    /// In the order of the descriptors; `None` once taken.
    names: Vec<Option<String>>,
}

impl Inherited {
    /// What the environment names. Call once, before any thread is started: it clears the variables.
    pub(crate) fn from_environment() -> Self {
        let names = std::env::var_os("LISTEN_FDNAMES");
        let sockets = ListenFd::from_env();
        let names = self::names(names.as_deref(), sockets.len());
        Self { sockets, names }
    }

    /// The socket called `name`, if systemd passed one.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Listener>, BindError> {
        let Some(index) = self.claim(name) else { return Ok(None) };
        // A descriptor of the wrong family is left in place, so the second attempt finds it.
        let socket: Option<OwnedFd> = match self.sockets.take_unix_listener(index) {
            Ok(socket) => socket.map(OwnedFd::from),
            Err(_) => self
                .sockets
                .take_tcp_listener(index)
                .map_err(|error| BindError::Inherited(Some(error)))?
                .map(OwnedFd::from),
        };
        socket.map(Listener::from_fd).transpose()
    }

    /// The UDP socket called `name`, if one was passed.
    pub(crate) fn take_udp(&mut self, name: &str) -> io::Result<Option<UdpSocket>> {
        let Some(index) = self.claim(name) else { return Ok(None) };
        self.sockets.take_udp_socket(index)
    }

    /// The unix datagram socket called `name`, if one was passed.
    pub(crate) fn take_link(&mut self, name: &str) -> io::Result<Option<UnixDatagram>> {
        let Some(index) = self.claim(name) else { return Ok(None) };
        self.sockets.take_unix_datagram(index)
    }

    /// The place of the next socket called `name`, which counts as taken from now on.
    fn claim(&mut self, name: &str) -> Option<usize> {
        let index = self.names.iter().position(|other| other.as_deref() == Some(name))?;
        *self.names.get_mut(index)? = None;
        Some(index)
    }

    pub(crate) fn has_predecessor(&self) -> bool {
        self.names.iter().flatten().any(|name| name == PREDECESSOR)
    }

    /// Where to say that this process is ready, if it is the successor of another.
    pub(crate) fn take_predecessor(&mut self) -> Option<UnixDatagram> {
        self.take_link(PREDECESSOR).ok().flatten()
    }

    /// The names that no listener asked for.
    pub(crate) fn unclaimed(&self) -> Vec<&str> {
        self.names.iter().flatten().map(String::as_str).filter(|name| *name != PREDECESSOR).collect()
    }
}

/// The name of the socket on which a successor says that it is ready.
pub(crate) const PREDECESSOR: &str = "upgrade";

/// sd_listen_fds_with_names(3): names are separated by colons; without them all are `unknown`.
fn names(variable: Option<&OsStr>, count: usize) -> Vec<Option<String>> {
    let mut names: Vec<Option<String>> = variable
        .and_then(OsStr::to_str)
        .map(|text| text.split(':').map(|name| Some(name.to_owned())).collect())
        .unwrap_or_default();
    names.resize(count, Some("unknown".to_owned()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_and_cut_to_the_number_of_sockets() {
        let some = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(names(Some(OsStr::new("https:http")), 2), some(&["https", "http"]));
        assert_eq!(names(Some(OsStr::new("https")), 2), some(&["https", "unknown"]));
        assert_eq!(names(Some(OsStr::new("a:b:c")), 1), some(&["a"]));
        assert_eq!(names(None, 1), some(&["unknown"]));
        assert_eq!(names(None, 0), some(&[]));
    }
}
