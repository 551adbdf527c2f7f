//! The labelled examples of a set, and what was left out of it.

use std::fmt;

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
