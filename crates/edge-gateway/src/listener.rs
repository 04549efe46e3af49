//! Public listening sockets: one set per worker.
//!
//! A TCP port is bound once per worker with SO_REUSEPORT, so that the kernel spreads connections and no
//! worker wakes for another's. A socket inherited from systemd cannot be bound again; it is duplicated,
//! and workers share its queue. An upgrade passes the whole set. SO_REUSEPORT would let a second gateway bind the same port unnoticed,
//! so the port is first tried without it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

const BACKLOG: i32 = 4_096;
/// Bytes of a connection that the kernel takes before the client has room for them. Without it a client that reads slowly
/// ties up its whole send buffer, megabytes that grow with the bandwidth it once had, and a few hundred such clients
/// use up the memory of TCP for all. What is on its way is not counted, so fast clients are not slowed.
const UNSENT: u32 = 128 * 1024;
/// Delay after running out of descriptors or memory: accepting again at once would only spin.
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A public port cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("address {0} is in use by another process; stop it or change [listen]")]
    InUse(SocketAddr),
    #[error("cannot listen on {address}")]
    System {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot share an inherited socket between workers")]
    Inherited(#[source] io::Error),
}

impl ListenError {
    /// Whether `address` is IPv6's wildcard and the kernel was told to do without IPv6.
    pub(crate) fn lacks_ipv6(&self, address: SocketAddr) -> bool {
        let Self::System { source, .. } = self else { return false };
        let unsupported = source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
        address.is_ipv6() && address.ip().is_unspecified() && unsupported
    }
}

/// Binds `address` once per worker. Port 0 becomes the same free port for all. With `only_v6` an IPv6 wildcard
/// leaves the port free for an IPv4 wildcard of its own.
pub(crate) fn bind(
    address: SocketAddr,
    only_v6: bool,
    workers: usize,
) -> Result<Vec<TcpListener>, ListenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::System { address, source },
    };
    let probe = socket(address, only_v6).map_err(failed)?;
    probe.bind(&address.into()).map_err(failed)?;
    let address = probe.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
    drop(probe);
    (0..workers.max(1)).map(|_| bind_shared(address, only_v6).map_err(failed)).collect()
}

fn bind_shared(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = socket(address, only_v6)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() && only_v6 {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Connections inherit it: it costs no system call of each.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    Ok(socket)
}

/// Gives each worker one of the inherited sockets at least. Where there are fewer, workers share their queues; where
/// there are more, as after an upgrade to fewer workers, each keeps its place in the list, so that no queue is without a
/// worker.
pub(crate) fn share(inherited: Vec<TcpListener>, workers: usize) -> Result<Vec<TcpListener>, ListenError> {
    let mut all = inherited;
    for listener in &all {
        let socket = SockRef::from(listener);
        socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT))
            .map_err(ListenError::Inherited)?;
    }
    let own = all.len();
    for at in own..workers {
        let shared =
            all.get(at % own).map(TcpListener::try_clone).transpose().map_err(ListenError::Inherited)?;
        all.extend(shared);
    }
    Ok(all)
}

/// Whether an accept error says nothing about the listener itself.
pub(crate) fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wildcard_of_ipv6_may_be_missing() {
        let unsupported = |address: SocketAddr| ListenError::System {
            address,
            source: rustix::io::Errno::AFNOSUPPORT.into(),
        };
        for (address, missing) in [("[::]:443", true), ("[::1]:443", false), ("0.0.0.0:443", false)] {
            let address = address.parse().unwrap();
            assert_eq!(unsupported(address).lacks_ipv6(address), missing, "{address}");
        }
        let wildcard = "[::]:443".parse().unwrap();
        let denied = ListenError::System { address: wildcard, source: rustix::io::Errno::ACCESS.into() };
        assert!(!denied.lacks_ipv6(wildcard));
        assert!(!ListenError::InUse(wildcard).lacks_ipv6(wildcard));
    }

    fn unsent_of_a_connection_of(listener: &TcpListener) -> u32 {
        SockRef::from(listener).set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        SockRef::from(&stream).tcp_notsent_lowat().unwrap()
    }

    #[test]
    fn connections_inherit_the_bound_on_what_a_slow_client_ties_up() {
        let own = bind(SocketAddr::from(([127, 0, 0, 1], 0)), false, 1).unwrap();
        let inherited = share(vec![TcpListener::bind(("127.0.0.1", 0)).unwrap()], 2).unwrap();
        for listener in own.iter().chain(&inherited) {
            assert_eq!(unsent_of_a_connection_of(listener), UNSENT);
        }
    }
}
