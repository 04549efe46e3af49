//! The body of a request over HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::body::RequestBody;

/// A body on its way to the upstream.
pub(super) struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// A piece that waits for the upstream to make room.
    waiting: Option<Bytes>,
}

/// Why a body does not get to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadError {
    /// It broke off, and the stream with it.
    Body,
    /// The stream has ended; its answer says why.
    Stream,
}

impl From<h2::Error> for UploadError {
    fn from(_: h2::Error) -> Self {
        Self::Stream
    }
}

impl Upload {
    pub(super) fn new(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, waiting: None }
    }

    /// Ready when all of it has been given to the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.stream.poll_reset(cx)?.is_ready() {
            return Poll::Ready(Err(UploadError::Stream));
        }
        loop {
            if let Some(piece) = self.waiting.take_if(|_| self.stream.capacity() > 0) {
                let last = self.body.is_end_stream();
                self.stream.send_data(piece, last)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            } else if self.waiting.is_some() {
                ready!(self.stream.poll_capacity(cx)).ok_or(UploadError::Stream)??;
            } else {
                match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if self.take(frame)? {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Some(Err(_)) => {
                        self.stream.send_reset(Reason::CANCEL);
                        return Poll::Ready(Err(UploadError::Body));
                    }
                    None => return Poll::Ready(Ok(self.stream.send_data(Bytes::new(), true)?)),
                }
            }
        }
    }

    /// True if that was the end.
    fn take(&mut self, frame: http_body::Frame<Bytes>) -> Result<bool, UploadError> {
        match frame.into_data() {
            Ok(data) if data.is_empty() => Ok(false),
            Ok(data) => {
                // A byte of the connection's window is enough to be told of room; more would be kept from others.
                self.stream.reserve_capacity(1);
                self.waiting = Some(data);
                Ok(false)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    self.stream.reserve_capacity(0);
                    self.stream.send_trailers(trailers)?;
                    Ok(true)
                }
                Err(_) => Ok(false),
            },
        }
    }

    /// Sends the rest.
    pub(super) async fn run(mut self) {
        // What goes wrong ends the stream, which its answer tells.
        let _ = poll_fn(|cx| self.poll(cx)).await;
    }
}
