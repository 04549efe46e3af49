//! The Huffman code of RFC 7541 appendix B.
//!
//! The code is canonical: codes of a length are consecutive in the order of their symbols, and those of the next length
//! go on behind them. So the lengths say everything, and the tables are made of them when this is compiled.

#![expect(clippy::cast_possible_truncation, reason = "codes are cut out of a wider window of bits")]

use super::decoder::Undecodable;

/// The end of a string, which must not occur in one.
const EOS: usize = 256;
const SYMBOLS: usize = 257;
const LONGEST: usize = 30;

/// Bits of each symbol's code.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

struct Code {
    /// Of each symbol, in the low bits.
    codes: [u32; SYMBOLS],
    /// Symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
    /// The first code of each length, and where it is in `symbols`.
    first: [u32; LONGEST + 1],
    offset: [usize; LONGEST + 1],
    /// How many codes have each length.
    count: [u32; LONGEST + 1],
    /// The symbol and the length of the code that the next eight bits begin with; length 0 where it is longer.
    short: [(u8, u8); 256],
}

static CODE: Code = Code::new();

impl Code {
    #[expect(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "evaluated by the compiler"
    )]
    const fn new() -> Self {
        let mut code = Self {
            codes: [0; SYMBOLS],
            symbols: [0; SYMBOLS],
            first: [0; LONGEST + 1],
            offset: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            short: [(0, 0); 256],
        };
        let (mut next, mut place, mut length) = (0u32, 0, 1);
        while length <= LONGEST {
            next <<= 1;
            code.first[length] = next;
            code.offset[length] = place;
            let mut symbol = 0;
            while symbol < SYMBOLS {
                if LENGTHS[symbol] as usize == length {
                    code.codes[symbol] = next;
                    code.symbols[place] = symbol as u16;
                    if length <= 8 {
                        let (from, many) = (next << (8 - length), 1 << (8 - length));
                        let mut at = 0;
                        while at < many {
                            code.short[(from + at) as usize] = (symbol as u8, length as u8);
                            at += 1;
                        }
                    }
                    next += 1;
                    place += 1;
                    code.count[length] += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        code
    }

    /// The symbol that 32 bits begin with, and the length of its code.
    fn find(&self, bits: u32) -> Option<(usize, usize)> {
        let &(symbol, length) = self.short.get((bits >> 24) as usize)?;
        if length != 0 {
            return Some((usize::from(symbol), usize::from(length)));
        }
        let table = self.first.iter().zip(&self.count).zip(&self.offset);
        for (length, ((&first, &count), &offset)) in table.enumerate().skip(9) {
            let at = (bits >> (32 - length)).wrapping_sub(first);
            if at < count {
                return self.symbols.get(offset + at as usize).map(|symbol| (usize::from(*symbol), length));
            }
        }
        None
    }
}

/// Appends what `bytes` are the code of.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let mut bytes = bytes.iter();
    // The last `held` bits are still to be read.
    let (mut bits, mut held) = (0u64, 0usize);
    loop {
        while held <= 56
            && let Some(&byte) = bytes.next()
        {
            bits = bits << 8 | u64::from(byte);
            held += 8;
        }
        // Behind the end stand ones, as in a padding.
        let window = if held >= 32 {
            (bits >> (held - 32)) as u32
        } else {
            (bits << (32 - held)) as u32 | u32::MAX.checked_shr(held as u32).unwrap_or(0)
        };
        let (symbol, length) = CODE.find(window).ok_or(Undecodable)?;
        if length > held {
            // What is left is the beginning of EOS, and less than a byte (RFC 7541 section 5.2).
            return if held < 8 && window == u32::MAX { Ok(()) } else { Err(Undecodable) };
        }
        if symbol == EOS {
            return Err(Undecodable);
        }
        out.push(symbol as u8);
        held -= length;
    }
}

/// What a whole string is the code of, in HPACK or in QPACK, which has the same code (RFC 9204 section 4.1.2). None where
/// it does not end as RFC 7541 section 5.2 asks.
pub fn decode_huffman(coded: &[u8]) -> Option<Vec<u8>> {
    // A symbol has five bits at least.
    let mut out = Vec::with_capacity(coded.len() * 8 / 5);
    decode(coded, &mut out).ok().map(|()| out)
}

/// Bytes that the code of `text` takes.
pub(super) fn length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(length_of(*byte))).sum();
    bits.div_ceil(8)
}

