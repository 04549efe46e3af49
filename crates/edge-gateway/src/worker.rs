//! One worker: a thread with its own runtime, listeners, upstream pool and caches.
//!
//! A connection stays on the worker that accepted it, and nothing on a request's way is shared between
//! workers but configuration, counters and rate limits. Once per tick the worker sweeps: it ends overdue
//! connections and drops idle upstream connections. Drain: connections already queued are accepted,
//! listeners close, HTTP/2 clients get GOAWAY, and the thread ends with its last request or at the
//! deadline.

mod date;
mod proxied;
mod view;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use quintet_service::Pulse;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::date::DateCache;
pub(crate) use self::view::View;
use crate::access_log::AccessLog;
use crate::connection::{Client, ConnectionState, serve_plain, serve_tls};
use crate::gateway::Gateway;
use crate::limits::Refusal;
use crate::listener::{ACCEPT_BACKOFF, is_connection_error};
use crate::ticks::{TICK, Ticks};
use crate::why::Ring;

/// Threads of a worker that may wait for disks and name lookups at the same time; more of that work queues.
const BLOCKING_THREADS: usize = 32;

/// What a worker's tasks share.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) ticks: Ticks,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    view: RefCell<Rc<View>>,
    /// What this worker refused or failed lately.
    pub(crate) incidents: Arc<Ring>,
    /// The generation that `view` is of.
    seen: Cell<u64>,
    random: Cell<u64>,
    connections: RefCell<HashMap<u64, (Rc<ConnectionState>, AbortHandle)>>,
    next_key: Cell<u64>,
    /// Answers that are being compressed.
    encoders: Cell<usize>,
    /// Connections that the last sweep found idle.
    parked: Cell<usize>,
    date: DateCache,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("connections", &self.connections.borrow().len())
            .finish_non_exhaustive()
    }
}

/// A worker's own listening sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) https: Vec<OwnSocket>,
    pub(crate) http: Vec<OwnSocket>,
    #[cfg(feature = "http3")]
    pub(crate) quic: Vec<crate::http3::OwnSocket>,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct OwnSocket {
    /// As it is in the configuration, which may leave the port to the kernel.
    pub(crate) configured: SocketAddr,
    pub(crate) listener: StdListener,
}

/// Where a connection came in.
#[derive(Debug, Clone, Copy)]
struct Door {
    kind: Kind,
    configured: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Tls,
    Plain,
}

/// Runs a worker on the current thread until `shutdown` and drain are over.
pub(crate) fn run(
    gateway: Arc<Gateway>,
    sockets: Sockets,
    shutdown: CancellationToken,
    drain: Duration,
    pulse: Option<Pulse>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(gateway, shutdown));
        let mut accepting = tokio::task::JoinSet::new();
        for (kind, listeners) in [(Kind::Tls, sockets.https), (Kind::Plain, sockets.http)] {
            for OwnSocket { configured, listener } in listeners {
                let listener = TcpListener::from_std(listener)?;
                accepting.spawn_local(accept(Rc::clone(&worker), listener, Door { kind, configured }));
            }
        }
        #[cfg(feature = "http3")]
        let endpoints = crate::http3::Endpoints::open(&worker, sockets.quic)?;
        let sweep = tokio::task::spawn_local(sweep_forever(Rc::clone(&worker), pulse));
        while accepting.join_next().await.is_some() {}
        worker.tasks.close();
        if tokio::time::timeout(drain, worker.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = worker.tasks.len(), "drain deadline reached; ending what is left");
        }
        sweep.abort();
        worker.abort_all();
        #[cfg(feature = "http3")]
        endpoints.close().await;
        worker.access_log().finish();
        Ok(())
    })
}

impl Worker {
    fn new(gateway: Arc<Gateway>, shutdown: CancellationToken) -> Self {
        let ticks = Ticks::new();
        let mut seed = [0u8; 8];
        quintet_types::Entropy::fill(&quintet_types::SystemEntropy, &mut seed);
        Self {
            // Read before the snapshot: a reload in between is looked at again.
            seen: Cell::new(gateway.generation()),
            view: RefCell::new(Rc::new(View::new(gateway.snapshot(), None, &ticks))),
            incidents: gateway.recent.ring(),
            gateway,
            ticks,
            shutdown,
            tasks: TaskTracker::new(),
            random: Cell::new(u64::from_ne_bytes(seed) | 1),
            connections: RefCell::default(),
            next_key: Cell::new(0),
            encoders: Cell::new(0),
            parked: Cell::new(0),
            date: DateCache::default(),
        }
    }

    /// The running configuration, which a request keeps to its end.
    pub(crate) fn view(&self) -> Rc<View> {
        if self.gateway.generation() != self.seen.get() {
            self.refresh();
        }
        Rc::clone(&self.view.borrow())
    }

    /// Where lines go now: those of a request that began under an earlier configuration, too.
    pub(crate) fn access_log(&self) -> Rc<AccessLog> {
        Rc::clone(&self.view.borrow().access_log)
    }

    #[cold]
    fn refresh(&self) {
        self.seen.set(self.gateway.generation());
        let next = View::new(self.gateway.snapshot(), Some(&self.view.borrow()), &self.ticks);
        // The old view may be the last owner of connections; it is dropped outside of the borrow.
        let old = self.view.replace(Rc::new(next));
        drop(old);
    }

