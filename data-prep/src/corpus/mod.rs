//! Raw text in, documents out: one file a format, one trait.
//!
//! In: files, folders, patterns or stdin, found by [`find_files`]. Out: [`CorpusFile::read`], a lazy stream of raw
//! [`Record`]s in the order of the input on one thread, which [`CorpusReader::finish`] turns into text on any thread.
//! Cost: a few times [`ReaderOptions::max_document_bytes`] at most, whatever the size of the input.
//!
//! Bad input is repaired or skipped, and counted: [`Document::replaced`], [`Document::is_cut`] and [`Record::Skipped`]. With
//! [`ReaderOptions::strict`] it is an error that names its place. Damaged compression, a file that ends too early and a file
//! of another format are always errors.
//!
//! A new format is one file here that implements [`CorpusReader`], one variant of [`Format`] and its line in
//! [`Format::reader`].

pub mod boilerplate;
mod encoding;
mod error;
mod inputs;
mod jsonl;
pub(crate) mod kind;
mod lines;
mod mediawiki;
mod members;
mod multistream;
mod open;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
mod text;
mod wikiextractor;
pub mod wikitext;

pub use error::{CorpusError, Position};
pub use inputs::{find_files, CorpusFile, Found, InputError, STDIN};
pub use jsonl::Jsonl;
pub use kind::Other;
pub use mediawiki::Mediawiki;
pub use open::{Compression, Meter};
#[cfg(feature = "parquet")]
pub use parquet::Parquet;
pub use text::{Blocks, Text};
pub use wikiextractor::Wikiextractor;

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use wikitext::Wiki;

/// Decompressed bytes of one corpus file.
pub type Input = Box<dyn BufRead + Send>;

/// The lazy stream of one corpus file. It ends after its first error.
pub type Records = Box<dyn Iterator<Item = Result<Record, CorpusError>> + Send>;

/// The records of `next`, up to the first error or the end.
fn until_error(mut next: impl FnMut() -> Result<Option<Record>, CorpusError> + Send + 'static) -> Records {
    let mut finished = false;
    Box::new(std::iter::from_fn(move || {
        if finished {
            return None;
        }
        let record = next().transpose();
        finished = !matches!(record, Some(Ok(_)));
        record
    }))
}

/// Reads one format.
pub trait CorpusReader: Send + Sync {
    /// Yields the raw documents of `input` one after the other, holding one of them in memory. One thread does this for the
    /// whole corpus: what takes time and needs no order belongs into [`CorpusReader::finish`].
    fn read(&self, input: Input) -> Records;

    /// As [`CorpusReader::read`], from a file; `threads` decompress where the file allows it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    fn read_file(&self, file: &CorpusFile, threads: usize, meter: Meter) -> Result<Records, CorpusError> {
        Ok(self.read(file.open(threads, meter)?))
    }

    /// Turns what `read` yielded into text, on any thread: parsing, cleaning.
    ///
    /// # Errors
    /// With [`ReaderOptions::strict`], if the document is not as it should be.
    fn finish(&self, document: Document) -> Result<Record, CorpusError> {
        Ok(Record::Document(document))
    }
}

/// One article, book, page or entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The document's name where the format has one. It is not part of the text and is not tokenised.
    pub title: Option<String>,
    /// Plain text, paragraphs separated by newlines; before [`CorpusReader::finish`] the raw line or page.
    pub text: String,
    /// Invalid sequences of UTF-8 that U+FFFD replaced.
    pub replaced: u64,
    /// Whether the document goes on in the next record, as it is longer than [`ReaderOptions::max_document_bytes`].
    pub is_cut: bool,
    /// What its sentences miss: templates that are not known, by name.
    pub gaps: wikitext::Names,
    /// Sentences that were dropped for it.
    pub dropped_sentences: u64,
    /// What [`CorpusReader::finish`] has to know.
    pub origin: Origin,
}

impl Document {
    /// Text that needs no finishing.
    pub fn plain(text: String) -> Document {
        Document { text, ..Document::default() }
    }
}

/// Where a document comes from, and so what its text is before it is finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nothing is left to do.
    #[default]
    Finished,
    /// A line, from 1; the lines of a block from its first.
    Line(u64),
    /// The inside of a `<page>` of XML.
    Page {
        /// Offset of its first byte in the decompressed stream.
        offset: u64,
        /// What its wiki's pages depend on.
        wiki: Arc<Wiki>,
    },
}

/// What a reader met next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A document to keep.
    Document(Document),
    /// Something that is no document, left out and counted under this reason (`"redirect"`, `"not an article"`).
    Skipped(&'static str),
}

/// Reason of [`Record::Skipped`]: no text but white space.
pub const EMPTY: &str = "empty";
/// Reason of [`Record::Skipped`]: above [`ReaderOptions::max_document_bytes`].
pub const TOO_LONG: &str = "larger than the limit";
/// Reason of [`Record::Skipped`]: XML that does not parse.
pub const BROKEN_PAGE: &str = "broken page";
/// Reason of [`Record::Skipped`]: a line of JSONL that is no object.
pub const NO_OBJECT: &str = "no JSON object";
/// Reason of [`Record::Skipped`]: a line of JSONL or a row of Parquet without a text.
pub const NO_FIELD: &str = "no text field";

