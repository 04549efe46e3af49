//! HTTP/1.1 on a client's connection, and the parking of connections that have nothing to do.
//!
//! hyper keeps a read and a write buffer for as long as its connection lives, 16 KB together, and most connections of
//! an edge are idle. One that has been idle for a moment is taken out of hyper and holds only its socket and its TLS
//! state until bytes arrive; then hyper gets it anew.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::ConnectionState;
use crate::body::ClientBody;
use crate::client_io::ClientIo;
use crate::config::Limits;
use crate::interim::Interim;

/// Bytes that hyper may hold of one HTTP/1 message head and its pipelined successors.
const BUFFER: usize = 64 * 1024;
/// Headers that hyper takes by itself, on the stack; a limit that is set has to fill its places for each request.
const HYPER_HEADERS: usize = 100;

/// A client's byte stream, TLS or plain.
pub(crate) trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ready when the socket has bytes to read or is closed.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl ClientStream for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl ClientStream for Box<TlsStream<TcpStream>> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_ref().0.poll_read_ready(cx)
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<S: ClientStream>(
    state: &Rc<ConnectionState>,
    mut io: ClientIo<S>,
) -> Result<(), hyper::Error> {
    loop {
        // In a box of its own, which a parked connection does not hold.
        match Box::pin(serve_until_idle(state, io)).await? {
            ControlFlow::Break(()) => return Ok(()),
            ControlFlow::Continue(parked) => io = parked,
        }
        let woken = {
            let _counted = Counted::new(state);
            parked(state, &io).await
        };
        match woken {
            Wake::Readable => state.parking.left(),
            Wake::Drain => {
                // The client learns that this was the end; one that is gone needs not.
                let _ = io.shutdown().await;
                return Ok(());
            }
        }
    }
}

/// Serves requests until the connection ends (`Break`) or is to be parked.
async fn serve_until_idle<S: ClientStream>(
    state: &Rc<ConnectionState>,
    mut io: ClientIo<S>,
) -> Result<ControlFlow<(), ClientIo<S>>, hyper::Error> {
    loop {
        let service_state = Rc::clone(state);
        let service_fn = service_fn(move |request: Request<Incoming>| {
            let state = Rc::clone(&service_state);
            // hyper keeps the place for this future while the connection is idle; with the box it is a pointer's.
            Box::pin(async move {
                Ok::<_, Infallible>(
                    crate::handler::handle(state, request.map(ClientBody::Hyper), Interim::none()).await,
                )
            })
        });
        let view = state.worker.view();
        let builder = builder(view.limits());
        drop(view);
        let mut connection = builder.serve_connection(TokioIo::new(io), service_fn).with_upgrades();
        match turn(state, Pin::new(&mut connection)).await {
            Turn::Ended(outcome) => return outcome.map(ControlFlow::Break),
            Turn::Drain => {
                let mut connection = pin!(connection);
                connection.as_mut().graceful_shutdown();
                return connection.await.map(ControlFlow::Break);
            }
            Turn::Idle => {}
        }
        // None is a connection that was upgraded, which ends its future at the same time.
        let Some(parts) = connection.into_parts() else { return Ok(ControlFlow::Break(())) };
        io = parts.io.into_inner();
        if parts.read_buf.is_empty() {
            return Ok(ControlFlow::Continue(io));
        }
        // The beginning of a pipelined request: hyper waits for the rest of it, and is not interrupted again before.
        io.unread(parts.read_buf);
    }
}

enum Turn {
    Ended(Result<(), hyper::Error>),
    Drain,
    Idle,
}

/// Runs a connection until it ends, drain begins or the worker's sweep has found it idle.
async fn turn<F>(state: &ConnectionState, mut connection: Pin<&mut F>) -> Turn
where
    F: Future<Output = Result<(), hyper::Error>>,
{
    let mut drain = pin!(state.drain_begins());
    let mut registered = false;
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
            return Poll::Ready(Turn::Ended(outcome));
        }
        if state.parking.take_request() && state.is_parkable() {
            return Poll::Ready(Turn::Idle);
        }
        // Asked once it wakes this task, whose waker stays the same; asking at each of its wakes would take a lock.
        if registered && !state.worker.shutdown.is_cancelled() {
            return Poll::Pending;
        }
        if !registered {
            state.parking.register(cx.waker());
        }
        registered = true;
        drain.as_mut().poll(cx).map(|()| Turn::Drain)
    })
    .await
}

/// A connection among the parked ones.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(state: &'a ConnectionState) -> Self {
        let parked = &state.worker.gateway.parked;
        parked.fetch_add(1, Ordering::Relaxed);
        Self(parked)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Wake {
    Readable,
    Drain,
}

/// Waits until a parked connection has something to read, or drain begins.
async fn parked<S: ClientStream>(state: &ConnectionState, io: &ClientIo<S>) -> Wake {
    let mut drain = pin!(state.drain_begins());
    let mut registered = false;
    poll_fn(|cx| {
        // An error is for hyper to find when it reads.
        if io.stream().poll_readable(cx).is_ready() {
            return Poll::Ready(Wake::Readable);
        }
        if registered && !state.worker.shutdown.is_cancelled() {
            return Poll::Pending;
        }
        registered = true;
        drain.as_mut().poll(cx).map(|()| Wake::Drain)
    })
    .await
}

/// With what bounds a request's head.
fn builder(limits: &Limits) -> Builder {
    let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
    let mut builder = Builder::new();
    // The worker's sweep bounds the time for a head; a timer per request costs more.
    builder.max_header_size(header_bytes).max_buf_size(BUFFER.max(header_bytes)).header_read_timeout(None);
    builder.keep_alive(true).half_close(false);
    if limits.header_count != HYPER_HEADERS {
        builder.max_headers(limits.header_count);
    }
    builder
}
