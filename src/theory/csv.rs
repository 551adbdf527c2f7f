//! Every number that was measured, as CSV.

use std::fmt::Write;

use super::fit::fits;
use super::study::{Check, Row};
use super::unsharing::Run;

/// steps.csv.
pub fn steps(rows: &[Row]) -> String {
    let mut text = String::from(
        "target,d,layers,method,initial_loss,initial_slope,flow_time,flow_change,flow_rate_bound,eta_allowed,bound_steps,\
         allowed_steps,allowed_literal,eta_edge,largest_stable_steps,eta_best,fewest_steps,checked_continuous,\
         slowest_continuous,checked_discrete,slowest_discrete\n",
    );
    for row in rows {
        let [continuous, discrete] = &row.checks;
        let _ = writeln!(
            text,
            "\"{}\",{},{},{},{},{},{},{:e},{},{:e},{},{},{},{},{},{},{},{},{},{},{}",
            row.case,
            row.dim,
            row.layers,
            row.start.name(),
            row.initial_loss,
            row.slope,
            row.flow_time,
            row.flow_change,
            row.bound.flow_rate,
            row.bound.eta,
            row.bound_steps,
            row.allowed_steps,
            row.literal,
            row.edge,
            row.edge_steps,
            row.best_eta,
            row.best_steps,
            continuous.points,
            slowest(continuous),
            discrete.points,
            slowest(discrete),
        );
    }
    text
}

/// Empty where R did not fall by the 0.1 % that the ratio asks for.
fn slowest(check: &Check) -> String {
    if check.slowest.is_finite() {
        check.slowest.to_string()
    } else {
        String::new()
    }
}

/// exponents.csv.
pub fn exponents(rows: &[Row]) -> String {
    let mut text = String::from("target,method,quantity,slope,standard_error,slope_upper_half\n");
    for group in fits(rows) {
        let names = ["bound", "allowed", "largest_stable", "fewest", "flow_time"];
        for (name, fit) in names.into_iter().zip(group.fits) {
            let upper = fit.upper.map_or(String::new(), |slope| slope.to_string());
            let error = if fit.error.is_nan() { String::new() } else { fit.error.to_string() };
            let method = group.start.name();
            let _ = writeln!(text, "\"{}\",{method},{name},{},{error},{upper}", group.case, fit.slope);
        }
    }
    text
}

/// unsharing.csv.
pub fn unsharing(runs: &[Run]) -> String {
    let mut text = String::from("target,layers,way,eta,untied_at,steps,final_loss,rose_at,eta_best,fewest_steps\n");
    let cell = |step: Option<u64>| step.map_or(String::new(), |step| step.to_string());
    for run in runs {
        let (eta, fewest) = run.best.map_or((String::new(), None), |(eta, steps)| (eta.to_string(), Some(steps)));
        let (untied, steps, rose) = (cell(run.untied_at), cell(run.steps), cell(run.rose_at));
        let name = run.way.name();
        let (target, layers, way_eta, loss, fewest) = (run.target, run.layers, run.eta, run.loss, cell(fewest));
        let _ = writeln!(text, "{target},{layers},{name},{way_eta},{untied},{steps},{loss:e},{rose},{eta},{fewest}");
    }
    text
}

/// unsharing-trace.csv: loss and correlations over time, at the common η.
pub fn trace(runs: &[Run]) -> String {
    let mut text = String::from("target,layers,way,step,loss,adjacent_min,adjacent_median,adjacent_max,first_last\n");
    for run in runs {
        for seen in &run.trace {
            let [low, median, high] = seen.adjacent;
            let (target, layers, way) = (run.target, run.layers, run.way.name());
            let (step, loss, ends) = (seen.step, seen.loss, seen.ends);
            let _ = writeln!(text, "{target},{layers},{way},{step},{loss:e},{low},{median},{high},{ends}");
        }
    }
    text
}
