//! What the user names in, corpus files out: files, folders, patterns and stdin.
//!
//! A folder is read recursively, sorted by name; its hidden files and those whose name tells no format are passed over. A
//! name that does not exist is a pattern (`books-*.jsonl.zst`). `-` is stdin. Cost: the names in memory.

use super::encoding::{other_than_utf8, Tally};
use super::kind::{Other, KIND_BYTES};
use super::{open, CorpusError, CorpusReader, Format, Input, ReaderOptions, Record, Records, STDIN};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One file of a corpus, and how it is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusFile {
    path: PathBuf,
    format: Format,
}

/// What [`find_files`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files to read, in order.
    pub files: Vec<CorpusFile>,
    /// Files in folders or of patterns whose name tells no format.
    pub passed_over: Vec<PathBuf>,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentence above each variant
pub enum InputError {
    /// An input that is not there.
    #[error("cannot open the input `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A pattern that is none.
    #[error("the input `{}` is not a pattern: {message}", path.display())]
    Pattern { path: PathBuf, message: String },
    /// A pattern that nothing matches.
    #[error("nothing matches the input `{}`", path.display())]
    NoMatch { path: PathBuf },
    /// A folder or a pattern without corpus files.
    #[error("no corpus file in `{}`: the names of its {passed_over} files do not tell the format", path.display())]
    NoFiles { path: PathBuf, passed_over: usize },
    /// A file name that does not tell the format.
    #[error(
        "cannot tell the format of `{}`: expected `.xml`, `.jsonl`, `.json` or `.txt`, perhaps with `.gz`, `.bz2`, `.zst`, `.xz`, \
         `.lzma` or `.lz4`, `.parquet` or `wiki_00`",
        path.display()
    )]
    UnknownFormat { path: PathBuf },
    /// A file that is known to be something else.
    #[error("the input `{}` is {}", path.display(), other.what)]
    Other { path: PathBuf, other: Other },
    /// A file that is named or found twice.
    #[error("the input `{}` is read twice", path.display())]
    Twice { path: PathBuf },
    /// Stdin has no name.
    #[error("cannot tell the format of stdin")]
    StdinFormat,
    /// Parquet is read from its end.
    #[error("cannot read Parquet from stdin: it is read from its end")]
    StdinParquet,
}

impl InputError {
    /// What the user can do about it.
    pub fn hint(&self) -> Cow<'static, str> {
        let hint = match self {
            InputError::Other { other, .. } => return other.hint.clone(),
            InputError::Io { .. } => "name existing files, folders or patterns with `--input`",
            InputError::Pattern { .. } => "a pattern has `*`, `?`, `[a-z]` and `**/`; a literal `[` is `[[]`",
            InputError::NoMatch { .. } => "check the pattern, and put it in quotes; `**/` leads into folders",
            InputError::NoFiles { .. } | InputError::UnknownFormat { .. } | InputError::StdinFormat => {
                "name the format with `--format text|blocks|jsonl|mediawiki|wikiextractor|parquet`"
            }
            InputError::Twice { .. } => "name each file once, by itself or by its folder or pattern",
            InputError::StdinParquet => "name the file with `--input`",
        };
        hint.into()
    }
}

impl CorpusFile {
    /// A file in this format, [`Format::Auto`] decided by its name; nothing if that tells none.
    pub fn new(path: impl Into<PathBuf>, format: Format) -> Option<CorpusFile> {
        let path = path.into();
        let format = match format {
            Format::Auto => Format::of_path(&path)?,
            format => format,
        };
        Some(CorpusFile { path, format })
    }

    /// Where it is; [`STDIN`] for stdin.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is laid out; never [`Format::Auto`].
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether it is stdin, which can be read but once.
    pub fn is_stdin(&self) -> bool {
        self.path == Path::new(STDIN)
    }

    /// Whether the meter of [`CorpusFile::read`] sees every byte of the file, in order, so that it can hash them. It does not
    /// for Parquet, of which only the needed columns are read.
    pub fn is_read_whole(&self) -> bool {
        self.format != Format::Parquet
    }