/// How a corpus file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// By the file name: `.xml` is `mediawiki`, `.jsonl`, `.jsonlines`, `.ndjson` and `.json` are `jsonl`, `.txt` and `.text` are
    /// `text`, `wiki_00` is
    /// `wikiextractor`, each also with `.gz`, `.bz2`, `.zst`, `.xz`, `.lzma` or `.lz4` behind it; `.parquet` is `parquet`
    #[default]
    Auto,
    /// Plain text, one document a file, paragraphs separated by blank lines
    Text,
    /// Plain text, several documents a file, separated by blank lines (the input format of Google's BERT)
    Blocks,
    /// JSON objects, one a line, on several lines or in one array, with the text in the field `text` and, if there is one, a `title`
    Jsonl,
    /// A MediaWiki XML dump, such as Wikipedia's pages-articles
    Mediawiki,
    /// What WikiExtractor writes: `<doc>` … `</doc>`, or JSON lines
    Wikiextractor,
    /// Parquet as on Hugging Face, with the text in the column `text` and, if there is one, a `title`
    Parquet,
}

/// What readers can be told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ReaderOptions {
    /// Name of the field of JSONL or column of Parquet that holds the text; a dot leads into an object, as in `meta.text`;
    /// default `text`.
    pub text_field: String,
    /// Whether bad input is an error instead of being repaired or skipped and counted; default false.
    pub strict: bool,
    /// Whether headings of articles in wikitext are kept, each as a paragraph; default false.
    pub headings: bool,
    /// Whether sentences of wikitext go in which a template is that is not known; default false.
    pub drop_incomplete_sentences: bool,
    /// The most bytes that one document may have; default 16 MB. Plain text above it is cut at paragraph ends, other
    /// documents are skipped.
    pub max_document_bytes: u64,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        ReaderOptions {
            text_field: "text".to_owned(),
            strict: false,
            headings: false,
            drop_incomplete_sentences: false,
            max_document_bytes: 16_000_000,
        }
    }
}

impl ReaderOptions {
    fn limit(&self) -> usize {
        usize::try_from(self.max_document_bytes).unwrap_or(usize::MAX).max(1)
    }

    /// A skip, or with `strict` the error.
    fn refuse(&self, reason: &'static str, error: CorpusError) -> Result<Record, CorpusError> {
        if self.strict {
            return Err(error);
        }
        Ok(Record::Skipped(reason))
    }

    /// The document, or if it is empty a skip, or with `strict` an error.
    fn keep(&self, document: Document, position: Position) -> Result<Record, CorpusError> {
        if document.text.trim_start().is_empty() {
            return self.refuse(EMPTY, CorpusError::Empty { position });
        }
        Ok(Record::Document(document))
    }

    /// A document above the limit: a skip, or with `strict` an error.
    fn too_long(&self, position: Position) -> Result<Record, CorpusError> {
        self.refuse(TOO_LONG, CorpusError::TooLong { position, limit: self.max_document_bytes })
    }
}

impl Format {
    /// The format that a file name stands for, compression suffix aside; nothing if it stands for none.
    pub fn of_path(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        // a compression that is not read is named when the file is looked at
        let stem = Other::strip_suffix(Compression::strip_suffix(&name));
        if let Some(number) = stem.strip_prefix("wiki_") {
            return number.bytes().all(|byte| byte.is_ascii_digit()).then_some(Format::Wikiextractor);
        }
        let (_, extension) = stem.rsplit_once('.')?;
        match extension {
            "xml" => Some(Format::Mediawiki),
            // Wikipedia names the parts of a dump `.xml-p1p41242.bz2`.
            part if part.starts_with("xml-p") => Some(Format::Mediawiki),
            "jsonl" | "json" | "ndjson" | "jsonlines" => Some(Format::Jsonl),
            "txt" | "text" => Some(Format::Text),
            // compresses its pages itself
            "parquet" if stem == name => Some(Format::Parquet),
            _ => None,
        }
    }

    /// The reader of this format. [`Format::Auto`] stands for no format but reads as text: a [`CorpusFile`] has none.
    pub fn reader(self, options: &ReaderOptions) -> Arc<dyn CorpusReader> {
        let options = options.clone();
        match self {
            Format::Auto | Format::Text => Arc::new(Text { options }),
            Format::Blocks => Arc::new(Blocks { options }),
            Format::Jsonl => Arc::new(Jsonl { options }),
            Format::Mediawiki => Arc::new(Mediawiki { options }),
            Format::Wikiextractor => Arc::new(Wikiextractor { options }),
            #[cfg(feature = "parquet")]
            Format::Parquet => Arc::new(Parquet { options }),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => Arc::new(NoParquet),
        }
    }
}

/// Stands for the Parquet reader where it is not compiled in.
#[cfg(not(feature = "parquet"))]
struct NoParquet;

#[cfg(not(feature = "parquet"))]
impl CorpusReader for NoParquet {
    fn read(&self, _input: Input) -> Records {
        let message = "this program was built without the feature `parquet`".to_owned();
        Box::new(std::iter::once(Err(CorpusError::Parquet { message })))
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
            ("a.ndjson", Some(Format::Jsonl)),
            ("a.b.txt", Some(Format::Text)),
            ("cc.txt.xz", Some(Format::Text)),
            ("a.jsonl.lz4", Some(Format::Jsonl)),
            ("a.txt.br", Some(Format::Text)),
            ("a.txt.bz2", Some(Format::Text)),
            ("AA/wiki_00", Some(Format::Wikiextractor)),
            ("AB/wiki_07.bz2", Some(Format::Wikiextractor)),
            ("wiki_x", None),
            ("train-00000-of-00041.parquet", Some(Format::Parquet)),
            ("a.parquet.gz", None),
            ("a.gz", None),
            ("a.csv", None),
            ("a", None),
        ] {
            assert_eq!(Format::of_path(Path::new(name)), format, "{name}");
        }
    }
}
