//! A request stream as it is read: the head, then the body piece by piece.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body::{Body, Frame as BodyFrame, SizeHint};
use quinn::{ReadError, RecvStream};

use super::code::Code;
use super::frame::{self, DecodeError, Decoder, Frame};
use super::message::{self, Refusal};
use super::session::Session;

/// Bytes that are taken from a stream at once.
const CHUNK: usize = 64 * 1024;

/// Why a request's body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the client's stream broke off")]
    Broken(#[source] ReadError),
    #[error("the client's stream is not as HTTP/3 has it: {0:?}")]
    Protocol(Code),
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum HeadError {
    /// To be answered 431.
    TooLarge,
    /// The stream ends with this code.
    Stream(Code),
    /// The client has left, or the whole connection ends.
    Gone,
}

/// The client's side of a request stream; a request's body once its head has been read.
#[derive(Debug)]
pub(crate) struct RequestStream {
    session: Rc<Session>,
    stream: RecvStream,
    decoder: Decoder,
    /// Of the body, as it is announced.
    length: Option<u64>,
    received: u64,
    /// A frame that was read with the head.
    ahead: Option<Frame>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing more comes that means anything.
    Ended,
    /// The stream was read to its end, or is of no use.
    Closed,
}

impl RequestStream {
    pub(super) fn new(session: Rc<Session>, stream: RecvStream) -> Self {
        let decoder = Decoder::new(session.bounds.bytes);
        Self { session, stream, decoder, length: None, received: 0, ahead: None, phase: Phase::Running }
    }

    /// Reads the head. A request that probably has no body is waited for to its end, which may come a datagram later.
    pub(super) async fn head(&mut self) -> Result<Request<()>, HeadError> {
        let block = loop {
            match self.next().await {
                Ok(Some(Frame::Whole { kind: frame::HEADERS, payload })) => break payload,
                Ok(Some(Frame::Unknown)) => {}
                Ok(Some(Frame::Data(_) | Frame::Whole { .. })) => return Err(self.end(Code::FrameUnexpected)),
                Ok(None) => return Err(HeadError::Stream(Code::RequestIncomplete)),
                Err(NextError::TooLong) => return Err(HeadError::TooLarge),
                Err(NextError::Broken(_)) => return Err(HeadError::Gone),
                Err(NextError::Connection(code)) => return Err(self.end(code)),
            }
        };
        let (request, length) = match message::request(block, self.session.bounds) {
            Ok(request) => request,
            Err(Refusal::TooLarge) => return Err(HeadError::TooLarge),
            Err(Refusal::Malformed) => return Err(HeadError::Stream(Code::MessageError)),
            Err(Refusal::Undecodable) => return Err(self.end(Code::DecompressionFailed)),
        };
        self.length = length;
        let bodiless =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE, Method::TRACE, Method::CONNECT];
        if length.map_or_else(|| bodiless.contains(request.method()), |length| length == 0) {
            self.look_ahead().await?;
        }
        Ok(request)
    }

    /// Waits for the end of the stream, or for something else, which is then kept.
    async fn look_ahead(&mut self) -> Result<(), HeadError> {
        loop {
            match self.next().await {
                Ok(Some(Frame::Unknown)) => {}
                Ok(Some(frame)) => {
                    self.ahead = Some(frame);
                    return Ok(());
                }
                Ok(None) => {
                    self.phase = Phase::Closed;
                    return Ok(());
                }
                Err(NextError::Broken(_)) => return Err(HeadError::Gone),
                Err(NextError::TooLong) => return Err(HeadError::TooLarge),
                Err(NextError::Connection(code)) => return Err(self.end(code)),
            }
        }
    }

    /// Refuses what else the client sends.
    pub(super) fn stop(&mut self, code: Code) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            // The client may have ended it.
            let _ = self.stream.stop(code.into());
        }
    }

    fn end(&mut self, code: Code) -> HeadError {
        self.phase = Phase::Closed;
        self.session.fail(code);
        HeadError::Gone
    }

    async fn next(&mut self) -> Result<Option<Frame>, NextError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next frame, or None at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, NextError>> {
        if let Some(frame) = self.ahead.take() {
            return Poll::Ready(Ok(Some(frame)));
        }
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            // Dropped unfinished it loses nothing: the stream keeps its waker.
            let chunk = ready!(pin!(self.stream.read_chunk(CHUNK, true)).poll(cx));
            match chunk.map_err(NextError::Broken)? {
                Some(chunk) => self.decoder.push(chunk.bytes),
                None if self.decoder.is_between_frames() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(NextError::Connection(Code::FrameError))),
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<BodyFrame<Bytes>>, StreamError>> {
        if self.phase != Phase::Running {
            return Poll::Ready(Ok(None));
        }
        loop {
            match ready!(self.poll_next(cx)) {
                Ok(Some(Frame::Unknown)) => {}
                Ok(Some(Frame::Data(piece))) => {
                    self.received = self.received.saturating_add(piece.len() as u64);
                    if self.length.is_some_and(|length| self.received > length) {
                        return Poll::Ready(Err(self.malformed()));
                    }
                    return Poll::Ready(Ok(Some(BodyFrame::data(piece))));
                }
                Ok(Some(Frame::Whole { kind: frame::HEADERS, payload })) => {
                    return Poll::Ready(
                        self.trailers(payload).map(|trailers| Some(BodyFrame::trailers(trailers))),
                    );
                }
                Ok(Some(Frame::Whole { .. })) => return Poll::Ready(Err(self.broken(Code::FrameUnexpected))),
                Ok(None) => {
                    self.phase = Phase::Closed;
                    if self.is_short() {
                        return Poll::Ready(Err(self.malformed()));
                    }
                    return Poll::Ready(Ok(None));
                }
                Err(NextError::Broken(error)) => {
                    self.phase = Phase::Closed;
                    return Poll::Ready(Err(StreamError::Broken(error)));
                }
                Err(NextError::TooLong) => return Poll::Ready(Err(self.malformed())),
                Err(NextError::Connection(code)) => return Poll::Ready(Err(self.broken(code))),
            }
        }
    }

    /// The body's end; what comes behind it is neither waited for nor read.
    fn trailers(&mut self, block: Bytes) -> Result<HeaderMap, StreamError> {
        self.phase = Phase::Ended;
        match message::trailers(block, self.session.bounds) {
            Ok(_) if self.is_short() => Err(self.malformed()),
            Ok(trailers) => Ok(trailers),
            Err(Refusal::Undecodable) => Err(self.broken(Code::DecompressionFailed)),
            Err(Refusal::Malformed | Refusal::TooLarge) => Err(self.malformed()),
        }
    }

    /// Whether less has come than was announced (RFC 9114 section 4.1.2).
    fn is_short(&self) -> bool {
        self.length.is_some_and(|length| self.received < length)
    }

    fn malformed(&mut self) -> StreamError {
        self.stop(Code::MessageError);
        StreamError::Protocol(Code::MessageError)
    }

    fn broken(&mut self, code: Code) -> StreamError {
        self.phase = Phase::Closed;
        self.session.fail(code);
        StreamError::Protocol(code)
    }
}

enum NextError {
    /// A frame is longer than what is held of one.
    TooLong,
    Broken(ReadError),
    Connection(Code),
}

impl From<DecodeError> for NextError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLong { kind: frame::HEADERS } => Self::TooLong,
            other => Self::Connection(other.into()),
        }
    }
}

impl Body for RequestStream {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, StreamError>>> {
        self.get_mut().poll_piece(cx).map(Result::transpose)
    }

    fn is_end_stream(&self) -> bool {
        self.phase != Phase::Running
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            _ if self.is_end_stream() => SizeHint::with_exact(0),
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.received)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for RequestStream {
    /// An answer that comes before the end of its request needs no more of it (RFC 9114 section 4.1).
    fn drop(&mut self) {
        self.stop(Code::NoError);
    }
}