    /// The reader of the file, for [`CorpusReader::finish`].
    pub fn reader(&self, options: &ReaderOptions) -> Arc<dyn CorpusReader> {
        self.format.reader(options)
    }

    /// The raw records of the file. `threads` decompress it if it is a bzip2 file of several streams. `meter` sees every chunk of
    /// compressed bytes as it is read.
    ///
    /// # Errors
    /// If the file cannot be opened or is known to be something else; whatever is wrong further on is an error among the
    /// records.
    pub fn read(
        &self,
        options: &ReaderOptions,
        threads: usize,
        meter: impl FnMut(&[u8]) + Send + 'static,
    ) -> Result<Records, CorpusError> {
        let records = self.reader(options).read_file(&self.path, threads, Box::new(meter))?;
        let (file, mut tally) = (self.clone(), Tally::default());
        let mut is_refused = false;
        Ok(Box::new(records.map_while(move |record| {
            if is_refused {
                return None;
            }
            if let Ok(Record::Document(document)) = &record {
                tally.add(&document.text, document.replaced);
                is_refused = document.replaced > 0 && tally.is_refused();
            }
            Some(if is_refused { Err(file.refusal(&tally)) } else { record })
        })))
    }

    /// Reads the start of the file, so that a wrong file is found before the work begins.
    ///
    /// # Errors
    /// If the file cannot be opened or is something else, and if its first records are not as they should be.
    pub fn look(&self, options: &ReaderOptions) -> Result<(), CorpusError> {
        let records = self.read(options, 1, |_| {})?;
        // a plain text is known by its first bytes; its first record may be all of it
        if matches!(self.format, Format::Text | Format::Blocks) {
            return Ok(());
        }
        let reader = self.reader(options);
        for record in records.take(LOOK_RECORDS) {
            let Record::Document(document) = record? else { continue };
            if matches!(reader.finish(document)?, Record::Document(document) if document.replaced == 0) {
                break;
            }
        }
        Ok(())
    }

    /// Why a file in which so much is no UTF-8 is not read. Its bytes are read again, to guess what they are.
    fn refusal(&self, tally: &Tally) -> CorpusError {
        let unnamed = || {
            let what = format!("not UTF-8: {:.1} % of its characters are invalid", 100.0 * tally.share());
            Other::new(
                what,
                "convert it to UTF-8, for instance with `iconv`, or name another field with `--text-field`",
            )
        };
        if self.is_stdin() || self.format == Format::Parquet {
            return unnamed().into();
        }
        let guess = || -> Option<Other> {
            let mut input = open::open(&self.path, 1, Box::new(|_| {})).ok()?;
            let mut bytes = Vec::new();
            loop {
                bytes.clear();
                input.by_ref().take(GUESS_BYTES).read_to_end(&mut bytes).ok()?;
                if bytes.is_empty() {
                    return None;
                }
                if let Some(other) = other_than_utf8(&bytes) {
                    return Some(other);
                }
            }
        };
        guess().unwrap_or_else(unnamed).into()
    }

    /// The decompressed bytes of the file.
    ///
    /// # Errors
    /// If it cannot be opened, and if its first bytes say that it is no text.
    pub fn open(&self, threads: usize, meter: open::Meter) -> Result<Input, CorpusError> {
        open::open(&self.path, threads, meter)
    }
}

/// Records of a file that are looked at, until one is a good document.
const LOOK_RECORDS: usize = 2000;

/// Bytes from which an encoding is guessed.
const GUESS_BYTES: u64 = 64 << 10;

/// Finds the files that `inputs` name, in their order.
///
/// # Errors
/// See [`InputError`].
pub fn find_files(inputs: &[PathBuf], format: Format) -> Result<Found, InputError> {
    let mut search = Search { format, found: Found::default(), seen: HashSet::new() };
    inputs.iter().try_for_each(|input| search.input(input))?;
    Ok(search.found)
}

