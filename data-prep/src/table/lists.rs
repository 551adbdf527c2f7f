//! Lists: a column of which a row has any number of values.

use crate::corpus::parquet::BATCH_ROWS;
use crate::corpus::CorpusError;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::DataType;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// What writers call the levels of a list, between its name and that of its values.
const LEVELS: [&str; 6] = ["list", "element", "item", "array", "bag", "array_element"];

/// The column `name` of a file: a plain one, or a list, whose levels are no part of its name (`answers.text` stands for
/// `answers.text.list.element` and for `answers.list.element.text`).
pub(super) fn find(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    let short = |column: &ColumnDescriptor| -> String {
        let parts = column.path().parts();
        let own = parts.iter().enumerate().filter(|(at, part)| *at == 0 || !LEVELS.contains(&part.as_str()));
        own.map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(".")
    };
    let columns = schema.columns();
    let plain = columns.iter().position(|column| column.path().string() == name);
    plain.or_else(|| columns.iter().position(|column| column.max_rep_level() > 0 && short(column) == name))
}

/// Refuses a list of lists.
pub(super) fn check(name: &str, column: &ColumnDescriptor) -> Result<(), CorpusError> {
    match column.max_rep_level() {
        0 | 1 => Ok(()),
        _ => Err(unreadable(name, "a list of lists")),
    }
}

/// The error of a column that cannot be read.
pub(super) fn unreadable(name: &str, kind: &str) -> CorpusError {
    CorpusError::Parquet { message: format!("column `{name}` is {kind}: expected text, integers or floating point") }
}

/// Hands over the rows of a column, each with its values; nulls in a list are left out. `max_level` is the definition level of a
/// value.
pub(super) fn each<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    max_level: i16,
    num_rows: usize,
    mut take: impl FnMut(Vec<T::T>) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    let mut num_left = num_rows;
    while num_left > 0 {
        let num_now = num_left.min(BATCH_ROWS);
        let (mut values, mut levels, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
        let (num_read, ..) = reader.read_records(num_now, Some(&mut levels), Some(&mut repeats), &mut values)?;
        if num_read != num_now {
            let message = format!("a column ends early: expected {num_now} more rows, got {num_read}");
            return Err(CorpusError::Parquet { message });
        }
        num_left -= num_now;
        let mut values = values.into_iter();
        let mut row: Option<Vec<T::T>> = None;
        for (&level, &repeat) in levels.iter().zip(&repeats) {
            if repeat == 0 {
                row.replace(Vec::new()).map_or(Ok(()), &mut take)?;
            }
            if let (true, Some(row)) = (level == max_level, &mut row) {
                row.extend(values.next());
            }
        }
        row.map_or(Ok(()), &mut take)?;
    }
    Ok(())
}
