//! Raw rows of either layout in, examples out: the one place that decides what a label is and what is skipped.

use std::path::Path;

use super::examples::{Label, RawExample, Reason, Rows, Skip};
use super::glue_task::{GlueSet, GlueTask, Labels, Split};
use crate::error::{Error, Result};

/// How many places a [`Skip`] names.
const PLACES: usize = 5;

/// A label as it stands in a file.
pub(super) enum Raw<'a> {
    /// The file has no such column.
    NoColumn,
    /// A field of a text file.
    Word(&'a str),
    /// A cell of integers, -1 where there is no label.
    Integer(Option<i64>),
    /// A cell of numbers, -1 where there is no label.
    Real(Option<f64>),
}

/// Gathers the rows of a set, from one file or several.
pub(super) struct Gatherer<'a> {
    task: &'a GlueTask,
    set: &'a GlueSet,
    path: &'a Path,
    /// `line` or `row`.
    unit: &'static str,
    num_rows: usize,
    rows: Rows,
}

impl<'a> Gatherer<'a> {
    pub(super) fn new(task: &'a GlueTask, set: &'a GlueSet, unit: &'static str, path: &'a Path) -> Self {
        Self { task, set, path, unit, num_rows: 0, rows: Rows::default() }
    }

    /// What comes is of this file.
    pub(super) fn of_file(&mut self, path: &'a Path) {
        self.path = path;
    }

    /// An error at a line or a row of the file.
    pub(super) fn wrong(&self, place: usize, what: &str) -> Error {
        Error::data(format!("`{}` {} {place}: {what}", self.path.display(), self.unit))
    }

    /// Counts a row as left out.
    pub(super) fn skip(&mut self, place: usize, reason: Reason) {
        // An empty line is no row.
        self.num_rows += usize::from(reason != Reason::Blank);
        let at = self.rows.skipped.iter().position(|skip| skip.reason == reason).unwrap_or_else(|| {
            self.rows.skipped.push(Skip { reason, count: 0, first: Vec::new() });
            self.rows.skipped.len() - 1
        });
        let skip = &mut self.rows.skipped[at];
        skip.count += 1;
        if skip.first.len() < PLACES {
            skip.first.push(format!("{} {place}", self.unit));
        }
    }

    /// Takes a row.
    pub(super) fn push(
        &mut self,
        place: usize,
        id: Option<String>,
        first: String,
        second: Option<String>,
        label: Raw<'_>,
    ) -> Result<()> {
        if self.set.split != Split::Test && self.is_without_consensus(&label) {
            self.skip(place, Reason::NoConsensus);
            return Ok(());
        }
        let label = self.label(label).map_err(|what| self.wrong(place, &what))?;
        let id = id.unwrap_or_else(|| self.num_rows.to_string());
        self.num_rows += 1;
        self.rows.examples.push(RawExample { id, first, second, label });
        Ok(())
    }

    fn is_without_consensus(&self, label: &Raw<'_>) -> bool {
        self.task.no_consensus.is_some_and(|mark| match label {
            Raw::Word(word) => *word == mark,
            Raw::Integer(Some(-1)) => true,
            _ => false,
        })
    }

    /// The label, or what is wrong with it.
    fn label(&self, raw: Raw<'_>) -> std::result::Result<Option<Label>, String> {
        let is_test = self.set.split == Split::Test;
        match (self.task.labels, raw) {
            (_, Raw::NoColumn) if is_test => Ok(None),
            (_, Raw::Integer(Some(-1)) | Raw::Integer(None)) if is_test => Ok(None),
            (_, Raw::Real(Some(-1.0)) | Raw::Real(None)) if is_test => Ok(None),
            (_, Raw::NoColumn | Raw::Word("") | Raw::Integer(None | Some(-1)) | Raw::Real(None)) => {
                Err("no label".to_owned())
            }
            (Labels::Classes(words), Raw::Word(word)) => match words.iter().position(|known| *known == word) {
                Some(class) => Ok(Some(Label::Class(class))),
                None => {
                    let known: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                    Err(format!("unknown label `{}`: expected {}", shortened(word), known.join(" or ")))
                }
            },
            (Labels::Classes(words), Raw::Integer(Some(number))) => match usize::try_from(number) {
                Ok(class) if class < words.len() => Ok(Some(Label::Class(class))),
                _ => Err(format!("unknown label {number}: expected 0 to {}", words.len() - 1)),
            },
            (Labels::Classes(_), Raw::Real(Some(number))) => Err(format!("label {number}: expected an integer")),
            (Labels::Score, Raw::Word(word)) => match word.parse() {
                Ok(number) => score(number).map(Some),
                Err(_) => Err(format!("score `{}` is not a number", shortened(word))),
            },
            (Labels::Score, Raw::Integer(Some(number))) => score(number as f64).map(Some),
            (Labels::Score, Raw::Real(Some(number))) => score(number).map(Some),
        }
    }

    /// The rows, of which there must be some.
    pub(super) fn finish(self) -> Result<Rows> {
        if self.rows.examples.is_empty() {
            let path = self.path.display();
            let skipped: Vec<String> = self.rows.skipped.iter().map(|skip| format!("; {skip}")).collect();
            return Err(Error::data(format!("`{path}` has no examples{}", skipped.concat())));
        }
        Ok(self.rows)
    }
}

fn score(number: f64) -> std::result::Result<Label, String> {
    if (0.0..=Labels::MOST).contains(&number) {
        Ok(Label::Score(number))
    } else {
        Err(format!("score {number}: expected 0 to {}", Labels::MOST))
    }
}

/// A field of a message: a file that is something else may have long ones.
pub(super) fn shortened(field: &str) -> String {
    const MOST: usize = 40;
    match field.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &field[..end]),
        None => field.to_owned(),
    }
}
