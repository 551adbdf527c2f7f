//! Named columns of Parquet files: their types, nulls, columns that cannot be read, and damage.
#![cfg(feature = "parquet")]

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs;
use std::sync::Arc;
use untie_data::corpus::CorpusError;
use untie_data::table::{read, Column, Table};

const SCHEMA: &str =
    "message schema { required binary text (UTF8); optional binary note (UTF8); optional int64 label; \
                      required int32 idx; required float score; required double exact; required boolean flag; \
                      repeated int32 list; }";
const ROWS: usize = 100;

/// Two row groups of [`ROWS`] rows; in `note` and `label` every third is null.
fn file(text: &[u8]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let levels: Vec<i16> = (0..ROWS).map(|row| i16::from(row % 3 != 0)).collect();
    let there = || (0..ROWS).filter(|row| row % 3 != 0);
    for group in 0..2 {
        let mut out = writer.next_row_group().unwrap();
        let mut column = 0;
        while let Some(mut values) = out.next_column().unwrap() {
            match column {
                0 => {
                    let texts: Vec<ByteArray> = (0..ROWS).map(|_| ByteArray::from(text.to_vec())).collect();
                    values.typed::<ByteArrayType>().write_batch(&texts, None, None)
                }
                1 => {
                    let notes: Vec<ByteArray> = there().map(|row| row.to_string().as_str().into()).collect();
                    values.typed::<ByteArrayType>().write_batch(&notes, Some(&levels), None)
                }
                2 => {
                    let labels: Vec<i64> = there().map(|row| row as i64 - 5).collect();
                    values.typed::<Int64Type>().write_batch(&labels, Some(&levels), None)
                }
                3 => {
                    let numbers: Vec<i32> = (0..ROWS).map(|row| (group * ROWS + row) as i32).collect();
                    values.typed::<Int32Type>().write_batch(&numbers, None, None)
                }
                4 => values.typed::<FloatType>().write_batch(&[3.8; ROWS], None, None),
                5 => values.typed::<DoubleType>().write_batch(&[0.1 + 0.2; ROWS], None, None),
                6 => values.typed::<parquet::data_type::BoolType>().write_batch(&[true; ROWS], None, None),
                _ => values.typed::<Int32Type>().write_batch(&[], Some(&[0; ROWS]), Some(&[0; ROWS])),
            }
            .unwrap();
            values.close().unwrap();
            column += 1;
        }
        out.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

fn read_bytes(bytes: &[u8], wanted: &[&str]) -> Result<Table, CorpusError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    fs::write(&path, bytes).unwrap();
    read(&path, wanted)
}

#[test]
fn columns_have_their_types_nulls_and_order() {
    let table = read_bytes(
        &file("Größe \"7\"".as_bytes()),
        &["idx", "text", "none", "label", "note", "score", "exact", "list"],
    )
    .unwrap();
    assert_eq!(table.num_rows, 2 * ROWS);
    assert_eq!(table.names, ["text", "note", "label", "idx", "score", "exact", "flag", "list"]);
    let twice = |row: usize| row % ROWS;
    let all = || 0..2 * ROWS;
    let there = |row: usize| (twice(row) % 3 != 0).then_some(twice(row));
    let expected = [
        Some(Column::Integer(all().map(|row| Some(row as i64)).collect())),
        Some(Column::Text(vec![Some("Größe \"7\"".to_owned()); 2 * ROWS])),
        None,
        Some(Column::Integer(all().map(|row| there(row).map(|row| row as i64 - 5)).collect())),
        Some(Column::Text(all().map(|row| there(row).map(|row| row.to_string())).collect())),
        // The float next to 3.8 is 3.7999999523…: what was meant comes back.
        Some(Column::Real(vec![Some(3.8); 2 * ROWS])),
        Some(Column::Real(vec![Some(0.1 + 0.2); 2 * ROWS])),
        Some(Column::Integers(vec![Vec::new(); 2 * ROWS])),
    ];
    assert_eq!(table.columns, expected);
}

#[test]
fn what_cannot_be_read_is_named() {
    let good = file(b"text");
    let message = |bytes: &[u8], wanted: &str| read_bytes(bytes, &[wanted]).unwrap_err().to_string();
    let expected = "invalid Parquet: column `flag` is BOOLEAN: expected text, integers or floating point";
    assert_eq!(message(&good, "flag"), expected);
    assert_eq!(message(&file(b"caf\xe9"), "text"), "row 1 is not valid UTF-8");
    assert!(matches!(read("no/such/file".as_ref(), &[]), Err(CorpusError::Io(_))));
}

#[test]
fn damage_is_an_error_or_a_value_never_a_panic() {
    let good = file(b"text");
    let wanted = ["text", "note", "label", "idx", "score", "exact"];
    for end in 0..good.len() {
        let error = read_bytes(&good[..end], &wanted).unwrap_err();
        let named = error.to_string();
        assert!(named.starts_with("invalid Parquet: ") || end == 0 && named == "the file is empty", "{end}: {named}");
    }
    let mut num_errors = 0;
    for at in 4..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        num_errors += usize::from(read_bytes(&bad, &wanted).is_err());
    }
    assert!(num_errors > good.len() / 10, "{num_errors} of {}", good.len());
}
