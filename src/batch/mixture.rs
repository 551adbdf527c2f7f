//! Several corpora as one: position → corpus, and how many samples of that corpus came before.
//!
//! In: weights. Out: a fixed pattern of [`Mixture::PATTERN`] slots that repeats without end. Each corpus has the slots that its
//! weight makes, by largest remainder, at least one: over every pattern its share is exactly that number, within half a slot
//! (0.012 %) of its weight where none is below one slot. Its slots lie evenly: the k-th of n at (k + ½)/n of the pattern. Cost:
//! O(1) a position, 6 bytes a slot; no state.

/// Which corpus comes when.
#[derive(Clone, Debug)]
pub struct Mixture {
    /// Corpus of each slot.
    corpora: Vec<u16>,
    /// Slots of that corpus before it.
    ranks: Vec<u32>,
    /// Slots of each corpus.
    counts: Vec<u64>,
}

impl Mixture {
    /// Slots of a pattern.
    pub const PATTERN: usize = 4096;

    /// The pattern of these weights, all larger than 0, at most [`Self::PATTERN`] of them.
    pub fn new(weights: &[f64]) -> Self {
        let counts = apportion(weights);
        let mut slots: Vec<(f64, u16, u32)> = Vec::with_capacity(Self::PATTERN);
        for (corpus, &count) in counts.iter().enumerate() {
            slots.extend((0..count).map(|rank| ((rank as f64 + 0.5) / count as f64, corpus as u16, rank as u32)));
        }
        // Of several at one place the earlier corpus comes first.
        slots.sort_by(|one, two| one.0.total_cmp(&two.0).then(one.1.cmp(&two.1)));
        Self {
            corpora: slots.iter().map(|slot| slot.1).collect(),
            ranks: slots.iter().map(|slot| slot.2).collect(),
            counts,
        }
    }

    /// The corpus at `position`, and how many of the positions before are its own.
    pub fn at(&self, position: u64) -> (usize, u64) {
        let (pattern, slot) = (position / Self::PATTERN as u64, (position % Self::PATTERN as u64) as usize);
        let corpus = usize::from(self.corpora[slot]);
        (corpus, pattern * self.counts[corpus] + u64::from(self.ranks[slot]))
    }

    /// How many of the first `total` positions are of `corpus`.
    pub fn count(&self, corpus: usize, total: u64) -> u64 {
        let (patterns, rest) = (total / Self::PATTERN as u64, (total % Self::PATTERN as u64) as usize);
        let in_rest = self.corpora[..rest].iter().filter(|&&slot| usize::from(slot) == corpus).count();
        patterns * self.counts[corpus] + in_rest as u64
    }
}

/// Slots by weight: each has the whole part of its share, but at least one; then one at a time goes to the corpus that lacks
/// most, or from the one that has most too many. Of equals it is the first.
fn apportion(weights: &[f64]) -> Vec<u64> {
    // Weights of the size of the largest number must not add up to infinity.
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let sum: f64 = weights.iter().map(|weight| weight / largest).sum();
    let shares: Vec<f64> = weights.iter().map(|weight| weight / largest / sum * Mixture::PATTERN as f64).collect();
    let mut counts: Vec<u64> = shares.iter().map(|share| (share.floor() as u64).max(1)).collect();
    loop {
        let lacks = |corpus: usize| shares[corpus] - counts[corpus] as f64;
        let total: u64 = counts.iter().sum();
        let numbers = 0..counts.len();
        match total.cmp(&(Mixture::PATTERN as u64)) {
            std::cmp::Ordering::Equal => return counts,
            std::cmp::Ordering::Less => {
                if let Some(most) = numbers.rev().max_by(|&one, &two| lacks(one).total_cmp(&lacks(two))) {
                    counts[most] += 1;
                }
            }
            std::cmp::Ordering::Greater => {
                let spare = numbers.filter(|&corpus| counts[corpus] > 1);
                if let Some(least) = spare.min_by(|&one, &two| lacks(one).total_cmp(&lacks(two))) {
                    counts[least] -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_largest_remainder() {
        // Shares by hand: 4096/3 = 1365.33 each; 4096·(0.5, 0.3, 0.2) = 2048, 1228.8, 819.2; a tiny one has one slot.
        assert_eq!(apportion(&[1.0, 1.0, 1.0]), [1366, 1365, 1365]);
        assert_eq!(apportion(&[5.0, 3.0, 2.0]), [2048, 1229, 819]);
        assert_eq!(apportion(&[1.0]), [4096]);
        assert_eq!(apportion(&[1.0, 1e-9]), [4095, 1]);
        assert_eq!(apportion(&[f64::MAX, f64::MAX]), [2048, 2048]);
        assert_eq!(apportion(&vec![1.0; 4096]), vec![1; 4096]);
    }

    #[test]
    fn numbers_of_a_corpus_count_up_and_shares_are_exact() {
        for weights in [&[1.0][..], &[3.0, 1.0], &[0.7, 0.2, 0.1], &[1.0, 1000.0, 50.0, 0.001]] {
            let mixture = Mixture::new(weights);
            let counts = apportion(weights);
            let mut next = vec![0; weights.len()];
            for position in 0..3 * Mixture::PATTERN as u64 {
                let found: Vec<u64> = (0..weights.len()).map(|corpus| mixture.count(corpus, position)).collect();
                assert_eq!(found, next);
                let (corpus, number) = mixture.at(position);
                assert_eq!(number, next[corpus]);
                next[corpus] += 1;
                // Evenly: never further from the share than half a slot a corpus.
                for (corpus, &count) in next.iter().enumerate() {
                    let share = (position + 1) as f64 * counts[corpus] as f64 / Mixture::PATTERN as f64;
                    assert!((count as f64 - share).abs() <= 0.5 + weights.len() as f64 / 2.0);
                }
                if (position + 1) % Mixture::PATTERN as u64 == 0 {
                    let patterns = (position + 1) / Mixture::PATTERN as u64;
                    assert!(next.iter().zip(&counts).all(|(&found, count)| found == patterns * count));
                }
            }
        }
    }

    #[test]
    fn one_corpus_is_itself() {
        let mixture = Mixture::new(&[0.3]);
        for position in [0, 1, 4095, 4096, 1 << 40] {
            assert_eq!(mixture.at(position), (0, position));
            assert_eq!(mixture.count(0, position), position);
        }
    }
}
