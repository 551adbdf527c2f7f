//! A Parquet file in, its named columns out, whole and typed: labelled data as Hugging Face keeps it.
//!
//! Columns are read one after the other, compressed or not, plain or by a dictionary. Cost: the values of the named columns
//! in memory, and one page of the file; other columns are not read. For corpora, which do not fit in memory, see
//! [`crate::corpus`].

mod lists;

use crate::corpus::parquet::{caught, disagreement, open, row_group, FlatColumn, BATCH_ROWS};
use crate::corpus::{CorpusError, Position};
use lists::unreadable;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use std::fs::File;
use std::path::Path;

/// A column as the values of its rows; `None` is null.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Strings.
    Text(Vec<Option<String>>),
    /// Integers of 32 or 64 bits.
    Integer(Vec<Option<i64>>),
    /// Floating point numbers. One of 32 bits becomes the shortest decimal that stands for it: 3.8 stays 3.8, as it is in the
    /// text file that it was made from.
    Real(Vec<Option<f64>>),
    /// Lists of strings; one that is null is empty.
    Texts(Vec<Vec<String>>),
    /// Lists of integers of 32 or 64 bits; one that is null is empty.
    Integers(Vec<Vec<i64>>),
}

impl Column {
    /// What the column holds, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Column::Text(_) => "text",
            Column::Integer(_) => "integers",
            Column::Real(_) => "floating point numbers",
            Column::Texts(_) => "lists of texts",
            Column::Integers(_) => "lists of integers",
        }
    }
}

/// What [`read`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Rows of the file.
    pub num_rows: usize,
    /// The names of all columns of the file, in its order.
    pub names: Vec<String>,
    /// The columns that were asked for, in that order; `None` for one that the file lacks.
    pub columns: Vec<Option<Column>>,
}

/// Reads the columns `wanted` of a Parquet file. A file without one of them is no error, for callers can do without some. The
/// values of a struct are columns of their own (`answers.text`), in lists or not.
///
/// # Errors
/// If the file cannot be opened or is not whole, if a wanted column is a list of lists or of another type than those of
/// [`Column`], and if a string is not UTF-8.
pub fn read(path: &Path, wanted: &[&str]) -> Result<Table, CorpusError> {
    let file = open(path)?;
    caught(|| read_columns(&SerializedFileReader::new(file)?, wanted))
}

fn read_columns(file: &SerializedFileReader<File>, wanted: &[&str]) -> Result<Table, CorpusError> {
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    let mut places = Vec::new();
    let mut columns = Vec::new();
    for &name in wanted {
        let place = lists::find(&schema, name);
        columns.push(match place {
            Some(index) => {
                let column = schema.column(index);
                lists::check(name, &column)?;
                Some(empty(name, column.physical_type(), column.max_rep_level() > 0)?)
            }
            None => None,
        });
        places.push(place);
    }
    let mut num_rows: usize = 0;
    for index in 0..file.num_row_groups() {
        let group = row_group(file, index)?;
        let num_rows_of_group = usize::try_from(group.metadata().num_rows())
            .map_err(|_| CorpusError::Parquet { message: "a row group has less than no rows".to_owned() })?;
        for (column, place) in columns.iter_mut().zip(&places) {
            if let (Some(column), &Some(place)) = (column, place) {
                append(column, group.as_ref(), place, num_rows_of_group)?;
            }
        }
        num_rows = num_rows.saturating_add(num_rows_of_group);
    }
    Ok(Table { num_rows, names, columns })
}

