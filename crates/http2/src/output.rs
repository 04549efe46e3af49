//! What is to be written: frames in one buffer, and large pieces of bodies between them as they lie.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use crate::frame::{CONTINUATION, DATA};
use crate::frame::{END_HEADERS, END_STREAM, HEAD, HEADERS, Head, MAX_PAYLOAD};

/// Pieces of bodies smaller than this are copied: a write of many small slices costs more.
const COPIED: usize = 2 * 1024;
/// Slices of one write.
const SLICES: usize = 16;
/// Written bytes at the buffer's beginning that are worth moving the rest for.
const COMPACT: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Output {
    buffer: Vec<u8>,
    /// How much of the buffer is written.
    written: usize,
    /// Pieces and where in the buffer they come.
    pieces: VecDeque<(usize, Bytes)>,
    /// Bytes of all pieces.
    pieced: usize,
}

impl Output {
    /// Bytes that wait to be written.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - self.written + self.pieced
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.buffer.extend(Head { length: payload.len(), kind, flags, stream }.to_bytes());
        self.buffer.extend_from_slice(payload);
    }

    pub(crate) fn data(&mut self, stream: u32, piece: Bytes, end: bool) {
        let flags = if end { END_STREAM } else { 0 };
        self.buffer.extend(Head { length: piece.len(), kind: DATA, flags, stream }.to_bytes());
        if piece.len() < COPIED {
            self.buffer.extend_from_slice(&piece);
        } else {
            self.pieced += piece.len();
            self.pieces.push_back((self.buffer.len(), piece));
        }
    }

    /// A header block that `write` makes, in as many frames as it needs.
    pub(crate) fn headers(&mut self, stream: u32, end: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.buffer.len();
        self.buffer.extend([0; HEAD]);
        write(&mut self.buffer);
        let length = self.buffer.len() - at - HEAD;
        let end_stream = if end { END_STREAM } else { 0 };
        if length <= MAX_PAYLOAD {
            let head = Head { length, kind: HEADERS, flags: END_HEADERS | end_stream, stream };
            if let Some(place) = self.buffer.get_mut(at..at + HEAD) {
                place.copy_from_slice(&head.to_bytes());
            }
            return;
        }
        let block = self.buffer.split_off(at + HEAD);
        self.buffer.truncate(at);
        let last = length.div_ceil(MAX_PAYLOAD) - 1;
        for (number, fragment) in block.chunks(MAX_PAYLOAD).enumerate() {
            let (kind, flags) = if number == 0 { (HEADERS, end_stream) } else { (CONTINUATION, 0) };
            self.frame(kind, flags | if number == last { END_HEADERS } else { 0 }, stream, fragment);
        }
    }

    /// Writes until nothing is left.
    pub(crate) fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.slices(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut at = self.written;
        let mut count = 0;
        let mut put = |bytes: &'a [u8]| {
            if let Some(place) = slices.get_mut(count)
                && !bytes.is_empty()
            {
                *place = IoSlice::new(bytes);
                count += 1;
            }
        };
        for (place, piece) in self.pieces.iter().take(SLICES) {
            put(self.buffer.get(at..*place).unwrap_or_default());
            put(piece);
            at = *place;
        }
        if self.pieces.len() <= SLICES {
            put(self.buffer.get(at..).unwrap_or_default());
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let place = self.pieces.front().map_or(self.buffer.len(), |(place, _)| *place);
            let step = count.min(place - self.written);
            self.written += step;
            count -= step;
            if let Some((_, piece)) = self.pieces.front_mut()
                && self.written == place
            {
                let step = count.min(piece.len());
                piece.advance(step);
                self.pieced -= step;
                count -= step;
                if piece.is_empty() {
                    self.pieces.pop_front();
                }
            } else if step == 0 {
                break;
            }
        }
        if self.is_empty() {
            self.buffer.clear();
            self.written = 0;
        } else if self.written >= COMPACT {
            self.buffer.drain(..self.written);
            self.pieces.iter_mut().for_each(|(place, _)| *place -= self.written);
            self.written = 0;
        }
    }

    /// Gives its memory back where nothing waits.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes at a time, and nothing at each second call.
    struct Slow {
        taken: Vec<u8>,
        step: usize,
        ready: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            this.ready = !this.ready;
            if !this.ready {
                return Poll::Pending;
            }
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).take(this.step).collect();
            this.taken.extend(&bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_in_order_however_it_is_taken(
            lengths in proptest::collection::vec(0usize..9_000, 1..40),
            step in 1usize..40_000,
        ) {
            let mut output = Output::default();
            let mut slow = Slow { taken: Vec::new(), step, ready: false };
            let mut expected = Vec::new();
            let mut cx = Context::from_waker(Waker::noop());
            for (number, length) in lengths.into_iter().enumerate() {
                let stream = u32::try_from(number).unwrap();
                let piece = Bytes::from(vec![stream.to_be_bytes()[3]; length]);
                expected.extend(Head { length, kind: DATA, flags: 0, stream }.to_bytes());
                expected.extend_from_slice(&piece);
                output.data(stream, piece, false);
                prop_assert_eq!(output.len(), expected.len() - slow.taken.len());
                let _ = output.poll_write(&mut slow, &mut cx);
            }
            while output.poll_write(&mut slow, &mut cx).is_pending() {}
            prop_assert!(slow.taken == expected);
        }
    }

    #[test]
    fn a_long_block_goes_on_in_continuations() {
        let mut output = Output::default();
        output.headers(1, true, |block| block.extend(vec![1; MAX_PAYLOAD * 2 + 1]));
        let (mut rest, mut frames) = (&output.buffer[..], Vec::new());
        while let Some(head) = Head::parse(rest) {
            frames.push((head.kind, head.flags, head.length));
            rest = &rest[HEAD + head.length..];
        }
        let expected = [
            (HEADERS, END_STREAM, MAX_PAYLOAD),
            (CONTINUATION, 0, MAX_PAYLOAD),
            (CONTINUATION, END_HEADERS, 1),
        ];
        assert_eq!(frames, expected);
    }
}
