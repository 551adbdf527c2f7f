//! What every format has in common: how it is read, and what comes out.

use super::error::{CorpusError, Position};
use super::open::{open, Input, Meter};
use super::wikitext::{self, Wiki};
use std::path::Path;
use std::sync::Arc;

/// The lazy stream of one corpus file. It ends after its first error.
pub type Records = Box<dyn Iterator<Item = Result<Record, CorpusError>> + Send>;

/// The records of `next`, up to the first error or the end.
pub(super) fn until_error(mut next: impl FnMut() -> Result<Option<Record>, CorpusError> + Send + 'static) -> Records {
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

    /// As [`CorpusReader::read`], from the file at `path` ([`STDIN`](super::STDIN): stdin); `threads` decompress where the file allows it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    fn read_file(&self, path: &Path, threads: usize, meter: Meter) -> Result<Records, CorpusError> {
        Ok(self.read(open(path, threads, meter)?))
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
    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.max_document_bytes).unwrap_or(usize::MAX).max(1)
    }

    /// A skip, or with `strict` the error.
    pub(super) fn refuse(&self, reason: &'static str, error: CorpusError) -> Result<Record, CorpusError> {
        if self.strict {
            return Err(error);
        }
        Ok(Record::Skipped(reason))
    }

    /// The document, or if it is empty a skip, or with `strict` an error.
    pub(super) fn keep(&self, document: Document, position: Position) -> Result<Record, CorpusError> {
        if document.text.trim_start().is_empty() {
            return self.refuse(EMPTY, CorpusError::Empty { position });
        }
        Ok(Record::Document(document))
    }

    /// A document above the limit: a skip, or with `strict` an error.
    pub(super) fn too_long(&self, position: Position) -> Result<Record, CorpusError> {
        self.refuse(TOO_LONG, CorpusError::TooLong { position, limit: self.max_document_bytes })
    }
}
