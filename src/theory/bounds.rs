//! What the four theorems of arXiv 2110.03848 (docs/method.md, "The theory") promise for a target Φ, as numbers.
//!
//! In: L, d, ‖Φ‖_F and the extreme eigenvalues of a positive definite Φ. Out: rates, the largest η that each theorem
//! allows, and the number of steps that it promises.

use super::dynamics::Start;

/// The quantities of Φ that the theorems speak of.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// d.
    pub dim: usize,
    /// ‖Φ‖_F.
    pub norm: f64,
    /// λ_min(Φ) > 0.
    pub smallest: f64,
    /// λ_max(Φ).
    pub largest: f64,
}

impl Target {
    /// Of a positive definite Φ with these eigenvalues.
    pub fn of(spectrum: &[f64]) -> Self {
        Self {
            dim: spectrum.len(),
            norm: spectrum.iter().map(|x| x * x).sum::<f64>().sqrt(),
            smallest: spectrum.iter().copied().fold(f64::INFINITY, f64::min),
            largest: spectrum.iter().copied().fold(0.0, f64::max),
        }
    }

    /// min(1, λ²_min).
    fn pull(&self) -> f64 {
        self.smallest.powi(2).min(1.0)
    }
}

/// The promises for one of the two methods on one target with L layers.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// r of R(t) ≤ e^{−rt} R(0) in continuous time: 2 for ZAS (Theorem 1), 2L·min(1, λ²_min) for sharing (Theorem 2).
    pub flow_rate: f64,
    /// The largest allowed η: min{1/(4L³ξ⁶), 1/(144L²ξ⁴)} with ξ = max{2‖Φ‖_F, 3/√L, 1} for ZAS (Theorem 3),
    /// min(λ²_min, 1)/(4√d·L²·max(λ⁴_max, 1)) for sharing (Theorem 4).
    pub eta: f64,
    /// ln of the factor that every step at that η promises: ln(1 − η/2) for ZAS, −(2L − 2)·min(λ²_min, 1)·η for sharing.
    pub log_factor: f64,
}

impl Bound {
    /// For sharing ([`Start::Tied`]) or ZAS.
    pub fn of(start: Start, layers: usize, target: &Target) -> Self {
        let depth = layers as f64;
        if start == Start::ZeroAsymmetric {
            let xi = (2.0 * target.norm).max(3.0 / depth.sqrt()).max(1.0);
            let eta = (1.0 / (4.0 * depth.powi(3) * xi.powi(6))).min(1.0 / (144.0 * depth.powi(2) * xi.powi(4)));
            Self { flow_rate: 2.0, eta, log_factor: (-0.5 * eta).ln_1p() }
        } else {
            let pull = target.pull();
            let size = 4.0 * (target.dim as f64).sqrt() * depth.powi(2) * target.largest.powi(4).max(1.0);
            let eta = pull / size;
            Self { flow_rate: 2.0 * depth * pull, eta, log_factor: -(2.0 * depth - 2.0) * pull * eta }
        }
    }

    /// The steps after which R ≤ ε is promised, from R(0) = `loss`: ln(R(0)/ε) over the rate.
    pub fn steps(&self, loss: f64, epsilon: f64) -> f64 {
        ((loss / epsilon).ln() / -self.log_factor).ceil()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::fit::exponent;

    /// Φ = 2I, d = 2, L = 4, by hand: ‖Φ‖_F = √8, ξ = 2√8, ξ² = 32, ξ⁶ = 32768; 4·64·32768 = 8388608 against
    /// 144·16·1024 = 2359296. Sharing: 4·√2·16·16.
    #[test]
    fn allowed_steps_by_hand() {
        let target = Target::of(&[2.0, 2.0]);
        let zas = Bound::of(Start::ZeroAsymmetric, 4, &target);
        assert!((zas.eta * 8_388_608.0 - 1.0).abs() < 1e-12);
        assert_eq!(zas.flow_rate, 2.0);
        let tied = Bound::of(Start::Tied, 4, &target);
        assert!((tied.eta * 4.0 * 2f64.sqrt() * 256.0 - 1.0).abs() < 1e-12);
        assert_eq!(tied.flow_rate, 8.0);
        // 6·η·t = ln(R(0)/ε).
        assert_eq!(tied.steps(1.0, (-60.0 * tied.eta).exp() * 1.000_001), 10.0);
    }

    /// λ_min = ½ < 1 and λ_max < 1: pull ¼, and the 1 in max(λ⁴_max, 1). ZAS at L = 4: ξ = max{2·√0.5, 1.5, 1} = 1.5,
    /// 4·64·1.5⁶ = 2916 against 144·16·1.5⁴ = 11664: the second part of the minimum binds.
    #[test]
    fn small_targets_use_the_other_branches() {
        let target = Target::of(&[0.5, 0.5]);
        let tied = Bound::of(Start::Tied, 4, &target);
        assert!((tied.eta - 0.25 / (4.0 * 2f64.sqrt() * 16.0)).abs() < 1e-15);
        assert_eq!(tied.flow_rate, 2.0);
        let zas = Bound::of(Start::ZeroAsymmetric, 4, &target);
        assert!((zas.eta * 11_664.0 - 1.0).abs() < 1e-12);
    }

    /// The exponents of the formulas themselves. ZAS where 1/(4L³ξ⁶) binds and ξ does not depend on L: 3, up to
    /// ln(1 − η/2) ≈ −η/2 and the rounding up. Sharing: steps ∝ L²/(L − 1), so between two L the slope is
    /// ln(ratio)/ln(ratio of L), 1 only in the limit.
    #[test]
    fn exponents_of_the_bounds_are_those_of_their_formulas() {
        let target = Target::of(&[2.0, 2.0]);
        let slope = |start, layers: &[usize]| {
            let steps = |&l: &usize| (l as f64, Bound::of(start, l, &target).steps(4.0, 1e-6));
            exponent(&layers.iter().map(steps).collect::<Vec<_>>()).0
        };
        assert!((slope(Start::ZeroAsymmetric, &[2, 4, 8, 16, 32, 64]) - 3.0).abs() < 1e-6);
        let exact = (1024.0f64 / 31.0 / (4.0 / 1.0)).ln() / 16f64.ln();
        assert!((slope(Start::Tied, &[2, 32]) - exact).abs() < 1e-3, "{exact}");
    }
}
