//! Every way in which a corpus file can be wrong, with its place and what the user can do.

use super::kind::Other;
use super::Compression;
use std::borrow::Cow;
use std::fmt;
use std::io;

/// A place in a corpus file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// A line, from 1.
    Line(u64),
    /// A byte of the decompressed stream, from 0.
    Byte(u64),
    /// A row of a table, from 1.
    Row(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Position::Line(line) => write!(formatter, "line {line}"),
            Position::Byte(offset) => write!(formatter, "byte {offset}"),
            Position::Row(row) => write!(formatter, "row {row}"),
        }
    }
}

/// Why a corpus cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The stream failed: the disk, or a truncated or damaged compressed file.
    #[error("cannot read the stream")]
    Io(#[source] io::Error),
    /// A file that holds something else: a picture, an archive, a pointer of Git LFS, text that is not UTF-8.
    #[error("the file is {}", .0.what)]
    Other(Other),
    /// Compressed data that is complete, but needs something that this reader does not have.
    #[error("{what}")]
    Packed {
        /// What stands in the way.
        what: &'static str,
        /// What the user can do.
        hint: &'static str,
    },
    /// Bytes behind compressed data.
    #[error("the {} data is complete, but other bytes follow it", compression.name())]
    Trailing {
        /// How the data is compressed.
        compression: Compression,
    },
    /// A sequence of bytes is not UTF-8.
    #[error("{position} is not valid UTF-8")]
    Utf8 {
        /// Where.
        position: Position,
    },
    /// A line of JSONL does not parse.
    #[error("{position} is not a JSON object")]
    Json {
        /// Where.
        position: Position,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A line or a row lacks its text.
    #[error("{position} has no string field `{field}`")]
    MissingField {
        /// Where.
        position: Position,
        /// The name that was looked for.
        field: String,
    },
    /// No object of a file of JSON has its text.
    #[error("none of {num_objects} objects has the string field `{field}`: {}", found(fields))]
    NoField {
        /// The name that was looked for.
        field: String,
        /// The objects that were looked at.
        num_objects: u64,
        /// The fields of the first object.
        fields: Vec<String>,
    },
    /// The text is no string.
    #[error("none of {num_objects} objects has a string in the field `{field}`: found {kind}")]
    FieldKind {
        /// The name that was looked for.
        field: String,
        /// The objects that were looked at.
        num_objects: u64,
        /// What the field of the first object is.
        kind: &'static str,
    },
    /// A file of JSON without objects.
    #[error("nothing in the file is a JSON object: {message}")]
    NoObject {
        /// Why the first is none.
        message: String,
    },
    /// A file of JSON that was cut short.
    #[error("the file ends inside the JSON value that starts at {position}")]
    JsonEnd {
        /// Where.
        position: Position,
    },
    /// A Parquet file without the column.
    #[error("no string column `{column}`: {}", found(columns))]
    NoColumn {
        /// The name that was looked for.
        column: String,
        /// The columns that it has.
        columns: Vec<String>,
    },
    /// A column of Parquet that holds no strings.
    #[error("column `{column}` {kind}: expected strings")]
    ColumnKind {
        /// Its name.
        column: String,
        /// What it is or holds.
        kind: String,
        /// Whether it has fields that can be named.
        is_struct: bool,
    },
    /// A Parquet file that cannot be read.
    #[error("invalid Parquet: {message}")]
    Parquet {
        /// What is wrong.
        message: String,
    },
    /// XML that does not parse, or that is no MediaWiki export.
    #[error("invalid MediaWiki XML at byte {offset}: {message}")]
    Xml {
        /// Offset in the decompressed stream.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
    /// Not what WikiExtractor writes.
    #[error("invalid WikiExtractor output at {position}: {message}")]
    Wikiextractor {
        /// Where.
        position: Position,
        /// What is wrong there.
        message: String,
    },
    /// A document without text.
    #[error("the document at {position} is empty")]
    Empty {
        /// Where.
        position: Position,
    },
    /// A document above [`super::ReaderOptions::max_document_bytes`].
    #[error("the document at {position} is larger than {limit} bytes")]
    TooLong {
        /// Where it starts.
        position: Position,
        /// The limit in bytes.
        limit: u64,
    },
}

fn found(names: &[String]) -> String {
    if names.is_empty() {
        return "found none".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("found {}", names.join(", "))
}

impl From<Other> for CorpusError {
    fn from(other: Other) -> CorpusError {
        CorpusError::Other(other)
    }
}

impl From<io::Error> for CorpusError {
    /// A decoder hands its own errors on within the system's.
    fn from(error: io::Error) -> CorpusError {
        error.downcast::<CorpusError>().unwrap_or_else(CorpusError::Io)
    }
}

impl CorpusError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            CorpusError::Io(error) if error.raw_os_error().is_none() => {
                "the file was cut short or damaged: fetch it again"
            }
            CorpusError::Io(_) => return None,
            CorpusError::Other(other) => return Some(other.hint.clone()),
            CorpusError::Packed { hint, .. } => hint,
            CorpusError::Trailing { compression } => {
                let name = compression.name();
                return Some(format!("fetch it again; unpack the undamaged part with `{name} -dc FILE > NEW`").into());
            }
            CorpusError::Utf8 { .. } => "convert the file to UTF-8, for instance with `iconv -f LATIN1 -t UTF-8`",
            CorpusError::Json { .. } => "expected one JSON object a line",
            CorpusError::NoObject { .. } => "expected JSON objects, one a line or in one array, as `json.dumps` writes them",
            CorpusError::JsonEnd { .. } => "the file was cut short: fetch it again",
            CorpusError::FieldKind { kind: "a list of objects", .. } => {
                "write the objects of that list one a line, for instance with `jq -c '.FIELD[]' FILE > NEW`"
            }
            CorpusError::FieldKind { num_objects: 1, kind: "an object" | "a list of strings", .. } => {
                "a table by columns: write it by rows, with pandas `df.to_json(PATH, orient=\"records\", lines=True)`"
            }
            CorpusError::FieldKind { .. } => "name the field that holds a string with `--text-field`; a dot leads into an object",
            CorpusError::MissingField { .. } | CorpusError::NoField { .. } | CorpusError::NoColumn { .. } => {
                "name the field that holds the text with `--text-field`"
            }
            CorpusError::ColumnKind { is_struct: true, .. } => "name a field of it with `--text-field`, as in `meta.text`",
            CorpusError::ColumnKind { kind, .. } if kind.starts_with("is a list") => {
                "write one string a row, for instance with pandas `df.explode(COLUMN)`, or name another column with `--text-field`"
            }
            CorpusError::ColumnKind { .. } => "name the column that holds the text with `--text-field`",
            CorpusError::Parquet { .. } => "the file was cut short or damaged, or is no Parquet: fetch it again",
            CorpusError::Xml { .. } => "expected a MediaWiki export such as Wikipedia's pages-articles",
            CorpusError::Wikiextractor { .. } => "expected `<doc …>` … `</doc>` or one JSON object a line",
            CorpusError::Empty { .. } => "without `--strict` empty documents are skipped and counted",
            CorpusError::TooLong { .. } => "without `--strict` such documents are skipped or cut, and counted",
        };
        Some(hint.into())
    }
}
