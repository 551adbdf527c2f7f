//! How long masked spans are (Joshi et al. 2020, SpanBERT, §3.1).
//!
//! In: a mean. Out: lengths 1 to 10, ℓ with probability proportional to p·(1−p)^(ℓ−1), the geometric distribution cut off at
//! 10. Its mean falls from 5.5 (p → 0, all lengths alike) to 1 (p = 1), so that each mean between has one p, which bisection
//! finds: 3.8 gives SpanBERT's p = 0.2. Cost: one random word a length.

use crate::batch::random::SampleRandom;

/// The distribution of span lengths.
#[derive(Clone, Debug)]
pub struct SpanLengths {
    /// Of 2³² equally likely words, those below entry ℓ − 1 mean a length of at most ℓ.
    thresholds: [u64; Self::LONGEST],
}

impl SpanLengths {
    /// The longest span.
    pub const LONGEST: usize = 10;
    /// The mean that no distribution reaches: that of equally likely lengths.
    pub const LARGEST_MEAN: f64 = 5.5;

    /// The lengths with mean `mean`, from 1 to below [`Self::LARGEST_MEAN`].
    pub fn with_mean(mean: f64) -> Self {
        let (mut low, mut high) = (0.0, 1.0);
        // Each halves the interval; 60 are beyond the precision of p.
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            let probabilities = probabilities(middle);
            let found: f64 = (1..).zip(probabilities).map(|(length, p)| f64::from(length) * p).sum();
            if found > mean {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut sum = 0.0;
        let mut thresholds = probabilities(high).map(|p| {
            sum += p;
            (sum * 2_f64.powi(32)).round() as u64
        });
        // Rounding of the sum must not leave a word without a length.
        thresholds[Self::LONGEST - 1] = 1 << 32;
        Self { thresholds }
    }

    /// A length.
    pub fn draw(&self, random: &mut SampleRandom) -> usize {
        let word = u64::from(random.word());
        1 + self.thresholds.iter().take_while(|&&threshold| threshold <= word).count()
    }
}

/// Probabilities of the lengths 1, 2, … for a success probability of `p`, above 0.
fn probabilities(p: f64) -> [f64; SpanLengths::LONGEST] {
    let weight = |at: usize| p * (1.0 - p).powi(at as i32);
    let sum: f64 = (0..SpanLengths::LONGEST).map(weight).sum();
    std::array::from_fn(|at| weight(at) / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SpanBERT's p = 0.2 has, by summing Σ ℓ·0.2·0.8^(ℓ−1) / (1 − 0.8^10), the mean 3.79710; the paper says 3.8.
    #[test]
    fn means_are_met_and_spanbert_is_one_of_them() {
        let lengths = SpanLengths::with_mean(3.797_10);
        let expected = probabilities(0.2);
        let mut below = 0;
        for (&threshold, p) in lengths.thresholds.iter().zip(expected) {
            assert!(((threshold - below) as f64 / 2_f64.powi(32) - p).abs() < 1e-5, "{threshold}");
            below = threshold;
        }
        let mut random = SampleRandom::new(3, 0, 0);
        for mean in [1.0, 1.5, 3.8, 5.0, 5.49] {
            let lengths = SpanLengths::with_mean(mean);
            let (mut sum, mut squares) = (0.0, 0.0);
            let n = 200_000.0;
            for _ in 0..200_000 {
                let length = lengths.draw(&mut random);
                assert!((1..=10).contains(&length));
                sum += length as f64;
                squares += (length * length) as f64;
            }
            let (found, deviation) = (sum / n, ((squares / n - (sum / n).powi(2)) / n).sqrt());
            assert!((found - mean).abs() <= 5.0 * deviation, "{mean}: {found}");
        }
    }
}