    /// A number for load balancing and request ids; not for secrets (xorshift64*).
    pub(crate) fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number that no other task or answer of this worker has.
    pub(crate) fn key(&self) -> u64 {
        let key = self.next_key.get();
        self.next_key.set(key.wrapping_add(1));
        key
    }

    /// Takes an accepted connection.
    fn take(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, door: Door) {
        let view = self.view();
        match &view.proxy_protocol {
            Some(expect) if expect.covers(door.configured) => self.take_proxied(stream, peer, door, expect),
            _ => self.take_direct(stream, peer, door),
        }
    }

    /// Serves a connection whose client is known.
    fn serve(self: &Rc<Self>, stream: TcpStream, client: Client, door: Door) {
        // Fails only on a connection that is already gone; serving it will find out.
        let _ = stream.set_nodelay(true);
        let kind = door.kind;
        self.start(client, matches!(kind, Kind::Tls), |state| async move {
            match kind {
                // Boxed: the state machine of TLS and both HTTP versions is large.
                Kind::Tls => Box::pin(serve_tls(state, stream)).await,
                Kind::Plain => serve_plain(state, stream).await,
            }
        });
    }

    /// Counts a connection in and serves it in a task of its own; one that a limit forbids is dropped.
    pub(crate) fn start<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        client: Client,
        secure: bool,
        serve: impl FnOnce(Rc<ConnectionState>) -> F,
    ) {
        let metrics = &self.gateway.metrics;
        let account = match self.gateway.connections.open(client.key) {
            Ok(account) => account,
            Err(Refusal::Total) => return metrics.refused_total.increment(1),
            Err(Refusal::PerClient) => return metrics.refused_per_client.increment(1),
        };
        metrics.connections_accepted.increment(1);
        let state = Rc::new(ConnectionState::new(Rc::clone(self), client, account, secure));
        let key = self.key();
        let registered = Registered { worker: Rc::clone(self), key, client: state.client.key };
        let serving = serve(Rc::clone(&state));
        let task = self.tasks.spawn_local(async move {
            let _registered = registered;
            serving.await;
        });
        self.connections.borrow_mut().insert(key, (state, task.abort_handle()));
    }

    fn sweep(&self) {
        self.ticks.advance();
        // Asked for on an idle worker as well, so that an old configuration does not linger there.
        let view = self.view();
        view.sweep();
        view.access_log.flush();
        let limits = view.limits();
        let mut parked = 0;
        let overdue: Vec<AbortHandle> = self
            .connections
            .borrow()
            .values()
            .filter_map(|(state, task)| {
                let Some(reason) = state.overdue(limits) else {
                    parked += usize::from(state.is_parked());
                    state.settle();
                    return None;
                };
                tracing::debug!(client = state.client.text(), reason, "connection exceeded a time limit");
                Some(task.clone())
            })
            .collect();
        self.count_parked(parked);
        for task in overdue {
            self.gateway.metrics.reaped.increment(1);
            task.abort();
        }
    }

    /// Adds the idle connections of this worker to those of all.
    fn count_parked(&self, now: usize) {
        let before = self.parked.replace(now);
        if now != before {
            let all = &self.gateway.parked;
            all.fetch_add(now, Ordering::Relaxed);
            all.fetch_sub(before, Ordering::Relaxed);
        }
    }

    /// The value of `Date` for an answer of now (RFC 9110 section 5.6.7), at most a tick old.
    pub(crate) fn date(&self) -> Rc<str> {
        self.date.get(self.ticks.now(), || self.gateway.now_millis())
    }

    fn abort_all(&self) {
        self.count_parked(0);
        let tasks: Vec<_> = self.connections.borrow().values().map(|(_, task)| task.clone()).collect();
        for task in tasks {
            task.abort();
        }
    }
}

/// Takes a connection out of the books when its task ends, however it ends.
struct Registered {
    worker: Rc<Worker>,
    key: u64,
    client: crate::limits::ClientKey,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.gateway.connections.close(self.client);
        // The entry's own state is dropped after the borrow has ended.
        let entry = self.worker.connections.borrow_mut().remove(&self.key);
        drop(entry);
    }
}

/// A place among the answers that a worker compresses at the same time; free again when it is dropped.
pub(crate) struct EncoderPlace(Rc<Worker>);

impl EncoderPlace {
    /// None where `limit` answers are being compressed already.
    pub(crate) fn take(worker: &Rc<Worker>, limit: usize) -> Option<Self> {
        let taken = worker.encoders.get();
        (taken < limit).then(|| {
            worker.encoders.set(taken + 1);
            Self(Rc::clone(worker))
        })
    }
}

impl Drop for EncoderPlace {
    fn drop(&mut self) {
        self.0.encoders.set(self.0.encoders.get() - 1);
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, door: Door) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = worker.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => worker.take(stream, peer, door),
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                worker.gateway.metrics.accept_errors.increment(1);
                tracing::warn!(%error, "cannot accept connections; trying again shortly");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    // Closing a listener resets the connections in its queue, so they are taken out first.
    poll_fn(|cx| {
        while let Poll::Ready(Ok((stream, peer))) = listener.poll_accept(cx) {
            worker.take(stream, peer, door);
        }
        Poll::Ready(())
    })
    .await;
}

async fn sweep_forever(worker: Rc<Worker>, pulse: Option<Pulse>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Some(pulse) = &pulse {
            pulse.beat();
        }
        worker.sweep();
    }
}
