//! A connection: reads frames, runs the handlers of its streams, and writes their answers.

mod core;
mod heads;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use self::core::{Core, Drain};
use crate::body::{RequestBody, SMALL};
use crate::error::{Error, Fault, Reason};
use crate::frame::{DATA, HEAD, Head, MAX_PAYLOAD, PING, PREFACE};
use crate::interim::Interim;

/// Bytes that are read at once.
const READ: usize = 32 * 1024;
/// Times that is read before what was read is answered.
const READS: usize = 4;
/// Rounds of reading and writing before other connections get their turn.
const ROUNDS: usize = 4;
/// Control frames that may wait behind answers while a client does not read; it is not read from beyond.
const CONTROL: usize = 32 * 1024;
/// Bytes thrown away at most of a client that is sent away, so that it sees why rather than a reset.
const LINGER: usize = 1 << 20;
/// What the PING of a graceful end says.
const DRAIN_PING: &[u8; 8] = b"draining";
/// A GOAWAY that refuses no stream yet (RFC 9113 section 6.8).
const ANY_STREAM: u32 = 0x7fff_ffff;

/// Bounds of a connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// Streams that may be active at the same time; more are refused.
    pub max_streams: u32,
    /// Bytes of a request's head as SETTINGS_MAX_HEADER_LIST_SIZE counts them; more is answered 431.
    pub header_bytes: u32,
    /// Bytes of a request's body that may wait to be read; at least 65,535, which clients may send before they know.
    pub stream_window: u32,
    /// Bytes of all bodies that may wait to be read; at least 65,535.
    pub connection_window: u32,
    /// Bytes of answers that may wait to be written.
    pub send_buffer: usize,
    /// Streams that a client may reset before they begin (CVE-2023-44487), and as many again that it may make this
    /// side reset (CVE-2025-8671), beside those that it lets end.
    pub resets: usize,
    /// The time, for what is allowed in a time.
    pub now: fn() -> Instant,
}

/// A client's connection, to be polled to its end. `handler` answers each request; its future is dropped where the
/// client resets the stream.
#[derive(Debug)]
pub struct Connection<I, H, F, B> {
    io: I,
    handler: H,
    /// Read and not yet decoded.
    input: BytesMut,
    /// The client's preface has come.
    prefaced: bool,
    /// Written, but perhaps not flushed.
    unflushed: bool,
    /// This side has ended.
    closed: bool,
    /// Bytes thrown away since.
    lingered: usize,
    /// How the connection ends, once what is left has been written.
    end: Option<Result<(), Error>>,
    core: Core<F, B>,
}

impl<I, H, F, B> Unpin for Connection<I, H, F, B> {}

impl<I, H, F, B> Connection<I, H, F, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<RequestBody>, Interim) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    /// Serves the client at the other end of `io`.
    pub fn new(io: I, config: Config, handler: H) -> Self {
        let core = Core::new(config);
        Self {
            io,
            handler,
            input: BytesMut::new(),
            prefaced: false,
            unflushed: false,
            closed: false,
            lingered: 0,
            end: None,
            core,
        }
    }

    /// Ends the connection when the streams that the client has opened so far are answered.
    pub fn graceful_shutdown(&mut self) {
        if self.core.drain == Drain::No && self.end.is_none() {
            self.core.drain = Drain::Announced;
            self.core.go_away(ANY_STREAM, Reason::NoError);
            self.core.output.frame(PING, 0, 0, DRAIN_PING);
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn io_mut(&mut self) -> &mut I {
        &mut self.io
    }

    /// Reads what there is; whether there may be more.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            if self.core.output.len() > self.core.config.send_buffer + CONTROL {
                return true;
            }
            self.input.reserve(READ);
            let read = pin!(self.io.read_buf(&mut self.input)).poll(cx);
            match read {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => {
                    self.core.clear();
                    self.end = Some(Ok(()));
                }
                Poll::Ready(Ok(_)) => self.decode(),
                Poll::Ready(Err(error)) => {
                    self.core.clear();
                    self.end = Some(Err(Error::Io(error)));
                }
            }
            if self.end.is_some() {
                return false;
            }
        }
        true
    }

    fn decode(&mut self) {
        let Err((reason, detail)) = self.frames() else { return };
        self.core.clear();
        self.core.go_away(self.core.streams.last(), reason);
        self.input = BytesMut::new();
        self.end = Some(Err(Error::Protocol(reason, detail)));
    }

    /// Takes all whole frames out of the input.
    fn frames(&mut self) -> Result<(), (Reason, &'static str)> {
        if !self.prefaced {
            let length = self.input.len().min(PREFACE.len());
            if self.input.get(..length) != PREFACE.get(..length) {
                return Err((Reason::Protocol, "the connection does not begin with HTTP/2's preface"));
            }
            if length < PREFACE.len() {
                return Ok(());
            }
            self.input.advance(length);
            self.prefaced = true;
        }
        let mut at = 0;
        while let Some(head) = Head::parse(self.input.get(at..).unwrap_or_default()) {
            if head.length > MAX_PAYLOAD {
                return Err((Reason::FrameSize, "a frame is longer than the settings allow"));
            }
            let Some(payload) = self.input.get(at + HEAD..at + HEAD + head.length) else { break };
            let taken = if head.kind == DATA && head.length >= SMALL {
                self.input.advance(at);
                at = 0;
                let payload = self.input.split_to(HEAD + head.length).freeze().slice(HEAD..);
                self.core.frame(&self.handler, head, &payload, Some(&payload))
            } else {
                at += HEAD + head.length;
                self.core.frame(&self.handler, head, payload, None)
            };
            if let Err(fault) = taken.or_else(|fault| self.core.refuse(fault)) {
                let Fault::Connection(reason, detail) = fault else { continue };
                return Err((reason, detail));
            }
        }
        self.input.advance(at);
        Ok(())
    }

    /// Writes what there is; ready when nothing is left.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.core.output.is_empty() {
            self.unflushed = true;
            ready!(self.core.output.poll_write(&mut self.io, cx))?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn round(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        for _ in 0..ROUNDS {
            let unread = self.end.is_none() && self.read(cx);
            self.core.run();
            match self.write(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                // What ended the connection before is why it fails now.
                Poll::Ready(Err(error)) => return Poll::Ready(self.end.take().unwrap_or(Err(error.into()))),
            }
            if self.core.is_drained() {
                self.end.get_or_insert(Ok(()));
            }
            if self.end.is_some() {
                return self.close(cx);
            }
            if !unread && !self.core.has_work() {
                self.rest();
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Closes the byte stream. Closing with unread bytes makes the kernel send a reset, which can overtake the GOAWAY.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.closed {
            let closed = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.closed = true;
            if let (Err(error), Some(Ok(()))) = (closed, &self.end) {
                self.end = Some(Err(Error::Io(error)));
            }
        }
        while matches!(self.end, Some(Err(Error::Protocol(..)))) && self.lingered < LINGER {
            self.input.clear();
            self.input.reserve(READ);
            match ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx)) {
                Ok(count) if count > 0 => self.lingered += count,
                _ => break,
            }
        }
        Poll::Ready(self.end.take().unwrap_or(Ok(())))
    }

    /// Gives memory back that an idle connection does not need.
    fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.core.streams.active() == 0 {
            self.core.rest();
        }
    }
}

impl<I, H, F, B> Future for Connection<I, H, F, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<RequestBody>, Interim) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.core.begin(cx.waker());
        let ended = this.round(cx);
        if this.core.end() && ended.is_pending() {
            cx.waker().wake_by_ref();
        }
        ended
    }
}
