//! Handlers and their answers: heads as soon as they are there, bodies in turn and as far as windows allow.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;

use super::Core;
use crate::body::Sender;
use crate::error::Reason;
use crate::frame::{MAX_PAYLOAD, RST_STREAM, WINDOW_UPDATE};
use crate::hpack::Encoder;
use crate::message::is_connection_specific;
use crate::streams::{Closed, Sending, Stage};

/// Small frames that a client may send in the course of a DATA frame: updates of both windows, and pings that measure.
const DATA_FRAMES: u32 = 4;
/// Times that a body is asked in a row while it gives nothing.
const EMPTY: usize = 8;

/// What a stream's turn came to.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// It may have more.
    More,
    /// It waits for its body, for a window, or has ended.
    Over,
}

/// What a body had.
enum Next {
    Piece,
    Trailers(HeaderMap),
    End,
    Failed,
    Nothing,
}

impl<F, B> Core<F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    /// Runs what was woken, and sends.
    pub(super) fn run(&mut self) {
        for word in 0..self.wakes.words() {
            let mut bits = self.wakes.take(word);
            while bits != 0 {
                self.woken(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        while self.output.len() < self.config.send_buffer
            && let Some(place) = self.queue.pop_front()
        {
            if let Some(stream) = self.streams.get_mut(place) {
                stream.queued = false;
            }
            let turn = self.turn(place);
            self.collect(place);
            if turn == Turn::More {
                self.enqueue(place);
            }
        }
    }

    fn woken(&mut self, place: usize) {
        let waker = self.wakes.waker(place);
        let Some(stream) = self.streams.get_mut(place) else { return };
        match &mut stream.stage {
            Stage::Handling(future) => {
                stream.begun = true;
                let answer = future.as_mut().poll(&mut Context::from_waker(&waker));
                self.informational();
                if let Poll::Ready(answer) = answer {
                    self.answer(place, answer);
                }
            }
            Stage::Sending(sending) => {
                sending.ready = true;
                self.enqueue(place);
            }
        }
        self.collect(place);
    }

    /// Gives the windows back what was read of a request's body.
    fn collect(&mut self, place: usize) {
        let Some(stream) = self.streams.get_mut(place) else { return };
        let read = stream.body.as_ref().map_or(0, Sender::take_read);
        if read == 0 {
            return;
        }
        if stream.receiving
            && let Some(increment) = stream.receive.release(read)
        {
            self.output.frame(WINDOW_UPDATE, 0, stream.id, &increment.to_be_bytes());
        }
        self.release(read);
    }

    /// Writes informational answers, as long as the final one has not begun.
    fn informational(&mut self) {
        if self.interims.borrow().is_empty() {
            return;
        }
        let interims = std::mem::take(&mut *self.interims.borrow_mut());
        for interim in interims {
            let handling = self
                .streams
                .iter_mut()
                .any(|(_, stream)| stream.id == interim.stream && matches!(stream.stage, Stage::Handling(_)));
            if handling {
                self.head(interim.stream, false, interim.status, &interim.headers);
            }
        }
    }

    fn head(&mut self, id: u32, end: bool, status: StatusCode, headers: &HeaderMap) {
        let encoder = &mut self.encoder;
        self.output.headers(id, end, |out| {
            encoder.begin(out);
            Encoder::status(status, out);
            fields(encoder, headers, out);
        });
    }

    fn answer(&mut self, place: usize, answer: Response<B>) {
        let Some(stream) = self.streams.get_mut(place) else { return };
        let (mut head, body) = answer.into_parts();
        if head.status.is_informational() {
            return self.abort(place);
        }
        let id = stream.id;
        let end = stream.is_head
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || body.is_end_stream();
        if !end && let Some(length) = body.size_hint().exact() {
            head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        if !end {
            let sending = Sending { body, piece: Bytes::new(), ready: true, any: false };
            stream.stage = Stage::Sending(sending);
        }
        self.head(id, end, head.status, &head.headers);
        if end { self.finish(place) } else { self.enqueue(place) }
    }

    pub(super) fn enqueue(&mut self, place: usize) {
        if let Some(stream) = self.streams.get_mut(place)
            && !stream.queued
            && matches!(stream.stage, Stage::Sending(_))
        {
            stream.queued = true;
            self.queue.push_back(place);
        }
    }

    /// Sends a frame of a stream.
    fn turn(&mut self, place: usize) -> Turn {
        let waker = self.wakes.waker(place);
        let Some(stream) = self.streams.get_mut(place) else { return Turn::Over };
        let Stage::Sending(sending) = &mut stream.stage else { return Turn::Over };
        let window = stream.send.available().min(self.send.available());
        if sending.piece.is_empty() {
            // Without a window nothing is taken from the body; but one that has begun may have come to its end.
            if !sending.ready || (window == 0 && !sending.any) {
                return Turn::Over;
            }
            match next(sending, &mut Context::from_waker(&waker)) {
                Next::Piece => {}
                Next::Nothing => return Turn::Over,
                Next::Failed => {
                    self.abort(place);
                    return Turn::Over;
                }
                Next::End => {
                    self.output.data(stream.id, Bytes::new(), true);
                    self.finish(place);
                    return Turn::Over;
                }
                Next::Trailers(trailers) => {
                    let (id, encoder) = (stream.id, &mut self.encoder);
                    self.output.headers(id, true, |out| {
                        encoder.begin(out);
                        fields(encoder, &trailers, out);
                    });
                    self.finish(place);
                    return Turn::Over;
                }
            }
        }
        if window == 0 {
            return Turn::Over;
        }
        let length = sending.piece.len().min(window).min(MAX_PAYLOAD);
        let piece = sending.piece.split_to(length);
        let end = sending.piece.is_empty() && sending.body.is_end_stream();
        sending.any = true;
        stream.send.take(length);
        self.send.take(length);
        self.output.data(stream.id, piece, end);
        self.patience.earn(DATA_FRAMES);
        if end {
            self.finish(place);
            return Turn::Over;
        }
        Turn::More
    }

    /// The answer is complete.
    fn finish(&mut self, place: usize) {
        let Some(stream) = self.streams.get_mut(place) else { return };
        let (id, ended) = (stream.id, !stream.receiving);
        let how = self.close(id, ended);
        self.remove(place, how);
        self.resets = self.resets.saturating_sub(1);
        self.faults = self.faults.saturating_sub(1);
    }

    /// Ends a stream that was answered. A client that is still sending needs not go on (RFC 9113 section 8.1).
    pub(super) fn close(&mut self, id: u32, ended: bool) -> Closed {
        if ended {
            return Closed::Ended;
        }
        self.output.frame(RST_STREAM, 0, id, &Reason::NoError.code().to_be_bytes());
        Closed::ResetHere
    }

    /// The answer broke off.
    fn abort(&mut self, place: usize) {
        let Some(stream) = self.streams.get_mut(place) else { return };
        self.output.frame(RST_STREAM, 0, stream.id, &Reason::Internal.code().to_be_bytes());
        self.remove(place, Closed::ResetHere);
    }

    /// Takes a stream out, and with it its handler and both bodies.
    pub(super) fn remove(&mut self, place: usize, how: Closed) {
        let Some(stream) = self.streams.remove(place, how) else { return };
        if stream.queued {
            self.queue.retain(|queued| *queued != place);
        }
        let unread = stream.body.as_ref().map_or(0, |body| body.unread() + body.take_read());
        self.release(unread);
    }
}

fn fields(encoder: &mut Encoder, headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        if !is_connection_specific(name) {
            encoder.field(name, value, out);
        }
    }
}

/// Asks a body for what comes next; a piece of it is left in `sending`.
fn next<B: Body<Data = Bytes> + Unpin>(sending: &mut Sending<B>, cx: &mut Context<'_>) -> Next {
    for _ in 0..EMPTY {
        match Pin::new(&mut sending.body).poll_frame(cx) {
            Poll::Pending => {
                sending.ready = false;
                return Next::Nothing;
            }
            Poll::Ready(None) => return Next::End,
            Poll::Ready(Some(Err(_))) => return Next::Failed,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    sending.piece = data;
                    return Next::Piece;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Next::Trailers(trailers);
                    }
                }
            },
        }
    }
    // It is asked again in the next round.
    cx.waker().wake_by_ref();
    sending.ready = false;
    Next::Nothing
}
