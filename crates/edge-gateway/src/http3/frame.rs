//! Frames (RFC 9114 section 7): a decoder that reads nothing itself and holds no more than one bounded payload.
//!
//! Bodies pass as they come. What has a meaning as a whole is gathered up to a bound, and frames of unknown types are
//! skipped without being held.

use bytes::{Buf as _, Bytes, BytesMut};

use super::code::Code;
use super::varint;

pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const PUSH_PROMISE: u64 = 0x5;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;
/// Types that HTTP/2 has and HTTP/3 has not (RFC 9114 section 7.2.8).
const OF_HTTP2: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// A frame, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The next piece of a body; never empty.
    Data(Bytes),
    /// Any other frame whose type is known.
    Whole { kind: u64, payload: Bytes },
    /// One of an unknown type has begun; it means nothing.
    Unknown,
}

/// Why decoding cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// A frame whose type is known is longer than what is gathered.
    TooLong { kind: u64 },
    /// A type that must not occur.
    Unexpected,
}

impl From<DecodeError> for Code {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLong { .. } => Self::ExcessiveLoad,
            DecodeError::Unexpected => Self::FrameUnexpected,
        }
    }
}

/// Takes a stream's bytes and gives its frames.
#[derive(Debug)]
pub(super) struct Decoder {
    input: Bytes,
    /// The beginning of what is not whole yet: a frame's head, or a payload.
    partial: BytesMut,
    state: State,
    /// Length of the longest payload that is gathered.
    most: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Data(u64),
    Gather { kind: u64, length: usize },
    Skip(u64),
}

impl Decoder {
    pub(super) fn new(most: usize) -> Self {
        Self { input: Bytes::new(), partial: BytesMut::new(), state: State::Head, most }
    }

    /// Adds bytes; to be called when [`Self::next`] has none left.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.input = bytes;
    }

    /// Whether the stream may end here (RFC 9114 section 7.1).
    pub(super) fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Head) && self.partial.is_empty() && self.input.is_empty()
    }

    /// The next frame; None where more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, DecodeError> {
        loop {
            match self.state {
                State::Head => {
                    let Some((kind, length)) = self.head() else { return Ok(None) };
                    self.state = self.begin(kind, length)?;
                    if matches!(self.state, State::Skip(_)) {
                        return Ok(Some(Frame::Unknown));
                    }
                }
                State::Data(0) | State::Skip(0) => self.state = State::Head,
                State::Data(left) => {
                    let piece = self.take(left);
                    if piece.is_empty() {
                        return Ok(None);
                    }
                    self.state = State::Data(left - piece.len() as u64);
                    return Ok(Some(Frame::Data(piece)));
                }
                State::Skip(left) => {
                    let piece = self.take(left);
                    if piece.is_empty() {
                        return Ok(None);
                    }
                    self.state = State::Skip(left - piece.len() as u64);
                }
                State::Gather { kind, length } => {
                    let Some(payload) = self.gather(length) else { return Ok(None) };
                    self.state = State::Head;
                    return Ok(Some(Frame::Whole { kind, payload }));
                }
            }
        }
    }

    fn begin(&self, kind: u64, length: u64) -> Result<State, DecodeError> {
        match kind {
            DATA => Ok(State::Data(length)),
            HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID => {
                let length = usize::try_from(length).ok().filter(|length| *length <= self.most);
                length.map(|length| State::Gather { kind, length }).ok_or(DecodeError::TooLong { kind })
            }
            _ if OF_HTTP2.contains(&kind) => Err(DecodeError::Unexpected),
            _ => Ok(State::Skip(length)),
        }
    }

    /// A frame's type and length, where they are whole.
    fn head(&mut self) -> Option<(u64, u64)> {
        let parse = |bytes: &[u8]| {
            let (kind, first) = varint::parse(bytes)?;
            let (length, second) = varint::parse(bytes.get(first..)?)?;
            Some((kind, length, first + second))
        };
        if self.partial.is_empty() {
            if let Some((kind, length, size)) = parse(&self.input) {
                self.input.advance(size);
                return Some((kind, length));
            }
            self.partial.extend_from_slice(&self.input);
            self.input.clear();
            return None;
        }
        // Two integers have 16 bytes at most.
        while !self.input.is_empty() {
            self.partial.extend_from_slice(&self.input.split_to(1));
            if let Some((kind, length, _)) = parse(&self.partial) {
                self.partial.clear();
                return Some((kind, length));
            }
        }
        None
    }

    fn take(&mut self, most: u64) -> Bytes {
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.input.len());
        self.input.split_to(length)
    }

    fn gather(&mut self, length: usize) -> Option<Bytes> {
        if self.partial.is_empty() && self.input.len() >= length {
            return Some(self.input.split_to(length));
        }
        let missing = length - self.partial.len();
        let piece = self.take(missing as u64);
        self.partial.extend_from_slice(&piece);
        (piece.len() == missing).then(|| self.partial.split().freeze())
    }
}

/// Appends a frame's head.
pub(super) fn put_head(out: &mut BytesMut, kind: u64, length: usize) {
    varint::put(out, kind);
    varint::put(out, length as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(pieces: &[&[u8]], most: usize) -> Result<(Vec<Frame>, bool), DecodeError> {
        let mut decoder = Decoder::new(most);
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(frame) = decoder.next()? {
                frames.push(frame);
            }
        }
        Ok((frames, decoder.is_between_frames()))
    }

    fn headers(payload: &'static [u8]) -> Frame {
        Frame::Whole { kind: HEADERS, payload: Bytes::from_static(payload) }
    }

    #[test]
    fn a_request_is_read_however_it_is_cut() {
        let stream = b"\x01\x03abc\x00\x02de\x21\x02zz\x01\x01f";
        let whole = frames(&[stream], 8).unwrap();
        let data = Frame::Data(Bytes::from_static(b"de"));
        assert_eq!(whole, (vec![headers(b"abc"), data, Frame::Unknown, headers(b"f")], true));
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        let (cut, ended) = frames(&bytes, 8).unwrap();
        assert!(ended && cut.len() == 5, "the body comes in two pieces: {cut:?}");
    }

    #[test]
    fn a_stream_ends_between_frames_only() {
        for part in [&b"\x01"[..], b"\x01\x02a", b"\x00\x01", b"\x21\x01"] {
            assert!(!frames(&[part], 8).unwrap().1, "{part:?}");
        }
        assert!(frames(&[b"\x00\x00"], 8).is_ok_and(|(frames, _)| frames.is_empty()));
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_head() {
        assert_eq!(frames(&[b"\x01\x09"], 8), Err(DecodeError::TooLong { kind: HEADERS }));
        let huge = b"\x04\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(frames(&[huge], 8), Err(DecodeError::TooLong { kind: SETTINGS }));
    }

    #[test]
    fn types_of_http2_are_refused() {
        for kind in OF_HTTP2 {
            let mut frame = BytesMut::new();
            put_head(&mut frame, kind, 0);
            assert_eq!(frames(&[&frame], 8), Err(DecodeError::Unexpected), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn no_stream_makes_it_hold_more_than_one_payload(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..40),
        ) {
            let mut decoder = Decoder::new(64);
            'stream: for piece in pieces {
                decoder.push(piece.into());
                loop {
                    match decoder.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
                prop_assert!(decoder.input.is_empty());
                prop_assert!(decoder.partial.len() <= 64);
            }
        }
    }
}
