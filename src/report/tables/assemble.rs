//! The paper's rows and ours put together: every cell a number or a reason.

use std::collections::BTreeMap;

use super::columns::{Column, EXTRA_COLUMNS, PAPER_COLUMNS};
use super::facts::{Finished, Pretraining, RunFacts};
use super::paper::{PaperRow, PaperTable};
use super::sweep::{Score, Sweep};
use crate::metrics::human::human_integer;

/// A table, ready to be written.
#[derive(Clone, Debug)]
pub struct Table {
    /// Of which of the paper's tables.
    pub paper: PaperTable,
    /// What our runs are, for the caption.
    pub ours: String,
    /// Its columns of scores.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Why cells are empty: note i is the footnote i + 1.
    pub notes: Vec<String>,
}

/// A row of the paper and ours beside it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The paper's.
    pub paper: PaperRow,
    /// Our run, or the note that says why it is not shown.
    pub run: Result<Finished, usize>,
    /// Our scores, one a column.
    pub scores: Vec<Cell>,
}

/// A cell of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// Of the pre-training, in per cent.
    Single(f64),
    /// Of a sweep.
    Sweep(Score),
    /// The note that says why there is none.
    Empty(usize),
}

/// The note of cells that the paper leaves empty; always the first.
pub(super) const NOT_IN_PAPER: &str = "not in the paper";

/// Puts `facts`, what is known of each run by its name, beside the numbers of `paper`. `ours` says what the runs are.
pub fn assemble(paper: &PaperTable, facts: &BTreeMap<String, RunFacts>, ours: &str) -> Table {
    let of = |row: &PaperRow| facts.get(row.run);
    let has_results = |column: &Column| {
        let sweeps = facts.values().filter_map(|facts| facts.sweeps.get(column.task.unwrap_or_default()));
        sweeps.into_iter().any(|sweep| sweep.as_ref().map_or(true, |rows| !rows.is_empty()))
    };
    let columns: Vec<Column> = PAPER_COLUMNS.into_iter().chain(EXTRA_COLUMNS.into_iter().filter(has_results)).collect();
    let mut notes = Notes(vec![NOT_IN_PAPER.into()]);
    let common = Common::of(paper.rows.iter().filter_map(of).filter_map(finished));
    let runs: Vec<Result<&Finished, String>> = paper.rows.iter().map(|row| presentable(of(row), &common)).collect();
    let mut rows: Vec<Row> = Vec::new();
    for (row, run) in paper.rows.iter().zip(&runs) {
        let run = run.clone().cloned().map_err(|why| notes.number(why));
        rows.push(Row { paper: *row, run, scores: Vec::new() });
    }
    for column in &columns {
        // What each row's sweep is, and which of them the others are held against.
        let sweeps: Vec<Option<Result<Sweep, String>>> = match column.task {
            None => vec![None; rows.len()],
            Some(task) => {
                let sweep = |(row, run): (&PaperRow, &Result<&Finished, String>)| {
                    run.as_ref().ok().map(|run| sweep(of(row), run, task))
                };
                paper.rows.iter().zip(&runs).map(sweep).collect()
            }
        };
        let protocol = protocol(sweeps.iter().flatten().flatten());
        for ((row, run), sweep) in rows.iter_mut().zip(&runs).zip(sweeps) {
            let cell = match (run, sweep) {
                (Err(why), _) => Err(why.clone()),
                (Ok(run), None) => run.mlm_accuracy.map(|accuracy| Cell::Single(100.0 * accuracy)).ok_or_else(|| {
                    format!("metrics.jsonl has no evaluation of the last step, {}", human_integer(run.steps))
                }),
                (Ok(_), Some(sweep)) => sweep.and_then(|sweep| checked(&sweep, column, &protocol)).map(Cell::Sweep),
            };
            row.scores.push(cell.unwrap_or_else(|why| Cell::Empty(notes.number(why))));
        }
    }
    Table { paper: *paper, ours: ours.into(), columns, rows, notes: notes.0 }
}

