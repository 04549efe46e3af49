//! The chunked transfer coding of a message (RFC 9112 section 7.1), read strictly: what two readers could understand
//! in two ways is an error.

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::Malformed;

/// Bytes of extensions and of trailers that a body may have in all.
const MAX_OVERHEAD: usize = 16 * 1024;
const MAX_TRAILERS: usize = 64;

/// Where in the coding the reader is.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes that are left of the chunk; while its size is read, what has been read of it.
    left: u64,
    overhead: usize,
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the first digit of a size.
    #[default]
    Start,
    Size,
    /// In blanks behind the size, which some senders pad it with.
    Blank,
    /// Behind a semicolon, up to the end of the line.
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// The end, with trailers.
    Trailers(HeaderMap),
    End,
}

impl Chunked {
    /// The next piece of `input`; None when it has to have more.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        loop {
            if self.state == State::Data && !input.is_empty() {
                let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
                self.left -= length as u64;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                return Ok(Some(Piece::Data(input.split_to(length))));
            }
            let Some(&byte) = input.first() else { return Ok(None) };
            input.advance(1);
            if self.state == State::Trailers {
                if let Some(end) = self.trailer(byte)? {
                    return Ok(Some(end));
                }
                continue;
            }
            self.state = self.step(byte)?;
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        let malformed = Err(Malformed("its chunks are malformed"));
        Ok(match (self.state, byte) {
            (State::Start | State::Size, byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let larger = self.left.checked_mul(16).and_then(|left| left.checked_add(digit));
                self.left = larger.ok_or(Malformed("a chunk's size is no number"))?;
                State::Size
            }
            (State::Size | State::Blank | State::Extension, b'\r') => State::SizeLineFeed,
            (State::Size | State::Blank, b';') => State::Extension,
            (State::Size | State::Blank, b' ' | b'\t') => {
                self.overhead()?;
                State::Blank
            }
            (State::Extension, byte) if byte != b'\n' && byte != 0 => {
                self.overhead()?;
                State::Extension
            }
            (State::SizeLineFeed, b'\n') if self.left == 0 => State::Trailers,
            (State::SizeLineFeed, b'\n') => State::Data,
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Start,
            _ => return malformed,
        })
    }

    fn overhead(&mut self) -> Result<(), Malformed> {
        self.overhead += 1;
        if self.overhead > MAX_OVERHEAD {
            return Err(Malformed("its chunks have too much beside their data"));
        }
        Ok(())
    }

    /// Takes a byte behind the last chunk; the end is an empty line.
    fn trailer(&mut self, byte: u8) -> Result<Option<Piece>, Malformed> {
        self.overhead()?;
        self.trailers.push(byte);
        if self.trailers == b"\r\n" {
            return Ok(Some(Piece::End));
        }
        if !self.trailers.ends_with(b"\r\n\r\n") {
            return Ok(None);
        }
        let malformed = Malformed("its trailers are malformed");
        let mut places = [httparse::EMPTY_HEADER; MAX_TRAILERS];
        let Ok(httparse::Status::Complete((_, fields))) =
            httparse::parse_headers(&self.trailers, &mut places)
        else {
            return Err(malformed);
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            match (name, HeaderValue::from_bytes(field.value)) {
                (Ok(name), Ok(value)) => trailers.append(name, value),
                _ => return Err(malformed),
            };
        }
        Ok(Some(Piece::Trailers(trailers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Whole = (Vec<u8>, Vec<String>);

    /// All data, and the trailers' names; the body comes in two parts, cut at `cut`.
    fn read(body: &[u8], cut: usize) -> Result<Option<Whole>, Malformed> {
        let (first, second) = body.split_at(cut);
        let (mut chunked, mut data) = (Chunked::default(), Vec::new());
        for part in [first, second] {
            let mut input = Bytes::copy_from_slice(part);
            while let Some(piece) = chunked.next(&mut input)? {
                match piece {
                    Piece::Data(piece) => data.extend_from_slice(&piece),
                    Piece::End => return Ok(Some((data, Vec::new()))),
                    Piece::Trailers(all) => {
                        return Ok(Some((data, all.keys().map(ToString::to_string).collect())));
                    }
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_reads_the_same_wherever_it_is_cut() {
        let body = b"5\r\nhello\r\n6;a=b\r\n world\r\n00A \r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
        for cut in 0..=body.len() {
            let (data, trailers) = read(body, cut).unwrap().unwrap();
            assert_eq!(data, b"hello world0123456789", "cut at {cut}");
            assert_eq!(trailers, ["x-sum"], "cut at {cut}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let long = [b"1;".to_vec(), vec![b'x'; MAX_OVERHEAD + 1], b"\r\na\r\n0\r\n\r\n".to_vec()].concat();
        let many = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(MAX_TRAILERS + 1), b"\r\n".to_vec()].concat();
        let bodies: [&[u8]; 14] = [
            b"\r\n0\r\n\r\n",
            b"-1\r\na\r\n0\r\n\r\n",
            b"0x1\r\na\r\n0\r\n\r\n",
            b" 1\r\na\r\n0\r\n\r\n",
            b"1 1\r\na\r\n0\r\n\r\n",
            b"1\na\n0\n\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"1\r\na0\r\n\r\n",
            b"1;a\nb\r\na\r\n0\r\n\r\n",
            b"10000000000000001\r\na\r\n0\r\n\r\n",
            b"0\r\n no-name\r\n\r\n",
            b"0\r\na b: c\r\n\r\n",
            &long,
            &many,
        ];
        for body in bodies {
            let outcome = read(body, body.len());
            assert!(matches!(outcome, Err(Malformed(_))), "{:?}", String::from_utf8_lossy(body));
        }
    }
}
