//! The bytes of a part: written with a checksum for each block, read only where the checksum holds.
//!
//! ```text
//! data    row groups and filters, in blocks of 32 KiB; their CRC32C, in base 16, stand in the footer under [`CHECKSUMS`]
//! tail    page index and footer; its length and CRC32C stand in the file's name
//! ```
//!
//! So every byte of a file is covered, and the Parquet reader, which trusts what it is given, never
//! sees a damaged one. Checksums are compared when a block is read and not at start.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::part::of_the_system;
use crate::model::hex;
use crate::offload::reader::Object;
use crate::storage::disk::SegmentFile;

const BLOCK: usize = 32 * 1024;
/// The footer's key under which the checksums of the data stand.
pub(super) const CHECKSUMS: &str = "quintet.checksums";
/// The largest tail that is read; a longer one is damage. Bounds what a wrong name can cost.
pub(super) const MAX_TAIL: u64 = 64 * 1024 * 1024;

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// Where the tail starts, how long it is and what it sums to: the part of the name that guards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) length: u64,
    pub(super) checksum: u32,
}

impl Tail {
    pub(super) fn holds(self, bytes: &[u8]) -> bool {
        u64::try_from(bytes.len()) == Ok(self.length) && crc32c::crc32c(bytes) == self.checksum
    }
}

fn wide(range: &Range<usize>) -> Range<u64> {
    let wide = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
    wide(range.start)..wide(range.end)
}

/// Writes through to a new file and sums on the way.
pub(super) struct SummingWriter {
    file: Arc<dyn SegmentFile>,
    sums: Vec<u32>,
    block: u32,
    filled: usize,
    tail: Option<Tail>,
}

impl SummingWriter {
    pub(super) fn new(file: Arc<dyn SegmentFile>) -> Self {
        Self { file, sums: Vec::new(), block: 0, filled: 0, tail: None }
    }

    /// Ends the data; what is written from now on is the tail. Answers the data's checksums.
    pub(super) fn start_tail(&mut self) -> String {
        if self.filled > 0 {
            self.sums.push(self.block);
        }
        self.tail = Some(Tail { length: 0, checksum: 0 });
        self.sums.iter().map(|sum| hex(&sum.to_be_bytes())).collect()
    }

    pub(super) fn tail(&self) -> Tail {
        self.tail.unwrap_or(Tail { length: 0, checksum: 0 })
    }

    fn sum(&mut self, mut bytes: &[u8]) {
        if let Some(tail) = &mut self.tail {
            tail.length += u64::try_from(bytes.len()).unwrap_or(0);
            tail.checksum = crc32c::crc32c_append(tail.checksum, bytes);
            return;
        }
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.block = crc32c::crc32c_append(self.block, now);
            self.filled += now.len();
            if self.filled == BLOCK {
                self.sums.push(self.block);
                (self.block, self.filled) = (0, 0);
            }
            bytes = rest;
        }
    }
}

