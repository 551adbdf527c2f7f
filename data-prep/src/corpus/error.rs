//! Every way in which a corpus file can be wrong, with its place and what the user can do.

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
    Io(#[from] io::Error),
    /// The bytes are not UTF-8.
    #[error("{position} is not valid UTF-8")]
    Utf8 {
        /// Where.
        position: Position,
    },
    /// The file starts with the byte order mark of UTF-16 or UTF-32.
    #[error("the text is UTF-16: expected UTF-8")]
    Utf16,
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
    /// No line of a whole JSONL file has its text.
    #[error("none of {num_lines} lines has the string field `{field}`: {}", found(fields))]
    NoField {
        /// The name that was looked for.
        field: String,
        /// The lines of the file.
        num_lines: u64,
        /// The fields of the first object; none if no line is an object.
        fields: Vec<String>,
    },
    /// A Parquet file without the column.
    #[error("no string column `{column}`: {}", found(columns))]
    NoColumn {
        /// The name that was looked for.
        column: String,
        /// The columns that it has.
        columns: Vec<String>,
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

impl CorpusError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CorpusError::Io(error) if error.raw_os_error().is_none() => {
                Some("the file was cut short or damaged: fetch it again")
            }
            CorpusError::Io(_) => None,
            CorpusError::Utf8 { .. } => Some("convert the file to UTF-8, for instance with `iconv -f LATIN1 -t UTF-8`"),
            CorpusError::Utf16 => Some("convert the file to UTF-8, for instance with `iconv -f UTF-16 -t UTF-8`"),
            CorpusError::Json { .. } => Some("expected one JSON object a line"),
            CorpusError::NoField { fields, .. } if fields.is_empty() => Some("expected one JSON object a line"),
            CorpusError::MissingField { .. } | CorpusError::NoField { .. } | CorpusError::NoColumn { .. } => {
                Some("name the field that holds the text with `--text-field`")
            }
            CorpusError::Parquet { .. } => Some("the file was cut short or damaged, or is no Parquet: fetch it again"),
            CorpusError::Xml { .. } => Some("expected a MediaWiki export such as Wikipedia's pages-articles"),
            CorpusError::Wikiextractor { .. } => Some("expected `<doc …>` … `</doc>` or one JSON object a line"),
            CorpusError::Empty { .. } => Some("without `--strict` empty documents are skipped and counted"),
            CorpusError::TooLong { .. } => Some("without `--strict` such documents are skipped or cut, and counted"),
        }
    }
}
