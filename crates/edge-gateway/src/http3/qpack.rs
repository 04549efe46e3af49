//! QPACK (RFC 9204) without its dynamic table: what a client announces in one stream never changes what another
//! stream means, so that no request waits for another and no client makes the gateway remember its headers.
//!
//! The gateway says that it has no room for a dynamic table, so a reference to one is an error. Literals are sent as
//! they are, without Huffman's code.

mod table;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::headers::{KEEP_ALIVE, PROXY_CONNECTION};

/// The block is no field section, or refers to a dynamic table (RFC 9204 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable;

/// Reads a field section, giving each line's name and value to `line`, which may end it early.
pub(crate) fn decode<E: From<Undecodable>>(
    mut block: Bytes,
    mut line: impl FnMut(Bytes, Bytes) -> Result<(), E>,
) -> Result<(), E> {
    let required_insert_count = integer(&mut block, 8)?;
    let _base = integer(&mut block, 7)?;
    if required_insert_count != 0 {
        return Err(Undecodable.into());
    }
    while let Some(first) = block.first().copied() {
        let (name, value) = match first {
            0xc0.. => entry(integer(&mut block, 6)?)?,
            0x50..=0x5f | 0x70..=0x7f => {
                let (name, _) = entry(integer(&mut block, 4)?)?;
                (name, string(&mut block, 8)?)
            }
            0x20..=0x3f => {
                let name = string(&mut block, 4)?;
                (name, string(&mut block, 8)?)
            }
            // All others refer to the dynamic table.
            _ => return Err(Undecodable.into()),
        };
        line(name, value)?;
    }
    Ok(())
}

fn entry(index: usize) -> Result<(Bytes, Bytes), Undecodable> {
    let (name, value) = table::TABLE.get(index).ok_or(Undecodable)?;
    Ok((Bytes::from_static(name), Bytes::from_static(value)))
}

/// An integer in the low `bits` of the first byte, and in what follows where they are all ones (RFC 7541 section 5.1).
fn integer(block: &mut Bytes, bits: u32) -> Result<usize, Undecodable> {
    let most = (1usize << bits) - 1;
    let mut value = usize::from(byte(block)?) & most;
    if value < most {
        return Ok(value);
    }
    // Four bytes go far beyond any frame that is let in.
    for shift in [0, 7, 14, 21] {
        let next = byte(block)?;
        value += usize::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok(value);
        }
    }
    Err(Undecodable)
}

/// A string whose length has `bits` with the flag of Huffman's code before them.
fn string(block: &mut Bytes, bits: u32) -> Result<Bytes, Undecodable> {
    let coded = block.first().is_some_and(|first| first >> (bits - 1) & 1 == 1);
    let length = integer(block, bits - 1)?;
    if length > block.len() {
        return Err(Undecodable);
    }
    let text = block.split_to(length);
    if !coded {
        return Ok(text);
    }
    quintet_http2::decode_huffman(&text).map(Bytes::from).ok_or(Undecodable)
}

fn byte(block: &mut Bytes) -> Result<u8, Undecodable> {
    if block.is_empty() { Err(Undecodable) } else { Ok(block.get_u8()) }
}

/// Appends the field section of an answer's head.
pub(crate) fn encode_head(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    // No insert count, no base.
    out.put_slice(&[0, 0]);
    match status.as_u16() {
        103 => put_integer(out, 0xc0, 6, 24),
        200 => put_integer(out, 0xc0, 6, 25),
        304 => put_integer(out, 0xc0, 6, 26),
        404 => put_integer(out, 0xc0, 6, 27),
        503 => put_integer(out, 0xc0, 6, 28),
        _ => {
            put_integer(out, 0x50, 4, 24);
            put_string(out, 0, 7, status.as_str().as_bytes());
        }
    }
    encode_lines(out, headers);
}

/// Appends the field section of trailers.
pub(crate) fn encode_trailers(out: &mut BytesMut, trailers: &HeaderMap) {
    out.put_slice(&[0, 0]);
    encode_lines(out, trailers);
}

