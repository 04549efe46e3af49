//! Protocol upgrades (WebSocket above all): a connection of its own to the upstream and, after a 101, bytes
//! in both directions until either side closes, a long silence, or the end of drain.
//!
//! Nothing is passed through before the upstream has answered 101, so a refused upgrade cannot smuggle
//! a second request. Tunnels are tasks of the worker: drain waits for them.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::RequestBody;
use crate::connection::ConnectionState;
use crate::proxy::{Failure, Lease, Target, admit};
use crate::ticks::{TICK, Tick, Ticks};
use crate::upstream::{Endpoint, Purpose};
use crate::wire::{ConnectError, builder, dial};
use crate::worker::{View, Worker};

/// Sends an upgrade request over a fresh connection.
pub(crate) async fn request(
    worker: &Rc<Worker>,
    target: &Target,
    request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Lease, Duration), Failure> {
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
        let handshake = builder().handshake(TokioIo::new(stream)).await;
        let failed = |source| ConnectError::Handshake { address: (*address).clone(), source };
        let (mut sender, connection) = handshake.map_err(failed)?;
        // hyper ends the connection's future at the upgrade, or with the answer's last byte.
        worker.tasks.spawn_local(async move {
            // Its error also reaches whoever reads the answer.
            let _ = connection.with_upgrades().await;
        });
        sender.send_request(request).await.map_err(failed)
    };
    match tokio::time::timeout(target.timeout, exchange).await {
        Ok(Ok(response)) => Ok((response, lease, asked.elapsed())),
        Ok(Err(error)) => {
            tracing::debug!(upstream = upstream.name, error = %crate::proxy::chain(&error), "upgrade failed");
            Err(match error {
                ConnectError::Handshake { .. } => Failure::bad_gateway(),
                other => Failure::of_connect(&other),
            })
        }
        Err(_) => Err(Failure::timeout()),
    }
}

/// Connects both sides once their upgrades are complete.
pub(crate) fn open(
    state: &Rc<ConnectionState>,
    view: &View,
    lease: Lease,
    client: OnUpgrade,
    upstream: OnUpgrade,
) {
    let worker = Rc::clone(&state.worker);
    let state = Rc::clone(state);
    let limit = Duration::from_millis(view.limits().tunnel_idle_timeout_ms);
    worker.clone().tasks.spawn_local(async move {
        let _lease = lease;
        let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
        // The connection's own count ends with the upgrade; the tunnel is still a connection.
        let _counted = Counted::new(&state);
        worker.gateway.metrics.tunnels_open.increment(1.0);
        let activity = Activity(worker.ticks.clone(), Arc::new(AtomicU32::new(worker.ticks.now().to_bits())));
        let mut client = Watched { io: TokioIo::new(client), activity: activity.clone() };
        let mut upstream = Watched { io: TokioIo::new(upstream), activity: activity.clone() };
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
struct Activity(Ticks, Arc<AtomicU32>);

impl Activity {
    fn note(&self) {
        self.1.store(self.0.now().to_bits(), Ordering::Relaxed);
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let last = Tick::from_bits(self.1.load(Ordering::Relaxed)).unwrap_or_else(|| self.0.now());
            let silent = self.0.since(last);
            if silent >= limit {
                return;
            }
            tokio::time::sleep(limit.saturating_sub(silent).max(TICK)).await;
        }
    }
}

struct Watched<I> {
    io: I,
    activity: Activity,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
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
