//! Sharing and ZAS on positive definite targets: every bound checked, and how the number of steps grows with L.
//!
//! In: targets, depths, ε. Out: one [`Row`] for each target, depth and method. Cost: the runs at the largest allowed η
//! dominate, up to `literal_steps` steps each; rows are measured side by side and their order and numbers do not depend
//! on the number of threads.

use rayon::prelude::*;

use super::bounds::{Bound, Target};
use super::dynamics::{descend, flow, initial_slope, Dynamics, Outcome, Start};
use super::matrix;
use super::network::Network;
use super::options::Options;
use super::reduced::Reduced;
use crate::error::{Error, Result};

/// Steps that [`edge`] gives a step size to reach ε.
const EDGE_LIMIT: u64 = 1_000_000;
/// Each η that [`edge`] tries is this much below the next: 2^(1/64), 1.1 %.
const GRID: f64 = 64.0;
/// Steps that are taken and checked where a whole run would be too long.
const PREFIX: u64 = 100_000;

/// A positive definite target.
#[derive(Clone, Debug)]
pub struct Case {
    /// As printed.
    pub name: &'static str,
    /// Φ's eigenvalues.
    pub spectrum: Vec<f64>,
}

/// The targets that are measured: αI of Remark 1, well conditioned ones with λ above, around and below 1, and a small one
/// where the other branch of Theorem 3's η binds.
pub fn cases() -> Vec<Case> {
    let between = |dim: usize, low: f64, high: f64| {
        (0..dim).map(|at| low * (high / low).powf(at as f64 / (dim - 1) as f64)).collect()
    };
    vec![
        Case { name: "2·I, d=2", spectrum: vec![2.0, 2.0] },
        Case { name: "λ 1..2, d=4", spectrum: between(4, 1.0, 2.0) },
        Case { name: "λ ½..2, d=8", spectrum: between(8, 0.5, 2.0) },
        Case { name: "λ ¼..1, d=16", spectrum: between(16, 0.25, 1.0) },
        Case { name: "λ ¼..½, d=2", spectrum: vec![0.25, 0.5] },
    ]
}

/// How far a run kept to its theorem R(t) ≤ e^{−D(t)} R(0).
#[derive(Clone, Debug)]
pub struct Check {
    /// 1 to 4.
    pub theorem: u8,
    /// Points at which R(t) was held against the bound.
    pub points: u64,
    /// The largest R(t) / (e^{−D(t)} R(0)) of them; the bound holds when it is at most 1. At t = 0 it is 1 by definition.
    pub largest: f64,
    /// The smallest ln(R(0)/R(t)) / D(t), measured over promised decay, where R has fallen by 0.1 % at least; infinite
    /// when it has not.
    pub slowest: f64,
    initial_loss: f64,
}

impl Check {
    fn new(theorem: u8, initial_loss: f64) -> Self {
        Self { theorem, points: 0, largest: 0.0, slowest: f64::INFINITY, initial_loss }
    }

    /// Takes R(t) and D(t).
    fn see(&mut self, loss: f64, promised: f64) {
        self.points += 1;
        let ratio = loss / self.initial_loss * promised.exp();
        // Unlike `f64::max` this keeps a NaN.
        if ratio > self.largest || ratio.is_nan() {
            self.largest = ratio;
        }
        let decay = (self.initial_loss / loss).ln();
        if decay > 1e-3 {
            self.slowest = self.slowest.min(decay / promised);
        }
    }

    /// Whether the bound held everywhere. The slack is the integrator's error in continuous time (its tolerance is 1e-11
    /// a step), and rounding in discrete time.
    pub fn holds(&self) -> bool {
        self.largest <= 1.0 + if self.theorem <= 2 { 1e-9 } else { 1e-12 }
    }
}

/// One target, depth and method.
#[derive(Clone, Debug)]
pub struct Row {
    /// The target's name.
    pub case: &'static str,
    /// d.
    pub dim: usize,
    /// L.
    pub layers: usize,
    /// Sharing or ZAS.
    pub start: Start,
    /// R(0).
    pub initial_loss: f64,
    /// R'(0)/R(0) of the matrices' flow, by finite differences.
    pub slope: f64,
    /// Integrated time to ε of the flow.
    pub flow_time: f64,
    /// Relative change of that time when the integrator's tolerance is a hundred times looser.
    pub flow_change: f64,
    /// The theorem's largest η and number of steps.
    pub bound: Bound,
    /// The number of steps that the theorem promises.
    pub bound_steps: f64,
    /// Steps measured at that η; integrated time divided by η where not `literal`.
    pub allowed_steps: f64,
    /// Whether every one of those steps was taken.
    pub literal: bool,
    /// The edge of stability, see [`edge`].
    pub edge: f64,
    /// Steps at 2^(−1/8) = 0.917 of the edge, the largest stable η that is reported: at the edge itself the count would
    /// measure nothing but how closely the search came to it.
    pub edge_steps: u64,
    /// The η with the fewest steps, of edge·2^(−k/8) for k = 1..16.
    pub best_eta: f64,
    /// Its steps.
    pub best_steps: u64,
    /// Theorem 1 or 2 along the flow, then Theorem 3 or 4 along the steps.
    pub checks: [Check; 2],
}

