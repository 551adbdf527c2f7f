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

/// The seed of corpus `corpus` in phase `phase` of a run: `seed` itself for the first of each; for the others its bits are
/// flipped by the pair of numbers, scattered by the finaliser of SplitMix64 (Steele et al. 2014), a bijection that keeps 0. No
/// two pairs share a seed.
pub fn stream_seed(seed: u64, phase: u32, corpus: u32) -> u64 {
    let mut mixed = u64::from(phase) << 32 | u64::from(corpus);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    seed ^ mixed ^ (mixed >> 31)
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

    /// The key of the sample's dropout: a block of the stream that its masks never reach.
    pub fn dropout_key(seed: u64, epoch: u32, sample: u64) -> i64 {
        let counter = [u32::MAX, epoch, sample as u32, (sample >> 32) as u32];
        let [low, high, ..] = philox4x32(counter, [seed as u32, (seed >> 32) as u32]);
        (u64::from(high) << 32 | u64::from(low)) as i64
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
        (self.scaled(bound) >> 32) as u32
    }

    /// A number from 0 up to 1 whose tenths are those of [`Self::below`]`(10)`.
    pub fn fraction(&mut self) -> f64 {
        self.scaled(10) as f64 / (10_u64 << 32) as f64
    }

    /// A number from 0 up to `bound`, in units of 2⁻³²; its whole part is any number below `bound` with equal probability.
    fn scaled(&mut self, bound: u32) -> u64 {
        debug_assert!(bound > 0);
        loop {
            let product = u64::from(self.word()) * u64::from(bound);
            if product as u32 >= bound.wrapping_neg() % bound {
                return product;
            }
        }
    }

    /// [`Self::below`] for bounds that 32 bits may not hold.
    pub fn below_wide(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        loop {
            let word = u64::from(self.word()) << 32 | u64::from(self.word());
            let product = u128::from(word) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }

    /// How many of `count` fair coins show heads.
    pub fn heads(&mut self, count: u64) -> u64 {
        let rest = (count % 32) as u32;
        let whole: u64 = (0..count / 32).map(|_| u64::from(self.word().count_ones())).sum();
        if rest == 0 {
            return whole;
        }
        whole + u64::from((self.word() >> (32 - rest)).count_ones())
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
    fn streams_have_seeds_of_their_own() {
        assert_eq!(stream_seed(77, 0, 0), 77);
        let mut seeds: Vec<u64> =
            (0..30).flat_map(|phase| (0..30).map(move |corpus| stream_seed(77, phase, corpus))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 900);
        // The finaliser of SplitMix64 on 1, by the reference code: 0x5692161D100B05E5.
        assert_eq!(stream_seed(0, 0, 1), 0x5692_161D_100B_05E5);
    }

    #[test]
    fn fractions_go_with_tenths() {
        let (mut one, mut two) = (SampleRandom::new(9, 1, 4), SampleRandom::new(9, 1, 4));
        for _ in 0..10_000 {
            let fraction = one.fraction();
            assert!((0.0..1.0).contains(&fraction));
            assert_eq!((10.0 * fraction) as u32, two.below(10));
        }
    }

    /// Means and variances of the binomial and the uniform distribution, within five deviations of their estimates.
    #[test]
    fn coins_and_wide_numbers_are_fair() {
        let mut random = SampleRandom::new(5, 0, 0);
        for count in [1_u64, 31, 32, 45, 200] {
            let sum: u64 = (0..10_000).map(|_| random.heads(count)).sum();
            let (mean, deviation) = (5000.0 * count as f64, (2500.0 * count as f64).sqrt());
            assert!((sum as f64 - mean).abs() < 5.0 * deviation, "{count}: {sum}");
        }
        assert_eq!(random.heads(0), 0);
        let bound = 3_u64 << 40;
        let mut thirds = [0_u32; 3];
        (0..30_000).for_each(|_| thirds[(random.below_wide(bound) >> 40) as usize] += 1);
        assert!(thirds.iter().all(|&count| count.abs_diff(10_000) < 410), "{thirds:?}");
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
