//! The schema of a Parquet file and a name in, the column of strings out, or what else the name stands for.

use crate::corpus::CorpusError;
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::schema::types::{SchemaDescriptor, Type};

/// The column `name`, whose values must be strings (or bytes that may be some).
///
/// # Errors
/// If there is none, and if it holds something else: then the error says what.
pub(super) fn find_strings(schema: &SchemaDescriptor, name: &str) -> Result<usize, CorpusError> {
    let found = schema.columns().iter().position(|column| column.path().string() == name);
    if let Some(index) = found.filter(|&index| {
        let column = schema.column(index);
        column.max_rep_level() == 0
            && column.physical_type() == PhysicalType::BYTE_ARRAY
            && !is_decimal(column.self_type())
    }) {
        return Ok(index);
    }
    // Down to the column itself, or to the first list on the way to it.
    let (mut path, mut node) = (Vec::new(), schema.root_schema());
    for part in name.split('.') {
        let Some(next) = fields(node).iter().find(|field| field.name() == part) else {
            let columns = schema.columns().iter().map(|column| column.path().string()).collect();
            return Err(CorpusError::NoColumn { column: name.to_owned(), columns });
        };
        path.push(part);
        node = next;
        if is_list(node) {
            break;
        }
    }
    let is_struct = node.is_group() && !is_list(node) && !is_map(node);
    Err(CorpusError::ColumnKind { column: path.join("."), kind: describe(node), is_struct })
}

fn fields(node: &Type) -> &[std::sync::Arc<Type>] {
    if node.is_group() {
        node.get_fields()
    } else {
        &[]
    }
}

fn is_decimal(node: &Type) -> bool {
    node.get_basic_info().converted_type() == ConvertedType::DECIMAL
}

fn is_list(node: &Type) -> bool {
    node.get_basic_info().converted_type() == ConvertedType::LIST || is_repeated(node)
}

fn is_repeated(node: &Type) -> bool {
    node.get_basic_info().has_repetition() && node.get_basic_info().repetition() == parquet::basic::Repetition::REPEATED
}

fn is_map(node: &Type) -> bool {
    matches!(node.get_basic_info().converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE)
}

/// What a column is or holds, for messages.
fn describe(node: &Type) -> String {
    if is_list(node) && node.is_group() {
        return format!("is a list of {}", element(node));
    }
    if is_map(node) {
        return "is a map".to_owned();
    }
    if node.is_group() {
        let names: Vec<String> = node.get_fields().iter().map(|field| format!("`{}`", field.name())).collect();
        return format!("is a struct of {}", names.join(", "));
    }
    match is_repeated(node) {
        true => format!("is a list of {}", values(node)),
        false => format!("holds {}", values(node)),
    }
}

/// What the elements of a list are: lists have a repeated group, `list` or `array`, with the element in it.
fn element(list: &Type) -> String {
    let mut node = list;
    while node.is_group() {
        let [only] = fields(node) else { return "structs".to_owned() };
        node = only;
        if node.is_group() && is_list(node) && !is_repeated(node) {
            return "lists".to_owned();
        }
    }
    values(node).to_owned()
}

/// What a column of single values holds.
fn values(node: &Type) -> &'static str {
    let info = node.get_basic_info();
    match (info.converted_type(), info.logical_type_ref()) {
        (ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, _) => return "strings",
        (ConvertedType::DECIMAL, _) => return "decimal numbers",
        (ConvertedType::DATE, _) => return "dates",
        (ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS, _) => return "times of day",
        (ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS, _) => return "points in time",
        (_, Some(LogicalType::String)) => return "strings",
        (_, Some(LogicalType::Timestamp(_))) => return "points in time",
        (_, Some(LogicalType::Unknown)) => return "nulls",
        _ => {}
    }
    match node.get_physical_type() {
        PhysicalType::BOOLEAN => "true or false",
        PhysicalType::INT32 | PhysicalType::INT64 => "integers",
        PhysicalType::INT96 => "points in time",
        PhysicalType::FLOAT | PhysicalType::DOUBLE => "floating point numbers",
        PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY => "binary data",
    }
}
