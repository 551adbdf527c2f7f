//! A Parquet file in the layout of Hugging Face in, one document a row out.
//!
//! The text is a column of strings (by default `text`, plain or by a dictionary), and perhaps there is a `title`; other columns
//! are not read; lists, structs and numbers are named in the error. Compression: none, snappy, gzip, zstd or lz4, as all
//! writers know; Brotli (whose decoder takes as long to compile as the rest of Parquet) is named. Cost: one page of each of the two columns, decompressed, and
//! [`BATCH_ROWS`] rows (they share the page's memory); Parquet has no smaller unit that could be bounded.

mod columns;

use super::kind::{Other, KIND_BYTES};
use super::lines::decode;
use super::{
    until_error, Compression, CorpusError, CorpusReader, Document, Input, Meter, Position, ReaderOptions, Record,
    Records, NO_FIELD,
};
use bytes::Bytes;
use columns::find_strings;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, RowGroupReader, SerializedFileReader};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::IntoIter;

/// Rows that are read at once.
pub(crate) const BATCH_ROWS: usize = 64;

/// A Parquet file.
#[derive(Clone, Debug, Default)]
pub struct Parquet {
    /// Of which all count.
    pub options: ReaderOptions,
}

impl CorpusReader for Parquet {
    fn read(&self, _input: Input) -> Records {
        let message = "expected a file, got a stream: Parquet is read from its end".to_owned();
        Box::new(std::iter::once(Err(CorpusError::Parquet { message })))
    }

    fn read_file(&self, path: &Path, _threads: usize, meter: Meter) -> Result<Records, CorpusError> {
        let metered = Metered { file: open(path)?, meter: Arc::new(Mutex::new(meter)) };
        let mut rows = caught(|| Rows::open(metered, &self.options))?;
        Ok(until_error(move || caught(|| rows.next_record())))
    }
}

/// Opens a file that starts as Parquet does.
pub(crate) fn open(path: &Path) -> Result<File, CorpusError> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    file.by_ref().take(KIND_BYTES as u64).read_to_end(&mut start)?;
    file.rewind()?;
    if start.is_empty() {
        return Err(Other::new("empty", "a download may have failed: fetch it again").into());
    }
    let compression = Compression::of_start(&start);
    if compression != Compression::None {
        let name = compression.name();
        let what = format!("compressed with {name}, and Parquet compresses its pages itself");
        return Err(Other::new(what, format!("unpack it with `{name} -d`")).into());
    }
    match Other::of_start(&start) {
        Some(other) if !start.starts_with(b"PAR1") => Err(other.into()),
        _ => Ok(file),
    }
}

/// Calls into the crate `parquet`, which panics on some damaged files.
pub(crate) fn caught<T>(call: impl FnOnce() -> Result<T, CorpusError>) -> Result<T, CorpusError> {
    std::panic::catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(CorpusError::Parquet { message: "the file is damaged".to_owned() }))
}

impl From<ParquetError> for CorpusError {
    fn from(error: ParquetError) -> CorpusError {
        let message = error.to_string();
        let codecs = [
            ("brotli", "the column is compressed with Brotli, which is not read"),
            ("LZO", "the column is compressed with LZO, which is not read"),
        ];
        let is_codec = message.contains("Disabled feature") || message.contains("codec type");
        match codecs.iter().find(|(name, _)| is_codec && message.contains(name)) {
            Some((_, what)) => CorpusError::Packed {
                what,
                hint: "write it with zstd or snappy, for instance with pandas `to_parquet(PATH, compression=\"zstd\")`",
            },
            None => CorpusError::Parquet { message },
        }
    }
}

/// A file that tells which bytes were read.
struct Metered {
    file: File,
    meter: Arc<Mutex<Meter>>,
}

impl Length for Metered {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Metered {
    type T = BufReader<File>;

    /// Reads headers, of a few bytes: they are not metered, as the reader buffers more than it uses.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.file.get_bytes(start, length)?;
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter(&bytes);
        Ok(bytes)
    }
}

/// The text and the title, where they are not null.
type Row = (Option<ByteArray>, Option<ByteArray>);

/// The rows of a file, up to the first error.
struct Rows {
    file: SerializedFileReader<Metered>,
    options: ReaderOptions,
    text_column: usize,
    title_column: Option<usize>,
    next_group: usize,
    /// The row group that is being read.
    group: Option<Group>,
    /// Rows that were read and not yet returned.
    batch: IntoIter<Row>,
    row: u64,
}

struct Group {
    text: FlatColumn<ByteArrayType>,
    title: Option<FlatColumn<ByteArrayType>>,
    num_left: usize,
}

