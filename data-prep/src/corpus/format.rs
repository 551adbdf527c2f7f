//! The formats: which a file name stands for, and the reader of each.

use super::compression::Compression;
use super::jsonl::Jsonl;
use super::kind::Other;
use super::mediawiki::Mediawiki;
#[cfg(feature = "parquet")]
use super::parquet::Parquet;
use super::reader::{CorpusReader, ReaderOptions};
use super::text::{Blocks, Text};
use super::wikiextractor::Wikiextractor;
#[cfg(not(feature = "parquet"))]
use super::{CorpusError, Input, Records};
use std::path::Path;
use std::sync::Arc;

/// How a corpus file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The file name decides: `.xml` is `mediawiki`; `.jsonl`, `.jsonlines`, `.ndjson` and `.json` are `jsonl`; `.txt` and
    /// `.text` are `text`; `wiki_00` is `wikiextractor`; `.parquet` is `parquet`. All but `.parquet` may end with `.gz`,
    /// `.bz2`, `.zst`, `.xz`, `.lzma` or `.lz4`
    #[default]
    Auto,
    /// Plain text; each file is one document; blank lines separate paragraphs
    Text,
    /// Plain text; blank lines separate documents (the input format of Google's BERT)
    Blocks,
    /// JSON objects: one on each line, over several lines, or in one array; the field `text` holds the text, `title` may hold a
    /// title
    Jsonl,
    /// A MediaWiki XML dump, such as Wikipedia's pages-articles
    Mediawiki,
    /// Output of WikiExtractor: `<doc>` … `</doc>`, or JSON lines
    Wikiextractor,
    /// Parquet, as data sets of Hugging Face; the column `text` holds the text, `title` may hold a title
    Parquet,
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

    /// The reader of this format. [`Format::Auto`] stands for no format but reads as text: a
    /// [`CorpusFile`](super::CorpusFile) has none.
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
