//! A table in, its rows out: CSV, TSV, JSON Lines (or one JSON array), Parquet, or plain text with one text a line.
//!
//! CSV is quoted as RFC 4180 says. TSV has no quoting, as its media type says: a field ends at a tab, and quotes are text. The first
//! line of both names the columns. Cost: the rows in memory.

use std::fs;
use std::path::Path;

use serde_json::Value;
use untie_data::table::Column;

use crate::error::{io, quoted, Error, Result};
use crate::finetune::shards::columns;

/// Endings of file names that are read as tables with named columns.
pub const TABLES: [&str; 5] = ["csv", "tsv", "jsonl", "json", "parquet"];

/// Columns that are looked for where a configuration names none, each name with that of the second text beside it.
const TEXTS: [(&str, Option<&str>); 5] = [
    ("text", Some("text_pair")),
    ("sentence", None),
    ("sentence1", Some("sentence2")),
    ("premise", Some("hypothesis")),
    ("question1", Some("question2")),
];
const LABELS: [&str; 3] = ["label", "labels", "score"];

/// The names of the columns that are read; none: they are looked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    /// Of the text, or of the first of a pair.
    pub text: Option<String>,
    /// Of the second text.
    pub text_pair: Option<String>,
    /// Of the label or the score.
    pub label: Option<String>,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its line or row in the file, from 1.
    pub place: usize,
    /// The text, or the first of a pair.
    pub first: String,
    /// The second of a pair.
    pub second: Option<String>,
    /// The label or the score; none where the file has none.
    pub label: Option<String>,
}

/// The rows of a file; `needs_labels`: a file without a column of labels is an error.
///
/// # Errors
/// A file that cannot be read, has no such columns or no rows, and a row that lacks a text.
pub fn read(path: &Path, names: &Names, needs_labels: bool) -> Result<Vec<Record>> {
    let rows = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => separated(path, b',', names, needs_labels)?,
        Some("tsv") => separated(path, b'\t', names, needs_labels)?,
        Some("jsonl" | "json") => objects(path, names, needs_labels)?,
        Some("parquet") => parquet(path, names, needs_labels)?,
        Some("txt") if !needs_labels => lines(path)?,
        _ => {
            return Err(Error::data(format!("`{}`: expected a file of one of {}", path.display(), quoted(TABLES)))
                .hint("the end of its name says which"))
        }
    };
    match rows.is_empty() {
        true => Err(Error::data(format!("`{}` has no rows", path.display()))),
        false => Ok(rows),
    }
}

/// Where the columns of [`Names`] are among those of a file.
struct Places {
    first: usize,
    second: Option<usize>,
    label: Option<usize>,
}

impl Places {
    fn find(path: &Path, found: &[String], names: &Names, needs_labels: bool) -> Result<Self> {
        let at = |name: &str| found.iter().position(|column| column == name);
        let missing = |what: &str, key: &str| {
            Error::data(format!("`{}` has no column {what}: found {}", path.display(), quoted(found)))
                .hint(format!("name the column with `--set task.{key}=NAME`"))
        };
        let named = |name: &str, key: &str| at(name).ok_or_else(|| missing(&format!("`{name}`"), key));
        let (first, second) = match &names.text {
            Some(name) => (named(name, "text")?, None),
            None => {
                let known = TEXTS.iter().find_map(|&(text, pair)| Some((at(text)?, pair.and_then(at))));
                let tried = || format!("of texts, one of {}", quoted(TEXTS.iter().map(|(text, _)| text)));
                known.ok_or_else(|| missing(&tried(), "text"))?
            }
        };
        let second = match &names.text_pair {
            Some(name) => Some(named(name, "text_pair")?),
            None => second,
        };
        let label = match &names.label {
            Some(name) if needs_labels => Some(named(name, "label")?),
            Some(name) => at(name),
            None => LABELS.into_iter().find_map(at),
        };
        match label {
            None if needs_labels => Err(missing(&format!("of labels, one of {}", quoted(LABELS)), "label")),
            label => Ok(Self { first, second, label }),
        }
    }