fn finished(facts: &RunFacts) -> Option<&Finished> {
    match &facts.pretraining {
        Pretraining::Finished(run) => Some(run),
        _ => None,
    }
}

/// The run, if its numbers may be shown.
fn presentable<'a>(facts: Option<&'a RunFacts>, common: &Common) -> Result<&'a Finished, String> {
    match facts.map_or(&Pretraining::Missing, |facts| &facts.pretraining) {
        Pretraining::Missing => Err("the run is missing".into()),
        Pretraining::Unreadable(why) => Err(format!("the run cannot be read: {why}")),
        Pretraining::Differs { key, expected, found, others } => {
            let more = match others {
                0 => String::new(),
                1 => "; so does 1 more key".into(),
                others => format!("; so do {others} more keys"),
            };
            Err(format!("the run's configuration differs in `{key}`: expected {expected}, got {found}{more}"))
        }
        Pretraining::Unfinished { step, steps } => {
            Err(format!("the run is unfinished: step {} of {}", human_integer(*step), human_integer(*steps)))
        }
        Pretraining::Finished(run) => common.check(run).map(|()| run),
    }
}

/// What most runs of a table have in common; of equally many, those of the upper rows.
struct Common(BTreeMap<String, String>);

impl Common {
    fn of<'a>(runs: impl Iterator<Item = &'a Finished>) -> Self {
        let mut counts: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
        for (name, value) in runs.flat_map(|run| &run.common) {
            let values = counts.entry(name).or_default();
            match values.iter_mut().find(|(known, _)| known == value) {
                Some((_, count)) => *count += 1,
                None => values.push((value, 1)),
            }
        }
        let most = counts.into_iter().filter_map(|(name, values)| {
            let (value, _) = values.into_iter().reduce(|best, other| if other.1 > best.1 { other } else { best })?;
            Some((name.into(), value.into()))
        });
        Self(most.collect())
    }

    fn check(&self, run: &Finished) -> Result<(), String> {
        for (name, expected) in &self.0 {
            let found = run.common.get(name).map_or("none", String::as_str);
            if found != expected {
                return Err(format!(
                    "the run's {name} is not that of the table's other runs: expected {expected}, got {found}"
                ));
            }
        }
        Ok(())
    }
}

/// The sweep of `task` on the model of `run`.
fn sweep<'a>(facts: Option<&'a RunFacts>, run: &Finished, task: &str) -> Result<Sweep<'a>, String> {
    let none = || format!("no fine-tuning result for `{task}`");
    let rows = match facts.and_then(|facts| facts.sweeps.get(task)) {
        None => return Err(none()),
        Some(Err(why)) => return Err(why.clone()),
        Some(Ok(rows)) if rows.is_empty() => return Err(none()),
        Some(Ok(rows)) => rows,
    };
    let Some(model_hash) = &run.model_hash else {
        return Err("the run has no export to hold its fine-tuning results against".into());
    };
    Sweep::new(rows, task, model_hash)
}

/// The protocol of the largest sweep; of equally large ones, that of the upper row.
fn protocol<'a, 'b: 'a>(sweeps: impl Iterator<Item = &'a Sweep<'b>>) -> String {
    let largest = sweeps.reduce(|best, other| if other.len() > best.len() { other } else { best });
    largest.map(Sweep::protocol).unwrap_or_default()
}

fn checked(sweep: &Sweep, column: &Column, protocol: &str) -> Result<Score, String> {
    let own = sweep.protocol();
    if own != protocol {
        return Err(format!(
            "the sweep of `{}` is not that of the column's other rows: expected {protocol}, got {own}",
            column.task.unwrap_or_default()
        ));
    }
    sweep.score(column)
}

/// Footnotes, each reason once.
struct Notes(Vec<String>);

impl Notes {
    /// The place of the note that says `why`.
    fn number(&mut self, why: String) -> usize {
        self.0.iter().position(|note| *note == why).unwrap_or_else(|| {
            self.0.push(why);
            self.0.len() - 1
        })
    }
}
