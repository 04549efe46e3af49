//! The UDP sockets, made before the workers run.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::routes::{ChainSecret, Routes};
use crate::listener::ListenError;

/// Bytes that the kernel holds of a socket in each direction; it grants no more than `net.core.rmem_max` and
/// `net.core.wmem_max`.
const KERNEL_BUFFER: usize = 2 * 1024 * 1024;
/// Endpoints that connection ids can tell apart.
const SLOTS: usize = 256;

/// A socket that becomes an endpoint.
#[derive(Debug)]
pub(crate) struct OwnSocket {
    pub(super) slot: u8,
    pub(super) socket: UdpSocket,
    pub(super) routes: Arc<Routes>,
    pub(super) secret: ChainSecret,
}

/// The sockets of all workers.
pub(crate) struct Opened {
    /// By worker.
    pub(crate) sockets: Vec<Vec<OwnSocket>>,
    /// The end of the link that a successor is passed.
    pub(crate) link: UnixDatagram,
}

/// Gives each worker one of the `bound` sockets at most, in their order. `link` was passed by a predecessor;
/// `succeeded` is cancelled when a successor has taken over.
pub(crate) fn open(
    bound: Vec<UdpSocket>,
    workers: usize,
    link: Option<UnixDatagram>,
    succeeded: CancellationToken,
) -> io::Result<Opened> {
    let (routes, secret, link) = Routes::new(bound.len().min(SLOTS), link, succeeded)?;
    let routes = Arc::new(routes);
    let mut sockets: Vec<Vec<OwnSocket>> = (0..workers).map(|_| Vec::new()).collect();
    for (slot, (at, socket)) in (0u8..=u8::MAX).zip(bound.into_iter().enumerate()) {
        let own = OwnSocket { slot, socket, routes: Arc::clone(&routes), secret: secret.clone() };
        if let Some(worker) = sockets.get_mut(at % workers) {
            worker.push(own);
        }
    }
    Ok(Opened { sockets, link })
}

/// Binds `address` once per worker with SO_REUSEPORT. With `only_v6` an IPv6 wildcard leaves the port free for an IPv4
/// wildcard of its own.
pub(crate) fn bind(
    address: SocketAddr,
    only_v6: bool,
    workers: usize,
) -> Result<Vec<UdpSocket>, ListenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::System { address, source },
    };
    // SO_REUSEPORT would let a second gateway bind the same port unnoticed.
    let probe = socket(address, only_v6).map_err(failed)?;
    probe.bind(&address.into()).map_err(failed)?;
    drop(probe);
    let bind_shared = || {
        let socket = socket(address, only_v6)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    (0..workers.max(1)).map(|_| bind_shared().map_err(failed)).collect()
}

fn socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && only_v6 {
        socket.set_only_v6(true)?;
    }
    prepare(&SockRef::from(&socket))?;
    Ok(socket)
}

/// Makes a socket that was passed ready for use.
pub(crate) fn take(socket: &UdpSocket) -> io::Result<()> {
    prepare(&SockRef::from(socket))
}

fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    socket.set_send_buffer_size(KERNEL_BUFFER)
}
