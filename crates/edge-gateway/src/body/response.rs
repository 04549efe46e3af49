//! An answer's body from upstream to client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::BodyError;
use crate::cache::Fill;
use crate::content::Encoded;
use crate::exchange::Exchange;
use crate::proxy::Lease;
use crate::representation::LocalBody;
use crate::wire::AnswerBody;

/// An answer's body towards the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    Empty,
    Full(Bytes),
    Streaming(Box<Streaming>),
    /// From a file or from the cache.
    Local(Box<LocalBody>),
    /// Another body, compressed.
    Encoded(Box<Encoded>),
}

/// An upstream's answer while it passes.
pub(crate) struct Streaming {
    incoming: AnswerBody,
    lease: Lease,
    exchange: Exchange,
    /// Among the answers of the connection.
    key: u64,
    idle_limit: Duration,
    idle: Option<Pin<Box<Sleep>>>,
    complete: bool,
    /// What the client gets is counted elsewhere.
    transformed: bool,
    /// Gets what passes, where the answer is stored.
    fill: Option<Box<Fill>>,
}

impl std::fmt::Debug for Streaming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streaming").field("complete", &self.complete).finish_non_exhaustive()
    }
}

impl Streaming {
    pub(crate) fn new(incoming: AnswerBody, lease: Lease, exchange: Exchange, idle_limit: Duration) -> Self {
        let key = exchange.connection().worker.key();
        // Its client has it from now on, but nobody asks for it before there is a window to send it in.
        exchange.connection().answer_polled(key, false);
        Self {
            incoming,
            lease,
            exchange,
            key,
            idle_limit,
            idle: None,
            complete: false,
            transformed: false,
            fill: None,
        }
    }

    /// Stores the answer as it passes; before the first piece has.
    pub(crate) fn store_in(&mut self, fill: Option<Box<Fill>>) {
        self.fill = fill;
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.idle = None;
            self.exchange.connection().answer_polled(self.key, false);
            return Poll::Ready(match frame {
                None => {
                    self.finish();
                    None
                }
                Some(Ok(frame)) => {
                    if let Some(fill) = &mut self.fill
                        && !frame.data_ref().is_some_and(|piece| fill.push(piece))
                    {
                        self.fill = None;
                    }
                    let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                    if !self.transformed {
                        self.exchange.add_bytes(length);
                    }
                    Some(Ok(frame))
                }
                Some(Err(error)) => {
                    self.exchange.fail("upstream_broke_off");
                    self.incoming = AnswerBody::Gone;
                    self.fill = None;
                    Some(Err(BodyError::Upstream(error)))
                }
            });
        }
        self.exchange.connection().answer_polled(self.key, true);
        let limit = self.idle_limit;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        std::task::ready!(idle.as_mut().poll(cx));
        self.exchange.fail("upstream_stalled");
        self.incoming = AnswerBody::Gone;
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }

    fn finish(&mut self) {
        if self.complete {
            return;
        }
        self.complete = true;
        if let Some(fill) = self.fill.take() {
            fill.complete();
        }
        if let Some(connection) = self.incoming.take_connection() {
            self.lease.give_back(connection);
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.exchange.connection().answer_ended(self.key);
        // Nobody asks again once a body of known length has been read.
        if self.incoming.is_end_stream() {
            self.finish();
        }
        if !self.complete {
            self.exchange.fail("client_left");
        }
    }
}

impl ResponseBody {
    /// Whoever transforms this body counts what the client gets of it by [`Self::count`].
    pub(crate) fn count_elsewhere(&mut self) {
        match self {
            Self::Streaming(streaming) => streaming.transformed = true,
            Self::Local(local) => local.count_elsewhere(),
            Self::Empty | Self::Full(_) | Self::Encoded(_) => {}
        }
    }

    pub(crate) fn count(&self, bytes: u64) {
        match self {
            Self::Streaming(streaming) => streaming.exchange.add_bytes(bytes),
            Self::Local(local) => local.count(bytes),
            Self::Empty | Self::Full(_) | Self::Encoded(_) => {}
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streaming(streaming) => streaming.poll_frame(cx),
            Self::Local(local) => local.poll_frame(cx),
            Self::Encoded(encoded) => encoded.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Streaming(streaming) => streaming.incoming.is_end_stream(),
            Self::Local(local) => local.is_end_stream(),
            Self::Encoded(encoded) => encoded.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(streaming) => streaming.incoming.size_hint(),
            Self::Local(local) => local.size_hint(),
            Self::Encoded(_) => SizeHint::default(),
        }
    }
}
