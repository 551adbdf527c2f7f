//! Random numbers that depend on nothing but a seed: libtorch's generator is shared by all tests of a process.

/// Knuth's 64-bit congruential generator.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// In [0, `bound`).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// In [−1, 1).
    pub fn signed(&mut self) -> f64 {
        self.below(1 << 31) as f64 / f64::from(1 << 30) - 1.0
    }
}
