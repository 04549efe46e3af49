//! Header blocks of answers, and the table that they make entries of.

use std::collections::VecDeque;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{ENTRY_OVERHEAD, TABLE_SIZE, huffman, integer, statics};

/// A field larger than this is sent as it is: it would push everything else out of the table.
const LARGEST_ENTRY: usize = 512;

#[derive(Debug)]
pub(crate) struct Encoder {
    /// The newest first.
    table: VecDeque<(HeaderName, HeaderValue)>,
    size: usize,
    max: usize,
    /// The least size that was set since the last block, while the client has not been told of it.
    announce: Option<usize>,
}

/// How a field is sent (RFC 7541 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It comes again: the table gets it.
    Indexed,
    /// It is another one in each answer.
    Literal,
    /// Neither this table nor that of anybody who passes it on may have it.
    NeverIndexed,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max: TABLE_SIZE, announce: None }
    }

    /// The client has set SETTINGS_HEADER_TABLE_SIZE.
    pub(crate) fn allow(&mut self, size: u32) {
        let max = usize::try_from(size).unwrap_or(usize::MAX).min(TABLE_SIZE);
        if max != self.max || self.announce.is_some() {
            self.announce = Some(self.announce.map_or(max, |least| least.min(max)));
            self.max = max;
            self.evict(max);
        }
    }

    /// Begins a block.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(least) = self.announce.take() else { return };
        if least < self.max {
            integer::write(0x20, 5, least, out);
        }
        integer::write(0x20, 5, self.max, out);
    }

    pub(crate) fn status(status: StatusCode, out: &mut Vec<u8>) {
        if let Some(index) = statics::index_of_status(status.as_u16()) {
            integer::write(0x80, 7, index, out);
        } else {
            integer::write(0, 4, statics::STATUS, out);
            string(status.as_str().as_bytes(), out);
        }
    }

    pub(crate) fn field(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
        let size = name.as_str().len() + value.len() + ENTRY_OVERHEAD;
        let (first, bits) = match way(name, value) {
            Way::Indexed if size <= LARGEST_ENTRY.min(self.max) => {
                if let Some(at) = self.table.iter().position(|entry| entry.1 == *value && entry.0 == *name) {
                    return integer::write(0x80, 7, statics::LENGTH + 1 + at, out);
                }
                (0x40, 6)
            }
            Way::Indexed | Way::Literal => (0, 4),
            Way::NeverIndexed => (0x10, 4),
        };
        if let Some(index) = self.index_of(name) {
            integer::write(first, bits, index, out);
        } else {
            out.push(first);
            string(name.as_str().as_bytes(), out);
        }
        string(value.as_bytes(), out);
        if first == 0x40 {
            self.insert(name, value, size);
        }
    }

    fn index_of(&self, name: &HeaderName) -> Option<usize> {
        let dynamic = || self.table.iter().position(|entry| entry.0 == *name);
        statics::index_of(name).or_else(|| Some(statics::LENGTH + 1 + dynamic()?))
    }

    fn insert(&mut self, name: &HeaderName, value: &HeaderValue, size: usize) {
        self.evict(self.max.saturating_sub(size));
        // Copied: it may be a piece of a buffer that is much larger.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.size += size;
            self.table.push_front((name.clone(), value));
        }
    }

    fn evict(&mut self, to: usize) {
        while self.size > to
            && let Some((name, value)) = self.table.pop_back()
        {
            self.size -= name.as_str().len() + value.len() + ENTRY_OVERHEAD;
        }
    }
}

fn way(name: &HeaderName, value: &HeaderValue) -> Way {
    if value.is_sensitive() {
        return Way::NeverIndexed;
    }
    match name.as_str() {
        // RFC 7541 section 7.1.3: who can make requests could find them out by the size of the answers.
        "set-cookie" | "authorization" | "www-authenticate" | "authentication-info" => Way::NeverIndexed,
        "age" | "content-length" | "content-range" | "etag" | "expires" | "last-modified" | "location"
        | "ratelimit" | "retry-after" | "server-timing" | "traceparent" | "x-request-id" => Way::Literal,
        _ => Way::Indexed,
    }
}