impl Write for SummingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.append(bytes)?;
        self.sum(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The tail alone, for reading the footer before the data's checksums are known.
struct TailReader {
    start: u64,
    bytes: Bytes,
}

impl Length for TailReader {
    fn len(&self) -> u64 {
        self.start + u64::try_from(self.bytes.len()).unwrap_or(0)
    }
}

impl ChunkReader for TailReader {
    type T = io::Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let offset = start.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        match offset.filter(|offset| *offset <= self.bytes.len()) {
            Some(offset) => Ok(io::Cursor::new(self.bytes.slice(offset..))),
            None => Err(damaged("the footer points before itself")),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let rest = self.get_read(start)?.into_inner();
        if length > rest.len() {
            return Err(damaged("the footer points past its end"));
        }
        Ok(rest.slice(..length))
    }
}

/// Where the data of a part is.
#[derive(Clone)]
enum Source {
    File(Arc<File>),
    /// In object storage; a read may take a round trip, or fail while the bucket is out of reach.
    Object(Arc<Object>),
}

/// An open part whose data blocks are compared with their checksums on each read.
#[derive(Clone)]
pub(super) struct CheckedFile {
    source: Source,
    data: u64,
    sums: Arc<[u32]>,
}

impl CheckedFile {
    /// Opens a file and reads its footer; every error but that of the file system is damage.
    pub(super) fn open(path: &Path, tail: Tail) -> Result<(Self, ParquetMetaData), ParquetError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let data = length.checked_sub(tail.length).filter(|_| tail.length <= MAX_TAIL);
        let data = data.ok_or_else(|| damaged("the file is shorter than its footer"))?;
        let mut bytes = vec![0; usize::try_from(tail.length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, data)?;
        Self::with_tail(Source::File(Arc::new(file)), data, bytes.into(), tail)
    }

    /// A part whose tail is here and whose data is in object storage.
    pub(super) fn of_object(
        object: Object,
        data: u64,
        bytes: Bytes,
        tail: Tail,
    ) -> Result<(Self, ParquetMetaData), ParquetError> {
        Self::with_tail(Source::Object(Arc::new(object)), data, bytes, tail)
    }

    pub(super) fn is_remote(&self) -> bool {
        matches!(self.source, Source::Object(_))
    }

    fn with_tail(
        source: Source,
        data: u64,
        bytes: Bytes,
        tail: Tail,
    ) -> Result<(Self, ParquetMetaData), ParquetError> {
        if !tail.holds(&bytes) {
            return Err(damaged("the footer's checksum does not hold"));
        }
        let reader = TailReader { start: data, bytes };
        let metadata = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(&reader)?;
        let sums = value(&metadata, CHECKSUMS).and_then(parse_sums).unwrap_or_else(|| Arc::from([]));
        let blocks = usize::try_from(data).unwrap_or(usize::MAX).div_ceil(BLOCK);
        if sums.len() != blocks {
            return Err(damaged("the checksums do not fit the file"));
        }
        Ok((Self { source, data, sums }, metadata))
    }

    fn read_checked(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let start = usize::try_from(start).map_err(|_| damaged("the offset is too large"))?;
        let data = usize::try_from(self.data).unwrap_or(usize::MAX);
        let end = start.checked_add(length).filter(|end| *end <= data);
        let end = end.ok_or_else(|| damaged("the footer points past the data"))?;
        let first = start / BLOCK;
        let aligned = first * BLOCK;
        let whole = aligned..end.next_multiple_of(BLOCK).min(data);
        let mut bytes = self.read_blocks(whole.clone())?;
        if let Source::Object(object) = &self.source
            && !self.holds(first, &bytes)
        {
            // It may be the copy of the cache that is wrong.
            object.forget(wide(&whole));
            bytes = self.read_blocks(whole)?;
        }
        if !self.holds(first, &bytes) {
            return Err(damaged("a block's checksum does not hold"));
        }
        Ok(bytes.slice(start - aligned..end - aligned))
    }

    fn read_blocks(&self, range: Range<usize>) -> Result<Bytes, ParquetError> {
        match &self.source {
            Source::File(file) => {
                let mut bytes = vec![0; range.len()];
                file.read_exact_at(&mut bytes, wide(&range).start)?;
                Ok(bytes.into())
            }
            Source::Object(object) => Ok(object.read(wide(&range))?),
        }
    }

    fn holds(&self, first: usize, bytes: &[u8]) -> bool {
        let expected = self.sums.iter().skip(first).take(bytes.len().div_ceil(BLOCK)).copied();
        bytes.chunks(BLOCK).map(crc32c::crc32c).eq(expected)
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.data
    }
}

impl ChunkReader for CheckedFile {
    type T = Stream;

    fn get_read(&self, start: u64) -> Result<Stream, ParquetError> {
        let left = usize::try_from(self.data.saturating_sub(start)).unwrap_or(usize::MAX);
        Ok(Stream { reader: self.clone(), position: start, left, ready: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.read_checked(start, length)
    }
}

/// Sequential reading of checked bytes; only small headers are read this way.
pub(super) struct Stream {
    reader: CheckedFile,
    position: u64,
    left: usize,
    ready: Bytes,
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            let count = self.left.min(1024);
            if count == 0 {
                return Ok(0);
            }
            self.ready = self.reader.read_checked(self.position, count).map_err(|error| {
                // The kind tells a bucket out of reach from damage.
                io::Error::new(of_the_system(&error).unwrap_or(io::ErrorKind::Other), error)
            })?;
            self.position += u64::try_from(count).unwrap_or(0);
            self.left -= count;
        }
        let count = out.len().min(self.ready.len());
        let now = self.ready.split_to(count);
        if let Some(out) = out.get_mut(..count) {
            out.copy_from_slice(&now);
        }
        Ok(count)
    }
}

/// A value of the footer.
pub(super) fn value<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let values = metadata.file_metadata().key_value_metadata()?;
    values.iter().find(|pair| pair.key == key)?.value.as_deref()
}

fn parse_sums(text: &str) -> Option<Arc<[u32]>> {
    let chunks = text.as_bytes().chunks(8);
    chunks.map(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).collect()
}
