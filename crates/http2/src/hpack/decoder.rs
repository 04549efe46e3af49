//! Header blocks of the client, and the table that it makes entries of.

use std::collections::VecDeque;

use bytes::Bytes;

use super::field::{Entry, Field, Name};
use super::{TABLE_SIZE, huffman, integer, statics};

/// A block that cannot be decoded: the tables of both sides differ from here on, so the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable;

/// Changes of the table's size that may begin a block: the least one and the last (RFC 7541 section 4.2).
const SIZE_UPDATES: usize = 2;

#[derive(Debug)]
pub(crate) struct Decoder {
    /// The newest first.
    table: VecDeque<Entry>,
    size: usize,
    /// What the client has set the size to.
    max: usize,
    /// Strings are decoded into it.
    scratch: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max: TABLE_SIZE, scratch: Vec::new() }
    }

    /// Hands each field to `take` with what it counts in a header list.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(Field, usize) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        let mut updates = Some(SIZE_UPDATES);
        while let Some((&first, rest)) = block.split_first() {
            block = rest;
            if first & 0xe0 == 0x20 {
                updates = Some(updates.and_then(|left| left.checked_sub(1)).ok_or(Undecodable)?);
                self.resize(integer::read(first, 5, &mut block)?)?;
                continue;
            }
            updates = None;
            let entry = if first & 0x80 != 0 {
                self.entry(integer::read(first, 7, &mut block)?)?.clone()
            } else if first & 0x40 != 0 {
                let entry = self.literal(integer::read(first, 6, &mut block)?, &mut block)?;
                self.insert(entry.clone());
                entry
            } else {
                self.literal(integer::read(first, 4, &mut block)?, &mut block)?
            };
            take(entry.field, entry.size)?;
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Entry, Undecodable> {
        let at = index.checked_sub(1).ok_or(Undecodable)?;
        let dynamic = || self.table.get(at.checked_sub(statics::LENGTH)?);
        statics::ENTRIES.get(at).or_else(dynamic).ok_or(Undecodable)
    }

    /// A field whose name has this index, or comes with it where that is 0.
    fn literal(&mut self, index: usize, block: &mut &[u8]) -> Result<Entry, Undecodable> {
        let name = if index == 0 {
            Name::read(string(block, &mut self.scratch)?)
        } else {
            self.entry(index)?.field.name()
        };
        let value = Bytes::copy_from_slice(string(block, &mut self.scratch)?);
        Ok(Entry::new(name, value))
    }

    fn insert(&mut self, entry: Entry) {
        // What is larger than the table empties it and is not in it (RFC 7541 section 4.4).
        self.evict(self.max.saturating_sub(entry.size));
        if entry.size <= self.max {
            self.size += entry.size;
            self.table.push_front(entry);
        }
    }

    fn evict(&mut self, to: usize) {
        while self.size > to
            && let Some(entry) = self.table.pop_back()
        {
            self.size -= entry.size;
        }
    }

    fn resize(&mut self, max: usize) -> Result<(), Undecodable> {
        if max > TABLE_SIZE {
            return Err(Undecodable);
        }
        self.max = max;
        self.evict(max);
        Ok(())
    }

    /// Gives back what only decoding needs.
    pub(crate) fn rest(&mut self) {
        self.scratch = Vec::new();
    }
}

