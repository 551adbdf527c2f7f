//! SQuAD's files → questions.
//!
//! In: `train-v1.1.json`, `dev-v1.1.json`, `train-v2.0.json` or `dev-v2.0.json`, or a file in their layout, as SQuADs in other
//! languages have it (`json`); or the Parquet files of Hugging Face (`parquet`). Out: the questions in the files' order, those
//! of one paragraph sharing its text, and what was left out ([`Dataset`]). Cost: a file in memory once as bytes and once as
//! strings.
//!
//! What the file calls its version is no matter: the questions tell. A file is not trusted. What is broken is an error that
//! names the place (`data[0].paragraphs[2].qas[1]`, counted from 0, or `row 7`, from 1) and the question's id:
//!
//! - empty, not JSON, or a value of the wrong type (line and column);
//! - a missing or null key (`title` and `is_impossible` may be absent, keys of no use are ignored); no question at all;
//! - an id that an earlier question has;
//! - for training, an `answer_start` that is missing;
//! - an impossible question with answers, one that is said to be possible without, any impossible one for `squad1`.
//!
//! What is merely of no use for training is left out of a training file and counted: an answer that is not at its
//! offset, an empty answer, an empty question. Only the first answer counts, the one that labels. As in Google's BERT
//! and in transformers' `squad.py`, an answer is at its offset when the words which it touches contain it once runs of
//! white space are one space. A dev file keeps all its questions: its score counts them, and its offsets are not used.

use std::path::{Path, PathBuf};

use super::gather::{Dataset, Gatherer};
use super::question::{Split, Version};
use super::{json, parquet};
use crate::error::Result;

/// Reads the questions of `path`, JSON or, by its name, Parquet.
///
/// # Errors
/// When the file cannot be read, or its questions are not of this version; the module's page lists what is wrong with a file.
pub fn read(path: &Path, version: Version, split: Split) -> Result<Dataset> {
    read_all(&[path.to_owned()], version, split)
}

/// Reads the questions of files that follow one another.
///
/// # Errors
/// As [`read`].
pub fn read_all(paths: &[PathBuf], version: Version, split: Split) -> Result<Dataset> {
    let mut gatherer = Gatherer::new(version, split);
    for path in paths {
        gatherer.path = path;
        match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
            true => parquet::read(&mut gatherer)?,
            false => json::read(&mut gatherer)?,
        }
    }
    gatherer.finish()
}
