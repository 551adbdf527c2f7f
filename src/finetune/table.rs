//! Rows of results in, a table for a person out: mean and standard deviation over seeds for every learning rate, and the best.

use std::collections::BTreeSet;

use crate::finetune::task::Task;
use crate::metrics::results::{mean, sample_deviation, ResultRow};

/// A Markdown table of `rows`, runs of one task; `selection` is the score that picks the best.
pub(super) fn markdown(task: Task, selection: &str, rows: &[ResultRow]) -> String {
    let mut rates: Vec<f64> = Vec::new();
    for row in rows {
        if !rates.contains(&row.lr) {
            rates.push(row.lr);
        }
    }
    rates.sort_by(f64::total_cmp);
    let names: BTreeSet<&String> =
        rows.iter().flat_map(|row| row.scores.keys()).filter(|name| !name.ends_with("threshold")).collect();
    let mut text = format!("`{task}`, per cent, mean ± standard deviation over seeds\n\n| learning rate | seeds |");
    names.iter().for_each(|name| text.push_str(&format!(" {name} |")));
    text.push_str(&format!("\n|---|--:|{}\n", "--:|".repeat(names.len())));
    for lr in rates {
        let of_rate: Vec<&ResultRow> = rows.iter().filter(|row| row.lr == lr).collect();
        text.push_str(&format!("| {lr:e} | {} |", of_rate.len()));
        for &name in &names {
            let values: Vec<f64> = of_rate.iter().filter_map(|row| row.scores.get(name).copied()).collect();
            text.push_str(&format!(" {} |", spread(&values)));
        }
        text.push('\n');
    }
    let score = |row: &ResultRow| row.scores.get(selection).copied().filter(|score| !score.is_nan());
    let best = rows.iter().filter_map(|row| Some((score(row)?, row))).max_by(|one, other| one.0.total_cmp(&other.0));
    match best {
        Some((score, row)) => text.push_str(&format!(
            "\nbest by {selection}: {:.2} with learning rate {:e}, seed {}",
            100.0 * score,
            row.lr,
            row.seed
        )),
        None => text.push_str(&format!("\nno run has a finite {selection}")),
    }
    text
}

/// Mean and, of two values or more, the sample standard deviation, in per cent.
fn spread(values: &[f64]) -> String {
    match (mean(values), sample_deviation(values)) {
        (None, _) => "—".into(),
        (Some(mean), None) => format!("{:.2}", 100.0 * mean),
        (Some(mean), Some(deviation)) => format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * deviation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_sample_deviations() {
        // Mean 0.5, deviations ±0.1: √(2·0.01 / 1) = 0.1414.
        assert_eq!(spread(&[0.4, 0.6]), "50.00 ± 14.14");
        assert_eq!(spread(&[0.625]), "62.50");
        assert_eq!(spread(&[]), "—");
    }
}
