//! What of a connection is neither its byte stream nor its handler.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use super::Config;
use super::heads::Block;
use crate::body::Polling;
use crate::error::{Fault, Reason, broken};
use crate::flow::{INITIAL, ReceiveWindow, SendWindow};
use crate::frame::{GOAWAY, SETTINGS, WINDOW_UPDATE, setting};
use crate::hpack::{Decoder, Encoder};
use crate::interim::Queue;
use crate::output::Output;
use crate::patience::Patience;
use crate::streams::Streams;
use crate::wakes::Wakes;

/// A connection's state; the other modules are what is done with it.
#[derive(Debug)]
pub(super) struct Core<F, B> {
    pub(super) config: Config,
    pub(super) streams: Streams<F, B>,
    /// Streams that have something to send, in turn.
    pub(super) queue: VecDeque<usize>,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// A header block that goes on in CONTINUATION frames.
    pub(super) block: Option<Block>,
    pub(super) output: Output,
    pub(super) interims: Queue,
    pub(super) wakes: Wakes,
    pub(super) polling: Polling,
    pub(super) send: SendWindow,
    pub(super) receive: ReceiveWindow,
    /// Of streams that the client opens.
    pub(super) initial_window: u32,
    /// The first frame, which has to be SETTINGS, has come.
    pub(super) settled: bool,
    pub(super) drain: Drain,
    pub(super) patience: Patience,
    /// Streams reset by the client before they began, and reset here for the client's fault.
    pub(super) resets: usize,
    pub(super) faults: usize,
}

/// How far a graceful end has got (RFC 9113 section 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// The client was told to open no more streams; some may be on their way.
    Announced,
    /// New streams are ignored.
    Final,
}

impl<F, B> Core<F, B> {
    pub(super) fn new(mut config: Config) -> Self {
        config.stream_window = config.stream_window.max(INITIAL);
        config.connection_window = config.connection_window.max(INITIAL);
        let mut output = Output::default();
        let mut payload = Vec::new();
        for (name, value) in [
            (setting::MAX_CONCURRENT_STREAMS, config.max_streams),
            (setting::INITIAL_WINDOW_SIZE, config.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, config.header_bytes),
        ] {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        output.frame(SETTINGS, 0, 0, &payload);
        let more = config.connection_window - INITIAL;
        if more > 0 {
            output.frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        Self {
            streams: Streams::new(),
            queue: VecDeque::new(),
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            block: None,
            output,
            interims: Rc::new(RefCell::default()),
            wakes: Wakes::new(Waker::noop(), 0),
            polling: Polling::default(),
            send: SendWindow::new(INITIAL),
            receive: ReceiveWindow::new(config.connection_window),
            initial_window: INITIAL,
            settled: false,
            drain: Drain::No,
            patience: Patience::new(config.now),
            resets: 0,
            faults: 0,
            config,
        }
    }

    /// The connection is polled by the task of this waker.
    pub(super) fn begin(&mut self, waker: &Waker) {
        if !self.wakes.are_of(waker) {
            self.wakes = Wakes::new(waker, self.config.max_streams as usize);
            for (place, _) in self.streams.iter_mut() {
                self.wakes.waker(place).wake();
            }
        }
        self.wakes.begin();
        self.polling.set(true);
    }

    /// The poll is over; whether there is more to do at once.
    pub(super) fn end(&mut self) -> bool {
        self.polling.set(false);
        self.wakes.end()
    }

    pub(super) fn has_work(&self) -> bool {
        self.wakes.any() || !self.queue.is_empty()
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drain == Drain::Final && self.streams.active() == 0
    }

    pub(super) fn go_away(&mut self, last: u32, reason: Reason) {
        let mut payload = [0; 8];
        let (stream, code) = payload.split_at_mut(4);
        stream.copy_from_slice(&last.to_be_bytes());
        code.copy_from_slice(&reason.code().to_be_bytes());
        self.output.frame(GOAWAY, 0, 0, &payload);
    }

    /// Ends all streams at once.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.streams.clear();
    }

    pub(super) fn rest(&mut self) {
        self.streams.rest();
        self.output.rest();
        self.decoder.rest();
        self.queue = VecDeque::new();
    }

    pub(super) fn spend(&mut self, cost: u32) -> Result<(), Fault> {
        match self.patience.spend(cost) {
            Ok(()) => Ok(()),
            Err(_) => broken(Reason::EnhanceYourCalm, "too many frames that bring nothing"),
        }
    }
}
