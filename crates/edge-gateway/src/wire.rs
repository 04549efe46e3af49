//! One HTTP/1.1 connection to an upstream, polled by the request that uses it.
//!
//! hyper splits a client connection into a handle and a future that does the I/O, usually in a task of
//! its own. Here the request's own task polls both, which saves a task switch in each direction. An idle
//! connection is polled by nobody; [`Wire::is_reusable`] looks at it when it is taken out of the pool, and
//! what that misses (a close still on its way) shows as an error that the proxy may retry.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use quintet_http::listen::{Address, Stream};
use tokio::net::{TcpStream, UnixStream};

use crate::body::RequestBody;

/// A connection that carries one request at a time.
pub(crate) struct Wire {
    sender: SendRequest<RequestBody>,
    driver: Connection<TokioIo<Stream>, RequestBody>,
    closed: bool,
}

/// No connection to an upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to {address}")]
    Refused {
        address: Address,
        #[source]
        source: std::io::Error,
    },
    #[error("connecting to {0} took too long")]
    Timeout(Address),
    #[error("cannot speak HTTP to {address}")]
    Handshake {
        address: Address,
        #[source]
        source: hyper::Error,
    },
}

impl Wire {
    pub(crate) async fn connect(address: &Address, timeout: Duration) -> Result<Box<Self>, ConnectError> {
        let stream = dial(address, timeout).await?;
        let (sender, driver) = builder()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Handshake { address: address.clone(), source })?;
        Ok(Box::new(Self { sender, driver, closed: false }))
    }

    /// Does the connection's pending I/O.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.driver).poll(cx).is_ready() {
            self.closed = true;
        }
    }

    /// Whether another request can be sent, after looking for a close by the peer.
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the answer. A request that was never begun comes back
    /// in the error.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let Self { sender, driver, closed } = self;
        let mut answer = pin!(sender.try_send_request(request));
        std::future::poll_fn(move |cx| {
            if !*closed && Pin::new(&mut *driver).poll(cx).is_ready() {
                *closed = true;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Hands the connection to a task of its own; used when a request body outlives the request's future.
    pub(crate) async fn run(mut self: Box<Self>) {
        // The handle stays alive until the exchange is over: dropping it would end the connection early.
        std::future::poll_fn(|cx| {
            self.drive(cx);
            if self.closed || self.sender.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// An answer may have as many headers as hyper takes by itself, 100: so many have their place on the stack, while a
/// higher limit means two allocations for each answer.
pub(crate) fn builder() -> hyper::client::conn::http1::Builder {
    hyper::client::conn::http1::Builder::new()
}

/// Opens a stream to `address`.
pub(crate) async fn dial(address: &Address, timeout: Duration) -> Result<Stream, ConnectError> {
    let connecting = async {
        match address {
            Address::Tcp(tcp) => {
                let stream = TcpStream::connect(tcp).await?;
                // Fails only on a connection that is already gone; the request will find out.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        }
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(ConnectError::Refused { address: address.clone(), source }),
        Err(_) => Err(ConnectError::Timeout(address.clone())),
    }
}
