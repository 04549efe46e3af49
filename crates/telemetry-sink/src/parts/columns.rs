//! Columns of a row group, written and read by their place in the schema.

use std::ops::Range;

use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{ReaderProperties, ReaderPropertiesPtr};
use parquet::file::reader::RowGroupReader;
use parquet::file::serialized_reader::SerializedRowGroupReader;
use parquet::file::writer::SerializedRowGroupWriter;
use std::sync::{Arc, LazyLock};

use super::checked::{CheckedFile, SummingWriter};

type Result<T> = std::result::Result<T, ParquetError>;

/// A row group that is being written; columns come in the order of the schema.
pub(crate) struct ColumnsOut<'a>(pub(super) SerializedRowGroupWriter<'a, SummingWriter>);

impl ColumnsOut<'_> {
    fn put<T: DataType>(&mut self, values: &[T::T], levels: Option<&[i16]>) -> Result<()> {
        let missing = || ParquetError::General("the schema has fewer columns".to_owned());
        let mut column = self.0.next_column()?.ok_or_else(missing)?;
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()
    }

    /// A column in which every row has a value.
    pub(super) fn required<T: DataType>(&mut self, values: &[T::T]) -> Result<()> {
        self.put::<T>(values, None)
    }

    /// A column in which rows may have no value.
    pub(super) fn optional<T: DataType>(&mut self, rows: impl Iterator<Item = Option<T::T>>) -> Result<()> {
        let mut values = Vec::new();
        let mut levels = Vec::new();
        for row in rows {
            levels.push(i16::from(row.is_some()));
            values.extend(row);
        }
        self.put::<T>(&values, Some(&levels))
    }

    pub(super) fn i64s(&mut self, rows: impl Iterator<Item = i64>) -> Result<()> {
        self.required::<Int64Type>(&rows.collect::<Vec<_>>())
    }

    pub(super) fn i32s(&mut self, rows: impl Iterator<Item = i32>) -> Result<()> {
        self.required::<Int32Type>(&rows.collect::<Vec<_>>())
    }

    pub(super) fn texts<'a>(&mut self, rows: impl Iterator<Item = &'a str>) -> Result<()> {
        self.required::<ByteArrayType>(&rows.map(ByteArray::from).collect::<Vec<_>>())
    }

    /// Texts made for this, which are not copied again.
    pub(super) fn owned_texts(&mut self, rows: impl Iterator<Item = String>) -> Result<()> {
        self.required::<ByteArrayType>(&rows.map(|text| text.into_bytes().into()).collect::<Vec<_>>())
    }

    pub(super) fn ids<const N: usize>(&mut self, rows: impl Iterator<Item = Option<[u8; N]>>) -> Result<()> {
        self.optional::<FixedLenByteArrayType>(rows.map(|id| id.map(fixed)))
    }

    pub(super) fn close(self) -> Result<()> {
        self.0.close().map(drop)
    }
}

fn fixed<const N: usize>(bytes: [u8; N]) -> FixedLenByteArray {
    ByteArray::from(Bytes::copy_from_slice(&bytes)).into()
}

/// Which rows of a row group to read, ascending.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    All(usize),
    Ranges(&'a [Range<usize>]),
    Only(&'a [usize]),
}

impl Rows<'_> {
    /// The rows as runs of neighbours.
    fn runs(self) -> Vec<Range<usize>> {
        match self {
            Self::All(count) => std::iter::once(0..count).collect(),
            Self::Ranges(ranges) => ranges.to_vec(),
            Self::Only(rows) => {
                let mut runs: Vec<Range<usize>> = Vec::new();
                for row in rows {
                    match runs.last_mut() {
                        Some(run) if run.end == *row => run.end += 1,
                        _ => runs.push(*row..*row + 1),
                    }
                }
                runs
            }
        }
    }
}

/// A row group of an open part.
pub(crate) struct Group<'a> {
    file: &'a Arc<CheckedFile>,
    metadata: &'a ParquetMetaData,
    index: usize,
    reader: SerializedRowGroupReader<'a, CheckedFile>,
    pub(super) rows: usize,
}

static PROPERTIES: LazyLock<ReaderPropertiesPtr> =
    LazyLock::new(|| Arc::new(ReaderProperties::builder().set_read_bloom_filter(false).build()));

