//! Philox4x32-10, the counter-based generator of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3").
//!
//! In: a key and a counter. Out: 128 random bits that depend on nothing else, so that a sample's masks never depend on
//! what was drawn before. Cost: about twenty multiplications for four 32-bit words.

/// One block: the counter encrypted under the key.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let (first, second) = (MULTIPLIERS[0] * u64::from(c0), MULTIPLIERS[1] * u64::from(c2));
        let (first_high, second_high) = ((first >> 32) as u32, (second >> 32) as u32);
        (c0, c1, c2, c3) = (second_high ^ c1 ^ k0, second as u32, first_high ^ c3 ^ k1, first as u32);
        (k0, k1) = (k0.wrapping_add(WEYL[0]), k1.wrapping_add(WEYL[1]));
    }
    [c0, c1, c2, c3]
}

/// The stream of random words of one (seed, epoch, sample).
#[derive(Clone, Debug)]
pub struct SampleRandom {
    key: [u32; 2],
    epoch: u32,
    sample: u64,
    block: u32,
    words: [u32; 4],
    left: usize,
}

impl SampleRandom {
    /// The stream of sample `sample` of epoch `epoch` under `seed`.
    pub fn new(seed: u64, epoch: u32, sample: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], epoch, sample, block: 0, words: [0; 4], left: 0 }
    }

    /// The next 32 random bits.
    pub fn word(&mut self) -> u32 {
        if self.left == 0 {
            let counter = [self.block, self.epoch, self.sample as u32, (self.sample >> 32) as u32];
            self.words = philox4x32(counter, self.key);
            self.block += 1;
            self.left = 4;
        }
        self.left -= 1;
        self.words[self.left]
    }

    /// A number in 0..`bound`, each equally likely (Lemire 2019: multiply, and draw again in the short remainder).
    pub fn below(&mut self, bound: u32) -> u32 {
        debug_assert!(bound > 0);
        loop {
            let product = u64::from(self.word()) * u64::from(bound);
            if product as u32 >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer tests that the authors publish with Random123 (kat_vectors, philox4x32 10 rounds).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn bounded_numbers_are_uniform() {
        let mut random = SampleRandom::new(7, 0, 3);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        // χ² with 5 degrees of freedom: 20.5 is the 99.9th percentile.
        let chi: f64 = counts.iter().map(|&count| (f64::from(count) - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 20.5, "{counts:?}");
    }
}
