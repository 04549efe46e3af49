//! Notices an HTTP/1 request head that carries both Content-Length and Transfer-Encoding.
//!
//! hyper resolves the pair the safe way (Transfer-Encoding wins, the connection closes afterwards) but
//! hides it from the service, and RFC 9112 section 6.1 names the pair as a likely smuggling attempt that
//! should be refused. The guard sees the bytes that hyper reads. It looks only at bytes known to start
//! a head: it is armed at the start of a connection and whenever a request has been read to its end.
//! A pipelined head that arrived together with its predecessor is not inspected; hyper's own handling
//! remains the floor there. It never reports a pair that is not in the head.

/// What was seen of the head that is being read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HeadGuard {
    state: State,
    /// A line has begun: empty lines before the request line are skipped (RFC 9112 section 2.2).
    begun: bool,
    length: bool,
    encoding: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// At the first byte of a line.
    #[default]
    LineStart,
    /// Comparing the line with a name of interest; so many bytes have matched.
    Matching(Name, u8),
    /// Somewhere in a line of no interest.
    InLine,
    /// The head has ended; the rest is body.
    Done,
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
        while self.state != State::Done {
            if self.state == State::InLine {
                let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return };
                self.state = State::LineStart;
                bytes = bytes.get(end + 1..).unwrap_or_default();
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.step(byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if !self.begun {
            self.begun = !matches!(byte, b'\r' | b'\n');
            // The first line is the request line, whatever it begins with.
            self.state = if self.begun { State::InLine } else { State::LineStart };
            return;
        }
        self.state = match (self.state, byte) {
            (State::LineStart, b'c' | b'C') => State::Matching(Name::Length, 1),
            (State::LineStart, b't' | b'T') => State::Matching(Name::Encoding, 1),
            (State::LineStart, b'\n') => State::Done,
            (State::Matching(name, at), byte) => match name.text().get(usize::from(at)) {
                Some(expected) if byte.eq_ignore_ascii_case(expected) => State::Matching(name, at + 1),
                None if byte == b':' => {
                    match name {
                        Name::Length => self.length = true,
                        Name::Encoding => self.encoding = true,
                    }
                    State::InLine
                }
                _ if byte == b'\n' => State::LineStart,
                _ => State::InLine,
            },
            (State::LineStart, b'\r') | (State::Done, _) => self.state,
            (State::LineStart | State::InLine, _) => State::InLine,
        };
    }

    /// Whether the head held both; true at most once per head.
    pub(crate) fn take_finding(&mut self) -> bool {
        let finding = self.length && self.encoding;
        if finding {
            *self = Self { state: State::Done, ..Self::default() };
        }
        finding
    }

    /// The next byte read begins a head.
    pub(crate) fn arm(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conflict(chunks: &[&str]) -> bool {
        let mut guard = HeadGuard::default();
        for chunk in chunks {
            guard.observe(chunk.as_bytes());
        }
        guard.take_finding()
    }

    #[test]
    fn both_headers_in_one_head_are_a_conflict() {
        assert!(conflict(&["POST / HTTP/1.1\r\nContent-Length: 3\r\ntransfer-ENCODING: chunked\r\n\r\n"]));
        assert!(conflict(&["POST / HTTP/1.1\nTransfer-Encoding:chunked\nContent-Length:3\n\n"]));
    }

    #[test]
    fn one_header_or_a_body_that_looks_like_one_is_no_conflict() {
        assert!(!conflict(&[
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nContent-Length: 3\r\n\r\n"
        ]));
        assert!(!conflict(&[
            "POST / HTTP/1.1\r\nX: Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        ]));
        assert!(!conflict(&["POST / HTTP/1.1\r\nContent-Lengthy: 1\r\nTransfer-Encoding: chunked\r\n\r\n"]));
    }

    #[test]
    fn a_request_line_is_not_taken_for_a_header() {
        assert!(!conflict(&["transfer-encoding: / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"]));
    }

    #[test]
    fn empty_lines_before_the_request_line_do_not_blind_the_guard() {
        assert!(conflict(&[
            "\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        ]));
    }

    proptest! {
        #[test]
        fn splitting_the_head_anywhere_finds_the_same(cut in 0usize..80) {
            let head = "POST /x HTTP/1.1\r\nContent-Length: 3\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (a, b) = head.split_at(cut.min(head.len()));
            prop_assert!(conflict(&[a, b]));
        }
    }
}
