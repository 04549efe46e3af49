//! A connection to an upstream that carries one HTTP/1.1 request at a time (RFC 9112).
//!
//! It is polled by the request that uses it: no task, no channel between the two. Between requests it holds its
//! socket and nothing else, because what is read goes through one buffer of the thread, from which small pieces are
//! copied and large ones taken: so the memory that is touched stays small enough for the processor's caches, however
//! many connections take turns.

mod head;
#[cfg(any(test, feature = "fuzzing"))]
mod pieces;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::sync::mpsc;

use self::head::{Extent, Head};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::pieces::read_pieces;
use super::{Io, MAX_INTERIM, WireError};
use crate::body::RequestBody;
use crate::http1::{Chunked, Framing, Input, Malformed, Outgoing, OutgoingError, Piece, READ_AHEAD, output};
use crate::interim::Interim;
use crate::proxy_protocol::Ends;

/// A connection.
pub(crate) struct Http1 {
    io: Io,
    input: Input,
    sending: Outgoing<RequestBody>,
    answer: Answer,
    /// The upstream keeps the connection open behind the answer.
    keeps: bool,
    /// Whom the upstream takes its requests to be from, where it was told.
    client: Option<Rc<Ends>>,
}

/// How far the answer has been read.
#[derive(Debug)]
enum Answer {
    /// No request has been sent.
    None,
    Head {
        /// It is the answer to a HEAD, which has no content.
        bodiless: bool,
        /// Answers that only announced it.
        before: u32,
    },
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Complete,
    /// It broke off; what was wrong has been told.
    Broken,
}

impl Http1 {
    pub(crate) fn new(io: Io, client: Option<Rc<Ends>>) -> Self {
        Self {
            io,
            input: Input::default(),
            sending: Outgoing::default(),
            answer: Answer::None,
            keeps: true,
            client,
        }
    }

    /// Lets it carry no request after this one.
    pub(crate) fn retire(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// The stream behind a 101, and what was read of it already.
    pub(crate) fn into_parts(self) -> (Io, Bytes) {
        (self.io, self.input.bytes)
    }

    /// Whose requests alone it carries.
    pub(crate) fn client(&self) -> Option<&Ends> {
        self.client.as_deref()
    }

    /// Whether another request may follow as far as is known.
    pub(crate) fn is_done(&self) -> bool {
        let idle = match self.answer {
            Answer::None => true,
            Answer::Complete => self.keeps,
            _ => false,
        };
        idle && self.sending.is_complete() && self.input.bytes.is_empty()
    }

    /// Whether another request can be sent, after looking for a close by the peer.
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.is_done() && self.is_silent()
    }