fn encode_lines(out: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        if is_of_connection(name) {
            continue;
        }
        let value = value.as_bytes();
        let Some((first, count)) = table::entries(name.as_str()) else {
            put_string(out, 0x20, 3, name.as_str().as_bytes());
            put_string(out, 0, 7, value);
            continue;
        };
        let whole = (first..first + count)
            .find(|at| table::TABLE.get(usize::from(*at)).is_some_and(|(_, known)| *known == value));
        if let Some(at) = whole {
            put_integer(out, 0xc0, 6, at.into());
        } else {
            put_integer(out, 0x50, 4, first.into());
            put_string(out, 0, 7, value);
        }
    }
}

/// What HTTP/1.1 says of a connection; malformed in HTTP/3 (RFC 9114 section 4.2).
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    [&CONNECTION, &TRANSFER_ENCODING, &UPGRADE, &KEEP_ALIVE, &PROXY_CONNECTION].contains(&name)
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits, or less than the prefix holds")]
fn put_integer(out: &mut BytesMut, flags: u8, bits: u32, value: usize) {
    let most = (1usize << bits) - 1;
    if value < most {
        out.put_u8(flags | value as u8);
        return;
    }
    out.put_u8(flags | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.put_u8(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

fn put_string(out: &mut BytesMut, flags: u8, bits: u32, text: &[u8]) {
    put_integer(out, flags, bits, text.len());
    out.put_slice(text);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn lines(block: &[u8]) -> Result<Vec<(String, String)>, Undecodable> {
        let mut lines = Vec::new();
        decode(Bytes::copy_from_slice(block), |name, value| {
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            lines.push((text(&name), text(&value)));
            Ok::<_, Undecodable>(())
        })?;
        Ok(lines)
    }

    fn line(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn all_forms_without_the_dynamic_table_are_read() {
        // RFC 9204 appendix B.1.
        assert_eq!(lines(b"\0\0\x51\x0b/index.html"), Ok(vec![line(":path", "/index.html")]));
        assert_eq!(lines(&[0, 0, 0xd1]), Ok(vec![line(":method", "GET")]));
        assert_eq!(lines(&[0, 0, 0xff, 31]), Ok(vec![line("upgrade-insecure-requests", "1")]));
        assert_eq!(lines(b"\0\0\x23abc\x01d"), Ok(vec![line("abc", "d")]));
        let coded = [0, 0, 0x50, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        assert_eq!(lines(&coded), Ok(vec![line(":authority", "no-cache")]));
    }

    #[test]
    fn what_refers_to_the_dynamic_table_or_is_cut_off_is_refused() {
        for block in [
            &[][..],
            &[0],
            &[1, 0],
            &[0, 0, 0x80],
            &[0, 0, 0x10],
            &[0, 0, 0x40, 1, b'a'],
            &[0, 0, 0x00, 1, b'a'],
            &[0, 0, 0xff, 36],
            &[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0, 0, 0x51, 5, b'/'],
            &[0, 0, 0x23, b'a'],
        ] {
            assert_eq!(lines(block), Err(Undecodable), "{block:?}");
        }
    }

    #[test]
    fn an_answer_has_no_line_of_a_connection() {
        let mut headers = HeaderMap::new();
        for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "x-kept"]
        {
            headers.insert(name, HeaderValue::from_static("a"));
        }
        let mut out = BytesMut::new();
        encode_head(&mut out, StatusCode::OK, &headers);
        assert_eq!(lines(&out), Ok(vec![line(":status", "200"), line("x-kept", "a")]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            status in 100u16..1000,
            fields in prop::collection::vec(("[a-z][a-z0-9-]{0,40}", "[ -~]{0,300}"), 0..20),
            known in 0usize..99,
        ) {
            let mut headers = HeaderMap::new();
            let (name, value) = table::TABLE[known];
            if !name.starts_with(b":") {
                headers.append(HeaderName::from_bytes(name).unwrap(), HeaderValue::from_bytes(value).unwrap());
            }
            for (name, value) in &fields {
                headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            }
            let mut out = BytesMut::new();
            encode_head(&mut out, StatusCode::from_u16(status).unwrap(), &headers);
            let mut expected = vec![line(":status", &status.to_string())];
            let kept = headers.iter().filter(|(name, _)| !is_of_connection(name));
            expected.extend(kept.map(|(name, value)| line(name.as_str(), value.to_str().unwrap())));
            prop_assert_eq!(lines(&out).unwrap(), expected);
        }

        #[test]
        fn nothing_makes_it_panic(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = lines(&block);
        }
    }
}
