//! Targets Φ = positive definite + perturbation, and what a network can reach of them.
//!
//! In: one 2×2 block that carries the perturbation. Out: Φ, and the loss below which sharing, or every flow from the
//! identity, cannot come. Every real 2×2 matrix is
//!
//! ```text
//! x·I + y·J + z·K + w·M     J = [0 −1; 1 0], K = diag(1, −1), M = [0 1; 1 0],     ‖·‖²_F = 2(x² + y² + z² + w²)
//! p = √(x² + y²), q = √(z² + w²):     singular values p + q, |p − q|     det p² − q²     eigenvalues x ± √(q² − y²)
//! ```

use super::matrix;

/// A 2×2 block by its four coordinates.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Along I.
    pub x: f64,
    /// Along J, the antisymmetric part.
    pub y: f64,
    /// Along K.
    pub z: f64,
    /// Along M.
    pub w: f64,
}

impl Block {
    /// Row by row.
    pub fn matrix(&self) -> [f64; 4] {
        let Self { x, y, z, w } = *self;
        [x + z, w - y, w + y, x - z]
    }

    /// p, q.
    fn parts(&self) -> (f64, f64) {
        (self.x.hypot(self.y), self.z.hypot(self.w))
    }

    /// The larger and the smaller singular value.
    pub fn singular_values(&self) -> (f64, f64) {
        let (p, q) = self.parts();
        (p + q, (p - q).abs())
    }

    /// The block less the identity.
    pub fn perturbation(&self) -> Self {
        Self { x: self.x - 1.0, ..*self }
    }

    /// The infimum of ½‖S^L − block‖²_F over real 2×2 matrices S, for even L: what sharing alone cannot beat.
    ///
    /// S^L with S real and L even either has a pair of conjugate eigenvalues or a multiple of I (y² ≥ q²; all of these
    /// are such powers, but for a border), or two eigenvalues ≥ 0. So with λ₋ < λ₊ the block's eigenvalues:
    ///
    /// - not real, or λ₋ ≥ 0: it is a power itself, or a limit of powers; infimum 0;
    /// - λ₋ < 0 < λ₊: det S^L ≥ 0 > det, and the nearest matrix with det ≥ 0 is singular, at the smallest singular value
    ///   (Eckart–Young): ½σ²_min, reached when the other eigenvalue of that matrix is ≥ 0;
    /// - both negative: the nearest point with y² ≥ q² is at (q − |y|)²/2, half the squared distance to the cone; powers
    ///   with eigenvalues ≥ 0 have x ≥ 0 and are no nearer than x².
    pub fn tied_floor(&self) -> f64 {
        let (p, q) = self.parts();
        if q <= self.y.abs() || (p >= q && self.x >= 0.0) {
            0.0
        } else if p < q {
            0.5 * (q - p).powi(2)
        } else {
            (0.5 * (q - self.y.abs()).powi(2)).min(self.x * self.x)
        }
    }

    /// What no gradient flow from W_1 = … = W_L = I comes below, with or without sharing: ½σ²_min when det < 0, else 0.
    ///
    /// Untied, the flow keeps W_{l+1}ᵀW_{l+1} − W_l W_lᵀ (0 at the identity), so the singular values of the product obey
    /// σ' = −L σ^{2−2/L}·(uᵀ∇v) and none gets to 0 in finite time (Arora, Cohen and Hazan 2018; for symmetric Φ Bartlett,
    /// Helmbold and Long 2018): det W_L···W_1 stays positive.
    pub fn identity_floor(&self) -> f64 {
        let (p, q) = self.parts();
        if p < q {
            0.5 * (q - p).powi(2)
        } else {
            0.0
        }
    }
}

/// A perturbed target: `block` and the eigenvalues 1.5 and 1, in a fixed random orthogonal basis, so that no entry is 0.
/// It is P + E with P = diag(1, 1, 1.5, 1), λ_min(P) = 1, and E the block's perturbation, both in that basis.
#[derive(Clone, Debug)]
pub struct Perturbed {
    /// As printed.
    pub name: &'static str,
    /// The 2×2 part.
    pub block: Block,
}

impl Perturbed {
    /// d.
    pub const DIM: usize = 4;
    const REST: [f64; 2] = [1.5, 1.0];

    /// Φ, row by row.
    pub fn matrix(&self) -> Vec<f64> {
        let dim = Self::DIM;
        let [a, b, c, d] = self.block.matrix();
        let mut plain = matrix::diagonal(&[a, d, Self::REST[0], Self::REST[1]]);
        (plain[1], plain[dim]) = (b, c);
        matrix::rotated(&matrix::orthogonal(dim, 2110), &plain, dim)
    }