fn length_of(byte: u8) -> u8 {
    LENGTHS.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Appends the code of `text`.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0u32);
    for &byte in text {
        let length = u32::from(length_of(byte));
        bits = bits << length | u64::from(CODE.codes.get(usize::from(byte)).copied().unwrap_or(0));
        held += length;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        out.push((bits << (8 - held)) as u8 | u8::MAX >> held);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        out
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Undecodable> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    #[test]
    fn the_code_is_the_one_of_appendix_b() {
        for (symbol, code) in [
            (usize::from(b'0'), 0x0),
            (usize::from(b't'), 0x9),
            (usize::from(b' '), 0x14),
            (usize::from(b':'), 0x5c),
            (usize::from(b'&'), 0xf8),
            (usize::from(b'!'), 0x3f8),
            (usize::from(b'<'), 0x7ffc),
            (0, 0x1ff8),
            (128, 0xfffe6),
            (255, 0x03ff_ffee),
            (22, 0x3fff_fffe),
            (EOS, 0x3fff_ffff),
        ] {
            assert_eq!(CODE.codes[symbol], code, "symbol {symbol}");
        }
    }

    #[test]
    fn the_examples_of_rfc_7541_c_4() {
        assert_eq!(coded(b"www.example.com"), b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
        assert_eq!(coded(b"no-cache"), b"\xa8\xeb\x10\x64\x9c\xbf");
        assert_eq!(decoded(b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf").unwrap(), b"custom-value");
        assert_eq!(decoded(b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f").unwrap(), b"custom-key");
        assert_eq!(decode_huffman(b"\xa8\xeb\x10\x64\x9c\xbf").unwrap(), b"no-cache");
        assert_eq!(decoded(b"").unwrap(), b"");
    }

    #[test]
    fn every_symbol_is_read_and_the_end_of_the_string_is_refused() {
        for (symbol, code) in CODE.codes.into_iter().enumerate() {
            let length = u32::from(LENGTHS[symbol]);
            let padded = u64::from(code) << (64 - length) | ((1 << (64 - length)) - 1);
            let bytes = &padded.to_be_bytes()[..length.div_ceil(8) as usize];
            let expected = u8::try_from(symbol).map(|symbol| vec![symbol]);
            assert_eq!(decode_huffman(bytes), expected.ok(), "{symbol}");
        }
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        assert_eq!(decode_huffman(&[0b0001_1000]), None, "zeros after `a`");
        assert_eq!(decode_huffman(&[0b0001_1111, 0xff]), None, "more than seven bits of padding");
        assert_eq!(decode_huffman(&[0b0001_1111]).unwrap(), b"a");
    }

    #[test]
    fn a_wrong_padding_or_an_end_inside_is_refused() {
        // '0' is 00000: behind it zeros, a whole byte of ones, or EOS.
        for wrong in [&[0x00][..], &[0x07, 0xff], &[0xff], &[0xff, 0xff, 0xff, 0xff], &[0x06]] {
            assert_eq!(decoded(wrong), Err(Undecodable), "{wrong:x?}");
        }
        assert_eq!(decoded(&[0x07]).unwrap(), b"0");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = coded(&text);
            prop_assert_eq!(bytes.len(), length(&text));
            prop_assert_eq!(decoded(&bytes).unwrap(), text);
        }

        #[test]
        fn what_is_decoded_is_the_code_of_it(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(text) = decoded(&bytes) {
                prop_assert_eq!(coded(&text), bytes);
            }
        }
    }
}