impl Rows {
    fn open(file: Metered, options: &ReaderOptions) -> Result<Rows, CorpusError> {
        let file = SerializedFileReader::new(file)?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let text_column = find_strings(&schema, &options.text_field)?;
        let title_column = find_strings(&schema, "title").ok().filter(|&title| title != text_column);
        let batch = Vec::new().into_iter();
        let options = options.clone();
        Ok(Rows { file, options, text_column, title_column, next_group: 0, group: None, batch, row: 0 })
    }

    fn next_record(&mut self) -> Result<Option<Record>, CorpusError> {
        loop {
            if let Some((text, title)) = self.batch.next() {
                self.row += 1;
                return self.record(text, title).map(Some);
            }
            match &mut self.group {
                Some(group) if group.num_left > 0 => self.batch = group.next_batch()?.into_iter(),
                _ if self.next_group == self.file.num_row_groups() => return Ok(None),
                _ => self.open_group()?,
            }
        }
    }

    fn open_group(&mut self) -> Result<(), CorpusError> {
        let group = row_group(&self.file, self.next_group)?;
        self.next_group += 1;
        let metadata = group.metadata();
        let column = |index| match group.get_column_reader(index)? {
            ColumnReader::ByteArrayColumnReader(reader) => {
                Ok(FlatColumn::new(reader, metadata.column(index).column_descr().max_def_level()))
            }
            _ => Err(disagreement()),
        };
        let num_left = usize::try_from(metadata.num_rows()).unwrap_or(0);
        let title = self.title_column.map(column).transpose()?;
        self.group = Some(Group { text: column(self.text_column)?, title, num_left });
        Ok(())
    }

    fn record(&self, text: Option<ByteArray>, title: Option<ByteArray>) -> Result<Record, CorpusError> {
        let position = Position::Row(self.row);
        let Some(text) = text else {
            let error = CorpusError::MissingField { position, field: self.options.text_field.clone() };
            return self.options.refuse(NO_FIELD, error);
        };
        if text.len() > self.options.limit() {
            return self.options.too_long(position);
        }
        let (text, replaced) = decode(text.data(), self.options.strict, position)?;
        let title = title.map(|title| String::from_utf8_lossy(title.data()).into_owned());
        self.options.keep(Document { title, replaced, ..Document::plain(text) }, position)
    }
}

impl Group {
    fn next_batch(&mut self) -> Result<Vec<Row>, CorpusError> {
        let num_rows = self.num_left.min(BATCH_ROWS);
        self.num_left -= num_rows;
        let texts = self.text.next_batch(num_rows)?;
        let titles = match &mut self.title {
            Some(title) => title.next_batch(num_rows)?,
            None => vec![None; num_rows],
        };
        Ok(texts.into_iter().zip(titles).collect())
    }
}

/// A row group whose columns lie behind the start of the file, which the crate `parquet` takes for granted.
pub(crate) fn row_group<R: ChunkReader + 'static>(
    file: &SerializedFileReader<R>,
    index: usize,
) -> Result<Box<dyn RowGroupReader + '_>, CorpusError> {
    let group = file.get_row_group(index)?;
    for column in group.metadata().columns() {
        let starts = [Some(column.data_page_offset()), column.dictionary_page_offset()];
        if column.compressed_size() < 0 || starts.into_iter().flatten().any(|start| start < 0) {
            return Err(CorpusError::Parquet { message: "a column starts or ends before the file".to_owned() });
        }
    }
    Ok(group)
}

/// A column chunk is not of the type that the schema has for its column.
pub(crate) fn disagreement() -> CorpusError {
    CorpusError::Parquet { message: "a row group disagrees with the schema".to_owned() }
}

/// A column whose values are not repeated, in one row group.
pub(crate) struct FlatColumn<T: DataType> {
    reader: ColumnReaderImpl<T>,
    max_level: i16,
}

impl<T: DataType> FlatColumn<T> {
    /// `max_level` is the definition level of a value that is not null.
    pub(crate) fn new(reader: ColumnReaderImpl<T>, max_level: i16) -> FlatColumn<T> {
        FlatColumn { reader, max_level }
    }

    /// The next rows, which must be there.
    pub(crate) fn next_batch(&mut self, num_rows: usize) -> Result<Vec<Option<T::T>>, CorpusError> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (num_read, ..) = self.reader.read_records(num_rows, Some(&mut levels), None, &mut values)?;
        if num_read != num_rows {
            let message = format!("a column ends early: expected {num_rows} more rows, got {num_read}");
            return Err(CorpusError::Parquet { message });
        }
        if self.max_level == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.iter().map(|&level| if level == self.max_level { values.next() } else { None }).collect())
    }
}