    /// ‖Φ‖₂.
    pub fn spectral_norm(&self) -> f64 {
        self.block.singular_values().0.max(Self::REST[0])
    }
}

/// The three kinds: a perturbation below λ_min(P), one that gives the product two distinct negative eigenvalues, one that
/// gives it a single one.
pub fn perturbed() -> Vec<Perturbed> {
    let turn = 150f64.to_radians();
    vec![
        Perturbed { name: "small", block: Block { x: 0.8, y: -0.25, z: 0.2, w: 0.25 } },
        Perturbed { name: "pair", block: Block { x: turn.cos(), y: turn.sin(), z: 0.7, w: 0.0 } },
        Perturbed { name: "single", block: Block { x: 0.35, y: -0.2, z: 0.65, w: 0.3 } },
    ]
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    /// The largest and smallest singular value of [a b; c d] from the trace and determinant of its Gram matrix.
    #[test]
    fn singular_values_are_those_of_the_gram_matrix() {
        for target in perturbed() {
            let [a, b, c, d] = target.block.matrix();
            let (trace, det) = (a * a + b * b + c * c + d * d, a * d - b * c);
            let root = (trace * trace - 4.0 * det * det).sqrt();
            let (large, small) = target.block.singular_values();
            assert!((large * large - (trace + root) / 2.0).abs() < 1e-12, "{}", target.name);
            assert!((small * small - (trace - root) / 2.0).abs() < 1e-12, "{}", target.name);
        }
    }

    /// The floors against a search over S itself, ½‖S⁴ − block‖² by explicit products: over all S on a grid, and over
    /// S = r(cos φ·I + sin φ·N) with N = cosh u·J + sinh u·(cos v·K + sin v·M), every S with a pair of eigenvalues, where
    /// the infimum of `pair` lies at u → ∞, 4φ → π. None is below the floor, and the best is close above it.
    #[test]
    fn floors_are_infima_over_real_powers() {
        let grid = |count: i32, from: f64, to: f64| {
            (0..=count).map(move |at| from + (to - from) * f64::from(at) / f64::from(count))
        };
        for target in perturbed() {
            let block = target.block.matrix();
            let mut best = f64::INFINITY;
            let mut try_out = |s: [f64; 4]| {
                let (mut square, mut fourth) = ([0.0; 4], [0.0; 4]);
                matrix::product(&s, &s, 2, &mut square);
                matrix::product(&square, &square, 2, &mut fourth);
                best = best.min(0.5 * fourth.iter().zip(&block).map(|(a, b)| (a - b).powi(2)).sum::<f64>());
            };
            let plain = || grid(24, -1.5, 1.5);
            for (a, b) in plain().flat_map(|a| plain().map(move |b| (a, b))) {
                for (c, d) in plain().flat_map(|c| plain().map(move |d| (c, d))) {
                    try_out([a, b, c, d]);
                }
            }
            for (r, v) in grid(20, 0.6, 1.1).flat_map(|r| grid(24, -PI, PI).map(move |v| (r, v))) {
                for (u, rest) in grid(20, 0.0, 4.0).flat_map(|u| grid(40, -7.0, 1.1).map(move |rest| (u, rest))) {
                    let angle = (PI - rest.exp()) / 4.0;
                    let (x, size) = (r * angle.cos(), r * angle.sin());
                    let (z, w) = (size * u.sinh() * v.cos(), size * u.sinh() * v.sin());
                    try_out(Block { x, y: size * u.cosh(), z, w }.matrix());
                }
            }
            let floor = target.block.tied_floor();
            assert!(best >= floor, "{}: {best} below {floor}", target.name);
            assert!(best < floor + 0.006, "{}: {best} far above {floor}", target.name);
        }
    }

    /// Perturbations by name: below λ_min(P) = 1 the symmetric part stays positive definite and the floor is 0.
    #[test]
    fn floors_by_hand() {
        let [small, pair, single] = perturbed().try_into().unwrap();
        assert!(small.block.perturbation().singular_values().0 < 1.0);
        assert_eq!(small.block.tied_floor(), 0.0);
        // (0.7 − sin 150°)²/2 = 0.02, and det > 0.
        assert!((pair.block.tied_floor() - 0.02).abs() < 1e-15);
        assert_eq!(pair.block.identity_floor(), 0.0);
        // p² = 0.35² + 0.2² = 0.1625, q² = 0.65² + 0.3² = 0.5125, det = −0.35.
        let gap = 0.5125f64.sqrt() - 0.1625f64.sqrt();
        assert!((single.block.tied_floor() - 0.5 * gap * gap).abs() < 1e-15);
        assert_eq!(single.block.tied_floor(), single.block.identity_floor());
    }
}
