//! The streams of a connection: those that are active, each in a place of its own, and what became of the last ones.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::Bytes;

use crate::body::Sender;
use crate::flow::{ReceiveWindow, SendWindow};

/// Streams whose end is remembered. Frames for older ones are answered as if they had been reset here.
const REMEMBERED: usize = 128;

/// An active stream.
#[derive(Debug)]
pub(crate) struct Stream<F, B> {
    pub(crate) id: u32,
    pub(crate) stage: Stage<F, B>,
    pub(crate) send: SendWindow,
    pub(crate) receive: ReceiveWindow,
    /// Where the request's body goes; None where there is none.
    pub(crate) body: Option<Sender>,
    /// The client has not ended its side.
    pub(crate) receiving: bool,
    /// Bytes of the announced length that have not come.
    pub(crate) left: Option<u64>,
    /// The handler has been run.
    pub(crate) begun: bool,
    /// The answer has no content, whatever it says (RFC 9110 section 9.3.2).
    pub(crate) is_head: bool,
    /// Waits for its turn to send.
    pub(crate) queued: bool,
}

#[derive(Debug)]
pub(crate) enum Stage<F, B> {
    Handling(Pin<Box<F>>),
    Sending(Sending<B>),
}

/// An answer whose head is written.
#[derive(Debug)]
pub(crate) struct Sending<B> {
    pub(crate) body: B,
    /// Taken from the body and not yet sent.
    pub(crate) piece: Bytes,
    /// The body has not said that it has nothing at the moment.
    pub(crate) ready: bool,
    /// Something of the body was sent.
    pub(crate) any: bool,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Both sides have ended it.
    Ended,
    ResetByClient,
    /// Frames that the client sent before it knew are ignored.
    ResetHere,
}

/// What an identifier stands for (RFC 9113 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not used yet, or not the client's to use.
    Idle,
    /// In this place.
    Active(usize),
    Closed(Closed),
    /// Closed so long ago that it is not known how, or passed over.
    Forgotten,
}

#[derive(Debug)]
pub(crate) struct Streams<F, B> {
    places: Vec<Option<Stream<F, B>>>,
    active: usize,
    closed: VecDeque<(u32, Closed)>,
    /// The highest identifier that the client has used.
    last: u32,
}

impl<F, B> Streams<F, B> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), active: 0, closed: VecDeque::new(), last: 0 }
    }

    pub(crate) fn active(&self) -> usize {
        self.active
    }

    pub(crate) fn last(&self) -> u32 {
        self.last
    }

    pub(crate) fn state(&self, id: u32) -> State {
        if id > self.last || id.is_multiple_of(2) {
            return State::Idle;
        }
        if let Some(place) = self.places.iter().position(|place| place.as_ref().is_some_and(|it| it.id == id))
        {
            return State::Active(place);
        }
        let closed = self.closed.iter().rev().find(|(closed, _)| *closed == id);
        closed.map_or(State::Forgotten, |(_, how)| State::Closed(*how))
    }

    /// The client has used this identifier, and with it all lower ones.
    pub(crate) fn use_up(&mut self, id: u32) {
        self.last = self.last.max(id);
    }

    /// The place that the next stream gets.
    pub(crate) fn vacant(&self) -> usize {
        self.places.iter().position(Option::is_none).unwrap_or(self.places.len())
    }

    /// Puts a stream into the place that is [`Self::vacant`].
    pub(crate) fn insert(&mut self, place: usize, stream: Stream<F, B>) {
        self.active += 1;
        match self.places.get_mut(place) {
            Some(vacant) => *vacant = Some(stream),
            None => self.places.push(Some(stream)),
        }
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Stream<F, B>> {
        self.places.get_mut(place)?.as_mut()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Stream<F, B>)> {
        self.places.iter_mut().enumerate().filter_map(|(at, place)| Some((at, place.as_mut()?)))
    }

    pub(crate) fn remove(&mut self, place: usize, how: Closed) -> Option<Stream<F, B>> {
        let stream = self.places.get_mut(place)?.take()?;
        self.active -= 1;
        self.remember(stream.id, how);
        Some(stream)
    }

    pub(crate) fn remember(&mut self, id: u32, how: Closed) {
        if self.closed.len() == REMEMBERED {
            self.closed.pop_front();
        }
        self.closed.push_back((id, how));
    }

    /// Ends all streams.
    pub(crate) fn clear(&mut self) {
        self.active = 0;
        self.places = Vec::new();
    }

    /// Gives its memory back where no stream is active.
    pub(crate) fn rest(&mut self) {
        if self.active == 0 {
            self.places = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: u32) -> Stream<(), ()> {
        Stream {
            id,
            stage: Stage::Handling(Box::pin(())),
            send: SendWindow::new(0),
            receive: ReceiveWindow::new(0),
            body: None,
            receiving: false,
            left: None,
            begun: false,
            is_head: false,
            queued: false,
        }
    }

    #[test]
    fn identifiers_stand_for_what_became_of_their_streams() {
        let mut streams = Streams::new();
        streams.use_up(5);
        streams.insert(streams.vacant(), stream(5));
        let states = [1, 2, 4, 5, 7].map(|id| streams.state(id));
        assert_eq!(states, [State::Forgotten, State::Idle, State::Idle, State::Active(0), State::Idle]);
        streams.remove(0, Closed::Ended);
        assert_eq!(
            (streams.state(5), streams.active(), streams.vacant()),
            (State::Closed(Closed::Ended), 0, 0)
        );
    }

    #[test]
    fn what_became_of_streams_is_remembered_in_bounded_memory() {
        let mut streams = Streams::<(), ()>::new();
        for number in 0..1_000 {
            streams.use_up(number * 2 + 1);
            streams.remember(number * 2 + 1, Closed::ResetByClient);
        }
        assert_eq!(streams.closed.len(), REMEMBERED);
        assert_eq!(
            (streams.state(1), streams.state(1_999)),
            (State::Forgotten, State::Closed(Closed::ResetByClient))
        );
    }
}
