//! The server: HTTP/1.1 and HTTP/2 with prior knowledge on one listener, one task per connection.
//!
//! It owns connections, not requests: what a request may do is the business of
//! [`crate::middleware`]. A connection ends when the client leaves, stays idle or sends its head
//! too slowly, or when `shutdown` is cancelled. Then connections already in the kernel's queue are
//! still taken (closing the listener would reset them) and the listener closes; HTTP/1 connections
//! finish the request in progress, new ones their first; HTTP/2 connections get GOAWAY; those that left HTTP
//! ([`crate::upgrade`]) end by themselves; and [`serve`] returns when the last one is done. The caller bounds that wait by dropping the
//! future, which aborts the rest.

mod io;
mod progress;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::{BoxError, Router};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Deserializer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tower::Service;

pub(crate) use self::progress::Progress;
use crate::listen::{Listener, Peer, Stream};

/// Pause after a failed accept: running out of descriptors must not become a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// At a drain, how long the kernel's queue must stay empty before the listener closes.
const SWEEP_QUIET: Duration = Duration::from_millis(10);
/// At a drain, the longest that connections are still taken from the queue.
const SWEEP_TIME: Duration = Duration::from_millis(500);
/// At a drain, how long a connection without a request yet may take to send one.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);
/// Request heads beyond this get 431 (HTTP/1) or a reset (HTTP/2).
const MAX_HEAD: usize = 64 * 1024;
/// Streams one HTTP/2 client may have open.
const MAX_STREAMS: u32 = 256;
/// An HTTP/2 client silent for this long is probed, and dropped if it does not answer.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// What a listener allows. In configuration every time is in milliseconds (`request_timeout_ms`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Time to send a whole request head, and the longest an HTTP/1 connection may stay idle.
    #[serde(rename = "header_read_timeout_ms", deserialize_with = "millis")]
    pub header_read_timeout: Duration,
    /// Time from the request head to the response head.
    #[serde(rename = "request_timeout_ms", deserialize_with = "millis")]
    pub request_timeout: Duration,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Connections served at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests handled at once; more are answered 503.
    pub max_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_body: 1024 * 1024,
            max_connections: 10_000,
            max_in_flight: 1024,
        }
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Serves `router` on `listener` until `shutdown` is cancelled and every connection has finished.
pub async fn serve(listener: Listener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let server = Arc::new(Server { builder: builder(&limits), router, limits, shutdown });
    let slots = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer, slot) = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(&ended);
                continue;
            }
            accepted = accept(&listener, &slots) => accepted,
        };
        connections.spawn(server.clone().connection(stream, peer, slot));
    }
    let sweep = async {
        while let Ok((stream, peer, slot)) =
            tokio::time::timeout(SWEEP_QUIET, accept(&listener, &slots)).await
        {
            connections.spawn(server.clone().connection(stream, peer, slot));
        }
    };
    // Under steady load the queue never falls silent; the next process takes the rest.
    let _ = tokio::time::timeout(SWEEP_TIME, sweep).await;
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(&ended);
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Without a timer hyper ignores its timeouts in silence.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_KEEP_ALIVE)
        .keep_alive_timeout(limits.header_read_timeout)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder
}

/// Takes a slot first: at the limit new connections wait in the kernel instead of in our memory.
async fn accept(listener: &Listener, slots: &Arc<Semaphore>) -> (Stream, Peer, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let slot = slots.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn report(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        metrics::counter!("quintet_http_panics_total").increment(1);
        tracing::error!(%error, "connection task panicked");
    }
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: Stream, peer: Peer, _slot: Option<OwnedSemaphorePermit>) {
        let _open = OpenConnection::new();
        let progress = Progress::default();
        let io = io::ServerIo::new(stream, self.limits.header_read_timeout, progress.clone());
        let ended = self.http(io, peer, &progress).await;
        if let Err(error) = ended {
            // A client that leaves or misbehaves is its own business.
            tracing::debug!(error = %error, ?peer, "connection ended early");
        }
        progress.afterlife().await;
    }

    /// A connection's life in HTTP. What it was is dropped with it, so that an upgrade that did not happen is known.
    async fn http(&self, io: io::ServerIo, peer: Peer, progress: &Progress) -> Result<(), BoxError> {
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            progress.request_began();
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(progress.clone());
            call(self.router.clone(), request)
        });
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        // Biased: a request that has arrived is read before the drain can close its connection.
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = self.draining(progress) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }

    /// Waits until a connection should wind up. One accepted moments before the drain may have its
    /// first request still on the way, and hyper would close it unread.
    async fn draining(&self, progress: &Progress) {
        self.shutdown.cancelled().await;
        let _ = tokio::time::timeout(FIRST_REQUEST_GRACE, progress.first_request()).await;
    }
}

async fn call(
    mut router: Router,
    request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    // A router is always ready (its `poll_ready` is constant), so it may be called at once.
    Service::<Request<Incoming>>::call(&mut router, request).await
}

/// Keeps the gauge right however the connection ends.
struct OpenConnection;

impl OpenConnection {
    fn new() -> Self {
        metrics::gauge!("quintet_http_connections").increment(1.0);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("quintet_http_connections").decrement(1.0);
    }
}
