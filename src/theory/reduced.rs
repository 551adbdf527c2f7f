//! The network's exact reduction to eigenvalues, for symmetric Φ = Q diag(φ) Qᵀ.
//!
//! Every start here is I or 0, so all W_l are diagonal in Φ's basis for ever: for each eigenvalue φ separately,
//!
//! ```text
//! sharing       s for W_1 = … = W_L          g_s = s^{L−1} (s^L − φ)            (Lemma 1)
//! ZAS           a for W_1 = … = W_{L−1}      g_a = b a^{L−2} (a^{L−1} b − φ)
//!               b for W_L                    g_b = a^{L−1} (a^{L−1} b − φ)
//! ```
//!
//! and R = ½ Σ_φ (product − φ)². No approximation: `tests` hold it against the matrices. Cost: about 2·log₂L
//! multiplications an eigenvalue and step, instead of 6Ld³.

use super::dynamics::{Dynamics, Start};

/// A network with symmetric target. Its state is s_1..s_d under sharing, a_1..a_d, b_1..b_d for ZAS.
#[derive(Clone, Debug)]
pub struct Reduced {
    layers: u32,
    spectrum: Vec<f64>,
    zero_asymmetric: bool,
    squares: Vec<f64>,
    powers: Vec<f64>,
}

impl Reduced {
    /// `layers` layers for Φ with these eigenvalues.
    ///
    /// Only sharing and ZAS: from [`Start::Identity`] with symmetric Φ all layers stay equal, which is sharing.
    pub fn new(layers: usize, spectrum: &[f64], start: Start) -> Self {
        assert!(layers >= 2, "{layers} layers");
        Self {
            layers: layers as u32,
            spectrum: spectrum.to_vec(),
            zero_asymmetric: start == Start::ZeroAsymmetric,
            squares: spectrum.to_vec(),
            powers: spectrum.to_vec(),
        }
    }

    /// `self.powers` becomes x^(L−2), by squaring, for all eigenvalues together.
    fn raise(&mut self, bases: &[f64]) {
        self.powers.fill(1.0);
        self.squares.copy_from_slice(bases);
        let mut exponent = self.layers - 2;
        while exponent > 0 {
            if exponent & 1 == 1 {
                for (power, square) in self.powers.iter_mut().zip(&self.squares) {
                    *power *= square;
                }
            }
            for square in &mut self.squares {
                *square *= *square;
            }
            exponent >>= 1;
        }
    }
}

impl Dynamics for Reduced {
    fn start(&self) -> Vec<f64> {
        let count = self.spectrum.len();
        let mut state = vec![1.0; count];
        if self.zero_asymmetric {
            state.resize(2 * count, 0.0);
        }
        state
    }

