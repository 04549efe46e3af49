//! Header fields as they are read and written.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TE, TRANSFER_ENCODING};

use super::Malformed;

/// Which fields a head has that say something of its connection or its end. Most have one or two of them; to look for each in
/// the map would cost more than to notice them as they come.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each field")]
pub(crate) struct Noticed {
    pub(crate) connection: bool,
    pub(crate) content_length: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) te: bool,
    pub(crate) expect: bool,
}

impl Noticed {
    fn notice(&mut self, name: &HeaderName) {
        match *name {
            CONNECTION => self.connection = true,
            CONTENT_LENGTH => self.content_length = true,
            TRANSFER_ENCODING => self.transfer_encoding = true,
            TE => self.te = true,
            EXPECT => self.expect = true,
            _ => {}
        }
    }
}

/// The fields that were found in `input`, whose bytes their values share. `added`: as many as the gateway adds; a map that
/// grows is built anew, twice for a small request.
pub(crate) fn header_map(
    fields: &[httparse::Header<'_>],
    input: &Bytes,
    added: usize,
) -> Result<(HeaderMap, Noticed), Malformed> {
    let mut headers = HeaderMap::with_capacity(fields.len() + added);
    let mut noticed = Noticed::default();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(input.slice_ref(field.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed("one of its headers is malformed"));
        };
        noticed.notice(&name);
        headers.append(name, value);
    }
    Ok((headers, noticed))
}

/// Only digits: a sign or a blank means something else to others.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let digits =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Whether a list such as `Connection` has this member, in any of its lines.
pub(crate) fn has_option(headers: &HeaderMap, name: &HeaderName, option: &str) -> bool {
    let mut members =
        headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// Whether the sender of a message keeps the connection open behind it (RFC 9112 section 9.3).
pub(crate) fn keeps(headers: &HeaderMap, noticed: Noticed, is_11: bool) -> bool {
    if !noticed.connection {
        return is_11;
    }
    !has_option(headers, &CONNECTION, "close") && (is_11 || has_option(headers, &CONNECTION, "keep-alive"))
}

pub(crate) fn write_fields(headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        write_field(name, value.as_bytes(), out);
    }
}

pub(crate) fn write_field(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A `Content-Length` of so many bytes.
pub(crate) fn write_length(length: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut rest = length;
    let mut from = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        from = at;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(digits.get(from..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_decimal() {
        for length in [0, 7, 10, 65_536, u64::MAX] {
            let mut out = Vec::new();
            write_length(length, &mut out);
            assert_eq!(out, format!("content-length: {length}\r\n").into_bytes());
        }
    }

    #[test]
    fn a_number_has_digits_alone() {
        assert_eq!((decimal(b"003"), decimal(b"18446744073709551615")), (Some(3), Some(u64::MAX)));
        for text in ["", "+1", "-1", " 1", "1 ", "1_0", "0x1", "18446744073709551616"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
        }
    }
}
