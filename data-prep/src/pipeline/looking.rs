//! A first look at every file, before the work begins, so that hours of reading do not end at a file that is not text.
//!
//! Each file is opened, its first bytes are decompressed and its first records parsed, on all workers. Cost: 256 KiB of
//! decompressed text a file, as a rule.

use super::{PrepareError, Progress};
use crate::corpus::{CorpusFile, ReaderOptions};
use rayon::prelude::*;

/// Files that are named beside the one whose error is returned.
const MOST_NAMED: usize = 10;

/// Looks at every file but stdin, which cannot be read twice.
pub(super) fn look(files: &[CorpusFile], options: &ReaderOptions, progress: &dyn Progress) -> Result<(), PrepareError> {
    progress.stage("looking at the input", 0);
    let errors: Vec<PrepareError> = files
        .par_iter()
        .filter(|file| !file.is_stdin())
        .filter_map(|file| {
            let error = file.look(options).err()?;
            Some(PrepareError::Corpus { path: file.path().to_owned(), source: error })
        })
        .collect();
    let num_errors = errors.len();
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(()) };
    for error in errors.take(MOST_NAMED) {
        progress.warn(&format!("{:#}", anyhow::Error::from(error)));
    }
    if num_errors > MOST_NAMED + 1 {
        progress.warn(&format!("{} more files cannot be read", num_errors - MOST_NAMED - 1));
    }
    Err(first)
}
