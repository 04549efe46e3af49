//! What an uploaded picture is, read from its bytes while they stream past.
//!
//! The declared media type is a claim; the magic bytes decide. The pixel size is read from the
//! container's header alone, so that a decompression bomb is refused before anything decodes it.
//! Nothing is buffered beyond 32 bytes: in a JPEG, whose size may follow megabytes of metadata,
//! segments are skipped as they arrive.

use thiserror::Error;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `image/jpeg`
    Jpeg,
    /// `image/png`
    Png,
    /// `image/webp`
    Webp,
}

impl MediaType {
    /// The media type's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    /// The media type of a file that begins with these bytes, of which the first twelve decide.
    pub fn of(beginning: &[u8]) -> Option<Self> {
        if beginning.starts_with(&[0xff, 0xd8, 0xff]) {
            Some(Self::Jpeg)
        } else if beginning.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if beginning.starts_with(b"RIFF") && beginning.get(8..12) == Some(b"WEBP") {
            Some(Self::Webp)
        } else {
            None
        }
    }

    /// The media type with this name, parameters aside.
    pub fn from_name(name: &str) -> Option<Self> {
        let essence = name.split(';').next()?.trim();
        [Self::Jpeg, Self::Png, Self::Webp]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(essence))
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format, by its magic bytes.
    pub media_type: MediaType,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Why the bytes are not an acceptable picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// The magic bytes are of none of the three formats.
    #[error("the content is neither JPEG nor PNG nor WebP")]
    UnknownFormat,
    /// The header is damaged or the content ends before the pixel size.
    #[error("the picture's header is damaged")]
    Damaged,
    /// More pixels than are accepted.
    #[error("the picture has more than {MAX_PIXELS} pixels or a side longer than {MAX_SIDE}")]
    TooManyPixels,
}

/// Pixels of a picture: 50 megapixels, the largest camera sensors in use, and 200 MB decoded.
pub const MAX_PIXELS: u64 = 50_000_000;
/// Pixels along a side: WebP cannot express a longer one.
pub const MAX_SIDE: u32 = 16_383;

/// Every header that has to be seen in one piece fits.
const WINDOW: usize = 32;

impl Header {
    /// The header of a picture that is there as a whole.
    ///
    /// # Errors
    /// When it is none that is accepted.
    pub fn read(bytes: &[u8]) -> Result<Self, ProbeError> {
        let mut probe = Probe::default();
        probe.feed(bytes)?;
        probe.finish()
    }

    /// How many pixels it has.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Reads a header from chunks of a stream.
#[derive(Debug, Default)]
pub struct Probe {
    state: Scan,
    /// Bytes not yet understood.
    window: Vec<u8>,
    /// Bytes of a JPEG segment still to pass over.
    skip: usize,
}

#[derive(Debug, Default, Clone, Copy)]
enum Scan {
    #[default]
    Magic,
    JpegMarker,
    Done(Result<Header, ProbeError>),
}

impl Probe {
    /// Looks at the next chunk; an error is final.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ProbeError> {
        let mut rest = chunk;
        loop {
            if let Scan::Done(outcome) = self.state {
                return outcome.map(|_| ());
            }
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            let taken = (WINDOW - self.window.len()).min(rest.len());
            let (head, tail) = rest.split_at(taken);
            self.window.extend_from_slice(head);
            rest = tail;
            let before = self.window.len();
            self.step();
            let progressed = self.window.len() < before || matches!(self.state, Scan::Done(_));
            if !progressed && rest.is_empty() {
                return Ok(());
            }
            if !progressed && self.window.len() >= WINDOW {
                // No header needs more than the window.
                self.state = Scan::Done(Err(ProbeError::Damaged));
            }
        }
    }

    /// The header, once the content has ended.
    pub fn finish(self) -> Result<Header, ProbeError> {
        match self.state {
            Scan::Done(outcome) => outcome,
            Scan::Magic if self.window.len() < 12 => Err(ProbeError::UnknownFormat),
            Scan::Magic | Scan::JpegMarker => Err(ProbeError::Damaged),
        }
    }

