//! The order of samples: a permutation of 0..n that can be asked for any position, without a stored shuffle.
//!
//! A balanced Feistel network over the smallest even number of bits that holds n, keyed by (seed, epoch); values outside
//! 0..n are encrypted again until they fall inside (cycle walking, Black & Rogaway 2002), which takes fewer than four
//! rounds on average. Cost: O(1) time and memory, whatever n is.

use crate::batch::random::philox4x32;

/// A counter word that no sample's stream uses, so that order and masks are independent (streams count blocks from 0).
const ORDER_BLOCK: u32 = u32::MAX;
const ROUNDS: u32 = 8;

/// The samples of one epoch, in their order.
#[derive(Clone, Debug)]
pub struct Permutation {
    size: u64,
    half_bits: u32,
    seed: u64,
    epoch: u32,
}

impl Permutation {
    /// The order of `size` samples in `epoch` under `seed`.
    pub fn new(size: u64, seed: u64, epoch: u32) -> Self {
        let bits = 64 - size.saturating_sub(1).leading_zeros();
        Self { size, half_bits: bits.div_ceil(2).max(1), seed, epoch }
    }

    /// The sample at `position`, both in 0..size.
    pub fn at(&self, position: u64) -> u64 {
        debug_assert!(position < self.size);
        let mut value = position;
        loop {
            value = self.encrypt(value);
            if value < self.size {
                return value;
            }
        }
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..ROUNDS {
            let counter = [ORDER_BLOCK - round, self.epoch, right as u32, (right >> 32) as u32];
            let [low, high, ..] = philox4x32(counter, [self.seed as u32, (self.seed >> 32) as u32]);
            let mixed = (u64::from(high) << 32 | u64::from(low)) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_exactly_once() {
        for size in [1, 2, 3, 5, 64, 100, 1000, 4097] {
            for epoch in 0..3 {
                let order = Permutation::new(size, 11, epoch);
                let mut seen: Vec<u64> = (0..size).map(|position| order.at(position)).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..size), "size {size}");
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_huge_sizes_work() {
        let orders = [Permutation::new(1000, 1, 0), Permutation::new(1000, 1, 1), Permutation::new(1000, 2, 0)];
        let lists: Vec<Vec<u64>> = orders.iter().map(|order| (0..1000).map(|at| order.at(at)).collect()).collect();
        assert!(lists[0] != lists[1] && lists[0] != lists[2] && lists[1] != lists[2]);
        let huge = Permutation::new(1 << 62, 5, 9);
        assert!(huge.at((1 << 62) - 1) < 1 << 62);
    }

    /// Neighbours must not stay neighbours: of 10,000 random pairs, two in expectation would.
    #[test]
    fn neighbours_are_scattered() {
        let order = Permutation::new(10_000, 3, 0);
        let close = (1..10_000).filter(|&at| order.at(at).abs_diff(order.at(at - 1)) == 1).count();
        assert!(close < 12, "{close}");
    }
}