/// A column of this type without rows.
fn empty(name: &str, kind: PhysicalType, is_list: bool) -> Result<Column, CorpusError> {
    match (kind, is_list) {
        (PhysicalType::BYTE_ARRAY, false) => Ok(Column::Text(Vec::new())),
        (PhysicalType::INT32 | PhysicalType::INT64, false) => Ok(Column::Integer(Vec::new())),
        (PhysicalType::FLOAT | PhysicalType::DOUBLE, false) => Ok(Column::Real(Vec::new())),
        (PhysicalType::BYTE_ARRAY, true) => Ok(Column::Texts(Vec::new())),
        (PhysicalType::INT32 | PhysicalType::INT64, true) => Ok(Column::Integers(Vec::new())),
        (other, false) => Err(unreadable(name, &format!("{other}"))),
        (other, true) => Err(unreadable(name, &format!("lists of {other}"))),
    }
}

/// Appends one column of a row group.
fn append(column: &mut Column, group: &dyn RowGroupReader, place: usize, num_rows: usize) -> Result<(), CorpusError> {
    let max_level = group.metadata().column(place).column_descr().max_def_level();
    let reader = group.get_column_reader(place)?;
    match (column, reader) {
        (Column::Text(texts), ColumnReader::ByteArrayColumnReader(reader)) => {
            each(FlatColumn::new(reader, max_level), num_rows, |value| {
                let row = Position::Row(texts.len() as u64 + 1);
                texts.push(value.map(|bytes| text(&bytes, row)).transpose()?);
                Ok(())
            })
        }
        (Column::Integer(numbers), ColumnReader::Int32ColumnReader(reader)) => {
            each(FlatColumn::new(reader, max_level), num_rows, |value| {
                numbers.push(value.map(i64::from));
                Ok(())
            })
        }
        (Column::Integer(numbers), ColumnReader::Int64ColumnReader(reader)) => {
            each(FlatColumn::new(reader, max_level), num_rows, |value| {
                numbers.push(value);
                Ok(())
            })
        }
        (Column::Real(numbers), ColumnReader::FloatColumnReader(reader)) => {
            each(FlatColumn::new(reader, max_level), num_rows, |value| {
                numbers.push(value.map(shortest_decimal));
                Ok(())
            })
        }
        (Column::Real(numbers), ColumnReader::DoubleColumnReader(reader)) => {
            each(FlatColumn::new(reader, max_level), num_rows, |value| {
                numbers.push(value);
                Ok(())
            })
        }
        (Column::Texts(rows), ColumnReader::ByteArrayColumnReader(reader)) => {
            lists::each(reader, max_level, num_rows, |values| {
                let row = Position::Row(rows.len() as u64 + 1);
                rows.push(values.iter().map(|bytes| text(bytes, row)).collect::<Result<_, _>>()?);
                Ok(())
            })
        }
        (Column::Integers(rows), ColumnReader::Int32ColumnReader(reader)) => {
            lists::each(reader, max_level, num_rows, |values| {
                rows.push(values.into_iter().map(i64::from).collect());
                Ok(())
            })
        }
        (Column::Integers(rows), ColumnReader::Int64ColumnReader(reader)) => {
            lists::each(reader, max_level, num_rows, |values| {
                rows.push(values);
                Ok(())
            })
        }
        _ => Err(disagreement()),
    }
}

/// Hands over the rows of a column, some at a time: a damaged file may promise more rows than memory can hold.
fn each<T: DataType>(
    mut column: FlatColumn<T>,
    num_rows: usize,
    mut take: impl FnMut(Option<T::T>) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    let mut num_left = num_rows;
    while num_left > 0 {
        let num_now = num_left.min(BATCH_ROWS);
        num_left -= num_now;
        column.next_batch(num_now)?.into_iter().try_for_each(&mut take)?;
    }
    Ok(())
}

fn text(bytes: &ByteArray, position: Position) -> Result<String, CorpusError> {
    std::str::from_utf8(bytes.data()).map(str::to_owned).map_err(|_| CorpusError::Utf8 { position })
}

/// The shortest decimal that rounds to this number; what is not finite stays.
fn shortest_decimal(number: f32) -> f64 {
    // Both ways are exact by their contract: Rust prints the shortest digits that read back as the same number.
    number.to_string().parse().unwrap_or(f64::from(number))
}