    fn step(&mut self) {
        match self.state {
            Scan::Magic => self.magic(),
            Scan::JpegMarker => self.jpeg_marker(),
            Scan::Done(_) => {}
        }
    }

    fn magic(&mut self) {
        let window = self.window.as_slice();
        if window.starts_with(&[0xff, 0xd8, 0xff]) {
            self.consume(2);
            self.state = Scan::JpegMarker;
        } else if window.starts_with(b"\x89PNG\r\n\x1a\n") {
            if let Some(header) = png(window) {
                self.done(header);
            }
        } else if window.starts_with(b"RIFF") && window.get(8..12) == Some(b"WEBP") {
            if let Some(header) = webp(window) {
                self.done(header);
            }
        } else if window.len() >= 12 {
            self.state = Scan::Done(Err(ProbeError::UnknownFormat));
        }
    }

    /// ITU-T T.81, B.1.1: segments are FF, a marker that may be preceded by more FF, and a length.
    fn jpeg_marker(&mut self) {
        while let Scan::JpegMarker = self.state {
            if self.skip > 0 {
                let skipped = self.skip.min(self.window.len());
                self.consume(skipped);
                self.skip -= skipped;
                if self.skip > 0 {
                    return;
                }
            }
            let &[ff, marker, ref body @ ..] = self.window.as_slice() else { return };
            match (ff, marker) {
                (0xff, 0xff) => self.consume(1),
                (0xff, 0x01 | 0xd0..=0xd7) => self.consume(2),
                // Start of scan or end of image before any frame header.
                (0xff, 0xd9 | 0xda) => return self.done(Err(ProbeError::Damaged)),
                (0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                    let &[_, _, _precision, h1, h0, w1, w0, ..] = body else { return };
                    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
                    return self.done(checked(MediaType::Jpeg, width.into(), height.into()));
                }
                (0xff, 0x02..=0xfe) => {
                    let &[l1, l0, ..] = body else { return };
                    let length = usize::from(u16::from_be_bytes([l1, l0]));
                    if length < 2 {
                        return self.done(Err(ProbeError::Damaged));
                    }
                    self.consume(2);
                    self.skip = length;
                }
                _ => return self.done(Err(ProbeError::Damaged)),
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.window.drain(..bytes.min(self.window.len()));
    }

    fn done(&mut self, outcome: Result<Header, ProbeError>) {
        self.state = Scan::Done(outcome);
    }
}

/// PNG (third edition), 11.2.1: the first chunk is IHDR and starts with the two sides.
fn png(window: &[u8]) -> Option<Result<Header, ProbeError>> {
    let (kind, sides) = (window.get(12..16)?, window.get(16..24)?);
    if kind != b"IHDR" {
        return Some(Err(ProbeError::Damaged));
    }
    let &[w3, w2, w1, w0, h3, h2, h1, h0] = sides else { return None };
    Some(checked(MediaType::Png, u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0])))
}

/// RFC 9649: a lossy (VP8), lossless (VP8L) or extended (VP8X) first chunk, each with its own size.
fn webp(window: &[u8]) -> Option<Result<Header, ProbeError>> {
    let body: &[u8; 10] = window.get(20..30)?.try_into().ok()?;
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9] = *body;
    let (width, height) = match window.get(12..16)? {
        b"VP8 " if [b3, b4, b5] == [0x9d, 0x01, 0x2a] => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            (side(b6, b7), side(b8, b9))
        }
        b"VP8L" if b0 == 0x2f => {
            let bits = u32::from_le_bytes([b1, b2, b3, b4]);
            ((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1)
        }
        b"VP8X" => (u32::from_le_bytes([b4, b5, b6, 0]) + 1, u32::from_le_bytes([b7, b8, b9, 0]) + 1),
        _ => return Some(Err(ProbeError::Damaged)),
    };
    Some(checked(MediaType::Webp, width, height))
}

