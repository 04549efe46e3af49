//! HEADERS and CONTINUATION: new requests and trailers (RFC 9113 sections 6.2, 6.10 and 8.1).

use std::future::Future;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;

use super::{Core, Drain};
use crate::body::{RequestBody, Sender};
use crate::error::{Fault, Reason, broken};
use crate::flow::{ReceiveWindow, SendWindow};
use crate::frame::{END_HEADERS, END_STREAM, Head, RST_STREAM, WITH_PRIORITY, content};
use crate::hpack::{Encoder, Undecodable};
use crate::interim::Interim;
use crate::message::Fields;
use crate::streams::{Closed, Stage, State, Stream};

/// Bytes of priority that HEADERS may begin with.
const PRIORITY: usize = 5;
/// What a CONTINUATION costs of the client's patience: heads that need more than a few are none.
const CONTINUATION_COST: u32 = 8;
/// What a request that is refused unseen costs.
const REFUSED_COST: u32 = 5;
/// A block may have so many times the bytes of a head, and one that is larger than the limit is answered 431.
const BLOCK: usize = 4;
/// A head may be so many times larger than the limit once it is decoded: references to the table make much of little.
const DECODED: usize = 16;
/// Small frames that a client may send in the course of a request.
const REQUEST_FRAMES: u32 = 4;

/// A header block that has begun.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    ends: bool,
    fragments: Vec<u8>,
}

impl<F, B> Core<F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    pub(super) fn headers<H: Fn(Request<RequestBody>, Interim) -> F>(
        &mut self,
        handler: &H,
        head: Head,
        payload: &[u8],
    ) -> Result<(), Fault> {
        if head.stream.is_multiple_of(2) {
            return broken(Reason::Protocol, "a stream's identifier is not a client's");
        }
        match self.streams.state(head.stream) {
            State::Closed(Closed::Ended) => {
                return broken(Reason::StreamClosed, "HEADERS for a stream that has ended");
            }
            State::Forgotten => return broken(Reason::Protocol, "a stream's identifier is not a new one"),
            State::Idle | State::Active(_) | State::Closed(_) => {}
        }
        let mut fragment = payload.get(content(head, payload)?).unwrap_or_default();
        if head.has(WITH_PRIORITY) {
            let Some(behind) = fragment.get(PRIORITY..) else {
                return broken(Reason::FrameSize, "HEADERS are too short for their priority");
            };
            fragment = behind;
        }
        let ends = head.has(END_STREAM);
        if head.has(END_HEADERS) {
            return self.block(handler, head.stream, ends, fragment);
        }
        self.block = Some(Block { stream: head.stream, ends, fragments: fragment.to_vec() });
        Ok(())
    }

    pub(super) fn continuation<H: Fn(Request<RequestBody>, Interim) -> F>(
        &mut self,
        handler: &H,
        head: Head,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let Some(mut block) = self.block.take().filter(|block| block.stream == head.stream) else {
            return broken(Reason::Protocol, "CONTINUATION of nothing");
        };
        self.spend(CONTINUATION_COST)?;
        block.fragments.extend_from_slice(payload);
        if block.fragments.len() > self.header_bytes() * BLOCK {
            return broken(Reason::EnhanceYourCalm, "a header block is far too large");
        }
        if head.has(END_HEADERS) {
            return self.block(handler, block.stream, block.ends, &block.fragments);
        }
        self.block = Some(block);
        Ok(())
    }

    fn header_bytes(&self) -> usize {
        self.config.header_bytes as usize
    }

    /// Takes a whole header block. It is decoded whatever becomes of its stream: later blocks refer to its fields.
    fn block<H: Fn(Request<RequestBody>, Interim) -> F>(
        &mut self,
        handler: &H,
        id: u32,
        ends: bool,
        block: &[u8],
    ) -> Result<(), Fault> {
        let mut fields = Fields::new(self.header_bytes());
        let most = self.header_bytes() * DECODED;
        let decoded = self.decoder.decode(block, |field, size| {
            fields.take(field, size);
            if fields.size() > most { Err(Undecodable) } else { Ok(()) }
        });
        if fields.size() > most {
            return broken(Reason::EnhanceYourCalm, "a request's head is far too large");
        }
        if decoded.is_err() {
            return broken(Reason::Compression, "a header block cannot be decoded");
        }
        match self.streams.state(id) {
            State::Idle => self.request(handler, id, ends, fields),
            State::Active(place) => self.trailers(place, id, ends, fields),
            State::Closed(Closed::ResetByClient) => Err(Fault::Stream(id, Reason::StreamClosed)),
            State::Closed(_) | State::Forgotten => self.spend(1),
        }
    }

    fn request<H: Fn(Request<RequestBody>, Interim) -> F>(
        &mut self,
        handler: &H,
        id: u32,
        ends: bool,
        fields: Fields,
    ) -> Result<(), Fault> {
        if self.drain == Drain::Final {
            // The client was told which streams are the last.
            return self.spend(REFUSED_COST);
        }
        self.streams.use_up(id);
        if self.streams.active() >= self.config.max_streams as usize {
            self.output.frame(RST_STREAM, 0, id, &Reason::RefusedStream.code().to_be_bytes());
            self.streams.remember(id, Closed::ResetHere);
            return self.spend(REFUSED_COST);
        }
        if fields.are_too_large() {
            self.answer_too_large(id, ends);
            return self.spend(REFUSED_COST);
        }
        let head = fields.into_request(ends).map_err(|_| Fault::Stream(id, Reason::Protocol))?;
        let place = self.streams.vacant();
        let waker = self.wakes.waker(place);
        let (sender, body) = if ends {
            (None, RequestBody::default())
        } else {
            let (sender, body) = Sender::channel(head.length, waker.clone(), &self.polling);
            (Some(sender), body)
        };
        let is_head = *head.request.method() == Method::HEAD;
        let interim = Interim::new(&self.interims, id, waker.clone());
        let future = handler(head.request.map(|()| body), interim);
        self.streams.insert(
            place,
            Stream {
                id,
                stage: Stage::Handling(Box::pin(future)),
                send: SendWindow::new(self.initial_window),
                receive: ReceiveWindow::new(self.config.stream_window),
                body: sender,
                receiving: !ends,
                left: head.length,
                begun: false,
                is_head,
                queued: false,
            },
        );
        waker.wake();
        self.patience.earn(REQUEST_FRAMES);
        Ok(())
    }

    /// RFC 6585 section 5.
    fn answer_too_large(&mut self, id: u32, ended: bool) {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let encoder = &mut self.encoder;
        self.output.headers(id, true, |out| {
            encoder.begin(out);
            Encoder::status(status, out);
        });
        let how = self.close(id, ended);
        self.streams.remember(id, how);
    }

    fn trailers(&mut self, place: usize, id: u32, ends: bool, fields: Fields) -> Result<(), Fault> {
        if !self.streams.get_mut(place).is_some_and(|stream| stream.receiving) {
            return Err(Fault::Stream(id, Reason::StreamClosed));
        }
        // A second head is none of a request (RFC 9113 section 8.1), and trailers have no 431.
        if !ends || fields.are_too_large() {
            return Err(Fault::Stream(id, Reason::Protocol));
        }
        let trailers = fields.into_trailers().map_err(|_| Fault::Stream(id, Reason::Protocol))?;
        self.received(place, (!trailers.is_empty()).then_some(trailers))
    }
}
