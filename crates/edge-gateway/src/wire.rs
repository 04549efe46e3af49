//! Connections to upstreams: HTTP/1.1 ones that carry one request at a time, and places on shared HTTP/2 ones.
//!
//! An idle HTTP/1.1 connection is polled by nobody; [`Http1::is_reusable`] looks at it when it is taken out of the
//! pool, and what that misses (a close still on its way) shows as an error that the proxy may retry. An HTTP/2
//! connection carries many requests and has a task: see [`shared`].

mod answer;
mod dial;
mod http1;
mod shared;

use std::error::Error as _;
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
use self::shared::Stream;
pub(crate) use self::shared::{Shared, http2_builder};
use crate::body::RequestBody;
use crate::http1::{Malformed, READ_AHEAD};
use crate::interim::Interim;
use crate::proxy_protocol::Ends;
use crate::upstream::{Purpose, Transport};

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
    Hyper(#[from] hyper::Error),
    /// Over HTTP/2, before it was begun; the request is whole.
    #[error("the connection ended before the request was begun")]
    Returned(#[source] hyper::Error),
}

impl WireError {
    /// Whether the request came back whole.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Unsent(_) | Self::Returned(_))
    }

    /// Whether the upstream says that it did nothing with the request (RFC 9113 section 8.7): its stream was refused,
    /// or began after the last one that a GOAWAY names.
    pub(crate) fn is_unprocessed(&self) -> bool {
        let Self::Hyper(error) = self else { return false };
        let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
            return false;
        };
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

    /// Sends a request and waits for the head of the answer; `interim` gets what comes before it over HTTP/1.1. HTTP/2 takes all of the request, HTTP/1.1 its body; one
    /// that was never begun is whole again ([`WireError::is_unsent`]).
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
            Self::Place(stream) => Box::pin(stream.send(request)).await,
        }
    }
}

/// For connections that hyper runs: probes. An answer may have as many headers as hyper takes
/// by itself, 100: so many have their place on the stack, while a higher limit means two allocations for each answer.
pub(crate) fn builder() -> hyper::client::conn::http1::Builder {
    let mut builder = hyper::client::conn::http1::Builder::new();
    // Unless set, 400 KB for each slow client.
    builder.max_buf_size(READ_AHEAD);
    builder
}
