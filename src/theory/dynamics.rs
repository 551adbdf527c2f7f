//! One view on everything that descends: a state, where it starts, and the direction that a step subtracts.
//!
//! In: a [`Dynamics`]. Out: its flow x' = −g(x) in continuous time ([`flow`]) or its steps x ← x − ηg(x) ([`descend`]),
//! both until R ≤ ε. Cost: one direction a step; the flow takes eleven for each of its adaptive steps.

use super::matrix::add_scaled;

/// How a network begins, and with it how its layers move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Sharing: one matrix, I, for all layers, and it takes the mean of their gradients.
    Tied,
    /// Every layer its own I, and its own gradient.
    Identity,
    /// ZAS (Wu, Wang and Ma 2019, arXiv 1910.12837): W_1..W_{L−1} = I, W_L = 0, each its own gradient.
    ZeroAsymmetric,
}

impl Start {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tied => "sharing",
            Self::Identity => "never shared",
            Self::ZeroAsymmetric => "ZAS",
        }
    }
}

/// Something that descends.
pub trait Dynamics {
    /// The state at t = 0.
    fn start(&self) -> Vec<f64>;

    /// Writes g(state): the gradient, or under sharing the mean over layers of the gradients. Returns the loss R(state).
    fn direction(&mut self, state: &[f64], direction: &mut [f64]) -> f64;

    /// R at the start.
    fn initial_loss(&mut self) -> f64 {
        let start = self.start();
        self.direction(&start, &mut vec![0.0; start.len()])
    }
}

/// How a descent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// R ≤ ε for the first time after so many steps.
    Reached(u64),
    /// R rose by more than rounding ([`rises`]), or was no number, after so many steps.
    Rose(u64),
    /// Neither, within the limit.
    Limit,
}

impl Outcome {
    /// The steps to ε.
    pub fn reached(self) -> Option<u64> {
        match self {
            Self::Reached(steps) => Some(steps),
            Self::Rose(_) | Self::Limit => None,
        }
    }
}

/// Whether a loss went up, by more than rounding can explain: each residual r is off by some L·10⁻¹⁶, and r² by r times
/// that. A NaN counts as risen.
pub fn rises(last: f64, loss: f64) -> bool {
    loss.is_nan() || loss > last + 1e-13 * last.sqrt()
}

/// Steps x ← x − ηg(x) until R ≤ `epsilon`, R rises, or `limit` steps are done; `seen(t, R)` hears of every R.
pub fn descend(
    dynamics: &mut impl Dynamics,
    eta: f64,
    epsilon: f64,
    limit: u64,
    mut seen: impl FnMut(u64, f64),
) -> Outcome {
    let mut state = dynamics.start();
    let mut direction = vec![0.0; state.len()];
    let mut last = f64::INFINITY;
    for step in 0..=limit {
        let loss = dynamics.direction(&state, &mut direction);
        seen(step, loss);
        if loss <= epsilon {
            return Outcome::Reached(step);
        }
        if rises(last, loss) {
            return Outcome::Rose(step);
        }
        last = loss;
        add_scaled(&mut state, -eta, &direction);
    }
    Outcome::Limit
}

/// Integrates x' = −g(x) until R = `epsilon` and returns that time; `seen(t, R)` hears of every accepted step.
///
/// Runge–Kutta of order 4; each step is done once and in two halves, whose difference, kept below `tolerance` in every
/// component (relative to 1 + |x|), sets the next step (step doubling). The last step is bisected to land on ε.
/// `None` when 10⁶ steps do not suffice.
pub fn flow(dynamics: &mut impl Dynamics, epsilon: f64, tolerance: f64, mut seen: impl FnMut(f64, f64)) -> Option<f64> {
    let mut state = dynamics.start();
    let mut unused = state.clone();
    let (mut time, mut step) = (0.0, 1e-4);
    let mut loss = dynamics.direction(&state, &mut unused);
    seen(time, loss);
    for _ in 0..1_000_000 {
        if loss <= epsilon {
            return Some(time);
        }
        let (moved, error) = doubled(dynamics, &state, step);
        let ratio = error / tolerance;
        if ratio <= 1.0 {
            let moved_loss = dynamics.direction(&moved, &mut unused);
            if moved_loss <= epsilon {
                let (mut low, mut high) = (0.0, step);
                for _ in 0..60 {
                    let middle = 0.5 * (low + high);
                    let (there, _error) = doubled(dynamics, &state, middle);
                    if dynamics.direction(&there, &mut unused) <= epsilon {
                        high = middle;
                    } else {
                        low = middle;
                    }
                }
                seen(time + high, epsilon);
                return Some(time + high);
            }
            (state, loss) = (moved, moved_loss);
            time += step;
            seen(time, loss);
        }
        // A NaN (a step far too long) shrinks as well.
        let factor = if ratio > 0.0 { 0.9 * ratio.powf(-0.2) } else { 4.0 };
        step *= if ratio.is_nan() { 0.1 } else { factor.clamp(0.1, 4.0) };
    }
    None
}

