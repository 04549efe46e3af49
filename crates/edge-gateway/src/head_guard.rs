//! Notices in HTTP/1 request heads what hyper takes and hides: both Content-Length and Transfer-Encoding, and
//! lines that end in a bare line feed.
//!
//! hyper resolves the pair the safe way (Transfer-Encoding wins, the connection closes afterwards), but RFC 9112
//! section 6.1 names it as a likely smuggling attempt that should be refused; and a proxy in front that does
//! not see a line end in a bare line feed (section 2.2) sees another head than hyper does. The guard sees the bytes that
//! hyper reads and follows the framing of bodies over them, so that pipelined heads are inspected too. Where it loses
//! the thread (a framing that hyper refuses, a tunnel) it is silent from there on: hyper's own handling remains the
//! floor.

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    TwoFramings,
    BareLineFeed,
}

/// Where in a connection's requests the guard is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HeadGuard {
    state: State,
    /// The byte before the next one.
    last: u8,
    /// Heads begun so far.
    heads: u32,
    length: Option<u64>,
    encoding: bool,
    fault: Option<(u32, Fault)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before a request line; empty lines are skipped (RFC 9112 section 2.2).
    #[default]
    Between,
    /// At the first byte of a header line.
    LineStart,
    /// Comparing the line with a name of interest; so many bytes have matched.
    Matching(Name, u8),
    /// In the value of Content-Length.
    Length(u64),
    /// Somewhere in a line of no interest.
    InLine,
    /// In a body of which so many bytes are to come.
    Body(u64),
    /// In the size of a chunk.
    Size(u64),
    /// Behind the size of a chunk, in its extensions.
    Extension(u64),
    /// In a chunk of which so many bytes are to come, with its line end.
    Chunk(u64),
    TrailerStart,
    InTrailer,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Length,
    Encoding,
}

impl Name {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Length => b"content-length",
            Self::Encoding => b"transfer-encoding",
        }
    }
}

impl HeadGuard {
    /// Looks at bytes just read.
    pub(crate) fn observe(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Lost => return,
                State::InLine | State::Extension(_) | State::InTrailer => to_line_feed(bytes),
                State::Body(left) | State::Chunk(left) => {
                    bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))
                }
                _ => 1,
            };
            let (these, rest) = bytes.split_at(taken);
            bytes = rest;
            self.take(these);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some((&byte, before)) = bytes.split_last() else { return };
        let previous = before.last().copied().unwrap_or(self.last);
        self.last = byte;
        let count = bytes.len() as u64;
        self.state = match self.state {
            State::Body(left) if left == count => State::Between,
            State::Body(left) => State::Body(left - count),
            State::Chunk(left) if left == count => State::Size(0),
            State::Chunk(left) => State::Chunk(left - count),
            State::Extension(size) if byte == b'\n' => after_size(size),
            State::InTrailer if byte == b'\n' => State::TrailerStart,
            State::Between => self.between(byte),
            State::Size(size) => size_byte(size, byte),
            State::TrailerStart => match byte {
                b'\n' => State::Between,
                b'\r' => State::TrailerStart,
                _ => State::InTrailer,
            },
            State::Lost | State::Extension(_) | State::InTrailer => self.state,
            _ if byte == b'\n' && previous != b'\r' => self.faulty(Fault::BareLineFeed),
            _ => self.head_byte(byte),
        };
    }

    fn between(&mut self, byte: u8) -> State {
        match byte {
            b'\r' | b'\n' => State::Between,
            // Methods are words; a tunnel's bytes are of no interest.
            0x21..=0x7e => {
                self.heads = self.heads.wrapping_add(1);
                (self.length, self.encoding) = (None, false);
                // The first line is the request line, whatever it begins with.
                State::InLine
            }
            _ => State::Lost,
        }
    }

    fn head_byte(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (State::LineStart, b'c' | b'C') => State::Matching(Name::Length, 1),
            (State::LineStart, b't' | b'T') => State::Matching(Name::Encoding, 1),
            (State::LineStart, b'\n') => match (self.encoding, self.length) {
                (true, _) => State::Size(0),
                (false, None | Some(0)) => State::Between,
                (false, Some(length)) => State::Body(length),
            },
            (State::Matching(name, at), byte) => match name.text().get(usize::from(at)) {
                Some(expected) if byte.eq_ignore_ascii_case(expected) => State::Matching(name, at + 1),
                None if byte == b':' => self.framing(name),
                _ if byte == b'\n' => State::LineStart,
                _ => State::InLine,
            },
            (State::Length(value), b'0'..=b'9') => {
                match value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0'))) {
                    Some(value) => {
                        self.length = Some(value);
                        State::Length(value)
                    }
                    None => State::Lost,
                }
            }
            (State::Length(_), b' ' | b'\t' | b'\r') => self.state,
            // hyper refuses what is no number.
            (State::Length(_), byte) if byte != b'\n' => State::Lost,
            (State::LineStart, b'\r') | (_, b'\n') => State::LineStart,
            _ => State::InLine,
        }
    }

    fn framing(&mut self, name: Name) -> State {
        let state = match name {
            Name::Length => {
                self.length.get_or_insert(0);
                State::Length(0)
            }
            Name::Encoding => {
                self.encoding = true;
                State::InLine
            }
        };
        if self.encoding && self.length.is_some() { self.faulty(Fault::TwoFramings) } else { state }
    }

    /// The connection ends with this request, so that what follows does not matter.
    const fn faulty(&mut self, fault: Fault) -> State {
        self.fault = Some((self.heads, fault));
        State::Lost
    }

    /// What is wrong, and with which head of the connection, counted from 1; once.
    pub(crate) const fn take_fault(&mut self) -> Option<(u32, Fault)> {
        self.fault.take()
    }
}

