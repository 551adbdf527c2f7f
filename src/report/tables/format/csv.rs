//! CSV: one line a cell, with all its digits.

use super::super::assemble::{Cell, Row, Table};
use super::super::paper::TOKENS_PER_STEP;

/// `table,row,run,column,paper,ours,sd,n,learning_rate,note`: numbers plain, a field that does not apply empty.
pub(super) fn text(table: &Table) -> String {
    let mut text = String::from("table,row,run,column,paper,ours,sd,n,learning_rate,note\n");
    for row in &table.rows {
        for (column, paper, ours) in facts(row) {
            let (ours, note) = match ours {
                Ok(ours) => (ours, String::new()),
                Err(note) => (String::new(), table.notes[note].clone()),
            };
            line(
                &mut text,
                table,
                row,
                [column.into(), paper, ours, String::new(), String::new(), String::new(), note],
            );
        }
        for (at, (cell, column)) in row.scores.iter().zip(&table.columns).enumerate() {
            // Only the paper's own columns have numbers of the paper.
            let paper = row.paper.scores.get(at).map_or(String::new(), |score| format!("{score:.*}", column.decimals));
            let name = column.name.to_owned();
            let fields = match cell {
                Cell::Single(value) => {
                    [name, paper, value.to_string(), String::new(), "1".into(), String::new(), String::new()]
                }
                Cell::Sweep(score) => {
                    let deviation = score.deviation.map_or(String::new(), |deviation| deviation.to_string());
                    let (mean, seeds) = (score.mean.to_string(), score.seeds.to_string());
                    [name, paper, mean, deviation, seeds, format!("{:e}", score.lr), String::new()]
                }
                Cell::Empty(note) => {
                    let none = String::new;
                    [name, paper, none(), none(), none(), none(), table.notes[*note].clone()]
                }
            };
            line(&mut text, table, row, fields);
        }
    }
    text
}

/// Column, the paper's value and ours of what is not a score.
fn facts(row: &Row) -> [(&'static str, String, Result<String, usize>); 5] {
    let run = row.run.as_ref().map_err(|&note| note);
    let steps = row.paper.steps;
    [
        ("steps", steps.to_string(), run.map(|run| run.steps.to_string())),
        ("tokens", (steps * TOKENS_PER_STEP).to_string(), run.map(|run| run.tokens.to_string())),
        ("hours", String::new(), run.map(|run| (run.seconds / 3600.0).to_string())),
        ("FLOPs", String::new(), run.map(|run| format!("{:e}", run.flops))),
        ("untied at step", String::new(), run.map(|run| run.untied.clone())),
    ]
}

fn line(text: &mut String, table: &Table, row: &Row, fields: [String; 7]) {
    let first = [table.paper.number.to_string(), row.paper.label.into(), row.paper.run.into()];
    let quoted: Vec<String> = first.iter().chain(&fields).map(|field| quote(field)).collect();
    text.push_str(&quoted.join(","));
    text.push('\n');
}

/// RFC 4180: quotes where a comma, a quote or a line's end is inside.
fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}
