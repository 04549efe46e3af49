//! HTTP/2 connections of one worker to one address, shared by its requests.
//!
//! A request takes a place on the first connection that has one, so that surplus connections fall idle and are
//! dropped. While a connection is being opened, requests that found no place wait for it rather than open one each. A
//! connection that the upstream retires (GOAWAY) takes no new requests and ends with its last stream.
//!
//! Flow control: each stream may hold [`STREAM_WINDOW`] bytes that its client has not read yet, and the connection
//! as many for each stream it can have. So clients that read slowly never hold up the others on the connection.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use quintet_http::listen::Address;
use tokio::sync::Semaphore;

use super::{AnswerBody, ConnectError, Io, WireError, dial};
use crate::body::RequestBody;
use crate::ticks::{Tick, Ticks};
use crate::upstream::{Purpose, Transport, Upstream};

/// Bytes of one answer that the gateway holds for a client that does not read.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes of one request that the gateway holds for an upstream that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes of the head of an answer.
const HEADER_LIST: u32 = 64 * 1024;
/// A connection with requests that is silent so long is asked whether it lives, and has the same time to answer.
const PING_AFTER: Duration = Duration::from_secs(10);

/// The connections to one address.
pub(crate) struct Shared {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held by the request that opens a connection.
    opening: Semaphore,
    /// Connections that could not be opened so far.
    failures: Cell<u64>,
}

struct Connection {
    sender: SendRequest<RequestBody>,
    /// Of the address it was made to.
    generation: u32,
    streams: Cell<usize>,
    driver: Rc<RefCell<Option<Driver>>>,
    idle_since: Cell<Tick>,
    ticks: Ticks,
}

/// Belongs to the connection's task; shared with it for what it knows of the upstream's settings.
type Driver = Pin<Box<hyper::client::conn::http2::Connection<TokioIo<Io>, RequestBody, LocalExecutor>>>;

/// A request's place on a connection; free again when it is dropped.
pub(crate) struct Stream(Rc<Connection>);

impl Default for Shared {
    fn default() -> Self {
        Self { connections: RefCell::default(), opening: Semaphore::new(1), failures: Cell::new(0) }
    }
}

impl Shared {
    /// A place on a connection that is there.
    pub(crate) fn take(&self, generation: u32, most: usize) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|one| one.generation == generation && !one.sender.is_closed());
        connections.iter().find(|one| one.has_place(most)).map(Stream::on)
    }

    /// A place on a new connection, or on one that another request opened meanwhile; true for the latter.
    pub(crate) async fn open(
        &self,
        upstream: &Upstream,
        address: &Address,
        generation: u32,
        ticks: &Ticks,
    ) -> Result<(Stream, bool), ConnectError> {
        let failures = self.failures.get();
        // Never closed.
        let _turn = self.opening.acquire().await;
        if let Some(stream) = self.take(generation, upstream.max_streams) {
            return Ok((stream, true));
        }
        if self.failures.get() != failures {
            return Err(ConnectError::Elsewhere(address.clone()));
        }
        let opened = connect(upstream, address, generation, ticks).await;
        let connection = opened.inspect_err(|_| self.failures.set(failures.wrapping_add(1)))?;
        let connection = Rc::new(connection);
        let stream = Stream::on(&connection);
        self.connections.borrow_mut().push(connection);
        Ok((stream, false))
    }

    /// Lets go of connections that have been idle too long. Their last handle ends them.
    pub(crate) fn sweep(&self, idle_timeout: Duration) {
        self.connections.borrow_mut().retain(|one| {
            let idle = one.streams.get() == 0 && one.ticks.since(one.idle_since.get()) >= idle_timeout;
            !idle && !one.sender.is_closed()
        });
    }
}

impl Connection {
    fn has_place(&self, most: usize) -> bool {
        let driver = self.driver.borrow();
        let allowed = driver.as_ref().map_or(0, |driver| driver.current_max_send_streams());
        self.streams.get() < most.min(allowed)
    }
}

impl Stream {
    fn on(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self(Rc::clone(connection))
    }

    pub(super) async fn send(
        self,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, WireError> {
        let mut sender = self.0.sender.clone();
        let taken = std::mem::replace(request, Request::new(RequestBody::Empty));
        match sender.try_send_request(taken).await {
            Ok(response) => Ok(response.map(|incoming| AnswerBody::Shared { incoming, _place: self })),
            Err(mut error) => match error.take_message() {
                Some(unsent) => {
                    *request = unsent;
                    Err(WireError::Returned(error.into_error()))
                }
                None => Err(WireError::Hyper(error.into_error())),
            },
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(self.0.ticks.now());
    }
}

async fn connect(
    upstream: &Upstream,
    address: &Address,
    generation: u32,
    ticks: &Ticks,
) -> Result<Connection, ConnectError> {
    let transport: &Transport = &upstream.transport;
    let stream = dial(address, transport, Purpose::Requests, None, upstream.connect_timeout).await?;
    let (sender, driver) = http2_builder(LocalExecutor, upstream.max_streams)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| ConnectError::Handshake { address: address.clone(), source })?;
    let driver = Rc::new(RefCell::new(Some(Box::pin(driver))));
    let driven = Rc::clone(&driver);
    let name = upstream.name.clone();
    // Not among the tasks that drain waits for: those are the clients' connections, which hold the streams.
    tokio::task::spawn_local(async move {
        let outcome = poll_fn(|cx| match driven.borrow_mut().as_mut() {
            Some(driver) => driver.as_mut().poll(cx),
            None => Poll::Ready(Ok(())),
        });
        let outcome = outcome.await;
        // Requests that it has not begun return to their senders with its end.
        drop(driven.take());
        if let Err(error) = outcome {
            tracing::debug!(upstream = name, error = %crate::proxy::chain(&error), "HTTP/2 connection ended");
        }
    });
    let idle_since = Cell::new(ticks.now());
    Ok(Connection { sender, generation, streams: Cell::new(0), driver, idle_since, ticks: ticks.clone() })
}

/// With the bounds of a connection that has up to `streams` requests at once.
pub(crate) fn http2_builder<E: Clone>(executor: E, streams: usize) -> Builder<E> {
    let mut builder = Builder::new(executor);
    let streams = u32::try_from(streams).unwrap_or(u32::MAX);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams).min(i32::MAX.cast_unsigned()))
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_AFTER);
    builder
}

/// Runs hyper's part of HTTP/2 streams on the worker.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
