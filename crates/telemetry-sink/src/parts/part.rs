//! One part: how it is named, written, published and opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::checked::{CHECKSUMS, CheckedFile, SummingWriter, Tail, value};
use super::columns::{ColumnsOut, Group};
use super::records::TIME;
use super::samples::SeriesIndex;
use super::stub::Stub;
use crate::offload::missed;
use crate::offload::reader::{AWAY, Reader};
use crate::storage::disk::{Disk, sync_directory};

const LEVEL: &str = "quintet.level";
const FIRST: &str = "quintet.first";
const LAST: &str = "quintet.last";
const THROUGH: &str = "quintet.wal_through";
const REPLACES: &str = "quintet.replaces";
/// Rows between two entries of the page index: what one lookup has to decode.
const ROWS_PER_PAGE: usize = 4096;
const PAGE_BYTES: usize = 256 * 1024;
const SUFFIX: &str = ".parquet";

/// What a part says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// Grows with each part of a signal; a number is never used twice.
    pub(crate) id: u64,
    /// How often its content was merged.
    pub(crate) level: u8,
    /// Times of the oldest and the newest row, in the unit of the signal.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// The newest log segment whose content is all in this part or in older ones.
    pub(crate) through: u64,
    /// The parts whose content this one took over.
    pub(crate) replaces: Vec<u64>,
}

impl Facts {
    fn to_footer(&self) -> Vec<KeyValue> {
        let replaces: Vec<_> = self.replaces.iter().map(u64::to_string).collect();
        [
            (LEVEL, self.level.to_string()),
            (FIRST, self.first.to_string()),
            (LAST, self.last.to_string()),
            (THROUGH, self.through.to_string()),
            (REPLACES, replaces.join(",")),
        ]
        .into_iter()
        .map(|(key, value)| KeyValue::new(key.to_owned(), value))
        .collect()
    }

    fn from_footer(id: u64, metadata: &ParquetMetaData) -> Option<Self> {
        let replaces = value(metadata, REPLACES)?.split(',').filter(|text| !text.is_empty());
        Some(Self {
            id,
            level: value(metadata, LEVEL)?.parse().ok()?,
            first: value(metadata, FIRST)?.parse().ok()?,
            last: value(metadata, LAST)?.parse().ok()?,
            through: value(metadata, THROUGH)?.parse().ok()?,
            replaces: replaces.map(str::parse).collect::<Result<_, _>>().ok()?,
        })
    }
}

/// `ID-LENGTH-CHECKSUM.parquet`: the name guards the tail, the tail guards the data.
fn file_name(id: u64, tail: Tail) -> String {
    format!("{id:016}-{:x}-{:08x}{SUFFIX}", tail.length, tail.checksum)
}

pub(super) fn parse_name(path: &Path) -> Option<(u64, Tail)> {
    let mut fields = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.split('-');
    let id = fields.next()?.parse().ok()?;
    let length = u64::from_str_radix(fields.next()?, 16).ok()?;
    let checksum = u32::from_str_radix(fields.next()?, 16).ok()?;
    fields.next().is_none().then_some((id, Tail { length, checksum }))
}

/// An open part. Removing its file does not disturb those who still read it.
pub(crate) struct Part {
    pub(crate) facts: Facts,
    pub(crate) path: PathBuf,
    /// The size of the whole part, wherever its data is.
    pub(crate) bytes: u64,
    /// What it takes on this disk: of a part in object storage its tail alone.
    pub(crate) local_bytes: u64,
    pub(crate) rows: u64,
    /// When the file was written, microseconds since the Unix epoch.
    pub(crate) written_micros: i64,
    damaged: AtomicBool,
    file: Arc<CheckedFile>,
    metadata: ParquetMetaData,
    /// Of samples: the series in it, once somebody asked.
    series: Mutex<Option<Arc<SeriesIndex>>>,
}

impl Part {
    pub(super) fn open(path: &Path) -> Result<Self, ParquetError> {
        let wrong = |what: &str| ParquetError::General(what.to_owned());
        let (id, tail) = parse_name(path).ok_or_else(|| wrong("the file's name is not that of a part"))?;
        let (file, metadata) = CheckedFile::open(path, tail)?;
        let file_metadata = fs::metadata(path)?;
        let age = file_metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let written_micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Self::of(id, path, file, metadata, file_metadata.len(), written_micros)
    }