/// Measures both methods on every case and depth.
///
/// # Errors
/// When a run does not get to ε, which the theorems exclude.
pub fn measure(options: &Options) -> Result<Vec<Row>> {
    let mut jobs = Vec::new();
    for case in cases() {
        for &layers in &options.layers {
            jobs.extend([Start::ZeroAsymmetric, Start::Tied].map(|start| (case.clone(), layers, start)));
        }
    }
    jobs.into_par_iter().map(|(case, layers, start)| row(&case, layers, start, options)).collect()
}

fn row(case: &Case, layers: usize, start: Start, options: &Options) -> Result<Row> {
    let epsilon = options.epsilon;
    let failed = |what: String| Error::failed(format!("{}, {layers} layers, {start:?}: {what}", case.name));
    let mut reduced = Reduced::new(layers, &case.spectrum, start);
    let initial_loss = reduced.initial_loss();
    let bound = Bound::of(start, layers, &Target::of(&case.spectrum));
    let [in_time, in_steps] = if start == Start::ZeroAsymmetric { [1, 3] } else { [2, 4] };

    let mut time_check = Check::new(in_time, initial_loss);
    let mut time = |tolerance, check: &mut Check| {
        let seen = |t: f64, loss: f64| check.see(loss, bound.flow_rate * t);
        flow(&mut reduced, epsilon, tolerance, seen).ok_or_else(|| failed(format!("the flow did not reach {epsilon}")))
    };
    let loose = time(1e-9, &mut Check::new(in_time, initial_loss))?;
    let flow_time = time(1e-11, &mut time_check)?;

    let literal = flow_time / bound.eta <= options.literal_steps as f64;
    let mut step_check = Check::new(in_steps, initial_loss);
    let stride = (flow_time / bound.eta / 10_000.0) as u64 + 1;
    let mut next = 0;
    let limit = if literal { 2 * options.literal_steps } else { PREFIX.min(options.literal_steps) };
    let outcome = descend(&mut reduced, bound.eta, epsilon, limit, |step, loss| {
        if step == next {
            step_check.see(loss, -bound.log_factor * step as f64);
            next += if step < 1000 { 1 } else { stride };
        }
    });
    let allowed_steps = match outcome {
        Outcome::Reached(steps) => steps as f64,
        Outcome::Limit if !literal => flow_time / bound.eta,
        other => return Err(failed(format!("{other:?} at the allowed step size {:.3e}", bound.eta))),
    };

    let unstable = || failed("no stable step size between 1e-9 and 4".into());
    let edge = edge(&mut reduced, epsilon).ok_or_else(unstable)?;
    let mut steps = |eta| descend(&mut reduced, eta, epsilon, EDGE_LIMIT, |_, _| ()).reached();
    let eighth_below = |k: i32| edge * 2f64.powf(-f64::from(k) / 8.0);
    let edge_steps = steps(eighth_below(1)).ok_or_else(unstable)?;
    let tried = (1..=16).map(eighth_below).filter_map(|eta| Some((steps(eta)?, eta)));
    let (best_steps, best_eta) = tried.min_by_key(|(steps, _)| *steps).ok_or_else(unstable)?;

    Ok(Row {
        case: case.name,
        dim: case.spectrum.len(),
        layers,
        start,
        initial_loss,
        slope: literal_slope(case, layers, start),
        flow_time,
        flow_change: (loose / flow_time - 1.0).abs(),
        bound,
        bound_steps: bound.steps(initial_loss, epsilon),
        allowed_steps,
        literal,
        edge,
        edge_steps,
        best_eta,
        best_steps,
        checks: [time_check, step_check],
    })
}

/// R'(0)/R(0) on real matrices in a rotated basis.
fn literal_slope(case: &Case, layers: usize, start: Start) -> f64 {
    let dim = case.spectrum.len();
    let target = matrix::rotated(&matrix::orthogonal(dim, 2021), &matrix::diagonal(&case.spectrum), dim);
    initial_slope(&mut Network::new(layers, dim, &target, start), 1e-4 / layers as f64)
}