/// A string (RFC 7541 section 5.2), as it lies in the block or decoded.
fn string<'b: 's, 's>(block: &mut &'b [u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Undecodable> {
    let (&first, rest) = block.split_first().ok_or(Undecodable)?;
    *block = rest;
    let length = integer::read(first, 7, block)?;
    let (string, rest) = block.split_at_checked(length).ok_or(Undecodable)?;
    *block = rest;
    if first & 0x80 == 0 {
        return Ok(string);
    }
    scratch.clear();
    huffman::decode(string, scratch)?;
    Ok(scratch)
}

#[cfg(test)]
mod tests {
    use super::super::Pseudo;
    use super::*;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Undecodable> {
        let mut fields = Vec::new();
        decoder.decode(block, |field, _| {
            fields.push(match field {
                Field::Pseudo(pseudo, value) => (pseudo.name().to_owned(), text(&value)),
                Field::Header(name, value) => (name.to_string(), text(value.as_bytes())),
                Field::Malformed(_) => ("malformed".to_owned(), String::new()),
            });
            Ok(())
        })?;
        Ok(fields)
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn is(fields: &[(String, String)], expected: &[(&str, &str)]) {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(fields, expected);
    }

    const FIRST: &[(&str, &str)] =
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    const THIRD: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];

    #[test]
    fn the_requests_of_rfc_7541_c_3_without_huffman() {
        let mut decoder = Decoder::new();
        let first = hex("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d");
        is(&decoded(&mut decoder, &first).unwrap(), FIRST);
        assert_eq!(decoder.size, 57);
        let second = decoded(&mut decoder, &hex("8286 84be 5808 6e6f 2d63 6163 6865")).unwrap();
        is(&second, &[FIRST, &[("cache-control", "no-cache")]].concat());
        assert_eq!(decoder.size, 110);
        let third = hex("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65");
        is(&decoded(&mut decoder, &third).unwrap(), THIRD);
        assert_eq!(decoder.size, 164);
    }

    #[test]
    fn the_requests_of_rfc_7541_c_4_with_huffman() {
        let mut decoder = Decoder::new();
        is(&decoded(&mut decoder, &hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff")).unwrap(), FIRST);
        let second = decoded(&mut decoder, &hex("8286 84be 5886 a8eb 1064 9cbf")).unwrap();
        is(&second, &[FIRST, &[("cache-control", "no-cache")]].concat());
        let third = hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
        is(&decoded(&mut decoder, &third).unwrap(), THIRD);
        assert_eq!(decoder.size, 164);
    }

    #[test]
    fn the_oldest_entries_make_room_as_in_rfc_7541_c_5() {
        let mut decoder = Decoder::new();
        // 256 bytes, then fields of 42, 63 and 222 bytes: the last one leaves no room for the first two.
        let field = |name: char, length: usize| {
            let mut block = vec![0x40, 1, name as u8, 0x7f];
            let mut size = Vec::new();
            integer::write(0, 7, length, &mut size);
            block.truncate(3);
            block.extend(size);
            block.extend(vec![b'v'; length]);
            block
        };
        let block = [hex("3fe1 01"), field('a', 9), field('b', 30), field('c', 189)].concat();
        decoded(&mut decoder, &block).unwrap();
        assert_eq!((decoder.table.len(), decoder.size, decoder.max), (1, 222, 256));
        assert_eq!(decoded(&mut decoder, &[0xbf]), Err(Undecodable));
        decoded(&mut decoder, &field('d', 4_000)).unwrap();
        assert_eq!((decoder.table.len(), decoder.size), (0, 0));
    }

    #[test]
    fn sizes_change_only_where_a_block_begins_and_within_the_bound() {
        for (block, good) in [
            (hex("20 3fe1 1f 82"), true),
            (hex("20 20 20 82"), false),
            (hex("82 20"), false),
            (hex("3fe2 1f"), false),
            (hex("20"), true),
        ] {
            assert_eq!(decoded(&mut Decoder::new(), &block).is_ok(), good, "{block:x?}");
        }
    }

    #[test]
    fn rubbish_is_undecodable() {
        for block in
            ["80", "be", "40", "40 01", "40 01 61 7f", "00 85 61", "ff ff ff ff ff 01", "00 82 ff ff 00"]
        {
            assert!(decoded(&mut Decoder::new(), &hex(block)).is_err(), "{block}");
        }
    }

    #[test]
    fn a_field_that_may_not_be_is_kept_in_the_table_all_the_same() {
        let mut decoder = Decoder::new();
        let block = hex("40 01 58 01 79 40 01 78 02 61 0a 40 01 61 01 62 c0 bf be 0f2f 01 7a");
        let fields = decoded(&mut decoder, &block).unwrap();
        let names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["malformed", "malformed", "a", "malformed", "malformed", "a", "a"]);
        assert_eq!(decoder.size, 34 + 35 + 34);
        assert_eq!(Pseudo::Path.name(), ":path");
    }
}