/// In Huffman's code where that is shorter.
fn string(text: &[u8], out: &mut Vec<u8>) {
    let length = huffman::length(text);
    if length < text.len() {
        integer::write(0x80, 7, length, out);
        huffman::encode(text, out);
    } else {
        integer::write(0, 7, text.len(), out);
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Decoder, Field};
    use super::*;

    fn block(encoder: &mut Encoder, fields: &[(&'static str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for (name, value) in fields {
            encoder.field(&HeaderName::from_static(name), &HeaderValue::from_str(value).unwrap(), &mut out);
        }
        out
    }

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let taken = decoder.decode(block, |field, _| {
            let Field::Header(name, value) = field else { panic!("{field:?}") };
            fields.push((name.to_string(), value.to_str().unwrap().to_owned()));
            Ok(())
        });
        assert_eq!(taken, Ok(()));
        fields
    }

    #[test]
    fn what_comes_again_is_one_byte() {
        let mut encoder = Encoder::new();
        let first = block(&mut encoder, &[("server", "s"), ("x-a", "b")]);
        let second = block(&mut encoder, &[("server", "s"), ("x-a", "b")]);
        assert!(first.len() > 4);
        assert_eq!(second, [0xbf, 0xbe]);
    }

    #[test]
    fn secrets_and_what_changes_are_in_no_table() {
        let mut encoder = Encoder::new();
        let fields = [("set-cookie", "a=b"), ("content-length", "5")];
        assert_eq!(block(&mut encoder, &fields), block(&mut encoder, &fields));
        assert_eq!((encoder.size, encoder.table.len()), (0, 0));
        assert_eq!(block(&mut encoder, &fields)[0], 0x1f);
    }

    #[test]
    fn a_smaller_table_is_announced_and_kept_to() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let fields = [("server", "s"), ("x-a", "b")];
        decoded(&mut decoder, &block(&mut encoder, &fields));
        encoder.allow(0);
        encoder.allow(50);
        let out = block(&mut encoder, &fields);
        assert_eq!(out[..3], [0x20, 0x3f, 0x13]);
        assert_eq!(decoded(&mut decoder, &out).len(), 2);
        assert!(encoder.size <= 50);
        encoder.allow(u32::MAX);
        assert_eq!(block(&mut encoder, &[])[..], [0x3f, 0xe1, 0x1f]);
        assert_eq!(block(&mut encoder, &[])[..], []);
    }

    #[test]
    fn statuses_are_an_index_or_three_digits() {
        let written = |status: u16| {
            let mut out = Vec::new();
            Encoder::status(StatusCode::from_u16(status).unwrap(), &mut out);
            out
        };
        assert_eq!(written(200), [0x88]);
        assert_eq!(written(403)[0], 0x08);
    }

    proptest! {
        #[test]
        fn a_decoder_reads_what_is_written_whatever_the_table_allows(
            blocks in proptest::collection::vec(
                (
                    proptest::option::of(0u32..9_000),
                    proptest::collection::vec(("[a-z][a-z0-9-]{0,20}", "[!-~]([ -~]{0,300}[!-~])?"), 0..8),
                ),
                1..12,
            )
        ) {
            let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
            for (size, fields) in blocks {
                if let Some(size) = size {
                    encoder.allow(size);
                }
                let mut out = Vec::new();
                encoder.begin(&mut out);
                for (name, value) in &fields {
                    let (name, value) =
                        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
                    encoder.field(&name, &value, &mut out);
                }
                prop_assert_eq!(decoded(&mut decoder, &out), fields);
                prop_assert!(encoder.size <= encoder.max);
            }
        }
    }
}
