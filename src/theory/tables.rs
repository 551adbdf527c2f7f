//! What was measured as Markdown tables.

use std::fmt::Write;

use super::fit::{fits, METHODS};
use super::study::Row;
use super::target::{perturbed, Perturbed};
use super::unsharing::{Run, Way, LIMIT};

/// The four theorems: how often each was checked (in part: only the first steps of a run that would be too long), and how
/// tight it was.
pub fn bounds(rows: &[Row]) -> String {
    let mut text = String::from("| theorem | runs | points | largest R / bound | slowest decay / promised | holds |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    let names = [
        (1, "1: ZAS, continuous, R ≤ e^(−2t)·R(0)"),
        (2, "2: sharing, continuous, R ≤ e^(−2L·min(1, λ²)·t)·R(0)"),
        (3, "3: ZAS, discrete, R ≤ (1 − η/2)^t·R(0)"),
        (4, "4: sharing, discrete, R ≤ e^(−(2L−2)·min(1, λ²)·η·t)·R(0)"),
    ];
    for (theorem, name) in names {
        let checks: Vec<_> = rows.iter().flat_map(|row| &row.checks).filter(|check| check.theorem == theorem).collect();
        let points: u64 = checks.iter().map(|check| check.points).sum();
        let largest = checks.iter().map(|check| check.largest).fold(0.0, f64::max);
        let slowest = checks.iter().map(|check| check.slowest).fold(f64::INFINITY, f64::min);
        let holds = if checks.iter().all(|check| check.holds()) { "yes" } else { "NO" };
        let part = rows.iter().filter(|row| row.checks[1].theorem == theorem && !row.literal).count();
        let part = if part > 0 { format!(", {part} in part") } else { String::new() };
        let runs = format!("{}{part}", checks.len());
        let _ = writeln!(text, "| {name} | {runs} | {points} | {largest:.9} | {slowest:.4} | {holds} |");
    }
    text
}

/// Remark 1: R'(0)/R(0), all targets together.
pub fn slopes(rows: &[Row]) -> String {
    let mut text = String::from("| L | ZAS, derived | ZAS, measured | sharing, derived | sharing, measured |\n");
    text.push_str("|---|---|---|---|---|\n");
    for layers in depths(rows.iter().map(|row| row.layers)) {
        let range = |start| {
            let of = rows.iter().filter(move |row| row.layers == layers && row.start == start).map(|row| row.slope);
            let (low, high) = of.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
            let (low, high) = (format!("{low:.5}"), format!("{high:.5}"));
            if low == high {
                low
            } else {
                format!("{low} .. {high}")
            }
        };
        let [zas, sharing] = METHODS.map(range);
        let _ = writeln!(text, "| {layers} | −2 | {zas} | −2L = −{} | {sharing} |", 2 * layers);
    }
    text.replace("| -", "| −").replace(".. -", ".. −")
}

/// Steps to ε: promised, at the allowed η, at the largest stable η, fewest.
pub fn steps(rows: &[Row]) -> String {
    let columns = "bound | allowed η | largest stable η | fewest";
    let mut text = format!("| Φ | L | ZAS: {columns} | sharing: {columns} |\n|{}\n", "---|".repeat(10));
    for pair in rows.chunks_exact(2) {
        let _ = write!(text, "| {} | {} |", pair[0].case, pair[0].layers);
        for row in pair {
            let about = if row.literal { "" } else { "≈" };
            let (bound, allowed) = (count(row.bound_steps), count(row.allowed_steps));
            let _ = write!(text, " {bound} | {about}{allowed} | {} | {} |", row.edge_steps, row.best_steps);
        }
        text.push('\n');
    }
    text
}

/// The exponents in L of the four counts of steps and of the flow's time.
pub fn exponents(rows: &[Row]) -> String {
    let mut text = String::from("| Φ | method | bound | allowed η | largest stable η | fewest | time of the flow |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for group in fits(rows) {
        let _ = write!(text, "| {} | {} |", group.case, group.start.name());
        for fit in group.fits {
            let error = if fit.error.is_nan() { String::new() } else { format!(" ± {:.2}", fit.error) };
            let upper = fit.upper.map_or(String::new(), |slope| format!(" ({slope:.2})"));
            let _ = write!(text, " {:.2}{error}{upper} |", fit.slope);
        }
        text.push('\n');
    }
    text.replace("-0.00", "0.00").replace(" -", " −").replace("(-", "(−")
}