/// R'(0)/R(0) along the flow: the central difference of one small Runge–Kutta step forwards and one backwards.
pub fn initial_slope(dynamics: &mut impl Dynamics, step: f64) -> f64 {
    let start = dynamics.start();
    let mut unused = start.clone();
    let [before, now, after] = [-step, 0.0, step].map(|step| {
        let state = runge_kutta(dynamics, &start, step);
        dynamics.direction(&state, &mut unused)
    });
    (after - before) / (2.0 * step * now)
}

/// Two halves of a step, and how far the whole step is from them.
fn doubled(dynamics: &mut impl Dynamics, state: &[f64], step: f64) -> (Vec<f64>, f64) {
    let whole = runge_kutta(dynamics, state, step);
    let half = runge_kutta(dynamics, state, 0.5 * step);
    let halves = runge_kutta(dynamics, &half, 0.5 * step);
    let errors = whole.iter().zip(&halves).map(|(a, b)| (a - b).abs() / (1.0 + b.abs()));
    // Unlike `f64::max` this keeps a NaN.
    let error = errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst });
    (halves, error)
}

fn runge_kutta(dynamics: &mut impl Dynamics, state: &[f64], step: f64) -> Vec<f64> {
    let mut slopes = vec![0.0; state.len()];
    let mut moved = state.to_vec();
    let mut point = state.to_vec();
    for (weight, next) in [(1.0, 0.5), (2.0, 0.5), (2.0, 1.0), (1.0, 0.0)] {
        dynamics.direction(&point, &mut slopes);
        for at in 0..state.len() {
            moved[at] -= step * weight / 6.0 * slopes[at];
            point[at] = state[at] - step * next * slopes[at];
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R = ½x², x' = −x, x(0) = 1: R(t) = ½e^{−2t}, so R = ε at t = ½ ln(1/2ε); in steps x_t = (1 − η)^t.
    struct Parabola;

    impl Dynamics for Parabola {
        fn start(&self) -> Vec<f64> {
            vec![1.0]
        }

        fn direction(&mut self, state: &[f64], direction: &mut [f64]) -> f64 {
            direction[0] = state[0];
            0.5 * state[0] * state[0]
        }
    }

    #[test]
    fn the_flow_of_a_parabola_is_exponential() {
        let mut worst: f64 = 0.0;
        let time = flow(&mut Parabola, 1e-6, 1e-12, |t, loss| {
            worst = worst.max((loss / (0.5 * (-2.0 * t).exp()) - 1.0).abs());
        });
        let exact = 0.5 * (1.0f64 / 2e-6).ln();
        assert!((time.unwrap() / exact - 1.0).abs() < 1e-8, "{time:?} {exact}");
        assert!(worst < 1e-8, "{worst}");
        assert!((initial_slope(&mut Parabola, 1e-4) + 2.0).abs() < 1e-7);
    }

    /// η = 0.1: the first t with ½·0.81^t ≤ 1e-6 is ⌈ln(5e5)/−ln 0.81⌉ = ⌈62.27⌉. η = 2.1 overshoots at once. η = 2 keeps
    /// R for ever.
    #[test]
    fn the_steps_of_a_parabola_are_geometric() {
        assert_eq!(descend(&mut Parabola, 0.1, 1e-6, 1000, |_, _| ()), Outcome::Reached(63));
        assert_eq!(descend(&mut Parabola, 2.1, 1e-6, 1000, |_, _| ()), Outcome::Rose(1));
        assert_eq!(descend(&mut Parabola, 2.0, 1e-6, 1000, |_, _| ()), Outcome::Limit);
    }
}
