//! What runs have reached and what it cost them, as a table.

use super::run::{Run, XAxis, EVAL_ACCURACY, EVAL_LOSS};
use crate::metrics::human::{human_count, human_duration, human_integer};

/// A row a run, Markdown: steps, tokens, FLOPs and time of its last logged step, and its last evaluation. `-` for what a run has not
/// recorded.
pub fn table(runs: &[Run]) -> String {
    let mut text = String::from(
        "| run | steps | tokens | FLOPs | time of steps | held-out loss | accuracy |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for run in runs {
        let show = |value: Option<f64>, how: &dyn Fn(f64) -> String| value.map_or("-".into(), how);
        let count = |value: f64| human_count(value as u128);
        let cells = [
            run.name.replace('|', "\\|"),
            show(run.last_of(XAxis::Steps), &|step| human_integer(step as u64)),
            show(run.last_of(XAxis::Tokens), &count),
            show(run.last_of(XAxis::Flops), &count),
            show(run.last_of(XAxis::Hours), &|hours| human_duration(3600.0 * hours)),
            show(run.last(EVAL_LOSS), &|loss| format!("{loss:.4}")),
            show(run.last(EVAL_ACCURACY), &|accuracy| format!("{:.2} %", 100.0 * accuracy)),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}