fn checked(media_type: MediaType, width: u32, height: u32) -> Result<Header, ProbeError> {
    if width == 0 || height == 0 {
        return Err(ProbeError::Damaged);
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || width.max(height) > MAX_SIDE {
        return Err(ProbeError::TooManyPixels);
    }
    Ok(Header { media_type, width, height })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat};
    use proptest::prelude::*;

    use super::*;

    fn encode(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(width, height).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn probe(bytes: &[u8], chunk: usize) -> Result<Header, ProbeError> {
        let mut probe = Probe::default();
        for chunk in bytes.chunks(chunk) {
            probe.feed(chunk)?;
        }
        probe.finish()
    }

    #[test]
    fn each_format_is_known_by_its_bytes_however_they_are_cut() {
        let cases = [
            (ImageFormat::Jpeg, MediaType::Jpeg),
            (ImageFormat::Png, MediaType::Png),
            (ImageFormat::WebP, MediaType::Webp),
        ];
        for (format, media_type) in cases {
            let bytes = encode(37, 21, format);
            for chunk in [1, 2, 3, 7, 31, 32, 33, bytes.len()] {
                let expected = Header { media_type, width: 37, height: 21 };
                assert_eq!(probe(&bytes, chunk), Ok(expected), "{format:?} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_jpeg_frame_header_is_found_behind_much_metadata() {
        let bytes = encode(37, 21, ImageFormat::Jpeg);
        let mut padded = bytes[..2].to_vec();
        for _ in 0..40 {
            padded.extend([0xff, 0xe2, 0xff, 0xff]);
            padded.extend(vec![0xff; 65_533]);
        }
        padded.extend(&bytes[2..]);
        for chunk in [1000, 65_536, padded.len()] {
            assert_eq!(probe(&padded, chunk).map(|header| header.width), Ok(37), "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_header_that_promises_a_bomb_is_refused() {
        let mut bytes = encode(1, 1, ImageFormat::Png);
        bytes[16..24].copy_from_slice(&[0, 0, 0x3a, 0x98, 0, 0, 0x3a, 0x98]);
        assert_eq!(probe(&bytes, 64), Err(ProbeError::TooManyPixels));
    }

    #[test]
    fn text_and_damaged_headers_are_refused() {
        assert_eq!(probe(b"<svg xmlns='http://www.w3.org/2000/svg'/>", 64), Err(ProbeError::UnknownFormat));
        assert_eq!(probe(b"", 64), Err(ProbeError::UnknownFormat));
        assert_eq!(probe(b"GIF89a", 64), Err(ProbeError::UnknownFormat));
        assert_eq!(probe(&encode(9, 9, ImageFormat::Png)[..20], 64), Err(ProbeError::Damaged));
        assert_eq!(probe(&encode(9, 9, ImageFormat::Jpeg)[..20], 64), Err(ProbeError::Damaged));
        assert_eq!(probe(&[0xff, 0xd8, 0xff, 0xda, 0, 0, 0, 0], 64), Err(ProbeError::Damaged));
        assert_eq!(probe(&[0xff, 0xd8, 0xff, 0xe0, 0, 0, 0, 0], 64), Err(ProbeError::Damaged));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_cuts_do_not_matter(
            magic in prop::sample::select(vec![
                &b""[..], &b"\xff\xd8\xff"[..], &b"\x89PNG\r\n\x1a\n"[..], &b"RIFF\0\0\0\0WEBPVP8X"[..],
            ]),
            tail in prop::collection::vec(any::<u8>(), 0..200),
            chunk in 1usize..64,
        ) {
            let bytes = [magic, &tail].concat();
            prop_assert_eq!(probe(&bytes, chunk), probe(&bytes, usize::MAX));
        }
    }
}
