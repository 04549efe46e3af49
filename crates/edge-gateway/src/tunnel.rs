//! Protocol upgrades (WebSocket above all): a connection of its own to the upstream and, after a 101, bytes
//! in both directions until either side closes, a long silence, or the end of drain.
//!
//! Nothing is passed through before the upstream has answered 101, so a refused upgrade cannot smuggle
//! a second request. Tunnels are tasks of the worker: drain waits for them.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::body::RequestBody;
use crate::client_io::{ClientIo, Stream};
use crate::connection::ConnectionState;
use crate::proxy::{Failure, Lease, Target, admit};
use crate::ticks::{TICK, Tick, Ticks};
use crate::upstream::{Endpoint, Purpose};
use crate::wire::{ConnectError, Http1, Io, WireError, dial};
use crate::worker::{View, Worker};

/// One side of a tunnel: its stream, and what was read of it before it became one.
pub(crate) type Side<S> = (S, Bytes);

/// The client's side, once its 101 has been written; an error where it never is.
pub(crate) type ClientSide = oneshot::Receiver<Side<ClientIo<Stream>>>;

/// Why an upgrade got no answer.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Sends an upgrade request over a fresh connection, which serves no other.
pub(crate) async fn request(
    target: &Target,
    worker: &Worker,
    mut request: Request<RequestBody>,
) -> Result<(Response<Http1>, Lease, Duration), Failure> {
    let mut lease = admit(&target.pool).await?;
    let upstream = &target.pool.upstream;
    let at = upstream.choose(&target.pool.choice(worker.random(), target.affinity, Instant::now(), None));
    lease.assign(at);
    let address = upstream.endpoints.get(at).and_then(Endpoint::address);
    let Some(address) = address else { return Err(Failure::unresolved()) };
    let asked = Instant::now();
    let exchange = async {
        let (transport, timeout) = (&upstream.transport, upstream.connect_timeout);
        let client = target.client.as_deref();
        let stream = dial(&address, transport, Purpose::Upgrade, client, timeout).await?;
        let mut connection = Http1::new(stream, None);
        let head = connection.send(&mut request, &target.interim).await?;
        Ok::<_, UpgradeError>(head.map(|()| connection.retire()))
    };
    match tokio::time::timeout(target.timeout, exchange).await {
        Ok(Ok(response)) => Ok((response, lease, asked.elapsed())),
        Ok(Err(error)) => {
            tracing::debug!(upstream = upstream.name, error = %crate::proxy::chain(&error), "upgrade failed");
            Err(match error {
                UpgradeError::Wire(_) => Failure::bad_gateway(),
                UpgradeError::Connect(error) => Failure::of_connect(&error),
            })
        }
        Err(_) => Err(Failure::timeout()),
    }
}

/// Connects both sides once the client's 101 has been written.
pub(crate) fn open(
    state: &Rc<ConnectionState>,
    view: &View,
    lease: Lease,
    client: ClientSide,
    upstream: Side<Io>,
) {
    let worker = Rc::clone(&state.worker);
    let state = Rc::clone(state);
    let limit = Duration::from_millis(view.limits().tunnel_idle_timeout_ms);
    worker.clone().tasks.spawn_local(async move {
        let _lease = lease;
        let Ok(client) = client.await else { return };
        // The connection's own count ends with the upgrade; the tunnel is still a connection.
        let _counted = Counted::new(&state);
        worker.gateway.metrics.tunnels_open.increment(1.0);
        let activity = Activity { ticks: worker.ticks.clone(), last: Rc::new(Cell::new(worker.ticks.now())) };
        let mut client = Watched::new(client, &activity);
        let mut upstream = Watched::new(upstream, &activity);
        tokio::select! {
            // How a tunnel ends is its parties' business.
            _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
            () = activity.silent_for(limit) => {}
        }
        worker.gateway.metrics.tunnels_open.decrement(1.0);
    });
}

/// A tunnel among its client's connections.
struct Counted(Rc<ConnectionState>, bool);

impl Counted {
    fn new(state: &Rc<ConnectionState>) -> Self {
        let counted = state.worker.gateway.connections.open(state.client.key).is_ok();
        Self(Rc::clone(state), counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.1 {
            self.0.worker.gateway.connections.close(self.0.client.key);
        }
    }
}

/// When bytes last passed.
#[derive(Debug, Clone)]
struct Activity {
    ticks: Ticks,
    last: Rc<Cell<Tick>>,
}

impl Activity {
    fn note(&self) {
        self.last.set(self.ticks.now());
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let silent = self.ticks.since(self.last.get());
            if silent >= limit {
                return;
            }
            tokio::time::sleep(limit.saturating_sub(silent).max(TICK)).await;
        }
    }
}

struct Watched<I> {
    /// To be read first.
    read: Bytes,
    io: I,
    activity: Activity,
}

impl<I> Watched<I> {
    fn new((io, read): Side<I>, activity: &Activity) -> Self {
        Self { read, io, activity: activity.clone() }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read.is_empty() {
            let length = this.read.len().min(buffer.remaining());
            buffer.put_slice(&this.read.split_to(length));
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        this.activity.note();
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
