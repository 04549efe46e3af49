//! Integers with a prefix (RFC 7541 section 5.1).

#![expect(clippy::cast_possible_truncation, reason = "seven bits of a number are cut out of it")]

use super::decoder::Undecodable;

/// Bytes behind the prefix that may be read: enough for 28 bits, far more than any length or index here.
const MOST_BYTES: u32 = 4;

/// Reads the integer whose prefix are the low `bits` bits of `first`; `rest` goes on behind it.
pub(super) fn read(first: u8, bits: u32, rest: &mut &[u8]) -> Result<usize, Undecodable> {
    let mask = u8::MAX >> (8 - bits);
    let prefix = first & mask;
    if prefix < mask {
        return Ok(usize::from(prefix));
    }
    let mut value = usize::from(prefix);
    for at in 0..MOST_BYTES {
        let (&byte, after) = rest.split_first().ok_or(Undecodable)?;
        *rest = after;
        value += usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Undecodable)
}

/// Writes `value` behind the bits of `first` that are above the prefix.
pub(super) fn write(first: u8, bits: u32, mut value: usize, out: &mut Vec<u8>) {
    let mask = u8::MAX >> (8 - bits);
    if let Some(prefix) = u8::try_from(value).ok().filter(|value| *value < mask) {
        out.push(first | prefix);
        return;
    }
    out.push(first | mask);
    value -= usize::from(mask);
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(bits: u32, value: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write(0, bits, value, &mut out);
        out
    }

    #[test]
    fn the_examples_of_rfc_7541_c_1() {
        assert_eq!(written(5, 10), [10]);
        assert_eq!(written(5, 1337), [31, 154, 10]);
        assert_eq!(written(8, 42), [42]);
        let mut rest: &[u8] = &[154, 10, 9];
        assert_eq!(read(0xff, 5, &mut rest), Ok(1337));
        assert_eq!(rest, [9]);
    }

    #[test]
    fn an_integer_without_end_or_beyond_all_measure_is_refused() {
        assert_eq!(read(0x7f, 7, &mut &[0x80, 0x80][..]), Err(Undecodable));
        assert_eq!(read(0x7f, 7, &mut &[0xff, 0xff, 0xff, 0xff, 0x01][..]), Err(Undecodable));
        assert_eq!(read(0x7f, 7, &mut &[][..]), Err(Undecodable));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bits in 1u32..=8, value in 0usize..(1 << 28)) {
            let out = written(bits, value);
            let (first, mut rest) = out.split_first().unwrap();
            prop_assert_eq!(read(*first, bits, &mut rest), Ok(value));
            prop_assert!(rest.is_empty());
        }
    }
}
