//! What stays here of a part whose data is in object storage: its tail, by which it is opened without a round trip.
//!
//! ```text
//! tail                as in the whole part
//! length of the data  u64, little-endian
//! written at          i64, microseconds since the Unix epoch
//! CRC32C              of the two numbers; the part's name guards the tail
//! ```
//!
//! It is named like the part, with the ending `.remote`, and made only when the copy has been compared with the part.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::checked::MAX_TAIL;
use super::part::parse_name;
use crate::storage::disk::sync_directory;

const ENDING: &str = "remote";
const UNFINISHED: &str = "unfinished";
const NUMBERS: usize = 20;

/// What a stub holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stub {
    pub(crate) tail: Bytes,
    /// How long the data before the tail is.
    pub(crate) data: u64,
    pub(crate) written_micros: i64,
}

pub(crate) fn is_stub(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == ENDING)
}

/// Whether an interrupted writer left the file.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == UNFINISHED)
}

/// Where the tail of a part begins and how long it is, by the part's name and size.
pub(crate) fn tail_range(part: &Path, bytes: u64) -> Option<std::ops::Range<u64>> {
    let (_, tail) = parse_name(part)?;
    let start = bytes.checked_sub(tail.length).filter(|_| tail.length <= MAX_TAIL)?;
    Some(start..bytes)
}

/// A part's number, by its name.
pub(crate) fn number(part: &Path) -> Option<u64> {
    parse_name(part).map(|(id, _)| id)
}

impl Stub {
    /// The stub of a part by its tail, unless that is not the tail that the name guards.
    pub(crate) fn new(part: &Path, tail: Bytes, bytes: u64, written_micros: i64) -> Option<Self> {
        let (_, expected) = parse_name(part)?;
        let data = bytes.checked_sub(expected.length)?;
        expected.holds(&tail).then_some(Self { tail, data, written_micros })
    }

    /// What the object of a part is called: its place below the directory of the storage.
    pub(crate) fn key(part: &Path) -> Option<String> {
        let mut names = part.iter().rev().map(|name| name.to_str());
        let (name, day, signal) = (names.next()??, names.next()??, names.next()??);
        Some(format!("parts/{signal}/{day}/{name}"))
    }

    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::UnexpectedEof, "the stub is damaged");
        if fs::metadata(path)?.len() > MAX_TAIL + 1024 {
            return Err(wrong());
        }
        let bytes = Bytes::from(fs::read(path)?);
        let at = bytes.len().checked_sub(NUMBERS).ok_or_else(wrong)?;
        let (tail, numbers) = (bytes.slice(..at), bytes.slice(at..));
        let (content, sum) = numbers.split_at_checked(16).ok_or_else(wrong)?;
        if crc32c::crc32c(content).to_le_bytes() != *sum {
            return Err(wrong());
        }
        let (data, written) = content.split_first_chunk::<8>().ok_or_else(wrong)?;
        let written = written.first_chunk::<8>().ok_or_else(wrong)?;
        Ok(Self { tail, data: u64::from_le_bytes(*data), written_micros: i64::from_le_bytes(*written) })
    }

    /// Makes it durable beside where the part is or was, and answers its place.
    pub(crate) fn write(&self, part: &Path) -> io::Result<PathBuf> {
        let (path, unfinished) = (part.with_extension(ENDING), part.with_extension(UNFINISHED));
        let mut numbers = Vec::with_capacity(NUMBERS);
        numbers.extend(self.data.to_le_bytes());
        numbers.extend(self.written_micros.to_le_bytes());
        numbers.extend(crc32c::crc32c(&numbers).to_le_bytes());
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(&self.tail)?;
        file.write_all(&numbers)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        if let Some(directory) = path.parent() {
            sync_directory(directory)?;
        }
        Ok(path)
    }
}
