//! Frames of the client, each with the rules of its section of RFC 9113.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::{Core, DRAIN_PING, Drain};
use crate::body::RequestBody;
use crate::error::{Fault, Reason, broken};
use crate::flow::LARGEST;
use crate::frame::{
    ACK, CONTINUATION, DATA, END_STREAM, GOAWAY, HEADERS, Head, PING, PRIORITY, PRIORITY_UPDATE,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, content, number31, setting, settings,
};
use crate::interim::Interim;
use crate::streams::{Closed, Stage, State};

/// What a SETTINGS frame costs of the client's patience: it is answered, and may change all streams.
const SETTINGS_COST: u32 = 10;
/// DATA of so many bytes counts as bringing something.
const USEFUL: usize = 512;
/// Frames that a client may send in the course of a useful one: window updates, pings that measure.
const USEFUL_FRAMES: u32 = 2;

impl<F, B> Core<F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    /// Takes a frame. `owned` is its payload where that may be kept without copying it.
    pub(super) fn frame<H: Fn(Request<RequestBody>, Interim) -> F>(
        &mut self,
        handler: &H,
        head: Head,
        payload: &[u8],
        owned: Option<&Bytes>,
    ) -> Result<(), Fault> {
        if self.block.is_some() && head.kind != CONTINUATION {
            return broken(Reason::Protocol, "a header block is interrupted");
        }
        if !self.settled {
            if head.kind != SETTINGS || head.has(ACK) {
                return broken(Reason::Protocol, "the first frame is not SETTINGS");
            }
            self.settled = true;
        }
        match head.kind {
            DATA => self.data(head, payload, owned),
            HEADERS => self.headers(handler, head, payload),
            CONTINUATION => self.continuation(handler, head, payload),
            PRIORITY => self.priority(head),
            RST_STREAM => self.reset(head),
            SETTINGS => self.settings(head, payload),
            PUSH_PROMISE => broken(Reason::Protocol, "a client pushes"),
            PING => self.ping(head, payload),
            GOAWAY => on_connection(head).and_then(|()| at_least(head, 8)),
            WINDOW_UPDATE => self.window_update(head, payload),
            PRIORITY_UPDATE => self.priority_update(head, payload),
            // RFC 9113 section 5.5.
            _ => self.spend(1),
        }
    }

    fn data(&mut self, head: Head, payload: &[u8], owned: Option<&Bytes>) -> Result<(), Fault> {
        let state = self.streams.state(head.stream);
        if state == State::Idle {
            return broken(Reason::Protocol, "DATA for a stream that is not open");
        }
        let range = content(head, payload)?;
        // Padding counts (RFC 9113 section 6.9.1).
        if !self.receive.take(payload.len()) {
            return broken(Reason::FlowControl, "more DATA than the connection's window");
        }
        let State::Active(place) = state else {
            self.release(payload.len());
            if payload.len() < USEFUL {
                self.spend(1)?;
            }
            return match state {
                State::Closed(Closed::Ended) => {
                    broken(Reason::StreamClosed, "DATA for a stream that has ended")
                }
                State::Closed(Closed::ResetByClient) => Err(Fault::Stream(head.stream, Reason::StreamClosed)),
                _ => Ok(()),
            };
        };
        let Some(stream) = self.streams.get_mut(place) else { return Ok(()) };
        let content = payload.get(range.clone()).unwrap_or_default();
        let fault = if !stream.receiving {
            Some(Reason::StreamClosed)
        } else if !stream.receive.take(payload.len()) {
            Some(Reason::FlowControl)
        } else if stream.left.is_some_and(|left| left < content.len() as u64) {
            Some(Reason::Protocol)
        } else {
            None
        };
        if let Some(reason) = fault {
            self.release(payload.len());
            return Err(Fault::Stream(head.stream, reason));
        }
        stream.left = stream.left.map(|left| left.saturating_sub(content.len() as u64));
        let keep = || owned.map_or_else(|| Bytes::copy_from_slice(content), |owned| owned.slice(range));
        let mut unread = payload.len() - content.len();
        // Padding is used up as it comes.
        let increment = if unread > 0 { stream.receive.release(unread) } else { None };
        if !content.is_empty() && !stream.body.as_ref().is_some_and(|body| body.push(content, keep)) {
            unread = payload.len();
        }
        if let Some(increment) = increment {
            self.output.frame(WINDOW_UPDATE, 0, head.stream, &increment.to_be_bytes());
        }
        self.release(unread);
        if content.len() >= USEFUL {
            self.patience.earn(USEFUL_FRAMES);
        }
        if head.has(END_STREAM) {
            return self.received(place, None);
        }
        if content.is_empty() { self.spend(1) } else { Ok(()) }
    }

    /// The client has ended its side of a stream.
    pub(super) fn received(&mut self, place: usize, trailers: Option<http::HeaderMap>) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(place) else { return Ok(()) };
        if stream.left.is_some_and(|left| left > 0) {
            return Err(Fault::Stream(stream.id, Reason::Protocol));
        }
        stream.receiving = false;
        if let Some(body) = &stream.body {
            body.end(trailers);
        }
        Ok(())
    }

    /// Bytes of DATA are held no longer.
    pub(super) fn release(&mut self, bytes: usize) {
        if bytes > 0
            && let Some(increment) = self.receive.release(bytes)
        {
            self.output.frame(WINDOW_UPDATE, 0, 0, &increment.to_be_bytes());
        }
    }

    /// Checked and otherwise ignored (RFC 9113 section 5.3.2).
    fn priority(&mut self, head: Head) -> Result<(), Fault> {
        if head.stream == 0 {
            return broken(Reason::Protocol, "PRIORITY without a stream");
        }
        if head.length != 5 {
            return match self.streams.state(head.stream) {
                // A stream that was not opened cannot be reset.
                State::Idle => broken(Reason::FrameSize, "PRIORITY has not five bytes"),
                _ => Err(Fault::Stream(head.stream, Reason::FrameSize)),
            };
        }
        self.spend(1)
    }

    fn priority_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        on_connection(head)?;
        at_least(head, 4)?;
        if number31(payload) == 0 {
            return broken(Reason::Protocol, "PRIORITY_UPDATE for no stream");
        }
        self.spend(1)
    }

    fn reset(&mut self, head: Head) -> Result<(), Fault> {
        exactly(head, 4)?;
        match self.streams.state(head.stream) {
            State::Idle => broken(Reason::Protocol, "RST_STREAM for a stream that is not open"),
            State::Closed(_) | State::Forgotten => self.spend(1),
            State::Active(place) => {
                let begun = self.streams.get_mut(place).is_some_and(|stream| stream.begun);
                self.remove(place, Closed::ResetByClient);
                // Those that have begun are for the handler's owner to count: it knows what they cost.
                self.resets += usize::from(!begun);
                if self.resets > self.config.resets {
                    return broken(Reason::EnhanceYourCalm, "too many streams are reset before they begin");
                }
                Ok(())
            }
        }
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        on_connection(head)?;
        if head.has(ACK) {
            exactly(head, 0)?;
            return self.spend(1);
        }
        if !head.length.is_multiple_of(6) {
            return broken(Reason::FrameSize, "SETTINGS are not a multiple of six bytes");
        }
        for (name, value) in settings(payload) {
            self.setting(name, value)?;
        }
        self.output.frame(SETTINGS, ACK, 0, &[]);
        self.spend(SETTINGS_COST)
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Fault> {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.allow(value),
            setting::ENABLE_PUSH | setting::NO_RFC7540_PRIORITIES if value > 1 => {
                return broken(Reason::Protocol, "a setting is neither 0 nor 1");
            }
            setting::INITIAL_WINDOW_SIZE => return self.initial_window(value),
            // Frames are never larger than the least that this may be.
            setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                return broken(Reason::Protocol, "SETTINGS_MAX_FRAME_SIZE is out of bounds");
            }
            _ => {}
        }
        Ok(())
    }

    /// Changes the windows of all streams (RFC 9113 section 6.9.2).
    fn initial_window(&mut self, size: u32) -> Result<(), Fault> {
        if i64::from(size) > LARGEST {
            return broken(Reason::FlowControl, "SETTINGS_INITIAL_WINDOW_SIZE is too large");
        }
        let by = i64::from(size) - i64::from(self.initial_window);
        self.initial_window = size;
        let mut fits = true;
        for (_, stream) in self.streams.iter_mut() {
            fits &= stream.send.change(by);
        }
        if !fits {
            return broken(Reason::FlowControl, "SETTINGS_INITIAL_WINDOW_SIZE makes a window too large");
        }
        self.enqueue_all();
        Ok(())
    }

    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        on_connection(head)?;
        exactly(head, 8)?;
        if !head.has(ACK) {
            self.output.frame(PING, ACK, 0, payload);
        } else if payload == DRAIN_PING && self.drain == Drain::Announced {
            // Whatever the client sent before it knew has come by now.
            self.drain = Drain::Final;
            self.go_away(self.streams.last(), Reason::NoError);
        }
        self.spend(1)
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        exactly(head, 4)?;
        let increment = i64::from(number31(payload));
        if head.stream == 0 {
            if increment == 0 {
                return broken(Reason::Protocol, "the connection's window is enlarged by nothing");
            }
            if !self.send.change(increment) {
                return broken(Reason::FlowControl, "the connection's window is too large");
            }
            self.enqueue_all();
            return self.spend(1);
        }
        match self.streams.state(head.stream) {
            State::Idle => broken(Reason::Protocol, "WINDOW_UPDATE for a stream that is not open"),
            State::Closed(_) | State::Forgotten => self.spend(1),
            State::Active(_) if increment == 0 => Err(Fault::Stream(head.stream, Reason::Protocol)),
            State::Active(place) => {
                if !self.streams.get_mut(place).is_none_or(|stream| stream.send.change(increment)) {
                    return Err(Fault::Stream(head.stream, Reason::FlowControl));
                }
                self.enqueue(place);
                self.spend(1)
            }
        }
    }

    /// Windows have changed: whoever has something may send.
    fn enqueue_all(&mut self) {
        for (place, stream) in self.streams.iter_mut() {
            if !stream.queued && matches!(stream.stage, Stage::Sending(_)) {
                stream.queued = true;
                self.queue.push_back(place);
            }
        }
    }

    /// Resets a stream for the client's fault; an error where that is the connection's fault, or was once too often.
    pub(super) fn refuse(&mut self, fault: Fault) -> Result<(), Fault> {
        let Fault::Stream(id, reason) = fault else { return Err(fault) };
        self.output.frame(RST_STREAM, 0, id, &reason.code().to_be_bytes());
        match self.streams.state(id) {
            State::Active(place) => self.remove(place, Closed::ResetHere),
            _ => self.streams.remember(id, Closed::ResetHere),
        }
        self.faults += 1;
        if self.faults > self.config.resets {
            return broken(Reason::EnhanceYourCalm, "too many streams have to be reset");
        }
        Ok(())
    }
}

fn on_connection(head: Head) -> Result<(), Fault> {
    if head.stream == 0 {
        Ok(())
    } else {
        broken(Reason::Protocol, "a frame of the connection names a stream")
    }
}

fn exactly(head: Head, length: usize) -> Result<(), Fault> {
    if head.length == length { Ok(()) } else { broken(Reason::FrameSize, "a frame has a wrong length") }
}

fn at_least(head: Head, length: usize) -> Result<(), Fault> {
    if head.length >= length { Ok(()) } else { broken(Reason::FrameSize, "a frame is too short") }
}
