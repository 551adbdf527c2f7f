//! A table as text.
//!
//! Markdown and LaTeX have two lines a row, the paper's and ours; CSV has one line a cell, with all that the cell holds.

mod csv;
mod latex;
mod lines;
mod markdown;

use super::assemble::Table;

/// What a table is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// GitHub's, with footnotes.
    Markdown,
    /// One line a cell, as RFC 4180 has it.
    Csv,
    /// For the package booktabs.
    Latex,
}

impl Format {
    /// The whole text, with its last newline.
    pub fn text(self, table: &Table) -> String {
        match self {
            Self::Markdown => markdown::text(table),
            Self::Csv => csv::text(table),
            Self::Latex => latex::text(table),
        }
    }
}