impl<'a> Group<'a> {
    pub(super) fn open(
        file: &'a Arc<CheckedFile>,
        metadata: &'a ParquetMetaData,
        index: usize,
    ) -> Result<Self> {
        let pages = metadata.page_index_for_row_group(index);
        let group = metadata.row_group(index);
        let reader = SerializedRowGroupReader::new(Arc::clone(file), group, pages, Arc::clone(&PROPERTIES))?;
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        Ok(Self { file, metadata, index, reader, rows })
    }

    pub(super) fn all(&self) -> Rows<'static> {
        Rows::All(self.rows)
    }

    fn read<T: DataType>(&self, column: usize, rows: Rows<'_>) -> Result<(Vec<T::T>, Vec<i16>)> {
        let mut reader = get_typed_column_reader::<T>(self.reader.get_column_reader(column)?);
        let (mut values, mut levels, mut position) = (Vec::new(), Vec::new(), 0);
        for run in rows.runs() {
            skip(&mut reader, run.start - position)?;
            let mut left = run.len();
            while left > 0 {
                let (read, _, _) = reader.read_records(left, Some(&mut levels), None, &mut values)?;
                if read == 0 {
                    return Err(ParquetError::EOF("a column has fewer rows than its group".to_owned()));
                }
                left -= read;
            }
            position = run.end;
        }
        Ok((values, levels))
    }

    /// Whether the part was written with this column.
    pub(super) fn has(&self, column: usize) -> bool {
        self.metadata.row_group(self.index).num_columns() > column
    }

    /// A column in which every row has a value.
    pub(super) fn required<T: DataType>(&self, column: usize, rows: Rows<'_>) -> Result<Vec<T::T>> {
        self.read::<T>(column, rows).map(|(values, _)| values)
    }

    /// A column in which rows may have no value.
    pub(super) fn optional<T: DataType>(&self, column: usize, rows: Rows<'_>) -> Result<Vec<Option<T::T>>> {
        let (values, levels) = self.read::<T>(column, rows)?;
        let mut values = values.into_iter();
        Ok(levels.iter().map(|level| if *level > 0 { values.next() } else { None }).collect())
    }

    /// The values of a column in which few rows have one, with their rows.
    pub(super) fn sparse<T: DataType>(&self, column: usize) -> Result<Vec<(usize, T::T)>> {
        let (values, levels) = self.read::<T>(column, self.all())?;
        let rows = levels.iter().enumerate().filter(|(_, level)| **level > 0).map(|(row, _)| row);
        Ok(rows.zip(values).collect())
    }

    pub(super) fn i64s(&self, column: usize, rows: Rows<'_>) -> Result<Vec<i64>> {
        self.required::<Int64Type>(column, rows)
    }

    pub(super) fn i32s(&self, column: usize, rows: Rows<'_>) -> Result<Vec<i32>> {
        self.required::<Int32Type>(column, rows)
    }

    pub(super) fn texts(&self, column: usize, rows: Rows<'_>) -> Result<Vec<ByteArray>> {
        self.required::<ByteArrayType>(column, rows)
    }

    pub(super) fn strings(&self, column: usize, rows: Rows<'_>) -> Result<Vec<String>> {
        self.texts(column, rows)?.iter().map(string).collect()
    }

    pub(super) fn doubles(&self, column: usize, rows: Rows<'_>) -> Result<Vec<Option<f64>>> {
        self.optional::<DoubleType>(column, rows)
    }

    pub(super) fn ids<const N: usize>(&self, column: usize, rows: Rows<'_>) -> Result<Vec<Option<[u8; N]>>> {
        let ids = self.optional::<FixedLenByteArrayType>(column, rows)?;
        Ok(ids.into_iter().map(|id| id.and_then(|id| id.data().try_into().ok())).collect())
    }

    /// Whether a value can be in a column, by the column's filter; true without one.
    pub(super) fn may_hold(&self, column: usize, value: &[u8]) -> Result<bool> {
        let column = self.metadata.row_group(self.index).column(column);
        let filter = Sbbf::read_from_column_chunk(column, &**self.file)?;
        Ok(filter.is_none_or(|filter| filter.check(value)))
    }
}

fn skip<T: DataType>(reader: &mut ColumnReaderImpl<T>, count: usize) -> Result<()> {
    if count > 0 && reader.skip_records(count)? != count {
        return Err(ParquetError::EOF("a column has fewer rows than its group".to_owned()));
    }
    Ok(())
}

/// A text of a part; parts are written from strings, so anything else is damage.
pub(super) fn string(text: &ByteArray) -> Result<String> {
    text.as_utf8().map(str::to_owned)
}
