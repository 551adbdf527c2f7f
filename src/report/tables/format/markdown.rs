//! GitHub's Markdown.

use super::super::assemble::Table;
use super::lines::{caption, heads, pair, title, Text};

/// Columns are padded, so that the text can be read as it is.
pub(super) fn text(table: &Table) -> String {
    let heads = heads(table);
    let mut lines = vec![heads.iter().map(|(name, _)| escape(name)).collect::<Vec<String>>()];
    for row in &table.rows {
        lines.extend(pair(table, row).map(|line| line.into_iter().map(cell).collect()));
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let rule = heads.iter().zip(&widths).map(|((_, right), &width)| {
        let dashes = "-".repeat(width - 1);
        if *right {
            format!("{dashes}:")
        } else {
            format!("{dashes}-")
        }
    });
    let rule = format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
    let mut text = format!("**{}.** {}\n\n", escape(&title(table)), escape(&caption(table)));
    for (number, line) in lines.iter().enumerate() {
        let padded = line.iter().zip(&widths).zip(&heads).map(|((cell, &width), (_, right))| {
            if *right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        text.push_str(&format!("| {} |\n", padded.collect::<Vec<_>>().join(" | ")));
        if number == 0 {
            text.push_str(&rule);
        }
    }
    text.push('\n');
    for (number, note) in (1..).zip(&table.notes) {
        text.push_str(&format!("[^{number}]: {}\n", note.replace('\n', " ")));
    }
    text
}

fn cell(text: Text) -> String {
    match text {
        Ok(text) => escape(&text),
        Err(note) => format!("—[^{}]", note + 1),
    }
}

/// What would end a cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
