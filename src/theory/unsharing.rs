//! Sharing-then-unsharing, sharing alone, no sharing and ZAS on perturbed targets, with the gradients' correlation.
//!
//! In: targets and depths. Out: one [`Run`] for each target, depth and way, with its loss and correlations over time. All
//! ways of one target and depth use the same η = 0.1/(L‖Φ‖₂²), and then each its own best. Cost: real matrices, 6Ld³
//! operations a step, some 10⁷ steps in all.

use rayon::prelude::*;

use super::dynamics::{rises, Dynamics, Start};
use super::fit::exponent;
use super::matrix;
use super::network::Network;
use super::target::{perturbed, Perturbed};

/// Steps after which a run that has not got to ε is given up.
pub const LIMIT: u64 = 10_000;
/// Steps between two looks of the adaptive rule at the correlations.
pub const CHECK_EVERY: u64 = 10;
/// Checks in a row that the adaptive rule asks for.
const PATIENCE: u32 = 3;

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// One matrix for ever.
    Shared,
    /// SWE-F: so many tied steps, then untied.
    Fixed(u64),
    /// SWE-A: untied once more than half of the correlations of adjacent layers were below this threshold at three checks
    /// in a row.
    Adaptive(f64),
    /// Untied from the identity.
    Unshared,
    /// ZAS.
    ZeroAsymmetric,
}

impl Way {
    /// All that are measured.
    pub const ALL: [Self; 8] = [
        Self::Shared,
        Self::Fixed(50),
        Self::Fixed(500),
        Self::Fixed(5000),
        Self::Adaptive(0.5),
        Self::Adaptive(0.9),
        Self::Unshared,
        Self::ZeroAsymmetric,
    ];

    /// As printed.
    pub fn name(self) -> String {
        match self {
            Self::Shared => "sharing alone".into(),
            Self::Fixed(steps) => format!("SWE-F τ={steps}"),
            Self::Adaptive(threshold) => format!("SWE-A ρ={threshold}"),
            Self::Unshared => "never shared".into(),
            Self::ZeroAsymmetric => "ZAS".into(),
        }
    }

    fn start(self) -> Start {
        match self {
            Self::Unshared => Start::Identity,
            Self::ZeroAsymmetric => Start::ZeroAsymmetric,
            Self::Shared | Self::Fixed(_) | Self::Adaptive(_) => Start::Tied,
        }
    }
}

/// What was seen at one step: the gradients are those that the step then takes.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Steps done.
    pub step: u64,
    /// R.
    pub loss: f64,
    /// Cosines of adjacent layers' gradients: the smallest, the median, the largest.
    pub adjacent: [f64; 3],
    /// The cosine of the first and the last layer's gradient.
    pub ends: f64,
}

/// One way on one target and depth.
#[derive(Clone, Debug)]
pub struct Run {
    /// The target's name.
    pub target: &'static str,
    /// L.
    pub layers: usize,
    /// How.
    pub way: Way,
    /// η.
    pub eta: f64,
    /// Steps to ε, or none within [`LIMIT`].
    pub steps: Option<u64>,
    /// Tied steps before the layers were untied, if that happened.
    pub untied_at: Option<u64>,
    /// R at the end.
    pub loss: f64,
    /// The first step at which R rose.
    pub rose_at: Option<u64>,
    /// Every tenth step up to 1000, then every hundredth, and the last.
    pub trace: Vec<Seen>,
    /// The η with the fewest steps to ε on which R never rises, and those steps; of the common η·2^(k/4), k = −4..20.
    pub best: Option<(f64, u64)>,
}

impl Run {
    /// p of R − `floor` ∝ step^p over the last half of the steps: how a stalled run creeps towards its infimum.
    pub fn approach(&self, floor: f64) -> f64 {
        let last = self.trace.last().map_or(0, |seen| seen.step);
        let late = self.trace.iter().filter(|seen| 2 * seen.step >= last);
        exponent(&late.map(|seen| (seen.step as f64, seen.loss - floor)).collect::<Vec<_>>()).0
    }
}

/// Measures every way on every perturbed target and depth, each depth even, as the floors of sharing ask.
pub fn measure(depths: &[usize], epsilon: f64) -> Vec<Run> {
    let mut jobs = Vec::new();
    for target in perturbed() {
        for &layers in depths {
            jobs.extend(Way::ALL.map(|way| (target.clone(), layers, way)));
        }
    }
    jobs.into_par_iter().map(|(target, layers, way)| with_best(&target, layers, way, epsilon)).collect()
}

/// The η that all ways share.
fn common_eta(target: &Perturbed, layers: usize) -> f64 {
    0.1 / (layers as f64 * target.spectral_norm().powi(2))
}

fn with_best(target: &Perturbed, layers: usize, way: Way, epsilon: f64) -> Run {
    let eta = common_eta(target, layers);
    let mut found = run(target, layers, way, eta, epsilon, LIMIT, |_| true);
    let mut limit = found.steps.unwrap_or(LIMIT);
    for quarter in -4..=20 {
        let eta = eta * 2f64.powf(f64::from(quarter) / 4.0);
        let tried = run(target, layers, way, eta, epsilon, limit, |run| run.rose_at.is_none());
        if let Some(steps) = tried.steps {
            limit = steps;
            if found.best.is_none_or(|(_, best)| steps < best) {
                found.best = Some((eta, steps));
            }
        }
    }
    found
}

