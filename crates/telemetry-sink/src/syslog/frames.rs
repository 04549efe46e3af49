//! Messages out of a stream of bytes (RFC 6587): `LENGTH MESSAGE` where a message starts with a digit, otherwise
//! lines.

/// The largest message that is kept, in bytes; RFC 5425 asks for 8 KiB.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
/// No counted message is longer, so more digits than these are no length.
const MAX_DIGITS: usize = 7;

/// The stream cannot be followed: what should be a length is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost;

/// Collects bytes and gives messages.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
    /// Bytes of an overlong counted message that are still to come and are thrown away.
    skip: usize,
    /// An overlong line is thrown away up to its end.
    skip_line: bool,
}

impl Frames {
    /// Adds bytes from the stream and visits the messages that are complete now. Returns how many bytes of
    /// overlong messages were cut.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut message: impl FnMut(&[u8])) -> Result<usize, Lost> {
        self.buffer.extend_from_slice(bytes);
        let (mut start, mut cut) = (0, 0);
        loop {
            let rest = self.buffer.get(start..).unwrap_or_default();
            let step = self.step(rest)?;
            match step {
                Step::More => break,
                Step::Skip { bytes, lines, left } => {
                    (self.skip, self.skip_line) = (left, lines);
                    start += bytes;
                    cut += bytes;
                }
                Step::Message { from, to, next, left, lines } => {
                    let found = rest.get(from..to).unwrap_or_default();
                    if !found.is_empty() {
                        message(found);
                    }
                    (self.skip, self.skip_line) = (left, lines);
                    start += next;
                }
            }
        }
        self.buffer.drain(..start);
        Ok(cut)
    }

    /// What is left when the stream ends: a last line without its end.
    pub(crate) fn finish(&mut self, mut message: impl FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.buffer);
        let is_counted = rest.first().is_some_and(u8::is_ascii_digit);
        if !rest.is_empty() && !is_counted && !self.skip_line && self.skip == 0 {
            message(trimmed(&rest));
        }
    }

    fn step(&self, rest: &[u8]) -> Result<Step, Lost> {
        if rest.is_empty() {
            return Ok(Step::More);
        }
        if self.skip > 0 {
            let bytes = self.skip.min(rest.len());
            return Ok(Step::Skip { bytes, lines: false, left: self.skip - bytes });
        }
        if self.skip_line {
            return Ok(match end_of_line(rest) {
                Some(end) => Step::Skip { bytes: end + 1, lines: false, left: 0 },
                None => Step::Skip { bytes: rest.len(), lines: true, left: 0 },
            });
        }
        if rest.first().is_some_and(|byte| (b'1'..=b'9').contains(byte)) {
            counted(rest)
        } else {
            Ok(line(rest))
        }
    }
}

#[derive(Debug)]
enum Step {
    More,
    Skip {
        bytes: usize,
        lines: bool,
        left: usize,
    },
    /// A message between `from` and `to`; the next starts at `next`, after `left` bytes or the line's rest.
    Message {
        from: usize,
        to: usize,
        next: usize,
        left: usize,
        lines: bool,
    },
}

fn counted(rest: &[u8]) -> Result<Step, Lost> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits) {
        _ if digits > MAX_DIGITS => return Err(Lost),
        None => return Ok(Step::More),
        Some(b' ') => {}
        Some(_) => return Err(Lost),
    }
    let length =
        rest.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    let length = length.ok_or(Lost)?;
    let from = digits + 1;
    let kept = length.min(MAX_MESSAGE);
    if rest.len() < from + kept {
        return Ok(Step::More);
    }
    let to = from + kept;
    Ok(Step::Message { from, to, next: to, left: length - kept, lines: false })
}

fn line(rest: &[u8]) -> Step {
    match end_of_line(rest) {
        Some(end) if end <= MAX_MESSAGE => {
            let to = trimmed(rest.get(..end).unwrap_or_default()).len();
            Step::Message { from: 0, to, next: end + 1, left: 0, lines: false }
        }
        None if rest.len() <= MAX_MESSAGE => Step::More,
        _ => Step::Message { from: 0, to: MAX_MESSAGE, next: MAX_MESSAGE, left: 0, lines: true },
    }
}

/// Lines end with LF; some senders end them with NUL.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| matches!(byte, b'\n' | 0))
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(chunks: &[&[u8]]) -> (Vec<String>, usize, bool) {
        let (mut frames, mut found, mut cut) = (Frames::default(), Vec::new(), 0);
        let mut push = |bytes: &[u8]| found.push(String::from_utf8_lossy(bytes).into_owned());
        for chunk in chunks {
            match frames.feed(chunk, &mut push) {
                Ok(bytes) => cut += bytes,
                Err(Lost) => return (found, cut, true),
            }
        }
        frames.finish(&mut push);
        (found, cut, false)
    }

    #[test]
    fn counted_messages_and_lines_are_told_apart() {
        let (found, cut, lost) = all(&[b"<1>one\r\n<2>two\n\n5 <3>\nx", b"<4>", b"last"]);
        assert_eq!(found, ["<1>one", "<2>two", "<3>\nx", "<4>last"]);
        assert_eq!((cut, lost), (0, false));
        assert!(all(&[b"12x<1>"]).2);
        assert!(all(&[b"123456789 <1>"]).2);
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_next_message_found() {
        let long = "x".repeat(MAX_MESSAGE + 100);
        let (found, cut, _) = all(&[b"<1>", long.as_bytes(), b"\n<2>two\n"]);
        assert_eq!((found[0].len(), found[1].as_str()), (MAX_MESSAGE, "<2>two"));
        assert_eq!(cut, 104);
        let counted = format!("{} {long}", long.len());
        let (found, cut, _) = all(&[counted.as_bytes(), b"6 <2>two"]);
        assert_eq!((found[0].len(), found[1].as_str(), cut), (MAX_MESSAGE, "<2>two", 100));
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "(<1>[a-z ]{0,9}\n|5 <2>[a-z]{2}){0,9}", at in 0usize..80) {
            let at = at.min(text.len());
            let (left, right) = text.as_bytes().split_at(at);
            prop_assert_eq!(all(&[left, right]), all(&[text.as_bytes()]));
        }

        #[test]
        fn memory_is_bounded(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut frames = Frames::default();
            for chunk in chunks {
                if frames.feed(&chunk, |message| assert!(message.len() <= MAX_MESSAGE)).is_err() {
                    break;
                }
                prop_assert!(frames.buffer.len() <= MAX_MESSAGE + 16);
            }
        }
    }
}
