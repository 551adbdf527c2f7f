//! What Markdown and LaTeX share: the heads, two lines of cells a row, and the caption.

use super::super::assemble::{Cell, Row, Table};
use super::super::columns::{Column, PAPER_COLUMNS};
use super::super::paper::TOKENS_PER_STEP;
use super::super::sweep::Score;
use crate::metrics::human::{human_count, human_integer};

/// A cell: text, or the place of a note.
pub(super) type Text = Result<String, usize>;

/// The place of the note of what the paper does not give.
const NOT_IN_PAPER: usize = 0;

/// The heads of all columns; of those with numbers only `align_right` is true.
pub(super) fn heads(table: &Table) -> Vec<(String, bool)> {
    let first = [("run", false), ("", false), ("steps", true), ("tokens", true), ("hours", true), ("FLOPs", true)];
    let first = first.into_iter().chain([("untied at step", true)]).map(|(name, right)| (name.to_owned(), right));
    first.chain(table.columns.iter().zip(0..).map(|(column, at)| (head(table, column, at), true))).collect()
}

/// A column's name, with the number of seeds where there are sweeps in it: all of them have the same.
fn head(table: &Table, column: &Column, at: usize) -> String {
    let seeds = table.rows.iter().find_map(|row| match row.scores[at] {
        Cell::Sweep(Score { seeds, .. }) => Some(seeds),
        _ => None,
    });
    seeds.map_or(column.name.into(), |seeds| format!("{} (n = {seeds})", column.name))
}

/// The paper's line of a row and ours.
pub(super) fn pair(table: &Table, row: &Row) -> [Vec<Text>; 2] {
    let text = |text: &str| Ok(text.to_owned());
    let mut paper = vec![text(row.paper.label), text("paper")];
    paper.push(Ok(human_integer(row.paper.steps)));
    paper.push(Ok(human_count(u128::from(row.paper.steps * TOKENS_PER_STEP))));
    paper.extend(vec![Err(NOT_IN_PAPER); 3]);
    let scores = row.paper.scores.iter().zip(PAPER_COLUMNS);
    paper.extend(scores.map(|(score, column)| Ok(format!("{score:.*}", column.decimals))));
    paper.resize(7 + table.columns.len(), Err(NOT_IN_PAPER));

    let mut ours = vec![text(row.paper.run), text("ours")];
    match &row.run {
        Ok(run) => ours.extend([
            Ok(human_integer(run.steps)),
            Ok(human_count(u128::from(run.tokens))),
            Ok(format!("{:.2}", run.seconds / 3600.0)),
            Ok(format!("{:.2e}", run.flops)),
            Ok(run.untied.clone()),
        ]),
        Err(note) => ours.extend(vec![Err(*note); 5]),
    }
    ours.extend(row.scores.iter().zip(&table.columns).map(|(cell, column)| own(*cell, column.decimals)));
    [paper, ours]
}

fn own(cell: Cell, decimals: usize) -> Text {
    match cell {
        Cell::Single(value) => Ok(format!("{value:.decimals$}")),
        Cell::Sweep(Score { mean, deviation: None, .. }) => Ok(format!("{mean:.decimals$}")),
        Cell::Sweep(Score { mean, deviation: Some(deviation), .. }) => {
            Ok(format!("{mean:.decimals$} ± {deviation:.decimals$}"))
        }
        Cell::Empty(note) => Err(note),
    }
}

/// The first words.
pub(super) fn title(table: &Table) -> String {
    format!("Table {} of arXiv 2110.03848: {}", table.paper.number, table.paper.title)
}

/// What the numbers are.
pub(super) fn caption(table: &Table) -> String {
    format!(
        "Ours: {}. Per cent. MLM acc: one run each, held-out text, after the last step. Ours beside it are scores on dev sets: \
         mean ± sample standard deviation over n seeds, at the learning rate whose mean over seeds is best on dev (that of \
         MNLI-m for MNLI-mm and AX). The paper's: GLUE's test sets, the best of 4 seeds on dev; SQuAD's dev sets, means of 5 \
         runs. Hours are wall time of pre-training, FLOPs those of its matrix products.",
        table.ours
    )
}
