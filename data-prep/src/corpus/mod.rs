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
mod compression;
mod encoding;
mod error;
mod format;
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
mod reader;
mod text;
mod wikiextractor;
pub mod wikitext;

pub use compression::Compression;
pub use error::{CorpusError, Position};
pub use format::Format;
pub use inputs::{find_files, CorpusFile, Found, InputError};
pub use jsonl::Jsonl;
pub use kind::Other;
pub use mediawiki::Mediawiki;
pub use open::{Input, Meter, STDIN};
#[cfg(feature = "parquet")]
pub use parquet::Parquet;
use reader::until_error;
pub use reader::{
    CorpusReader, Document, Origin, ReaderOptions, Record, Records, BROKEN_PAGE, EMPTY, NO_FIELD, NO_OBJECT, TOO_LONG,
};
pub use text::{Blocks, Text};
pub use wikiextractor::Wikiextractor;
