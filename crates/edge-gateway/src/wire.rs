//! Connections to upstreams: HTTP/1.1 ones that carry one request at a time, and places on shared HTTP/2 ones.
//!
//! An idle HTTP/1.1 connection is polled by nobody; [`Http1::is_reusable`] looks at it when it is taken out of the
//! pool, and what that misses (a close still on its way) shows as an error that the proxy may retry. An HTTP/2
//! connection carries many requests and has a task: see [`shared`].

mod answer;
mod dial;
mod http1;
mod http2;
mod shared;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use quintet_http::listen::Address;

pub(crate) use self::answer::AnswerBody;
pub(crate) use self::dial::{ConnectError, Io, dial};
pub(crate) use self::http1::Http1;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::http1::read_pieces;
pub(crate) use self::shared::Shared;
use self::shared::Stream;
use crate::body::RequestBody;
use crate::http1::Malformed;
use crate::interim::Interim;
use crate::proxy_protocol::Ends;
use crate::upstream::{Purpose, Transport, Upstream};

/// Answers that only announce another one (RFC 9110 section 15.2), at most.
const MAX_INTERIM: u32 = 32;

/// What carries one request at a time.
pub(crate) enum Wire {
    /// A connection of its own.
    Own(Box<Http1>),
    /// A place on a shared connection.
    Place(Stream),
}

/// No answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The request is whole, and can be sent elsewhere.
    #[error("nothing of the request could be sent")]
    Unsent(#[source] io::Error),
    #[error("the connection broke")]
    Io(#[source] io::Error),
    #[error("the upstream closed the connection")]
    Closed,
    /// The upstream said something that is no answer.
    #[error("the upstream's answer is malformed: {0}")]
    Answer(#[from] Malformed),
    #[error("the client's request broke off")]
    Request,
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// Over HTTP/2, before it was begun; the request is whole.
    #[error("the connection ended before the request was begun")]
    Returned(#[source] h2::Error),
}

impl WireError {
    /// Whether the request came back whole.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Unsent(_) | Self::Returned(_))
    }

    /// Whether the upstream says that it did nothing with the request (RFC 9113 section 8.7): its stream was refused,
    /// or began after the last one that a GOAWAY names.
    pub(crate) fn is_unprocessed(&self) -> bool {
        let Self::Http2(error) = self else { return false };
        error.is_remote()
            && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    }
}

impl Wire {
    /// Opens an HTTP/1.1 connection.
    pub(crate) async fn connect(
        address: &Address,
        transport: &Transport,
        client: Option<Rc<Ends>>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let stream = dial(address, transport, Purpose::Requests, client.as_deref(), timeout).await?;
        Ok(Self::Own(Box::new(Http1::new(stream, client))))
    }

    /// Opens a connection for one request, in the upstream's own protocol.
    pub(crate) async fn alone(
        address: &Address,
        upstream: &Upstream,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        if upstream.transport.is_http2() {
            return Stream::alone(upstream, address, timeout).await.map(Self::Place);
        }
        Self::connect(address, &upstream.transport, None, timeout).await
    }

    /// Sends a request and waits for the head of the answer; `interim` gets what comes before it. HTTP/2 takes all
    /// of the request, HTTP/1.1 its body; one that was never begun is whole ([`WireError::is_unsent`]).
    pub(crate) async fn send(
        self,
        request: &mut Request<RequestBody>,
        interim: &Interim,
    ) -> Result<Response<AnswerBody>, WireError> {
        match self {
            Self::Own(mut connection) => {
                let head = connection.send(request, interim).await?;
                Ok(head.map(|()| AnswerBody::Own(connection)))
            }
            Self::Place(stream) => Box::pin(stream.send(request, interim)).await,
        }
    }
}
