//! A folder with a GLUE task in, its labelled examples out; predictions in, files for the GLUE site out.
//!
//! A set is read from the official layout (TSV, unquoted) or from Hugging Face's (Parquet, in one shard or several). Each
//! is looked for in the folder, in `data` in it and in the folders in it that are named like the task (`sst2`, `SST-2`);
//! a folder that has both layouts is read as TSV. Both layouts of the same rows give the same examples. The texts are those
//! of the file to the byte: quotes, spaces and double spaces are part of them.
//!
//! A file that is wrong is an error with its line. Three kinds of rows are left out instead, and counted ([`Skip`]). Cost:
//! the texts of a set in memory (MNLI's 393,000 pairs: 0.1 GB), and one line or one column of the file.

mod evaluate;
mod files;
mod parquet;
mod rows;
pub mod submission;
pub(super) mod table;
mod tsv;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
pub use crate::finetune::task::Split;
use crate::finetune::task::{GlueSet, GlueTask, Task};
pub use evaluate::evaluate;
use files::Found;

/// One text or two, and perhaps what is to be predicted for them.
#[derive(Clone, Debug, PartialEq)]
pub struct RawExample {
    /// Its number in the file: the column `index` (`idx` in Parquet; `id` in QQP's test.tsv), else that of the row,
    /// from 0, rows that were skipped included.
    pub id: String,
    /// The sentence, or the first of a pair.
    pub first: String,
    /// The second of a pair.
    pub second: Option<String>,
    /// The truth, where the file has it.
    pub label: Option<Label>,
}

/// What an example is labelled with, and what a model predicts for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label {
    /// The number of a class, from 0.
    Class(usize),
    /// A score.
    Score(f64),
}

/// The examples of a set in the order of its file, and how many rows were left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The examples.
    pub examples: Vec<RawExample>,
    /// What was left out, a reason each; empty for most files.
    pub skipped: Vec<Skip>,
}

impl Rows {
    /// How many rows were left out.
    pub fn num_skipped(&self) -> usize {
        self.skipped.iter().map(|skip| skip.count).sum()
    }

    /// The labels, if every example has one.
    pub fn labels(&self) -> Option<Vec<Label>> {
        self.examples.iter().map(|example| example.label).collect()
    }
}

/// Rows that were left out for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: usize,
    /// Where the first of them stand: `line 7`, or `row 7` of a Parquet file, both from 1.
    pub first: Vec<String>,
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.count > self.first.len() { ", …" } else { "" };
        write!(formatter, "{}: {} skipped ({}{more})", self.reason, self.count, self.first.join(", "))
    }
}

/// Why a row was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The line is empty, as at the end of some copies.
    Blank,
    /// The row has more fields or fewer than the file has columns, in QQP's train.tsv and dev.tsv: old releases have
    /// questions with a line break, which tears a row in two. transformers and `datasets` leave such rows out too.
    Torn,
    /// MNLI's annotators did not agree (`-`, or -1 in Parquet), in train and dev: there is nothing to learn or to be right
    /// about.
    NoConsensus,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Blank => "blank lines",
            Self::Torn => "rows with another number of fields than the header",
            Self::NoConsensus => "rows without a gold label",
        })
    }
}

/// A set of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// `train`, `dev`, `dev_mismatched`, `test`, `test_mismatched` or `ax`.
    pub name: &'static str,
    /// What it was read from.
    pub files: Vec<PathBuf>,
    /// Its examples.
    pub rows: Rows,
}

/// Reads the sets of a split: two for MNLI's dev and test, one else. `ax` has only [`Split::Test`], with labels if the file
/// has them (diagnostic-full.tsv).
///
/// # Errors
/// A task or a split that GLUE does not have; a file that is missing, empty or wrong.
pub fn read(task: Task, dir: &Path, split: Split) -> Result<Vec<Set>> {
    let row = task.glue().ok_or_else(|| Error::config(format!("task `{task}` is not one of GLUE")))?;
    let sets: Vec<Set> = row.sets(split).map(|set| read_set(row, set, dir)).collect::<Result<_>>()?;
    if sets.is_empty() {
        let hint = "`ax` is predicted by a model that was fine-tuned for `mnli`";
        return Err(Error::config(format!("task `{task}` has no `{split}` set")).hint(hint));
    }
    Ok(sets)
}

/// Whether there is any file of a split in `dir`, whole or not.
pub fn is_there(task: Task, dir: &Path, split: Split) -> bool {
    let Some(row) = task.glue() else { return false };
    row.sets(split).any(|set| !matches!(files::look(row, set, dir), Ok(None)))
}

fn read_set(task: &'static GlueTask, set: &'static GlueSet, dir: &Path) -> Result<Set> {
    let (files, rows) = match files::find(task, set, dir)? {
        Found::Tsv(file, path) => {
            let rows = tsv::read(task, set, file, &path)?;
            (vec![path], rows)
        }
        Found::Parquet(paths) => {
            let rows = parquet::read(task, set, &paths)?;
            (paths, rows)
        }
    };
    Ok(Set { name: set.name, files, rows })
}
