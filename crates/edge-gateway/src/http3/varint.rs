//! QUIC's integers of variable length (RFC 9000 section 16).

use bytes::{BufMut as _, BytesMut};

/// The largest integer that there is.
pub(super) const MAX: u64 = (1 << 62) - 1;

/// The integer at the beginning of `bytes` and the bytes it takes; None where it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

/// Appends `value`, which is at most [`MAX`], in its shortest form.
pub(super) fn put(out: &mut BytesMut, value: u64) {
    if let Ok(byte) = u8::try_from(value)
        && byte < 1 << 6
    {
        out.put_u8(byte);
    } else if let Ok(short) = u16::try_from(value)
        && short < 1 << 14
    {
        out.put_u16(short | 1 << 14);
    } else if let Ok(word) = u32::try_from(value)
        && word < 1 << 30
    {
        out.put_u32(word | 1 << 31);
    } else {
        out.put_u64(value | 3 << 62);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(parse(bytes), Some((value, bytes.len())));
            assert_eq!(parse(&bytes[..bytes.len() - 1]), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0..=MAX) {
            let mut out = BytesMut::new();
            put(&mut out, value);
            prop_assert_eq!(parse(&out), Some((value, out.len())));
        }
    }
}