    /// Whether there is nothing to read, not even the end.
    fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Sends a request, whose body it takes, and waits for the head of the answer; `interim` gets the answers before it.
    ///
    /// # Errors
    ///
    /// [`WireError::Unsent`] leaves the request whole.
    pub(crate) async fn send(
        &mut self,
        request: &mut Request<RequestBody>,
        interim: &Interim,
    ) -> Result<Response<()>, WireError> {
        self.answer = Answer::Head { bodiless: *request.method() == Method::HEAD, before: 0 };
        let mut begun = false;
        let mut broken = None;
        std::future::poll_fn(move |cx| {
            if !begun {
                begun = true;
                if let Err(source) = self.begin(request, cx) {
                    self.answer = Answer::Broken;
                    return Poll::Ready(Err(WireError::Unsent(source)));
                }
            }
            match self.sending.poll(&mut self.io, cx) {
                Poll::Ready(Err(OutgoingError::Body)) => return Poll::Ready(Err(WireError::Request)),
                // An upstream that has heard enough may close, and still have answered.
                Poll::Ready(Err(OutgoingError::Io(error))) => broken = Some(WireError::Io(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            let outcome = ready!(self.poll_head(interim, cx));
            if outcome.is_err() {
                self.answer = Answer::Broken;
            }
            Poll::Ready(outcome.map_err(|error| broken.take().unwrap_or(error)))
        })
        .await
    }

    /// Begins a request: takes its body, and writes its head if there is none.
    ///
    /// # Errors
    ///
    /// Nothing was written, and the request is whole.
    fn begin(&mut self, request: &mut Request<RequestBody>, cx: &mut Context<'_>) -> io::Result<()> {
        output(|head| {
            let framing = head::write(request, head);
            if matches!(framing, Framing::None | Framing::Length(0)) {
                return self.sending.write_head(head, &mut self.io, cx);
            }
            // The head goes out together with what there is of the body.
            self.sending.push(Bytes::copy_from_slice(head));
            self.sending.begin(framing, std::mem::replace(request.body_mut(), RequestBody::Empty));
            Ok(())
        })
    }

    fn poll_head(
        &mut self,
        interim: &Interim,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, WireError>> {
        loop {
            let Answer::Head { bodiless, before } = &mut self.answer else {
                return Poll::Ready(Err(WireError::Closed));
            };
            match head::parse(&self.input.bytes, *bodiless)? {
                Some(Head { response, length, .. }) if is_interim(response.status()) => {
                    *before += 1;
                    if *before > MAX_INTERIM {
                        return Poll::Ready(Err(Malformed("too many interim answers").into()));
                    }
                    self.input.bytes = self.input.bytes.split_off(length);
                    let (head, ()) = response.into_parts();
                    interim.send(head.status, head.headers);
                }
                Some(head) => {
                    self.input.bytes = self.input.bytes.split_off(head.length);
                    self.keeps = head.keeps;
                    self.answer = match head.extent {
                        Extent::None | Extent::Length(0) => Answer::Complete,
                        Extent::Length(length) => Answer::Length(length),
                        Extent::Chunked => Answer::Chunked(Chunked::default()),
                        Extent::UntilClose => Answer::UntilClose,
                    };
                    return Poll::Ready(Ok(head.response));
                }
                None if self.input.bytes.len() >= READ_AHEAD => {
                    return Poll::Ready(Err(Malformed("its head is too large").into()));
                }
                None => {
                    if ready!(self.poll_more(cx))? == 0 {
                        return Poll::Ready(Err(WireError::Closed));
                    }
                }
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WireError>> {
        self.input.poll_more(&mut self.io, cx).map_err(WireError::Io)
    }

    /// The next piece of the answer's body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        // The upstream may want the rest of the request before it ends its answer.
        self.drive(cx);
        let outcome = ready!(self.poll_piece(cx));
        if matches!(outcome, Some(Err(_))) {
            self.answer = Answer::Broken;
        }
        Poll::Ready(outcome)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        loop {
            match &mut self.answer {
                Answer::Complete => return Poll::Ready(None),
                Answer::None | Answer::Head { .. } | Answer::Broken => {
                    return Poll::Ready(Some(Err(WireError::Closed)));
                }
                Answer::Length(left) if !self.input.bytes.is_empty() => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.bytes.len());
                    let piece = self.input.bytes.split_to(length);
                    *left -= length as u64;
                    if *left == 0 {
                        self.answer = Answer::Complete;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Answer::UntilClose if !self.input.bytes.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.input.bytes)))));
                }
                Answer::Length(_) | Answer::UntilClose => {}
                Answer::Chunked(chunked) => match chunked.next(&mut self.input.bytes) {
                    Ok(Some(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Some(Piece::Trailers(trailers))) => {
                        self.answer = Answer::Complete;
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    Ok(Some(Piece::End)) => {
                        self.answer = Answer::Complete;
                        return Poll::Ready(None);
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                },
            }
            match ready!(self.poll_more(cx)) {
                Ok(0) if matches!(self.answer, Answer::UntilClose) => {
                    self.keeps = false;
                    self.answer = Answer::Complete;
                }
                Ok(0) => return Poll::Ready(Some(Err(WireError::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// The answer has been read to its end.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.answer, Answer::Complete)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.answer {
            Answer::Complete => SizeHint::with_exact(0),
            Answer::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    /// Goes on with both directions in a task of its own, for a request whose body outlives its future: the client may
    /// read the answer only after it has sent everything.
    pub(super) async fn run(mut self: Box<Self>, to: mpsc::Sender<Result<Frame<Bytes>, WireError>>) {
        loop {
            let mut room = std::pin::pin!(to.reserve());
            let room = std::future::poll_fn(|cx| {
                self.drive(cx);
                room.as_mut().poll(cx)
            });
            let Ok(room) = room.await else { return };
            let mut left = std::pin::pin!(to.closed());
            let frame = std::future::poll_fn(|cx| match self.poll_frame(cx) {
                Poll::Pending => left.as_mut().poll(cx).map(|()| None),
                ready @ Poll::Ready(_) => ready,
            });
            match frame.await {
                Some(frame) => room.send(frame),
                None => break,
            }
        }
        drop(to);
        std::future::poll_fn(|cx| self.sending.poll(&mut self.io, cx).map(drop)).await;
    }

    /// Writes what can be written of the request. An error is for the answer to show, or for its end.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.sending.is_complete() {
            let _ = self.sending.poll(&mut self.io, cx);
        }
    }
}

/// Whether another answer follows: all of 1xx but the one that switches protocols.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}
