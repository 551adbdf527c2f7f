//! What was measured as one figure: steps over L, flows against their bounds, and sharing and unsharing over time.

use super::bounds::{Bound, Target};
use super::dynamics::{flow, Dynamics};
use super::fit::METHODS;
use super::reduced::Reduced;
use super::study::{cases, Row};
use super::target::perturbed;
use super::unsharing::{Run, Seen, Way};
use crate::report::chart::{Lines, Mark, Scale, Series};
use crate::report::figure::{Figure, Panel};

/// The target of the steps over L, by its place among the cases: λ ½..2.
const STEPS_CASE: usize = 2;
/// The target of the flows: 2·I, where both bounds are tight at t = 0.
const FLOW_CASE: usize = 0;
/// L of the flows.
const FLOW_DEPTH: usize = 8;
/// The target of the lower panels.
const PERTURBED: &str = "pair";
/// Steps that the lower panels show.
const SHOWN: u64 = 2000;

/// The figure of a report.
pub fn figure(rows: &[Row], runs: &[Run], epsilon: f64) -> Figure {
    let lines = [steps(rows, epsilon), flows(epsilon), losses(runs), correlations(runs)];
    Figure { panels: lines.into_iter().map(Panel::Lines).collect() }
}

fn steps(rows: &[Row], epsilon: f64) -> Lines {
    let case = &cases()[STEPS_CASE];
    let mut series = Vec::new();
    for start in METHODS {
        let of_method: Vec<&Row> = rows.iter().filter(|row| row.case == case.name && row.start == start).collect();
        let mut add = |what: &str, dashed, value: fn(&Row) -> f64| {
            let points = of_method.iter().map(|row| (row.layers as f64, value(row))).collect();
            series.push(Series { name: format!("{}, {what}", start.name()), points, dashed });
        };
        add("allowed η", false, |row| row.allowed_steps);
        add("allowed η", true, |row| row.bound_steps);
        add("largest stable η", false, |row| row.edge_steps as f64);
    }
    Lines {
        title: format!("Steps to R ≤ {epsilon:e} (dashed: promised), {}", case.name),
        x_label: "layers L".into(),
        y_label: "steps".into(),
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        series,
        marks: Vec::new(),
    }
}

fn flows(epsilon: f64) -> Lines {
    let case = &cases()[FLOW_CASE];
    let mut series = Vec::new();
    for start in METHODS {
        let mut reduced = Reduced::new(FLOW_DEPTH, &case.spectrum, start);
        let first = reduced.initial_loss();
        let mut points = Vec::new();
        flow(&mut reduced, epsilon, 1e-9, |t, loss| points.push((t, loss / first)));
        let rate = Bound::of(start, FLOW_DEPTH, &Target::of(&case.spectrum)).flow_rate;
        let end = points.last().map_or(0.0, |point| point.0);
        let bound = (0..=50).map(|at| end * f64::from(at) / 50.0).map(|t| (t, (-rate * t).exp())).collect();
        series.push(Series { name: start.name().into(), points, dashed: false });
        series.push(Series { name: start.name().into(), points: bound, dashed: true });
    }
    Lines {
        title: format!("Flow and its bound (dashed), {}, L={FLOW_DEPTH}", case.name),
        x_label: "time t".into(),
        y_label: "R(t)/R(0)".into(),
        y_scale: Scale::Log,
        series,
        ..Lines::default()
    }
}

/// The losses at the smallest depth that was measured.
fn losses(runs: &[Run]) -> Lines {
    let layers = runs.iter().map(|run| run.layers).min().unwrap_or_default();
    let mut lines = Lines {
        title: format!("Loss, Φ = {PERTURBED}, L={layers}, one η"),
        x_label: "step".into(),
        y_label: "R".into(),
        y_scale: Scale::Log,
        ..Lines::default()
    };
    for way in [Way::Shared, Way::Fixed(500), Way::Adaptive(0.5), Way::Unshared, Way::ZeroAsymmetric] {
        for run in runs.iter().filter(|run| run.target == PERTURBED && run.layers == layers && run.way == way) {
            add(&mut lines, run, way.name(), |seen| seen.loss);
        }
    }
    for target in perturbed().iter().filter(|target| target.name == PERTURBED) {
        lines.series.push(level("infimum for sharing", target.block.tied_floor()));
    }
    lines
}

/// The correlations under sharing at every depth, and those of the adaptive rule where it untied.
fn correlations(runs: &[Run]) -> Lines {
    let mut lines = Lines {
        title: format!("Cosine of adjacent layers (median), Φ = {PERTURBED}"),
        x_label: "step".into(),
        y_label: "cosine".into(),
        ..Lines::default()
    };
    for run in runs.iter().filter(|run| run.target == PERTURBED) {
        let adaptive = run.way == Way::Adaptive(0.5) && run.untied_at.is_some();
        if run.way == Way::Shared || adaptive {
            add(&mut lines, run, format!("L={}, {}", run.layers, run.way.name()), |seen| seen.adjacent[1]);
        }
    }
    lines.series.push(level("threshold", 0.5));
    lines
}

/// Adds what `value` gives of a run over its steps, and a mark where it was untied.
fn add(lines: &mut Lines, run: &Run, name: String, value: fn(&Seen) -> f64) {
    let shown = run.trace.iter().filter(|seen| seen.step <= SHOWN);
    let points = shown.map(|seen| (seen.step as f64, value(seen))).collect();
    if let Some(untied) = run.untied_at {
        let series = Some(lines.series.len());
        lines.marks.push(Mark { x: untied as f64, label: format!("untied {untied}"), series });
    }
    lines.series.push(Series { name, points, dashed: false });
}

fn level(name: &str, y: f64) -> Series {
    Series { name: name.into(), points: vec![(0.0, y), (SHOWN as f64, y)], dashed: true }
}
