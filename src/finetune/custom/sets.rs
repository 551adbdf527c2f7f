//! The sets of a task of one's own files.

use std::path::{Path, PathBuf};

use super::{
    check_labels, class_of, classes, find, held_out, read, read_sentences, Names, Outputs, Record, Row, Sentence,
    TABLES, TAGGED,
};
use crate::error::{Error, Result};
use crate::finetune::glue::RawExample;
use crate::finetune::task::Task;

/// The files of a task: those that are named, else those of the folder.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// Has `train`, `dev` (or `validation`, `valid`) and `test`, with an ending of [`TABLES`] or [`TAGGED`].
    pub dir: &'a Path,
    /// To learn from.
    pub train: Option<&'a Path>,
    /// To be scored on.
    pub dev: Option<&'a Path>,
    /// To be predicted for, and scored on where it has labels.
    pub test: Option<&'a Path>,
}

/// Examples of a task of texts.
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

/// Words and the number of the tag of each, where the file has tags.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedWords {
    /// In order.
    pub words: Vec<String>,
    /// As many.
    pub tags: Option<Vec<usize>>,
}

/// Examples of a task of words.
#[derive(Debug)]
pub struct TaggedSets {
    /// The tags.
    pub tags: Vec<String>,
    /// To learn from; empty where a model is only evaluated.
    pub train: Vec<TaggedWords>,
    /// `dev`, and `test` if there is one.
    pub others: Vec<(&'static str, Vec<TaggedWords>)>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Reads the sets of `task`. A finished model that is only evaluated has `known` words for its outputs.
///
/// # Errors
/// Files that are missing or wrong, and labels that the model does not know.
pub fn read_sets(task: Task, files: Files<'_>, names: &Names, known: Option<&[String]>) -> Result<Sets> {
    let found = rows(files, &TABLES, known.is_some(), |path, needs_labels| read(path, names, needs_labels))?;
    let outputs = match (task, known, &found.train) {
        (Task::Regression, ..) => Outputs::Number,
        (_, Some(words), _) => Outputs::Classes(words.to_vec()),
        (_, None, Some((path, records))) => Outputs::of(records, path)?,
        (_, None, None) => return Err(missing("train", files.dir)),
    };
    let example = |record: &Record, path: &Path| outputs.example(record, path);
    let (train, others) = found.mapped(example)?;
    Ok(Sets { train, others, notes: found.notes, outputs })
}

/// The same for words.
///
/// # Errors
/// As [`read_sets`].
pub fn read_tagged_sets(files: Files<'_>, names: &Names, known: Option<&[String]>) -> Result<TaggedSets> {
    let found = rows(files, &TAGGED, known.is_some(), |path, _| read_sentences(path, names))?;
    let tags = match (known, &found.train) {
        (Some(words), _) => words.to_vec(),
        (None, Some((path, sentences))) => classes(
            sentences.iter().filter_map(|sentence| sentence.tags.as_deref()).flatten().map(String::as_str),
            path,
        )?,
        (None, None) => return Err(missing("train", files.dir)),
    };
    let example = |sentence: &Sentence, path: &Path| {
        let number = |tag: &String| class_of(tag, &tags, sentence, path);
        let numbers =
            sentence.tags.as_ref().map(|all| all.iter().map(number).collect::<Result<Vec<_>>>()).transpose()?;
        Ok(TaggedWords { words: sentence.words.clone(), tags: numbers })
    };
    let (train, others) = found.mapped(example)?;
    Ok(TaggedSets { train, others, notes: found.notes, tags })
}

/// The rows of each set with the file that they are from.
struct Rows<R> {
    train: Option<(PathBuf, Vec<R>)>,
    others: Vec<(&'static str, PathBuf, Vec<R>)>,
    notes: Vec<String>,
}

/// The examples to learn from, and those of the other sets.
type Examples<E> = (Vec<E>, Vec<(&'static str, Vec<E>)>);

impl<R> Rows<R> {
    fn mapped<E>(&self, example: impl Fn(&R, &Path) -> Result<E>) -> Result<Examples<E>> {
        let all = |path: &Path, rows: &[R]| rows.iter().map(|row| example(row, path)).collect::<Result<Vec<_>>>();
        let train = self.train.as_ref().map(|(path, rows)| all(path, rows)).transpose()?.unwrap_or_default();
        let others = self.others.iter().map(|(name, path, rows)| Ok((*name, all(path, rows)?)));
        Ok((train, others.collect::<Result<_>>()?))
    }
}

/// Reads all sets; nothing to learn from where a model is only evaluated.
fn rows<R: Row>(
    files: Files<'_>,
    endings: &[&str],
    is_finished: bool,
    read: impl Fn(&Path, bool) -> Result<Vec<R>>,
) -> Result<Rows<R>> {
    let located = |given: Option<&Path>, stems: &[&str]| match given {
        Some(path) => Ok(Some(path.to_owned())),
        None => find(files.dir, stems, endings),
    };
    let labelled = |path: PathBuf| -> Result<(PathBuf, Vec<R>)> {
        let rows = read(&path, true)?;
        check_labels(&rows, &path)?;
        Ok((path, rows))
    };
    let train = if is_finished { None } else { located(files.train, &["train"])? };
    let dev = located(files.dev, &["dev", "validation", "valid"])?;
    let test = located(files.test, &["test"])?;
    let mut found = Rows { train: train.map(labelled).transpose()?, others: Vec::new(), notes: Vec::new() };
    if !is_finished && found.train.is_none() {
        return Err(missing("train", files.dir));
    }
    match (dev, &mut found.train) {
        (Some(path), _) => {
            let (path, rows) = labelled(path)?;
            found.others.push(("dev", path, rows));
        }
        (None, Some((path, rows))) => {
            let (train, dev) = held_out(std::mem::take(rows), path)?;
            let (held, of) = (dev.len(), dev.len() + train.len());
            found.notes.push(format!("there is no dev set: {held} of the {of} training rows are held out"));
            *rows = train;
            found.others.push(("dev", path.clone(), dev));
        }
        // A model that is only evaluated may have a test set alone.
        (None, None) => {}
    }
    match test {
        Some(path) => {
            let rows = read(&path, false)?;
            found.others.push(("test", path, rows));
        }
        None if found.others.is_empty() => return Err(missing("dev", files.dir)),
        None => {}
    }
    Ok(found)
}

fn missing(set: &str, dir: &Path) -> Error {
    let looked = format!("looked for `{set}.csv`, `{set}.jsonl` and the like");
    Error::data(format!("no `{set}` set in `{}`: {looked}", dir.display()))
        .hint(format!("name the folder with `--data`, or the file with `--{set}-file`"))
}