/// The edge of stability, to 1.1 %: the largest η = 2^(k/64) such that at it, and at every such η from a quarter of it on,
/// R falls at every step until R ≤ ε (within 10⁶ steps).
///
/// "Every" matters: above the edge there are single η at which a run jumps to the target. ZAS does so at η = 1 for every Φ
/// and L: with W_1 = … = W_{L−1} = I and W_L = 0 its first step is W_L = Φ. The search halves from 4 until three η in a
/// row are stable, and climbs from the smallest of them until one is not; `None` when nothing above 10⁻⁹ is stable.
pub fn edge(dynamics: &mut impl Dynamics, epsilon: f64) -> Option<f64> {
    let mut stable = |k: i32| {
        let eta = 2f64.powf(f64::from(k) / GRID);
        descend(dynamics, eta, epsilon, EDGE_LIMIT, |_, _| ()).reached().is_some()
    };
    let octave = GRID as i32;
    let mut row = 0;
    let bottom = (-30..=2).rev().map(|power| power * octave).find(|&k| {
        row = if stable(k) { row + 1 } else { 0 };
        row == 3
    })?;
    let unstable = (bottom + 1..).find(|&k| !stable(k))?;
    Some(2f64.powf(f64::from(unstable - 1) / GRID))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both methods on all targets at small depth: every theorem and Remark 1 hold. R'(0)/R(0) is −2 for ZAS, since only
    /// W_L has a gradient, −Φ, and R(0) = ½‖Φ‖²; and −2L for sharing, since every layer has the gradient I − Φ, moves along
    /// it, and R(0) = ½‖I − Φ‖².
    #[test]
    fn bounds_and_slopes_hold_at_small_depth() {
        let options =
            Options { layers: vec![2, 3, 5], perturbed_layers: Vec::new(), epsilon: 1e-4, literal_steps: 200_000 };
        let rows = measure(&options).unwrap();
        assert_eq!(rows.len(), cases().len() * 3 * 2);
        assert!(rows.iter().any(|row| row.literal) && rows.iter().any(|row| !row.literal));
        for row in &rows {
            assert!(row.checks.iter().all(Check::holds), "{row:?}");
            assert!(row.checks.iter().all(|check| check.points > 50), "{row:?}");
            let slope = if row.start == Start::Tied { -2.0 * row.layers as f64 } else { -2.0 };
            assert!((row.slope / slope - 1.0).abs() < 1e-6, "{row:?}");
            assert!(row.allowed_steps <= row.bound_steps, "{row:?}");
            assert!(row.flow_change < 1e-5, "{row:?}");
        }
    }

    /// A faster decay than the true one must be caught: the flow of sharing decays at most at 2L·max(1, λ²) and here
    /// starts at exactly 2L, so a bound of 2L·1.01 is broken.
    #[test]
    fn a_bound_that_is_too_good_is_caught() {
        let mut reduced = Reduced::new(4, &[2.0, 2.0], Start::Tied);
        let first = reduced.initial_loss();
        let mut checks = [Check::new(2, first), Check::new(2, first)];
        flow(&mut reduced, 1e-4, 1e-11, |t, loss| {
            for (check, factor) in checks.iter_mut().zip([1.0, 1.01]) {
                check.see(loss, 8.0 * factor * t);
            }
        });
        assert!(checks[0].holds() && !checks[1].holds(), "{checks:?}");
        assert!(checks[0].slowest >= 1.0 && checks[1].slowest < 1.0, "{checks:?}");
        let mut missing = Check::new(4, 1.0);
        missing.see(f64::NAN, 1.0);
        assert!(!missing.holds());
    }

    /// Where the literal run is short enough, time divided by η is the number of steps, up to O(η).
    #[test]
    fn time_over_eta_is_the_number_of_steps() {
        let options =
            Options { layers: vec![4], perturbed_layers: Vec::new(), epsilon: 1e-6, literal_steps: 10_000_000 };
        let case = &cases()[0];
        let row = row(case, 4, Start::ZeroAsymmetric, &options).unwrap();
        assert!(row.literal);
        assert!((row.flow_time / row.bound.eta / row.allowed_steps - 1.0).abs() < 1e-5, "{row:?}");
    }

    /// Sharing with φ = 2, L = 2 near its end is x ← (1 − ηλ)x with λ = L s^{2L−2} = 4, so nothing above 2/λ = ½ is stable.
    /// ZAS jumps to the target at η = 1 (its first step is W_L = Φ), which is not the edge.
    #[test]
    fn edges_are_those_of_the_sharpness() {
        let tied = edge(&mut Reduced::new(2, &[2.0], Start::Tied), 1e-6).unwrap();
        assert!(tied < 0.5 && tied > 0.4, "{tied}");
        let mut zas = Reduced::new(8, &[2.0], Start::ZeroAsymmetric);
        assert_eq!(descend(&mut zas, 1.0, 1e-6, 10, |_, _| ()), Outcome::Reached(1));
        assert!(edge(&mut zas, 1e-6).unwrap() < 0.1);
    }
}