    fn direction(&mut self, state: &[f64], direction: &mut [f64]) -> f64 {
        let count = self.spectrum.len();
        let (lower, last) = state.split_at(count);
        self.raise(lower);
        let mut sum = 0.0;
        if self.zero_asymmetric {
            let (to_lower, to_last) = direction.split_at_mut(count);
            for at in 0..count {
                let power = self.powers[at] * lower[at];
                let residual = power * last[at] - self.spectrum[at];
                to_lower[at] = self.powers[at] * last[at] * residual;
                to_last[at] = power * residual;
                sum += residual * residual;
            }
        } else {
            for at in 0..count {
                let power = self.powers[at] * lower[at];
                let residual = power * lower[at] - self.spectrum[at];
                direction[at] = power * residual;
                sum += residual * residual;
            }
        }
        0.5 * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::dynamics::{descend, flow};
    use crate::theory::matrix;
    use crate::theory::network::Network;

    /// 400 steps on real matrices in a rotated basis against the reduction: the losses agree to 1e-12.
    #[test]
    fn the_reduction_is_the_matrix_run() {
        let spectrum = [0.3, 0.9, 1.0, 1.7, 2.2];
        let dim = spectrum.len();
        let target = matrix::rotated(&matrix::orthogonal(dim, 5), &matrix::diagonal(&spectrum), dim);
        for layers in [2, 3, 4, 7, 16] {
            for start in [Start::Tied, Start::ZeroAsymmetric] {
                let eta = 0.02 / layers as f64;
                let (mut short, mut long) = (Vec::new(), Vec::new());
                descend(&mut Reduced::new(layers, &spectrum, start), eta, 0.0, 400, |_, loss| short.push(loss));
                descend(&mut Network::new(layers, dim, &target, start), eta, 0.0, 400, |_, loss| long.push(loss));
                assert_eq!(short.len(), 401);
                assert!(short[400] < 0.1 * short[0], "hardly moved: {}", short[400]);
                for (a, b) in short.iter().zip(&long) {
                    assert!((a - b).abs() < 1e-12, "{layers} {start:?}: {a} {b}");
                }
            }
        }
    }

    /// Untied from the identity with symmetric Φ: the layers stay equal, so the loss is sharing's, step by step.
    #[test]
    fn identity_without_sharing_is_sharing_when_the_target_is_symmetric() {
        let target = [1.5, 0.4, 0.4, 0.8];
        let mut losses = [Start::Tied, Start::Identity].map(|start| {
            let mut losses = Vec::new();
            descend(&mut Network::new(6, 2, &target, start), 0.01, 0.0, 300, |_, loss| losses.push(loss));
            losses
        });
        let [tied, identity] = &mut losses;
        assert!(tied[300] < 1e-3 * tied[0]);
        for (a, b) in tied.iter().zip(identity.iter()) {
            assert!((a - b).abs() < 1e-13, "{a} {b}");
        }
    }

    /// L = 2, sharing: u = s² obeys u' = −2u(u − φ), the logistic equation, so with u(0) = 1
    /// u(t) = φ / (1 + (φ − 1)e^{−2φt}), and R = ε at t = ln((φ−1)(φ−r)/r)/2φ where r = √(2ε) (u = φ − r).
    #[test]
    fn two_tied_layers_follow_the_logistic_equation() {
        let (phi, epsilon) = (2.0f64, 1e-6f64);
        let time = flow(&mut Reduced::new(2, &[phi], Start::Tied), epsilon, 1e-12, |t, loss| {
            let u = phi / (1.0 + (phi - 1.0) * (-2.0 * phi * t).exp());
            assert!((loss - 0.5 * (u - phi).powi(2)).abs() < 1e-10, "{t}");
        });
        let rest = (2.0 * epsilon).sqrt();
        let exact = ((phi - 1.0) * (phi - rest) / rest).ln() / (2.0 * phi);
        assert!((time.unwrap() / exact - 1.0).abs() < 1e-8, "{time:?} {exact}");
    }

    /// ZAS conserves a² − b² = 1, so L = 2 is one equation: b = sinh θ, θ' = φ − ½ sinh 2θ; the time to ε is the
    /// integral of dθ/θ' from 0 to ½ asinh 2(φ − r), here by Simpson's rule.
    #[test]
    fn two_layers_of_zas_follow_one_angle() {
        let (phi, epsilon) = (2.0f64, 1e-4f64);
        let time = flow(&mut Reduced::new(2, &[phi], Start::ZeroAsymmetric), epsilon, 1e-12, |_, _| ());
        let end = 0.5 * (2.0 * (phi - (2.0 * epsilon).sqrt())).asinh();
        let (pieces, integrand) = (200_000, |theta: f64| 1.0 / (phi - 0.5 * (2.0 * theta).sinh()));
        let width = end / f64::from(pieces);
        let sum: f64 = (0..=pieces)
            .map(|at| {
                let weight = if at == 0 || at == pieces { 1.0 } else { 2.0 + 2.0 * f64::from(at % 2) };
                weight * integrand(width * f64::from(at))
            })
            .sum();
        assert!((time.unwrap() / (sum * width / 3.0) - 1.0).abs() < 1e-8, "{time:?}");
    }
}
