//! The sets of a task of one's own files.

use std::path::{Path, PathBuf};

use super::{check_labels, find, held_out, read, Names, Outputs, Record};
use crate::error::{Error, Result};
use crate::finetune::glue::RawExample;
use crate::finetune::task::Task;

/// The files of a task: those that are named, else those of the folder.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// Has `train`, `dev` (or `validation`, `valid`) and `test`, with an ending of [`super::TABLES`].
    pub dir: &'a Path,
    /// To learn from.
    pub train: Option<&'a Path>,
    /// To be scored on.
    pub dev: Option<&'a Path>,
    /// To be predicted for, and scored on where it has labels.
    pub test: Option<&'a Path>,
}

/// Examples of a task.
#[derive(Debug)]
pub struct Sets {
    /// What is predicted.
    pub outputs: Outputs,
    /// To learn from; empty where a model is only evaluated.
    pub train: Vec<RawExample>,
    /// `dev`, and `test` if there is one.
    pub others: Vec<(&'static str, Vec<RawExample>)>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Reads the sets of `task`. A finished model that is only evaluated has `known` words for its outputs.
///
/// # Errors
/// Files that are missing or wrong, and labels that the model does not know.
pub fn read_sets(task: Task, files: Files<'_>, names: &Names, known: Option<&[String]>) -> Result<Sets> {
    let train = if known.is_some() { None } else { located(files.train, files.dir, &["train"])? };
    let (dev, test) =
        (located(files.dev, files.dir, &["dev", "validation", "valid"])?, located(files.test, files.dir, &["test"])?);
    let mut notes = Vec::new();
    let labelled = |path: &Path| {
        let records = read(path, names, true)?;
        check_labels(&records, path)?;
        Ok::<_, Error>(records)
    };
    let missing = |set: &str| {
        Error::data(format!(
            "no `{set}` set in `{}`: looked for `{set}.csv`, `{set}.tsv`, `{set}.jsonl` and the like",
            files.dir.display()
        ))
        .hint(format!("name the folder with `--data`, or the file with `--{set}-file`"))
    };
    let mut learnt: Option<(PathBuf, Vec<Record>)> = match (train, known) {
        (Some(path), _) => Some((path.clone(), labelled(&path)?)),
        (None, Some(_)) => None,
        (None, None) => return Err(missing("train")),
    };
    let outputs = match (task, known, &learnt) {
        (Task::Regression, ..) => Outputs::Number,
        (_, Some(words), _) => Outputs::Classes(words.to_vec()),
        (_, None, Some((path, records))) => Outputs::of(records, path)?,
        (_, None, None) => return Err(missing("train")),
    };
    let dev = match (dev, &mut learnt) {
        (Some(path), _) => Some((path.clone(), labelled(&path)?)),
        (None, Some((path, records))) => {
            let (train, dev) = held_out(std::mem::take(records), path)?;
            notes.push(format!(
                "there is no dev set: {} of the {} training rows are held out",
                dev.len(),
                dev.len() + train.len()
            ));
            *records = train;
            Some((path.clone(), dev))
        }
        // A model that is only evaluated may have a test set alone.
        (None, None) => None,
    };
    let examples = |(path, records): &(PathBuf, Vec<Record>)| {
        records.iter().map(|record| outputs.example(record, path)).collect::<Result<Vec<_>>>()
    };
    let mut others = Vec::new();
    if let Some(dev) = &dev {
        others.push(("dev", examples(dev)?));
    }
    match test {
        Some(path) => others.push(("test", examples(&(path.clone(), read(&path, names, false)?))?)),
        None if others.is_empty() => return Err(missing("dev")),
        None => {}
    }
    let train = learnt.as_ref().map(examples).transpose()?.unwrap_or_default();
    Ok(Sets { train, others, notes, outputs })
}

fn located(given: Option<&Path>, dir: &Path, stems: &[&str]) -> Result<Option<PathBuf>> {
    match given {
        Some(path) => Ok(Some(path.to_owned())),
        None => find(dir, stems),
    }
}