    /// Opens a part whose data is in object storage by the stub that stands for it here.
    pub(crate) fn open_stub(path: &Path, reader: &Arc<Reader>) -> Result<Self, ParquetError> {
        let wrong = |what: &str| ParquetError::General(what.to_owned());
        let whole = path.with_extension("parquet");
        let (id, tail) = parse_name(&whole).ok_or_else(|| wrong("the file's name is not that of a part"))?;
        let stub = Stub::read(path)?;
        let key = Stub::key(&whole).ok_or_else(|| wrong("the stub is not where parts are"))?;
        let bytes = stub.data.saturating_add(tail.length);
        let object = reader.object(key, bytes);
        let (file, metadata) = CheckedFile::of_object(object, stub.data, stub.tail, tail)?;
        let mut part = Self::of(id, path, file, metadata, fs::metadata(path)?.len(), stub.written_micros)?;
        part.bytes = bytes;
        Ok(part)
    }

    fn of(
        id: u64,
        path: &Path,
        file: CheckedFile,
        metadata: ParquetMetaData,
        bytes: u64,
        written_micros: i64,
    ) -> Result<Self, ParquetError> {
        let facts = Facts::from_footer(id, &metadata)
            .ok_or_else(|| ParquetError::General("the footer lacks a value".to_owned()))?;
        Ok(Self {
            facts,
            path: path.to_owned(),
            bytes,
            local_bytes: bytes,
            written_micros,
            rows: u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0),
            damaged: AtomicBool::new(false),
            file: Arc::new(file),
            metadata,
            series: Mutex::new(None),
        })
    }

    /// Whether its data is in object storage.
    pub(crate) fn is_remote(&self) -> bool {
        self.file.is_remote()
    }

    /// The index of series, read at most once until it is [forgotten](Part::forget_series).
    pub(super) fn series_index(
        &self,
        read: impl FnOnce(&Self) -> Result<SeriesIndex, ParquetError>,
    ) -> Result<Arc<SeriesIndex>, ParquetError> {
        let mut known = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*known {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(read(self)?);
        *known = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Memory that the index of series takes.
    pub(crate) fn series_weight(&self) -> usize {
        let known = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map_or(0, |index| index.weight())
    }

    pub(crate) fn forget_series(&self) {
        *self.series.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn group_count(&self) -> usize {
        self.metadata.num_row_groups()
    }

    pub(super) fn group(&self, index: usize) -> Result<Group<'_>, ParquetError> {
        Group::open(&self.file, &self.metadata, index)
    }

    /// The times between which all rows of a group lie; everything where the file does not say.
    pub(super) fn group_times(&self, index: usize) -> (i64, i64) {
        let column = self.metadata.row_groups().get(index).map(|group| group.column(TIME));
        match column.and_then(|column| column.statistics()) {
            Some(Statistics::Int64(times)) => {
                (times.min_opt().copied().unwrap_or(i64::MIN), times.max_opt().copied().unwrap_or(i64::MAX))
            }
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// Notes that rows could not be read: they are left out of answers, and the part is never merged,
    /// so that the file stays as it is for a person.
    pub(super) fn note_damage(&self, error: &ParquetError) {
        if self.is_remote() {
            missed::note();
            if of_the_system(error).is_some_and(|kind| kind == AWAY) {
                // The bucket does not answer: that says nothing about the part, and the reader has counted it.
                return;
            }
        }
        metrics::counter!("quintet_sink_part_read_failures_total").increment(1);
        if !self.damaged.swap(true, Ordering::AcqRel) {
            tracing::error!(part = %self.path.display(), %error, "cannot read rows of a part; answers lack them");
        }
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

/// The kind of an error that the system made, and not the file's content.
pub(super) fn of_the_system(error: &ParquetError) -> Option<io::ErrorKind> {
    let ParquetError::External(source) = error else { return None };
    let kind = source.downcast_ref::<io::Error>()?.kind();
    (kind != io::ErrorKind::UnexpectedEof).then_some(kind)
}

/// What the writer does with the columns of a signal.
pub(super) struct Layout {
    pub(super) schema: &'static str,
    pub(super) encodings: &'static [(&'static str, Encoding)],
    /// Columns without a dictionary.
    pub(super) plain: &'static [&'static str],
    /// Columns with a filter for lookups.
    pub(super) filters: &'static [&'static str],
    pub(super) rows_per_group: usize,
}

impl Layout {
    fn properties(&self) -> Result<WriterProperties, ParquetError> {
        let compression = Compression::ZSTD(ZstdLevel::try_new(1)?);
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("quintet telemetry-sink ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(compression)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_data_page_row_count_limit(ROWS_PER_PAGE)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_write_batch_size(1024)
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .set_max_row_group_row_count(None);
        let schema = parse_message_type(self.schema)?;
        let leaves = schema.get_fields().iter().map(|field| field.name().to_owned()).take(2);
        for name in leaves {
            properties =
                properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::Chunk);
        }
        Ok(self.per_column(properties).build())
    }

    fn per_column(&self, mut properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        for (name, encoding) in self.encodings {
            let column = ColumnPath::from(*name);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, *encoding);
        }
        for name in self.plain {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(*name), false);
        }
        for name in self.filters {
            let column = ColumnPath::from(*name);
            let most = u64::try_from(self.rows_per_group).unwrap_or(u64::MAX);
            properties = properties
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_fpp(column.clone(), 0.01)
                .set_column_bloom_filter_max_ndv(column, most);
        }
        properties
    }
}