/// The perturbed targets and their floors.
pub fn targets() -> String {
    let mut text = String::from(
        "| Φ | ‖E‖₂ (λ_min(P) = 1) | det Φ | infimum for sharing, L even | for flows from the identity |\n|---|---|---|---|---|\n",
    );
    for Perturbed { name, block } in perturbed() {
        let norm = block.perturbation().singular_values().0;
        let sign = if block.identity_floor() > 0.0 { "< 0" } else { "> 0" };
        let floors = [block.tied_floor(), block.identity_floor()].map(|floor| format!("{floor:.5}"));
        let _ = writeln!(text, "| {name} | {norm:.3} | {sign} | {} | {} |", floors[0], floors[1]);
    }
    text
}

/// Every way on every perturbed target and depth.
pub fn unsharing(runs: &[Run]) -> String {
    let mut text = String::from("| Φ | way |");
    let depths = depths(runs.iter().map(|run| run.layers));
    for layers in &depths {
        let _ = write!(text, " L={layers} | own η |");
    }
    let _ = writeln!(text, "\n|{}", "---|".repeat(2 + 2 * depths.len()));
    for target in perturbed() {
        for way in Way::ALL {
            let _ = write!(text, "| {} | {} |", target.name, way.name());
            for run in runs.iter().filter(|run| run.target == target.name && run.way == way) {
                let steps = run.steps.map_or(format!("({:.4})", run.loss), |steps| steps.to_string());
                let untied = match (way, run.untied_at) {
                    (Way::Adaptive(_), Some(step)) => format!(" @{step}"),
                    _ => String::new(),
                };
                let best = run.best.map_or("–".into(), |(_, steps)| steps.to_string());
                let _ = write!(text, " {steps}{untied} | {best} |");
            }
            text.push('\n');
        }
    }
    text
}

/// The median cosine of adjacent layers over the steps of sharing alone.
pub fn correlations(runs: &[Run]) -> String {
    let steps = [0, 50, 100, 200, 500, 1000, 2000, 5000, LIMIT];
    let mut text = String::from("| Φ | L |");
    for step in steps {
        let _ = write!(text, " {step} |");
    }
    let _ = writeln!(text, " first < 0.5 |\n|{}", "---|".repeat(3 + steps.len()));
    for run in runs.iter().filter(|run| run.way == Way::Shared) {
        let _ = write!(text, "| {} | {} |", run.target, run.layers);
        for step in steps {
            let seen = run.trace.iter().find(|seen| seen.step == step);
            let _ = write!(text, " {} |", seen.map_or("–".into(), |seen| format!("{:.2}", seen.adjacent[1])));
        }
        let below = run.trace.iter().find(|seen| seen.adjacent[1] < 0.5);
        let _ = writeln!(text, " {} |", below.map_or("–".into(), |seen| seen.step.to_string()));
    }
    text.replace(" -", " −")
}

/// How sharing alone creeps towards its infimum: R − infimum ∝ step^p.
pub fn approaches(runs: &[Run]) -> String {
    let mut text =
        String::from("| Φ | L | R at the end | infimum | p, measured | p, derived |\n|---|---|---|---|---|---|\n");
    for target in perturbed() {
        let floor = target.block.tied_floor();
        if floor == 0.0 {
            continue;
        }
        for run in runs.iter().filter(|run| run.target == target.name && run.way == Way::Shared) {
            let derived = if target.block.identity_floor() > 0.0 {
                let depth = run.layers as f64;
                format!("−L/(L−2) = −{:.2}", depth / (depth - 2.0))
            } else {
                "−1/2".into()
            };
            let measured = format!("{:.2}", run.approach(floor)).replace('-', "−");
            let (name, layers, loss) = (target.name, run.layers, run.loss);
            let _ = writeln!(text, "| {name} | {layers} | {loss:.5} | {floor:.5} | {measured} | {derived} |");
        }
    }
    text
}

fn depths(layers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut layers: Vec<_> = layers.collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

fn count(steps: f64) -> String {
    if steps < 1e6 {
        format!("{steps:.0}")
    } else {
        format!("{steps:.2e}")
    }
}