struct Search {
    format: Format,
    found: Found,
    /// The real paths of files and folders.
    seen: HashSet<PathBuf>,
}

impl Search {
    fn input(&mut self, path: &Path) -> Result<(), InputError> {
        if path == Path::new(STDIN) {
            return self.stdin();
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.several(path, |search| search.folder(path)),
            Ok(_) if CorpusFile::new(path, self.format).is_none() => Err(unknown(path)),
            Ok(_) => self.file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(path) => {
                self.several(path, |search| search.pattern(path))
            }
            Err(source) => Err(InputError::Io { path: path.to_owned(), source }),
        }
    }

    fn stdin(&mut self) -> Result<(), InputError> {
        if self.format == Format::Parquet {
            return Err(InputError::StdinParquet);
        }
        let file = CorpusFile::new(STDIN, self.format).ok_or(InputError::StdinFormat)?;
        if self.found.files.contains(&file) {
            return Err(InputError::Twice { path: file.path });
        }
        self.found.files.push(file);
        Ok(())
    }

    /// A folder or a pattern, which must hold a corpus file.
    fn several(
        &mut self,
        path: &Path,
        search: impl FnOnce(&mut Search) -> Result<(), InputError>,
    ) -> Result<(), InputError> {
        let (files, passed_over) = (self.found.files.len(), self.found.passed_over.len());
        search(self)?;
        if self.found.files.len() == files {
            let passed_over = self.found.passed_over.len() - passed_over;
            return Err(InputError::NoFiles { path: path.to_owned(), passed_over });
        }
        Ok(())
    }

    fn pattern(&mut self, path: &Path) -> Result<(), InputError> {
        let pattern = path.to_string_lossy();
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
        let paths = glob::glob_with(&pattern, options)
            .map_err(|error| InputError::Pattern { path: path.to_owned(), message: error.to_string() })?;
        let mut any = false;
        for found in paths {
            let found =
                found.map_err(|error| InputError::Io { path: error.path().to_owned(), source: error.into() })?;
            any = true;
            self.entry(&found)?;
        }
        if !any {
            return Err(InputError::NoMatch { path: path.to_owned() });
        }
        Ok(())
    }

    fn folder(&mut self, path: &Path) -> Result<(), InputError> {
        let failed = |source| InputError::Io { path: path.to_owned(), source };
        // a link that leads back is not followed a second time
        if !self.seen.insert(fs::canonicalize(path).map_err(failed)?) {
            return Ok(());
        }
        let entries: io::Result<Vec<fs::DirEntry>> = fs::read_dir(path).map_err(failed)?.collect();
        let mut paths: Vec<PathBuf> = entries
            .map_err(failed)?
            .iter()
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(fs::DirEntry::path)
            .collect();
        paths.sort();
        paths.iter().try_for_each(|path| self.entry(path))
    }

    /// A file or a folder that was found, not named.
    fn entry(&mut self, path: &Path) -> Result<(), InputError> {
        let metadata = fs::metadata(path).map_err(|source| InputError::Io { path: path.to_owned(), source })?;
        if metadata.is_dir() {
            return self.folder(path);
        }
        self.file(path)
    }

    fn file(&mut self, path: &Path) -> Result<(), InputError> {
        let Some(file) = CorpusFile::new(path, self.format) else {
            self.found.passed_over.push(path.to_owned());
            return Ok(());
        };
        let real = fs::canonicalize(path).map_err(|source| InputError::Io { path: path.to_owned(), source })?;
        if !self.seen.insert(real) {
            return Err(InputError::Twice { path: file.path });
        }
        self.found.files.push(file);
        Ok(())
    }
}

/// Why a named file is none of a corpus: what it is, or that its name tells no format.
fn unknown(path: &Path) -> InputError {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(KIND_BYTES as u64).read_to_end(&mut start));
    match read.ok().and_then(|_| Other::of_start(&start)) {
        Some(other) => InputError::Other { path: path.to_owned(), other },
        None => InputError::UnknownFormat { path: path.to_owned() },
    }
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}
