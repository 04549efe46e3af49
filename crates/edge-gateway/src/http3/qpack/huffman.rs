//! The Huffman code of HPACK and QPACK (RFC 7541 appendix B), read only: answers are small beside their bodies, and
//! coding them costs more than it saves.
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols. So the lengths
//! are all there is to know.

/// Bits of each symbol's code; the last is the end of the string, which must not occur.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
const SYMBOLS: usize = LENGTHS.len();
const LONGEST: usize = 30;

/// What a code of one length means: the first one, and where its symbol stands among all.
#[derive(Clone, Copy)]
struct Group {
    first: u32,
    count: u32,
    at: usize,
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which finds an index out of bounds")]
const fn groups() -> [Group; LONGEST + 1] {
    let mut groups = [Group { first: 0, count: 0, at: 0 }; LONGEST + 1];
    let (mut code, mut at, mut length) = (0u32, 0usize, 1usize);
    while length <= LONGEST {
        code <<= 1;
        let mut count = 0u32;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                count += 1;
            }
            symbol += 1;
        }
        groups[length] = Group { first: code, count, at };
        code += count;
        at += count as usize;
        length += 1;
    }
    groups
}

/// Symbols in the order of their codes.
#[expect(clippy::cast_possible_truncation, reason = "there are 257 symbols")]
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which finds an index out of bounds")]
const fn ordered() -> [u16; SYMBOLS] {
    let mut ordered = [0u16; SYMBOLS];
    let (mut at, mut length) = (0usize, 1u8);
    while length as usize <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] == length {
                ordered[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    ordered
}

static GROUPS: [Group; LONGEST + 1] = groups();
static ORDERED: [u16; SYMBOLS] = ordered();

/// The string does not end where a code does, or has the end of the string in it (RFC 7541 section 5.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads a whole string. It has at most 8 symbols in 5 bytes.
pub(super) fn decode(coded: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut bits, mut held) = (0u64, 0u8);
    let mut input = coded.iter();
    loop {
        while held <= 56
            && let Some(byte) = input.next()
        {
            bits = bits << 8 | u64::from(*byte);
            held += 8;
        }
        let Some((symbol, length)) = symbol(bits, held) else { break };
        let Ok(symbol) = u8::try_from(symbol) else { return Err(Malformed) };
        out.push(symbol);
        held -= length;
        bits &= (1 << held) - 1;
    }
    // What is left is padding: fewer than 8 bits, the beginning of the end of the string, which has ones alone.
    if held >= 8 || bits != (1 << held) - 1 {
        return Err(Malformed);
    }
    Ok(out)
}

/// The symbol whose code the `held` bits begin with, and the length of the code.
fn symbol(bits: u64, held: u8) -> Option<(u16, u8)> {
    (1u8..).zip(GROUPS.iter().skip(1)).take_while(|(length, _)| *length <= held).find_map(
        |(length, group)| {
            let code = u32::try_from(bits >> (held - length)).ok()?;
            let offset = code.checked_sub(group.first).filter(|offset| *offset < group.count)?;
            let at = group.at + usize::try_from(offset).ok()?;
            Some((*ORDERED.get(at)?, length))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (coded, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[], ""),
        ] {
            assert_eq!(decode(coded).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn every_symbol_is_read_and_the_end_of_the_string_is_refused() {
        for (at, symbol) in ORDERED.iter().enumerate() {
            let length = LENGTHS[usize::from(*symbol)];
            let group = GROUPS[usize::from(length)];
            let code = u64::from(group.first) + u64::try_from(at - group.at).unwrap();
            let padded = code << (64 - length) | ((1 << (64 - length)) - 1);
            let bytes = &padded.to_be_bytes()[..usize::from(length).div_ceil(8)];
            let expected = u8::try_from(*symbol).map(|symbol| vec![symbol]).map_err(|_| Malformed);
            assert_eq!(decode(bytes), expected, "{symbol}");
        }
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        assert_eq!(decode(&[0b0001_1000]), Err(Malformed), "zeros after `a`");
        assert_eq!(decode(&[0b0001_1111, 0xff]), Err(Malformed), "more than seven bits of padding");
        assert_eq!(decode(&[0b0001_1111]).unwrap(), b"a");
    }
}
