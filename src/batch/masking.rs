//! Dynamic masking of one sequence (Devlin et al. 2018, §3.1).
//!
//! In: token ids, and the random stream of the sample. Out: ids with exactly max(1, round(rate·maskable)) positions
//! chosen, of which 80 % become `[MASK]`, 10 % a random token of the whole vocabulary, 10 % stay; and the chosen positions
//! with the original tokens. Special tokens are never chosen. Cost: O(T).

use untie_data::wordpiece::SpecialTokens;

use crate::batch::random::SampleRandom;

/// What masking needs to know about the vocabulary and the rate.
#[derive(Clone, Copy, Debug)]
pub struct Masking {
    /// Ids of the special tokens.
    pub special: SpecialTokens,
    /// Tokens in the vocabulary.
    pub vocab_size: u32,
    /// Fraction of the maskable tokens to choose.
    pub rate: f64,
}

/// One chosen position and the token that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into the sequence.
    pub position: usize,
    /// The original token.
    pub label: u32,
}

impl Masking {
    /// How many of `maskable` tokens are chosen.
    pub fn count(&self, maskable: usize) -> usize {
        ((self.rate * maskable as f64).round() as usize).max(1).min(maskable)
    }

    /// Masks `ids` in place and fills `targets`, in the order of their positions.
    pub fn apply(&self, ids: &mut [u32], random: &mut SampleRandom, targets: &mut Vec<Target>) {
        let special = [self.special.pad, self.special.cls, self.special.sep, self.special.mask];
        let mut candidates: Vec<usize> = (0..ids.len()).filter(|&position| !special.contains(&ids[position])).collect();
        let count = self.count(candidates.len());
        // The first `count` entries of a Fisher-Yates shuffle are a uniform choice without replacement.
        for at in 0..count {
            let other = at + random.below((candidates.len() - at) as u32) as usize;
            candidates.swap(at, other);
        }
        candidates.truncate(count);
        candidates.sort_unstable();
        targets.clear();
        for position in candidates {
            targets.push(Target { position, label: ids[position] });
            match random.below(10) {
                0..=7 => ids[position] = self.special.mask,
                8 => ids[position] = random.below(self.vocab_size),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };

    fn masking(rate: f64) -> Masking {
        Masking { special: SPECIAL, vocab_size: 1000, rate }
    }

    #[test]
    fn counts_round_and_are_at_least_one() {
        let counts: Vec<usize> = [126, 10, 3, 1, 0].iter().map(|&maskable| masking(0.15).count(maskable)).collect();
        assert_eq!(counts, [19, 2, 1, 1, 0]);
    }

    /// 10⁶ positions: exact count in each sequence, specials untouched, 80/10/10 within five standard deviations.
    #[test]
    fn statistics_are_those_of_bert() {
        let original: Vec<u32> =
            (0..128).map(|at| [2, 3, 500 + at][usize::from(at > 0) + usize::from(at % 50 != 0)]).collect();
        let maskable = original.iter().filter(|&&id| id > 4).count();
        let (mut masked, mut kept, mut chosen, mut targets) = (0_u32, 0_u32, 0_u32, Vec::new());
        let mut per_position = vec![0_u32; 128];
        for sample in 0..8000 {
            let mut ids = original.clone();
            masking(0.15).apply(&mut ids, &mut SampleRandom::new(1, 0, sample), &mut targets);
            assert_eq!(targets.len(), (0.15 * maskable as f64).round() as usize);
            assert!(targets.windows(2).all(|pair| pair[0].position < pair[1].position));
            for target in &targets {
                assert_eq!(original[target.position], target.label);
                assert!(target.label > 4);
                per_position[target.position] += 1;
                masked += u32::from(ids[target.position] == 4);
                kept += u32::from(ids[target.position] == target.label);
            }
            chosen += targets.len() as u32;
            let changed = (0..128).filter(|&at| ids[at] != original[at]).count();
            assert!(changed <= targets.len());
        }
        let n = f64::from(chosen);
        // A random token hits [MASK] or the original one time in a thousand each.
        for (count, p) in [(masked, 0.8 + 0.1 / 1000.0), (kept, 0.1 + 0.1 / 1000.0)] {
            let deviations = (f64::from(count) - p * n).abs() / (n * p * (1.0 - p)).sqrt();
            assert!(deviations < 5.0, "{count} of {chosen} is {deviations} deviations from {p}");
        }
        let expected = n / maskable as f64;
        for (position, &count) in per_position.iter().enumerate().filter(|(at, _)| original[*at] > 4) {
            assert!((f64::from(count) - expected).abs() < 6.0 * expected.sqrt(), "position {position}: {count}");
        }
    }
}