/// Bytes up to and with the first line feed, or all.
fn to_line_feed(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

fn size_byte(size: u64, byte: u8) -> State {
    match char::from(byte).to_digit(16) {
        // hyper refuses larger ones.
        Some(_) if size >> 60 != 0 => State::Lost,
        Some(digit) => State::Size(size << 4 | u64::from(digit)),
        None if byte == b'\n' => after_size(size),
        None => State::Extension(size),
    }
}

const fn after_size(size: u64) -> State {
    match size {
        0 => State::TrailerStart,
        _ => State::Chunk(size.saturating_add(2)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(chunks: &[&str]) -> Option<(u32, Fault)> {
        let mut guard = HeadGuard::default();
        for chunk in chunks {
            guard.observe(chunk.as_bytes());
        }
        guard.take_fault()
    }

    const BOTH: &str = "POST / HTTP/1.1\r\nContent-Length: 3\r\ntransfer-ENCODING: chunked\r\n\r\n";

    #[test]
    fn both_headers_in_one_head_are_a_fault() {
        let turned = "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\nContent-Length:3\r\n\r\n";
        for head in [BOTH, turned] {
            assert_eq!(fault(&[head]), Some((1, Fault::TwoFramings)));
        }
    }

    #[test]
    fn a_bare_line_feed_in_a_head_is_a_fault() {
        for head in ["GET / HTTP/1.1\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\n\r\n", "GET / HTTP/1.1\r\n\n"] {
            assert_eq!(fault(&[head]), Some((1, Fault::BareLineFeed)), "{head:?}");
        }
    }

    #[test]
    fn one_header_or_a_body_that_looks_like_one_is_no_fault() {
        for bytes in [
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2a\r\nContent-Length: 3\nTransfer-Encoding: chunked",
            "POST / HTTP/1.1\r\nX: Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Lengthy: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nGET / HTTP/1.1\n\nGET / HTTP/1.1\n\n",
        ] {
            assert_eq!(fault(&[bytes]), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_request_line_is_not_taken_for_a_header() {
        assert_eq!(fault(&["transfer-encoding: / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"]), None);
    }

    #[test]
    fn empty_lines_before_the_request_line_do_not_blind_the_guard() {
        assert_eq!(fault(&["\r\n\n", BOTH]), Some((1, Fault::TwoFramings)));
    }

    #[test]
    fn heads_behind_others_and_their_bodies_are_inspected() {
        let get = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
        let body = "POST / HTTP/1.1\r\nContent-Length:  003 \r\n\r\nabc";
        let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1a;x\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nA: b\r\n\r\n";
        assert_eq!(fault(&[get, body, chunks, get, BOTH]), Some((5, Fault::TwoFramings)));
    }

    #[test]
    fn a_tunnels_bytes_are_not_looked_at() {
        assert_eq!(fault(&["GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", "\u{81}A\n\n", BOTH]), None);
    }

    proptest! {
        #[test]
        fn splitting_the_bytes_anywhere_finds_the_same(cut in 0usize..200) {
            let all = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{BOTH}");
            let (a, b) = all.split_at(cut.min(all.len()));
            prop_assert_eq!(fault(&[a, b]), Some((2, Fault::TwoFramings)));
        }
    }
}
