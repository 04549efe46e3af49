//! Connections that begin with a PROXY header: the client is known, counted and served once it has been read.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use super::{Door, Worker};
use crate::connection::Client;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::proxy_protocol::{Ends, Expect, Header, HeaderError, Others, ReadError, read};

impl Worker {
    /// Takes a connection on a listener where proxies announce their clients.
    pub(super) fn take_proxied(
        self: &Rc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        door: Door,
        expect: &Expect,
    ) {
        if !expect.from.contain(peer.ip()) {
            match expect.others {
                Others::Direct => self.take_direct(stream, peer, door),
                Others::Refuse => {
                    Metrics::proxy_header_refused("untrusted");
                    tracing::debug!(%peer, "connection refused: not from a network of `listen.proxy_protocol.from`");
                }
            }
            return;
        }
        // Those whose header is awaited count among all connections, and among nobody's own.
        let Ok(held) = Held::new(self) else { return };
        let (worker, timeout) = (Rc::clone(self), expect.timeout);
        self.tasks.spawn_local(async move {
            let header = tokio::time::timeout(timeout, read(&mut stream)).await;
            drop(held);
            match header {
                Ok(Ok(Header::Proxied(ends))) => {
                    let client = Client::new(ends.source).told(worker.announces().then_some(ends));
                    worker.serve(stream, client, door);
                }
                Ok(Ok(Header::Local)) => worker.take_direct(stream, peer, door),
                Ok(Err(ReadError::Closed)) => {}
                Ok(Err(error)) => {
                    Metrics::proxy_header_refused(kind(&error));
                    tracing::debug!(%peer, error = %crate::proxy::chain(&error), "connection refused");
                }
                Err(_) => {
                    Metrics::proxy_header_refused("timeout");
                    tracing::debug!(%peer, "connection refused: no whole PROXY header in time");
                }
            }
        });
    }

    /// Takes a connection whose peer is the client.
    pub(super) fn take_direct(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, door: Door) {
        let ends = || Ends::new(peer, stream.local_addr().ok());
        let client = Client::new(peer).told(self.announces().then(ends));
        self.serve(stream, client, door);
    }

    /// Whether an upstream is told the ends of clients' connections.
    fn announces(&self) -> bool {
        self.view().announces
    }
}

/// A place among all connections.
struct Held(std::sync::Arc<Gateway>);

impl Held {
    fn new(worker: &Worker) -> Result<Self, ()> {
        let gateway = &worker.gateway;
        if gateway.connections.hold().is_err() {
            gateway.metrics.refused_total.increment(1);
            return Err(());
        }
        Ok(Self(std::sync::Arc::clone(gateway)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.connections.release();
    }
}

fn kind(error: &ReadError) -> &'static str {
    match error {
        ReadError::Header(HeaderError::Missing) => "missing",
        ReadError::Header(HeaderError::Malformed(_)) => "malformed",
        ReadError::Header(HeaderError::Checksum) => "checksum",
        ReadError::Header(HeaderError::TooLong) => "too_long",
        ReadError::Io(_) | ReadError::Closed => "broken_off",
    }
}
