//! The body of an upstream's answer, with the connection that it comes from.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::http1::Http1;
use super::{Stream, WireError, http2};

/// A body as it arrives.
pub(crate) enum AnswerBody {
    /// Read from a connection of its own by whoever polls it.
    Own(Box<Http1>),
    /// From a connection that runs in a task.
    Task {
        frames: mpsc::Receiver<Result<Frame<Bytes>, WireError>>,
        /// Bytes to come, where that is known.
        left: Option<u64>,
    },
    /// A stream of an HTTP/2 connection, with its place there.
    Shared { answer: http2::Answer, _place: Stream },
    /// The connection has been taken away.
    Gone,
}

impl AnswerBody {
    /// Lets the connection run in a task of its own, which is returned; None where it does already.
    pub(crate) fn detach(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        let Self::Own(connection) = &*self else { return None };
        let (sender, frames) = mpsc::channel(1);
        let left = connection.size_hint().exact();
        match std::mem::replace(self, Self::Task { frames, left }) {
            Self::Own(connection) => Some(connection.run(sender)),
            _ => None,
        }
    }

    /// The connection for the next request, once the body has been read to its end.
    pub(crate) fn take_connection(&mut self) -> Option<Box<Http1>> {
        if !self.is_end_stream() {
            return None;
        }
        match std::mem::replace(self, Self::Gone) {
            Self::Own(connection) => Some(connection),
            _ => None,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = WireError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        match self.get_mut() {
            Self::Own(connection) => connection.poll_frame(cx),
            Self::Task { frames, left } => {
                let frame = std::task::ready!(frames.poll_recv(cx));
                if let (Some(left), Some(Ok(frame))) = (left, &frame) {
                    *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
                }
                Poll::Ready(frame)
            }
            Self::Shared { answer, .. } => answer.poll_frame(cx),
            Self::Gone => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(connection) => connection.is_complete(),
            Self::Shared { answer, .. } => answer.is_end_stream(),
            Self::Task { left, .. } => *left == Some(0),
            Self::Gone => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(connection) => connection.size_hint(),
            Self::Shared { answer, .. } => answer.size_hint(),
            Self::Task { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Gone => SizeHint::default(),
        }
    }
}
