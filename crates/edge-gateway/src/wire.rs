//! Connections to upstreams: HTTP/1.1 polled by the request that uses it, and streams of shared HTTP/2 ones.
//!
//! hyper splits a client connection into a handle and a future that does the I/O, usually in a task of
//! its own. For HTTP/1.1 the request's own task polls both, which saves a task switch in each direction. An idle
//! connection is polled by nobody; [`Wire::is_reusable`] looks at it when it is taken out of the pool, and
//! what that misses (a close still on its way) shows as an error that the proxy may retry. An HTTP/2 connection
//! carries many requests and has a task: see [`shared`].

mod dial;
mod shared;

use std::error::Error as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use quintet_http::listen::Address;

pub(crate) use self::dial::{ConnectError, Io, dial};
use self::shared::Stream;
pub(crate) use self::shared::{Shared, http2_builder};
use crate::body::RequestBody;
use crate::proxy_protocol::Ends;
use crate::upstream::{Purpose, Transport};

/// What carries one request at a time.
#[expect(clippy::large_enum_variant, reason = "it is always in a box, and nearly always the larger one")]
pub(crate) enum Wire {
    /// A connection of its own.
    Own(Own),
    /// A place on a shared connection.
    Stream(Stream),
}

/// An HTTP/1.1 connection.
pub(crate) struct Own {
    sender: SendRequest<RequestBody>,
    driver: Connection<TokioIo<Io>, RequestBody>,
    closed: bool,
    /// Whom the upstream takes its requests to be from, where it was told.
    client: Option<Rc<Ends>>,
}

impl Wire {
    /// Opens an HTTP/1.1 connection.
    pub(crate) async fn connect(
        address: &Address,
        transport: &Transport,
        client: Option<Rc<Ends>>,
        timeout: Duration,
    ) -> Result<Box<Self>, ConnectError> {
        let stream = dial(address, transport, Purpose::Requests, client.as_deref(), timeout).await?;
        let (sender, driver) = builder()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Handshake { address: address.clone(), source })?;
        Ok(Box::new(Self::Own(Own { sender, driver, closed: false, client })))
    }

    /// Does the connection's pending I/O, where nothing else does.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::Own(own) = self {
            own.drive(cx);
        }
    }

    /// Whether another request can be sent, after looking for a close by the peer. A place on a shared connection
    /// is for one request.
    pub(crate) fn is_reusable(&mut self) -> bool {
        let Self::Own(own) = self else { return false };
        own.drive(&mut Context::from_waker(Waker::noop()));
        !own.closed && own.sender.is_ready()
    }

    /// Whose requests alone it carries.
    pub(crate) fn client(&self) -> Option<&Ends> {
        match self {
            Self::Own(own) => own.client.as_deref(),
            Self::Stream(_) => None,
        }
    }

    /// Whether its I/O goes on by itself.
    pub(crate) fn is_driven(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Sends a request and waits for the head of the answer. A request that was never begun comes back
    /// in the error.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Own(own) => own.send(request).await,
            Self::Stream(stream) => stream.send(request).await,
        }
    }

    /// Hands the connection to a task of its own; used when a request body outlives the request's future.
    pub(crate) async fn run(mut self: Box<Self>) {
        // The handle stays alive until the exchange is over: dropping it would end the connection early.
        std::future::poll_fn(|cx| match &mut *self {
            Self::Stream(_) => Poll::Ready(()),
            Self::Own(own) => {
                own.drive(cx);
                if own.closed || own.sender.is_ready() { Poll::Ready(()) } else { Poll::Pending }
            }
        })
        .await;
    }
}

impl Own {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.driver).poll(cx).is_ready() {
            self.closed = true;
        }
    }

    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let Self { sender, driver, closed, .. } = self;
        let mut answer = pin!(sender.try_send_request(request));
        std::future::poll_fn(move |cx| {
            if !*closed && Pin::new(&mut *driver).poll(cx).is_ready() {
                *closed = true;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }
}

/// Bytes of an answer that hyper reads ahead of a slow client, and the most that its head may have.
const READ_AHEAD: usize = 64 * 1024;

/// An answer may have as many headers as hyper takes by itself, 100: so many have their place on the stack, while a
/// higher limit means two allocations for each answer.
pub(crate) fn builder() -> hyper::client::conn::http1::Builder {
    let mut builder = hyper::client::conn::http1::Builder::new();
    // Unless set, 400 KB for each slow client.
    builder.max_buf_size(READ_AHEAD);
    builder
}

/// Whether the upstream says that it did nothing with the request (RFC 9113 section 8.7): its stream was refused, or
/// began after the last one that a GOAWAY names.
pub(crate) fn is_unprocessed(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}
