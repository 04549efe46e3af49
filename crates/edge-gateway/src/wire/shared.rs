//! HTTP/2 connections of one worker to one address, shared by its requests.
//!
//! A request takes a place on the first connection that has one, so that surplus connections fall idle and are
//! dropped. While a connection is being opened, requests that found no place wait for it rather than open one each. A
//! connection that the upstream retires (GOAWAY) takes no new requests and ends with its last stream.
//!
//! Flow control: each stream may hold so many bytes that its client has not read yet, and the connection as many for each
//! stream it can have. So clients that read slowly never hold up the others on the connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use quintet_http::listen::Address;
use tokio::sync::Semaphore;

use super::http2::Http2;
use super::{AnswerBody, ConnectError, WireError, dial};
use crate::body::RequestBody;
use crate::interim::Interim;
use crate::ticks::{Tick, Ticks};
use crate::upstream::{Purpose, Transport, Upstream};

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
    http2: Http2,
    /// Of the address it was made to.
    generation: u32,
    idle_since: Cell<Tick>,
    ticks: Ticks,
}

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
        connections.retain(|one| one.generation == generation && !one.http2.is_closed());
        connections.iter().find(|one| one.http2.has_place(most)).map(Stream::on)
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
        let opened = connect(upstream, address, upstream.connect_timeout, generation, ticks).await;
        let connection = opened.inspect_err(|_| self.failures.set(failures.wrapping_add(1)))?;
        let connection = Rc::new(connection);
        let stream = Stream::on(&connection);
        self.connections.borrow_mut().push(connection);
        Ok((stream, false))
    }

    /// Lets go of connections that have been idle too long. Their last handle ends them.
    pub(crate) fn sweep(&self, idle_timeout: Duration) {
        self.connections.borrow_mut().retain(|one| {
            let idle = one.http2.streams() == 0 && one.ticks.since(one.idle_since.get()) >= idle_timeout;
            !idle && !one.http2.is_closed()
        });
    }
}

impl Stream {
    fn on(connection: &Rc<Connection>) -> Self {
        connection.http2.enter();
        Self(Rc::clone(connection))
    }

    /// A place on a connection that nobody shares.
    pub(super) async fn alone(
        upstream: &Upstream,
        address: &Address,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let connection = connect(upstream, address, timeout, 0, &Ticks::new()).await?;
        Ok(Self::on(&Rc::new(connection)))
    }

    pub(super) async fn send(
        self,
        request: &mut Request<RequestBody>,
        interim: &Interim,
    ) -> Result<Response<AnswerBody>, WireError> {
        let response = self.0.http2.send(request, interim).await?;
        Ok(response.map(|answer| AnswerBody::Shared { answer, _place: self }))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.http2.leave();
        self.0.idle_since.set(self.0.ticks.now());
    }
}

async fn connect(
    upstream: &Upstream,
    address: &Address,
    timeout: Duration,
    generation: u32,
    ticks: &Ticks,
) -> Result<Connection, ConnectError> {
    let transport: &Transport = &upstream.transport;
    let stream = dial(address, transport, Purpose::Requests, None, timeout).await?;
    let handshake = Http2::handshake(stream, upstream.max_streams, PING_AFTER, upstream.name.clone());
    let (http2, work) =
        handshake.await.map_err(|source| ConnectError::Handshake { address: address.clone(), source })?;
    // Not among the tasks that drain waits for: those are the clients' connections, which hold the streams.
    tokio::task::spawn_local(work);
    Ok(Connection { http2, generation, idle_since: Cell::new(ticks.now()), ticks: ticks.clone() })
}