/// One run of at most `limit` steps, as long as `goes_on` of it holds.
fn run(
    target: &Perturbed,
    layers: usize,
    way: Way,
    eta: f64,
    epsilon: f64,
    limit: u64,
    goes_on: impl Fn(&Run) -> bool,
) -> Run {
    let mut network = Network::new(layers, Perturbed::DIM, &target.matrix(), way.start());
    let mut state = network.start();
    let mut direction = state.clone();
    let mut run = Run {
        target: target.name,
        layers,
        way,
        eta,
        steps: None,
        untied_at: None,
        loss: f64::INFINITY,
        rose_at: None,
        trace: Vec::new(),
        best: None,
    };
    let mut checks_below = 0;
    for step in 0..=limit {
        let loss = network.direction(&state, &mut direction);
        if run.rose_at.is_none() && rises(run.loss, loss) {
            run.rose_at = Some(step);
        }
        run.loss = loss;
        let ended = loss <= epsilon || !loss.is_finite() || step == limit || !goes_on(&run);
        if ended || step % if step < 1000 { 10 } else { 100 } == 0 {
            run.trace.push(seen(&network, step, loss));
        }
        if loss <= epsilon && goes_on(&run) {
            run.steps = Some(step);
        }
        if ended {
            break;
        }
        matrix::add_scaled(&mut state, -eta, &direction);
        let done = step + 1;
        let untie = match way {
            Way::Fixed(at) => done == at,
            Way::Adaptive(threshold) if network.is_tied() && done % CHECK_EVERY == 0 => {
                let correlations = network.correlations();
                let below = correlations.iter().filter(|cosine| **cosine < threshold).count();
                checks_below = if 2 * below > correlations.len() { checks_below + 1 } else { 0 };
                checks_below == PATIENCE
            }
            _ => false,
        };
        if untie {
            network.untie(&mut state);
            direction.resize(state.len(), 0.0);
            run.untied_at = Some(done);
        }
    }
    run
}

fn seen(network: &Network, step: u64, loss: f64) -> Seen {
    let mut cosines = network.correlations();
    cosines.sort_by(f64::total_cmp);
    let adjacent = [cosines[0], cosines[(cosines.len() - 1) / 2], cosines[cosines.len() - 1]];
    Seen { step, loss, adjacent, ends: network.end_correlation() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Perturbed {
        perturbed().into_iter().find(|target| target.name == name).unwrap()
    }

    fn go(name: &str, way: Way, limit: u64) -> Run {
        let target = target(name);
        run(&target, 4, way, common_eta(&target, 4), 1e-6, limit, |_| true)
    }

    /// Untying at step 0 of a run from the identity is never sharing; untying at step N leaves the first N steps alone.
    #[test]
    fn the_steps_before_untying_are_those_of_sharing() {
        let [shared, fixed, unshared] = [Way::Shared, Way::Fixed(50), Way::Unshared].map(|way| go("pair", way, 200));
        assert_eq!((shared.untied_at, fixed.untied_at), (None, Some(50)));
        // The loss after 50 updates is the last that is equal: update 51 is untied.
        for at in 0..=5 {
            assert_eq!(shared.trace[at].loss, fixed.trace[at].loss, "{at}");
        }
        assert_ne!(shared.trace[6].loss, fixed.trace[6].loss);
        assert_ne!(shared.trace[1].loss, unshared.trace[1].loss);
    }

    /// The adaptive rule, replayed from the correlations of a run that only shares: three looks in a row with more than
    /// half of the pairs below the threshold. With L = 4 there are three pairs, so the median decides.
    #[test]
    fn the_adaptive_rule_waits_for_three_checks() {
        let found = go("pair", Way::Adaptive(0.5), 400).untied_at.unwrap();
        let target = target("pair");
        let mut network = Network::new(4, Perturbed::DIM, &target.matrix(), Start::Tied);
        let (mut state, eta) = (network.start(), common_eta(&target, 4));
        let (mut direction, mut medians) = (state.clone(), Vec::new());
        for update in 1..=found {
            network.direction(&state, &mut direction);
            if update % CHECK_EVERY == 0 {
                medians.push(seen(&network, update, 0.0).adjacent[1]);
            }
            matrix::add_scaled(&mut state, -eta, &direction);
        }
        let below: Vec<bool> = medians.iter().map(|median| *median < 0.5).collect();
        assert!(below.ends_with(&[false, true, true, true]), "{below:?}");
        assert!(!below[..below.len() - 1].windows(3).any(|three| three == [true; 3]), "{below:?}");
    }

    /// One run of each kind: sharing alone stays above its infimum where the theory says so, unsharing reaches ε with two
    /// negative eigenvalues and not with one, ZAS always.
    #[test]
    fn who_reaches_epsilon() {
        let reached = |name, way| go(name, way, 3000).steps.is_some();
        assert!(reached("small", Way::Shared));
        assert!(!reached("pair", Way::Shared) && reached("pair", Way::Fixed(500)));
        assert!(!reached("single", Way::Shared) && !reached("single", Way::Fixed(500)));
        assert!(reached("pair", Way::ZeroAsymmetric) && reached("single", Way::ZeroAsymmetric));
        assert!(go("pair", Way::Shared, 3000).loss > target("pair").block.tied_floor());
    }

    /// The last half of long runs creeps as derived (docs/theory.md): −L/(L−2) where the shared matrix becomes singular,
    /// −½ where it runs off to infinity, and with it the curvature, so that η gets too large at about step 41,000.
    #[test]
    fn sharing_alone_creeps_as_derived() {
        for (name, derived, faster) in [("single", -2.0, 4.0), ("pair", -0.5, 1.0)] {
            let target = target(name);
            let eta = faster * common_eta(&target, 4);
            let found = run(&target, 4, Way::Shared, eta, 1e-6, 40_000, |run| run.rose_at.is_none());
            assert_eq!((found.steps, found.rose_at), (None, None));
            let power = found.approach(target.block.tied_floor());
            assert!((power / derived - 1.0).abs() < 0.02, "{name}: {power}");
        }
    }
}
