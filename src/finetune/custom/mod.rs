//! A person's own files: texts, or pairs of texts, with a class or a number each; or words with a tag each.
//!
//! A set is a table ([`read`]) with a column of texts, perhaps one of second texts, and one of labels; or a file of sentences
//! ([`read_sentences`]). The classes are the different labels
//! of the training set, in order: of numbers by size, of words by their letters, as transformers' run_glue.py and run_ner.py order
//! them. Where there is
//! no dev set, one in ten of the training examples is held out by the hash of its text.

mod predictions;
mod records;
mod sets;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{quoted, Error, Result};
use crate::finetune::glue::{Label, RawExample};
pub use predictions::{lines, predictions, tagged, Prediction, TaggedSentence};
pub use records::{read, Names, Record, TABLES};
pub use sets::{read_sets, read_tagged_sets, Files, Sets, TaggedSets, TaggedWords};
pub use words::{read_sentences, Sentence, TAGGED};

/// One in this many training examples is held out where there is no dev set.
const HELD_OUT: u64 = 10;

/// What a model predicts for a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Outputs {
    /// One of these classes.
    Classes(Vec<String>),
    /// A number.
    Number,
}

impl Outputs {
    /// The classes that the labels of `records` name.
    ///
    /// # Errors
    /// A row without a label, and labels that are all the same.
    pub fn of(records: &[Record], path: &Path) -> Result<Self> {
        check_labels(records, path)?;
        classes(records.iter().filter_map(|record| record.label.as_deref()), path).map(Self::Classes)
    }

    /// How many numbers the head of a model puts out.
    pub fn count(&self) -> usize {
        match self {
            Self::Classes(words) => words.len(),
            Self::Number => 1,
        }
    }

    /// The words for them.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Classes(words) => words.clone(),
            Self::Number => vec!["LABEL_0".into()],
        }
    }

    /// The example of a row of `path`.
    ///
    /// # Errors
    /// A label that is none of the classes, or no number.
    pub fn example(&self, record: &Record, path: &Path) -> Result<RawExample> {
        let wrong = |words: String| Error::data(format!("`{}` row {}: {words}", path.display(), record.place));
        let label = match (&record.label, self) {
            (None, _) => None,
            (Some(label), Self::Classes(words)) => Some(Label::Class(class_of(label, words, record, path)?)),
            (Some(label), Self::Number) => match label.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Some(Label::Score(number)),
                _ => return Err(wrong(format!("expected a number, got `{label}`"))),
            },
        };
        Ok(RawExample {
            id: record.place.to_string(),
            first: record.first.clone(),
            second: record.second.clone(),
            label,
        })
    }
}

/// The different ones of `labels`, in order.
fn classes<'a>(labels: impl Iterator<Item = &'a str>, path: &Path) -> Result<Vec<String>> {
    let labels: BTreeSet<&str> = labels.collect();
    let mut labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
    if labels.iter().all(|label| label.parse::<i64>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or(0));
    }
    const MOST: usize = 10_000;
    match labels.len() {
        0 | 1 => Err(Error::data(format!("`{}`: all labels are {}", path.display(), quoted(&labels)))
            .hint("a model learns to tell classes apart: give it at least two")),
        2..=MOST => Ok(labels),
        count => {
            Err(Error::data(format!("`{}` has {count} different labels: expected at most {MOST}", path.display()))
                .hint("for numbers the task is `regression`; the column of labels is `task.label`"))
        }
    }
}

/// The number of a label among the words of the classes; `record` is the row of `path` that has it.
fn class_of(label: &str, words: &[String], record: &impl Row, path: &Path) -> Result<usize> {
    words.iter().position(|word| word == label).ok_or_else(|| {
        const SHOWN: usize = 20;
        let known = quoted(words.iter().take(SHOWN));
        Error::data(format!(
            "`{}` row {}: label `{label}` is not among those of the training set or the model: {known}",
            path.display(),
            record.place()
        ))
    })
}

/// A row of a file.
trait Row {
    /// Its line or row, from 1.
    fn place(&self) -> usize;
    /// What it says.
    fn text(&self) -> String;
    /// Whether there is something to learn.
    fn is_labelled(&self) -> bool;
}

impl Row for Record {
    fn place(&self) -> usize {
        self.place
    }

    fn text(&self) -> String {
        [self.first.as_str(), self.second.as_deref().unwrap_or_default()].join("\n")
    }

    fn is_labelled(&self) -> bool {
        self.label.is_some()
    }
}

/// Refuses the first row without a label.
fn check_labels(rows: &[impl Row], path: &Path) -> Result<()> {
    match rows.iter().find(|row| !row.is_labelled()) {
        Some(row) => Err(Error::data(format!("`{}` row {}: no label", path.display(), row.place()))),
        None => Ok(()),
    }
}

/// The file of a set in `dir`: one of `stems` with one of `endings`. Two such files are an error.
fn find(dir: &Path, stems: &[&str], endings: &[&str]) -> Result<Option<PathBuf>> {
    let names = stems.iter().flat_map(|stem| endings.iter().map(move |ending| dir.join(format!("{stem}.{ending}"))));
    let found: Vec<PathBuf> = names.filter(|path| path.is_file()).collect();
    match &found[..] {
        [] => Ok(None),
        [path] => Ok(Some(path.clone())),
        paths => Err(Error::data(format!(
            "expected one file of a set, got {}",
            quoted(paths.iter().map(|path| path.display()))
        ))
        .hint("name the files with `--train-file`, `--dev-file` and `--test-file`")),
    }
}

/// Splits training rows into those to learn from and those that are held out. Too few rows for both are an error.
fn held_out<R: Row>(rows: Vec<R>, path: &Path) -> Result<(Vec<R>, Vec<R>)> {
    let is_held_out = |row: &R| xxh3_64(row.text().as_bytes()).is_multiple_of(HELD_OUT);
    let (dev, train): (Vec<R>, Vec<R>) = rows.into_iter().partition(is_held_out);
    match dev.is_empty() || train.is_empty() {
        true => Err(Error::data(format!("`{}` has too few rows to hold some out", path.display()))
            .hint("give a dev set with `--dev-file`")),
        false => Ok((train, dev)),
    }
}
