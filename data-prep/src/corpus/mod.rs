//! Raw text in, documents out: one file a format, one trait.
//!
//! In: a decompressed byte stream ([`Input`], from [`open`]). Out: a lazy stream of [`Record`]s, in the order of the input.
//! Cost: one document in memory at a time, whatever the size of the input.
//!
//! A new format is one file here that implements [`CorpusReader`], one variant of [`Format`] and its line in
//! [`Format::reader`].

mod jsonl;
mod mediawiki;
mod open;
mod text;
pub mod wikitext;

pub use jsonl::Jsonl;
pub use mediawiki::Mediawiki;
pub use open::{open, Compression};
pub use text::{Blocks, Text};

use std::io::{self, BufRead};
use std::path::Path;

/// Decompressed bytes of one corpus file.
pub type Input = Box<dyn BufRead + Send>;

/// The lazy stream of one corpus file. It ends after its first error.
pub type Records = Box<dyn Iterator<Item = Result<Record, CorpusError>> + Send>;

/// Reads one format.
pub trait CorpusReader: Send + Sync {
    /// Yields the documents of `input` one after the other, holding one of them in memory. One thread does this for the
    /// whole corpus: what takes time and needs no order belongs into [`CorpusReader::finish`].
    fn read(&self, input: Input) -> Records;

    /// Turns what `read` yielded into text, on any thread: parsing, cleaning.
    fn finish(&self, document: Document) -> Result<Record, CorpusError> {
        Ok(Record::Document(document))
    }
}

/// One article, book, page or entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The document's name where the format has one. It is not part of the text and is not tokenised.
    pub title: Option<String>,
    /// Plain text: paragraphs separated by one newline, no newline within a paragraph.
    pub text: String,
}

/// What a reader met next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A document to keep.
    Document(Document),
    /// Something that is no document, left out and counted under this reason (`"redirect"`, `"not an article"`).
    Skipped(&'static str),
}

/// Why a corpus cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The stream failed: the disk, or a truncated or damaged compressed file.
    #[error("cannot read the stream")]
    Io(#[from] io::Error),
    /// The bytes are not UTF-8.
    #[error("line {line} is not valid UTF-8")]
    Utf8 {
        /// Line number, from 1.
        line: u64,
    },
    /// A line of JSONL does not parse.
    #[error("line {line} is not a JSON object")]
    Json {
        /// Line number, from 1.
        line: u64,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A line of JSONL lacks its text.
    #[error("line {line} has no string field `{field}`")]
    MissingField {
        /// Line number, from 1.
        line: u64,
        /// The name that was looked for.
        field: String,
    },
    /// XML that does not parse, or that is no MediaWiki export.
    #[error("invalid MediaWiki XML at byte {offset}: {message}")]
    Xml {
        /// Offset in the decompressed stream.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
    /// A document above [`MAX_DOCUMENT_BYTES`].
    #[error("a document is larger than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
}

/// The most bytes that one document may have: a reader holds one document in memory, and this bounds it.
pub const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

/// How a corpus file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// By the file name: `.xml` is `mediawiki`, `.jsonl` and `.json` are `jsonl`, `.txt` is `text`, each also with
    /// `.gz`, `.bz2` or `.zst` behind it
    #[default]
    Auto,
    /// Plain text, one document a file, paragraphs separated by blank lines
    Text,
    /// Plain text, several documents a file, separated by blank lines (the input format of Google's BERT)
    Blocks,
    /// One JSON object a line, with the text in the field `text` and, if there is one, a `title`
    Jsonl,
    /// A MediaWiki XML dump, such as Wikipedia's pages-articles
    Mediawiki,
}

/// What readers can be told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReaderOptions {
    /// Name of the field of JSONL that holds the text; default `text`.
    pub text_field: String,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        ReaderOptions { text_field: "text".to_owned() }
    }
}

impl Format {
    /// The format that a file name stands for, compression suffix aside; nothing if it stands for none.
    pub fn of_path(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let stem = Compression::strip_suffix(&name);
        let (_, extension) = stem.rsplit_once('.')?;
        match extension {
            "xml" => Some(Format::Mediawiki),
            // Wikipedia names the parts of a dump `.xml-p1p41242.bz2`.
            part if part.starts_with("xml-p") => Some(Format::Mediawiki),
            "jsonl" | "json" | "ndjson" => Some(Format::Jsonl),
            "txt" | "text" => Some(Format::Text),
            _ => None,
        }
    }

    /// The reader of this format, with `path` deciding for [`Format::Auto`]; nothing if the name does not tell.
    pub fn reader(self, path: &Path, options: &ReaderOptions) -> Option<Box<dyn CorpusReader>> {
        match self {
            Format::Auto => Format::of_path(path)?.reader(path, options),
            Format::Text => Some(Box::new(Text)),
            Format::Blocks => Some(Box::new(Blocks)),
            Format::Jsonl => Some(Box::new(Jsonl { text_field: options.text_field.clone() })),
            Format::Mediawiki => Some(Box::new(Mediawiki)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_format() {
        for (name, format) in [
            ("enwiki-pages-articles.xml.bz2", Some(Format::Mediawiki)),
            ("a.XML", Some(Format::Mediawiki)),
            ("enwiki-pages-articles1.xml-p1p41242.bz2", Some(Format::Mediawiki)),
            ("books.jsonl.zst", Some(Format::Jsonl)),
            ("a.json.gz", Some(Format::Jsonl)),
            ("a.b.txt", Some(Format::Text)),
            ("a.txt.bz2", Some(Format::Text)),
            ("a.gz", None),
            ("a.csv", None),
            ("a", None),
        ] {
            assert_eq!(Format::of_path(Path::new(name)), format, "{name}");
            assert_eq!(
                Format::Auto.reader(Path::new(name), &ReaderOptions::default()).is_some(),
                format.is_some(),
                "{name}"
            );
        }
    }
}
