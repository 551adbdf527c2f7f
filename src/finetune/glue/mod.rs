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
mod examples;
mod files;
mod glue_task;
mod parquet;
mod rows;
pub mod submission;
mod table;
mod tsv;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::finetune::task::Task;
pub use evaluate::{evaluate, measure_all};
pub use examples::{Label, RawExample, Reason, Rows, Skip};
use files::Found;
pub use glue_task::{GlueSet, GlueTask, Labels, Split, TsvFile};
pub use table::row;

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
    let row = row(task).ok_or_else(|| Error::config(format!("task `{task}` is not one of GLUE")))?;
    let sets: Vec<Set> = row.sets(split).map(|set| read_set(row, set, dir)).collect::<Result<_>>()?;
    if sets.is_empty() {
        let hint = "`ax` is predicted by a model that was fine-tuned for `mnli`";
        return Err(Error::config(format!("task `{task}` has no `{split}` set")).hint(hint));
    }
    Ok(sets)
}

/// Whether there is any file of a split in `dir`, whole or not.
pub fn is_there(task: Task, dir: &Path, split: Split) -> bool {
    let Some(row) = row(task) else { return false };
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
