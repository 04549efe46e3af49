//! The three encoders behind one face.
//!
//! Levels and windows are chosen by measurement, by CPU time on a megabyte of source text and on a 640 KB JSON
//! list, with a flush every `PIECE` bytes as [`super::encoded`] does it. zstd 3, brotli 4 and gzip 4 make nearly the
//! same size (28 % and 19 %), zstd about three times as fast as the others. gzip 5 costs a third more time than
//! gzip 4 for 1.5 % fewer bytes. A window of 4 MiB instead of [`WINDOW_BITS`] gains brotli at most 3 % and takes
//! 9 MB a stream; with it a stream holds 0.34 MB (gzip), 1.2 MB (zstd) or 1.6 MB (brotli).

use std::io::{self, Write as _};

use bytes::Bytes;

use super::accept::Encoding;

/// 256 KiB: what a stream looks back over. HTTP allows zstd 8 MiB (RFC 9659).
const WINDOW_BITS: u32 = 18;
const BROTLI_BUFFER: usize = 4096;

/// How hard each encoder tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels {
    pub(crate) gzip: u32,
    pub(crate) brotli: u32,
    pub(crate) zstd: i32,
}

impl Default for Levels {
    fn default() -> Self {
        Self { gzip: 4, brotli: 4, zstd: 3 }
    }
}

/// An encoder that collects what it makes until it is taken.
pub(crate) enum Encoder {
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// `length` of the whole input where it is known, which spares memory.
    pub(crate) fn new(encoding: Encoding, levels: Levels, length: Option<u64>) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => {
                let level = flate2::Compression::new(levels.gzip);
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
            Encoding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                levels.brotli,
                window_bits(length),
            ))),
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), levels.zstd)?;
                encoder.window_log(WINDOW_BITS)?;
                encoder.set_pledged_src_size(length)?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    pub(crate) fn write(&mut self, input: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(input),
            Self::Brotli(encoder) => encoder.write_all(input),
            Self::Zstd(encoder) => encoder.write_all(input),
        }
    }

    /// Everything from which the client can read all that was written so far.
    pub(crate) fn flush(&mut self) -> io::Result<Bytes> {
        let made = match self {
            Self::Gzip(encoder) => {
                encoder.flush()?;
                encoder.get_mut()
            }
            Self::Brotli(encoder) => {
                encoder.flush()?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.flush()?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(made).into())
    }

    pub(crate) fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .into())
    }
}

/// Encodes what is in memory.
pub(super) fn encode(encoding: Encoding, levels: Levels, input: &[u8]) -> io::Result<Bytes> {
    let mut encoder = Encoder::new(encoding, levels, Some(input.len() as u64))?;
    encoder.write(input)?;
    encoder.finish()
}

/// A window no larger than what it will see; brotli's least is 10.
fn window_bits(length: Option<u64>) -> u32 {
    let needed = length.map_or(WINDOW_BITS, |length| u64::BITS - length.leading_zeros());
    needed.clamp(10, WINDOW_BITS)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).map(drop),
            Encoding::Brotli => brotli::BrotliDecompress(&mut &*bytes, &mut out),
            Encoding::Zstd => zstd::stream::copy_decode(bytes, &mut out),
        }
        .unwrap();
        out
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_with_and_without_flushes() {
        let text: Vec<u8> =
            (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for encoding in [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd] {
            for (length, step) in [(0, 1), (1, 1), (1_000, 7), (800_000, 33_000)] {
                for known in [None, Some(length as u64)] {
                    let input = &text[..length];
                    let mut encoder = Encoder::new(encoding, Levels::default(), known).unwrap();
                    let mut out = Vec::new();
                    for piece in input.chunks(step) {
                        encoder.write(piece).unwrap();
                        out.extend_from_slice(&encoder.flush().unwrap());
                    }
                    out.extend_from_slice(&encoder.finish().unwrap());
                    assert!(decode(encoding, &out) == input, "{encoding:?} {length} {known:?}");
                }
            }
        }
    }
}