    /// The row of these fields, by their places.
    fn record(&self, path: &Path, place: usize, mut field: impl FnMut(usize) -> Option<String>) -> Result<Record> {
        let mut text = |at: usize| {
            field(at).ok_or_else(|| Error::data(format!("`{}` row {place}: it has no text", path.display())))
        };
        let (first, second) = (text(self.first)?, self.second.map(&mut text).transpose()?);
        let label = self.label.and_then(field).filter(|label| !label.is_empty());
        Ok(Record { place, first, second, label })
    }
}

pub(super) fn text_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| io("read", path, error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::data(format!("`{}` is not UTF-8 at byte {}", path.display(), at + 1))
            .hint("convert the file, for instance with `iconv -f LATIN1 -t UTF-8`")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn separated(path: &Path, delimiter: u8, names: &Names, needs_labels: bool) -> Result<Vec<Record>> {
    let text = text_of(path)?;
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).quoting(delimiter != b'\t').from_reader(text.as_bytes());
    let wrong = |error: csv::Error| {
        let hint = match error.kind() {
            csv::ErrorKind::UnequalLengths { .. } if delimiter == b'\t' => {
                "fields of TSV are not quoted: use CSV for texts with tabs or line ends"
            }
            _ => "texts with commas, quotes or line ends stand in quotes",
        };
        Error::data(format!("cannot read `{}`", path.display())).hint(hint).caused_by(error)
    };
    let header: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
    let places = Places::find(path, &header, names, needs_labels)?;
    let mut rows = Vec::new();
    for (at, row) in reader.records().enumerate() {
        let row = row.map_err(wrong)?;
        let line = row.position().map_or(at + 2, |position| position.line() as usize);
        rows.push(places.record(path, line, |column| row.get(column).map(str::to_owned))?);
    }
    Ok(rows)
}

/// The objects of a file of JSON with the line or the place of each.
pub(super) fn objects_of(path: &Path) -> Result<Vec<(usize, Value)>> {
    let text = text_of(path)?;
    let wrong = |place: usize, words: &str| Error::data(format!("`{}` row {place}: {words}", path.display()));
    let mut values: Vec<(usize, Value)> = Vec::new();
    if text.trim_start().starts_with('[') {
        let all: Vec<Value> = serde_json::from_str(&text)
            .map_err(|error| Error::data(format!("`{}` is not JSON", path.display())).caused_by(error))?;
        values.extend((1..).zip(all));
    } else {
        for (line, object) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let value = serde_json::from_str(object)
                .map_err(|error| wrong(line, "expected a JSON object in one line").caused_by(error))?;
            values.push((line, value));
        }
    }
    match values.iter().find(|(_, value)| !value.is_object()) {
        Some((place, _)) => Err(wrong(*place, "expected a JSON object")),
        None => Ok(values),
    }
}

fn objects(path: &Path, names: &Names, needs_labels: bool) -> Result<Vec<Record>> {
    let values = objects_of(path)?;
    let Some(first) = values.first().and_then(|(_, first)| first.as_object()) else { return Ok(Vec::new()) };
    let header: Vec<String> = first.keys().cloned().collect();
    let places = Places::find(path, &header, names, needs_labels)?;
    let row = |(place, value): &(usize, Value)| {
        places.record(path, *place, |column| match value.get(&header[column])? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            value => Some(value.to_string()),
        })
    };
    values.iter().map(row).collect()
}

fn parquet(path: &Path, names: &Names, needs_labels: bool) -> Result<Vec<Record>> {
    let header = columns(path, &[])?.names;
    let places = Places::find(path, &header, names, needs_labels)?;
    let wanted: Vec<&str> =
        [Some(places.first), places.second, places.label].into_iter().flatten().map(|at| header[at].as_str()).collect();
    let table = columns(path, &wanted)?;
    let cell = |column: usize, row: usize| {
        let at = wanted.iter().position(|name| *name == header[column])?;
        match table.columns[at].as_ref()? {
            Column::Text(texts) => texts[row].clone(),
            Column::Integer(numbers) => numbers[row].map(|number| number.to_string()),
            Column::Real(numbers) => numbers[row].map(|number| number.to_string()),
            Column::Texts(_) | Column::Integers(_) => None,
        }
    };
    (0..table.num_rows).map(|row| places.record(path, row + 1, |column| cell(column, row))).collect()
}

fn lines(path: &Path) -> Result<Vec<Record>> {
    let text = text_of(path)?;
    let rows = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    Ok(rows.map(|(place, line)| Record { place, first: line.to_owned(), second: None, label: None }).collect())
}