/// A part that is being written under a name that nobody reads.
pub(super) struct PartWriter {
    writer: SerializedFileWriter<SummingWriter>,
    file: Arc<dyn crate::storage::disk::SegmentFile>,
    unpublished: PathBuf,
    /// First and last time of the rows so far.
    times: Option<(i64, i64)>,
}

/// The name under which a part is written before it is published.
pub(super) const UNPUBLISHED: &str = ".unpublished";

impl PartWriter {
    /// Starts a part below `root`.
    pub(super) fn create(
        disk: &dyn Disk,
        root: &Path,
        id: u64,
        layout: &Layout,
    ) -> Result<Self, ParquetError> {
        let unpublished = root.join(format!("{id:016}{UNPUBLISHED}"));
        match fs::remove_file(&unpublished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = disk.create(&unpublished)?;
        let schema = Arc::new(parse_message_type(layout.schema)?);
        let sums = SummingWriter::new(Arc::clone(&file));
        let writer = SerializedFileWriter::new(sums, schema, Arc::new(layout.properties()?))?;
        Ok(Self { writer, file, unpublished, times: None })
    }

    /// Writes one row group whose rows lie between two times.
    pub(super) fn group(
        &mut self,
        (first, last): (i64, i64),
        write: impl FnOnce(ColumnsOut<'_>) -> Result<(), ParquetError>,
    ) -> Result<(), ParquetError> {
        write(ColumnsOut(self.writer.next_row_group()?))?;
        let (known_first, known_last) = self.times.unwrap_or((first, last));
        self.times = Some((known_first.min(first), known_last.max(last)));
        Ok(())
    }

    /// Makes the part durable and gives it its name, by which it is there for good. `facts` need no times.
    pub(super) fn publish(
        mut self,
        facts: Facts,
        directory: impl FnOnce(i64) -> PathBuf,
    ) -> Result<Part, ParquetError> {
        let unpublished = self.unpublished.clone();
        let published = self.try_publish(facts, directory);
        if published.is_err() {
            // What cannot be removed now is removed at the next start.
            drop(fs::remove_file(unpublished));
        }
        published
    }

    fn try_publish(
        &mut self,
        mut facts: Facts,
        directory: impl FnOnce(i64) -> PathBuf,
    ) -> Result<Part, ParquetError> {
        (facts.first, facts.last) = self.times.unwrap_or_default();
        self.writer.flush()?;
        let sums = self.writer.inner_mut().start_tail();
        facts.to_footer().into_iter().for_each(|pair| self.writer.append_key_value_metadata(pair));
        self.writer.append_key_value_metadata(KeyValue::new(CHECKSUMS.to_owned(), sums));
        self.writer.finish()?;
        let tail = self.writer.inner().tail();
        self.file.sync()?;
        // What was written is read again before anything that relies on it is deleted.
        CheckedFile::open(&self.unpublished, tail)?;
        let directory = directory(facts.first);
        fs::create_dir_all(&directory)?;
        let path = directory.join(file_name(facts.id, tail));
        fs::rename(&self.unpublished, &path)?;
        sync_directory(&directory)?;
        if let Some(parent) = directory.parent() {
            sync_directory(parent)?;
        }
        Part::open(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let tail = Tail { length: 0x1a2b, checksum: 0x00c0_ffee };
        let name = file_name(12, tail);
        assert_eq!(name, "0000000000000012-1a2b-00c0ffee.parquet");
        assert_eq!(parse_name(Path::new(&name)), Some((12, tail)));
        assert_eq!(parse_name(Path::new("12-1a2b-00c0ffee-1.parquet")), None);
        assert_eq!(parse_name(Path::new("notes.parquet")), None);
    }
}
