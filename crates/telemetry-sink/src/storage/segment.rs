//! The bytes of one log segment, and reading them back.
//!
//! ```text
//! header  8 bytes magic "QTLMWAL1" | 1 byte signal | 8 bytes created (µs, LE) | 4 bytes CRC32C of those 17
//! frame   4 bytes payload length (LE) | 4 bytes CRC32C of length and payload | payload
//! payload 1 byte form (0 plain, 1 zstd) | [form 1: 4 bytes plain length (LE)] | body
//! ```
//!
//! The checksum covers the length, so a flipped length bit is damage and not a wild seek. Reading
//! stops at the first damage: everything before it is intact, nothing after it is trusted.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::Signal;

pub(crate) const HEADER_LENGTH: usize = 21;
const MAGIC: &[u8; 8] = b"QTLMWAL1";
/// No frame is larger; a length above it is damage.
pub(crate) const MAX_PAYLOAD: usize = 32 * 1024 * 1024;
/// Below this the zstd header costs more than it saves.
const COMPRESS_ABOVE: usize = 256;
const FORM_PLAIN: u8 = 0;
const FORM_ZSTD: u8 = 1;

pub(crate) fn header(signal: Signal, created_micros: i64) -> [u8; HEADER_LENGTH] {
    let mut bytes = Vec::with_capacity(HEADER_LENGTH);
    bytes.extend_from_slice(MAGIC);
    bytes.push(signal.number());
    bytes.extend_from_slice(&created_micros.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.try_into().unwrap_or([0; HEADER_LENGTH])
}

/// Builds the frame of `body` in `frame`, compressed where that pays.
pub(crate) fn frame(body: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
    frame.clear();
    frame.extend_from_slice(&[0; 8]);
    let compressed = if body.len() > COMPRESS_ABOVE { zstd::bulk::compress(body, 1).ok() } else { None };
    match compressed {
        Some(compressed) if compressed.len() + 4 < body.len() => {
            frame.push(FORM_ZSTD);
            frame.extend_from_slice(&length_bytes(body.len())?);
            frame.extend_from_slice(&compressed);
        }
        _ => {
            frame.push(FORM_PLAIN);
            frame.extend_from_slice(body);
        }
    }
    let payload = frame.len() - 8;
    if payload > MAX_PAYLOAD || body.len() > MAX_PAYLOAD {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a batch is larger than a log frame may be"));
    }
    let length = length_bytes(payload)?;
    let checksum = checksum(length, frame.get(8..).unwrap_or_default());
    if let Some(head) = frame.first_chunk_mut::<8>() {
        head[..4].copy_from_slice(&length);
        head[4..].copy_from_slice(&checksum.to_le_bytes());
    }
    Ok(())
}

fn length_bytes(length: usize) -> io::Result<[u8; 4]> {
    u32::try_from(length).map(u32::to_le_bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// How reading a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Every byte belongs to an intact frame.
    Clean,
    /// The bytes from this offset on are no intact frame.
    Damaged { intact: u64 },
}

/// Reads every intact frame of a segment, one at a time. A frame whose content `visit` cannot read
/// counts as damage.
pub(crate) fn read(
    path: &Path,
    signal: Signal,
    visit: impl FnMut(&[u8]) -> Result<(), crate::model::codec::Damaged>,
) -> io::Result<End> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    read_from(&mut BufReader::with_capacity(64 * 1024, file), length, signal, visit)
}

/// [`read`] of any `length` bytes.
pub(crate) fn read_from(
    input: &mut impl Read,
    length: u64,
    signal: Signal,
    mut visit: impl FnMut(&[u8]) -> Result<(), crate::model::codec::Damaged>,
) -> io::Result<End> {
    let mut intact = 0u64;
    if !read_header(input, signal)? {
        return Ok(End::Damaged { intact });
    }
    intact += u64::try_from(HEADER_LENGTH).unwrap_or(0);
    let mut payload = Vec::new();
    let mut plain = Vec::new();
    while intact < length {
        let Some(size) = next_payload(input, length - intact, &mut payload)? else {
            return Ok(End::Damaged { intact });
        };
        let Some(body) = body(&payload, &mut plain) else {
            return Ok(End::Damaged { intact });
        };
        if visit(body).is_err() {
            return Ok(End::Damaged { intact });
        }
        intact += size;
    }
    Ok(End::Clean)
}

/// Reads a segment's header; `false` where it is not intact.
pub(crate) fn read_header(input: &mut impl Read, signal: Signal) -> io::Result<bool> {
    let mut head = [0u8; HEADER_LENGTH];
    Ok(fill(input, &mut head)? && header_is_intact(&head, signal))
}

/// Reads one frame of at most `left` bytes: its size and its body, or nothing where it is not intact.
pub(crate) fn read_frame<'a>(
    input: &mut impl Read,
    left: u64,
    payload: &'a mut Vec<u8>,
    plain: &'a mut Vec<u8>,
) -> io::Result<Option<(u64, &'a [u8])>> {
    let Some(size) = next_payload(input, left, payload)? else { return Ok(None) };
    Ok(body(payload, plain).map(|body| (size, body)))
}

fn header_is_intact(head: &[u8; HEADER_LENGTH], signal: Signal) -> bool {
    let (Some(covered), Some(sum)) = (head.get(..17), head.last_chunk::<4>()) else {
        return false;
    };
    covered.starts_with(MAGIC)
        && covered.get(8) == Some(&signal.number())
        && crc32c::crc32c(covered) == u32::from_le_bytes(*sum)
}

/// Reads one frame's payload and answers the frame's size, or nothing where it is not intact.
fn next_payload(input: &mut impl Read, left: u64, payload: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut head = [0u8; 8];
    if !fill(input, &mut head)? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let size = u64::from(length) + 8;
    let Ok(length_usize) = usize::try_from(length) else { return Ok(None) };
    if length == 0 || length_usize > MAX_PAYLOAD || size > left {
        return Ok(None);
    }
    payload.resize(length_usize, 0);
    if !fill(input, payload)? || checksum([l0, l1, l2, l3], payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Ok(None);
    }
    Ok(Some(size))
}

fn body<'a>(payload: &'a [u8], plain: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let (form, rest) = payload.split_first()?;
    match *form {
        FORM_PLAIN => Some(rest),
        FORM_ZSTD => {
            let (length, compressed) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            if length > MAX_PAYLOAD {
                return None;
            }
            *plain = zstd::bulk::decompress(compressed, length).ok()?;
            (plain.len() == length).then_some(plain.as_slice())
        }
        _ => None,
    }
}

/// Fills the buffer; `false` where the file ends first.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
