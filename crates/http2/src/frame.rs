//! Frames (RFC 9113 sections 4 and 6): their nine bytes of head, padding, settings.

use crate::error::{Fault, Reason, broken};

/// Bytes of a frame's head.
pub(crate) const HEAD: usize = 9;
/// The largest payload that either side sends: SETTINGS_MAX_FRAME_SIZE stays at its initial value, and clients that
/// allow more get no more.
pub(crate) const MAX_PAYLOAD: usize = 16_384;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;
/// RFC 9218 section 7.1.
pub(crate) const PRIORITY_UPDATE: u8 = 0x10;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
/// HEADERS begin with five bytes of priority.
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// Stream identifiers have 31 bits; the one before them is reserved.
const IDENTIFIER: u32 = 0x7fff_ffff;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    /// None where fewer than nine bytes are there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[high, middle, low, kind, flags, a, b, c, d] = bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]) & IDENTIFIER,
        })
    }

    pub(crate) fn to_bytes(self) -> [u8; HEAD] {
        // No payload is longer than 24 bits say: what is sent has MAX_PAYLOAD at most.
        let [_, high, middle, low] = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        [high, middle, low, self.kind, self.flags, a, b, c, d]
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Where the content of a padded payload lies (RFC 9113 section 6.1).
pub(crate) fn content(head: Head, payload: &[u8]) -> Result<std::ops::Range<usize>, Fault> {
    if !head.has(PADDED) {
        return Ok(0..payload.len());
    }
    let Some((&padding, rest)) = payload.split_first() else {
        return broken(Reason::FrameSize, "a padded frame has no length of its padding");
    };
    match rest.len().checked_sub(usize::from(padding)) {
        Some(length) => Ok(1..1 + length),
        None => broken(Reason::Protocol, "a frame's padding is longer than the frame"),
    }
}

/// A 32-bit number at the beginning of a payload; 0 where there is none.
pub(crate) fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The same without its reserved bit.
pub(crate) fn number31(payload: &[u8]) -> u32 {
    number(payload) & IDENTIFIER
}

/// Settings of RFC 9113 section 6.5.2 that one of the two sides looks at.
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(crate) const ENABLE_PUSH: u16 = 0x2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// RFC 9218 section 2.1.
    pub(crate) const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// Identifiers and values of a SETTINGS frame's payload, whose length is a multiple of six.
pub(crate) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> + '_ {
    payload
        .as_chunks::<6>()
        .0
        .iter()
        .map(|&[a, b, value @ ..]| (u16::from_be_bytes([a, b]), u32::from_be_bytes(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_its_reserved_bit_is_nothing() {
        let head = Head { length: 0x01_02_03, kind: 7, flags: 0xa5, stream: 0x7fff_fffe };
        assert_eq!(Head::parse(&head.to_bytes()), Some(head));
        let mut bytes = head.to_bytes();
        bytes[5] |= 0x80;
        assert_eq!(Head::parse(&bytes), Some(head));
        assert_eq!(Head::parse(&bytes[..8]), None);
    }

    #[test]
    fn padding_is_taken_off_and_never_longer_than_the_frame() {
        let head = |flags| Head { length: 0, kind: DATA, flags, stream: 1 };
        assert_eq!(content(head(0), b"abc"), Ok(0..3));
        assert_eq!(content(head(PADDED), b"\x02abc"), Ok(1..2));
        assert_eq!(content(head(PADDED), b"\x03abc"), Ok(1..1));
        assert!(matches!(content(head(PADDED), b"\x04abc"), Err(Fault::Connection(Reason::Protocol, _))));
        assert!(matches!(content(head(PADDED), b""), Err(Fault::Connection(Reason::FrameSize, _))));
    }
}
