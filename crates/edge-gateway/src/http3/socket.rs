//! A UDP socket as quinn uses it, which sorts out what is for other endpoints.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::io::ReadBuf;
use tokio::net::UnixDatagram;

use super::routes::{Routes, Way};
use super::stray::{HEAD, Stray};

/// The most that one UDP datagram can have, or several that the kernel hands over together.
const LONGEST: usize = 65_536;
/// Strays that are taken from a successor at once, before the endpoint's own work goes on.
const AT_ONCE: usize = 16;

/// Runs quinn's tasks on the worker that they are started on.
#[derive(Debug)]
pub(super) struct LocalRuntime;

impl Runtime for LocalRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        // They end with their endpoint, which the worker closes.
        drop(tokio::task::spawn_local(future));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }
}

/// One endpoint's socket.
#[derive(Debug)]
pub(super) struct RoutedSocket {
    udp: Arc<dyn AsyncUdpSocket>,
    /// Brings what a successor passes on; any endpoint may take it.
    link: UnixDatagram,
    routes: Arc<Routes>,
    slot: u8,
}

impl RoutedSocket {
    /// To be called on the worker that is to serve it.
    pub(super) fn new(socket: UdpSocket, routes: Arc<Routes>, slot: u8) -> io::Result<Self> {
        let udp = LocalRuntime.wrap_udp_socket(socket)?;
        let link = UnixDatagram::from_std(routes.link()?)?;
        Ok(Self { udp, link, routes, slot })
    }

    /// Takes datagrams from a successor and leaves each with the endpoint that it is for.
    fn poll_link(&self, cx: &mut Context<'_>) {
        for _ in 0..AT_ONCE {
            if !matches!(self.link.poll_recv_ready(cx), Poll::Ready(Ok(()))) {
                return;
            }
            let mut buffer = vec![0; HEAD + LONGEST];
            let mut read = ReadBuf::new(&mut buffer);
            if !matches!(self.link.poll_recv(cx, &mut read), Poll::Ready(Ok(()))) {
                return;
            }
            let Some(stray) = Stray::from_bytes(read.filled()) else { continue };
            match self.routes.way(self.slot, &stray.payload) {
                Way::Here => self.routes.pass_on(Way::Slot(self.slot), stray),
                way => self.routes.pass_on(way, stray),
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Passes on what is for others and empties its place; how many are left.
    fn sort(&self, buffers: &[IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut kept = 0;
        for (buffer, meta) in buffers.iter().zip(metas) {
            // What the kernel hands over together has one source, and in practice one connection.
            let received = buffer.get(..meta.len).unwrap_or_default();
            match self.routes.way(self.slot, received) {
                Way::Here => kept += 1,
                way => {
                    self.routes.pass_on(way, Stray::new(meta, received));
                    meta.len = 0;
                }
            }
        }
        kept
    }
}

impl AsyncUdpSocket for RoutedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.udp).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.udp.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.poll_link(cx);
        let strays = self.routes.inbox(self.slot).map_or(0, |inbox| inbox.take(cx, buffers, metas));
        if strays > 0 {
            return Poll::Ready(Ok(strays));
        }
        loop {
            // From now on what comes is for the successor, or comes back from there.
            if self.routes.is_succeeded() {
                return Poll::Pending;
            }
            let count = ready!(self.udp.poll_recv(cx, buffers, metas))?;
            if self.sort(buffers.get(..count).unwrap_or_default(), metas) > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}
