//! Lengths in, their distribution out: exact, in memory that grows with the number of different lengths.
//!
//! Documents of N tokens in all have at most √(2N) different lengths: some 141,000 for 10 billion tokens.

use serde::Serialize;
use std::collections::BTreeMap;

/// How often each length occurs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lengths(BTreeMap<u64, u64>);

/// The distribution of lengths, in tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthReport {
    /// Mean; 0 of nothing, as all that follows.
    pub mean: f64,
    /// The smallest length that at least half of all reach or stay below.
    pub median: u64,
    /// The smallest length that at least 95% stay at or below.
    pub p95: u64,
    /// The longest.
    pub max: u64,
    /// Counts by powers of two, from the first that is used to the last.
    pub histogram: Vec<Bin>,
}

/// One bin of a histogram: lengths from `from` up to, but not including, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// Shortest length: 0 or a power of two.
    pub from: u64,
    /// One more than the longest.
    pub to: u64,
    /// How many.
    pub count: u64,
}

impl Lengths {
    /// Counts one length.
    pub fn add(&mut self, length: u64) {
        *self.0.entry(length).or_default() += 1;
    }

    /// Counts all of `other` too.
    pub fn merge(&mut self, other: Lengths) {
        for (length, count) in other.0 {
            *self.0.entry(length).or_default() += count;
        }
    }

    /// Number of lengths.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The distribution.
    pub fn report(&self) -> LengthReport {
        let count = self.count();
        let sum: f64 = self.0.iter().map(|(&length, &count)| length as f64 * count as f64).sum();
        LengthReport {
            mean: if count == 0 { 0.0 } else { sum / count as f64 },
            median: self.at_rank(count.div_ceil(2)),
            p95: self.at_rank((u128::from(count) * 95).div_ceil(100) as u64),
            max: self.0.keys().next_back().copied().unwrap_or(0),
            histogram: self.histogram(),
        }
    }

    /// The `rank`-th smallest length, from 1.
    fn at_rank(&self, rank: u64) -> u64 {
        let mut seen = 0;
        for (&length, &count) in &self.0 {
            seen += count;
            if seen >= rank {
                return length;
            }
        }
        0
    }

    fn histogram(&self) -> Vec<Bin> {
        // Bin 0 holds 0; bin b the lengths of b binary digits.
        let bin_of = |length: u64| (u64::BITS - length.leading_zeros()) as usize;
        let (Some(&first), Some(&last)) = (self.0.keys().next(), self.0.keys().next_back()) else {
            return Vec::new();
        };
        let start = bin_of(first);
        let edge = |bin: usize| if bin == 0 { 0 } else { 1u64 << (bin - 1) };
        let mut bins: Vec<Bin> =
            (start..=bin_of(last)).map(|bin| Bin { from: edge(bin), to: edge(bin + 1), count: 0 }).collect();
        for (&length, &count) in &self.0 {
            bins[bin_of(length) - start].count += count;
        }
        bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_bins_by_hand() {
        let mut lengths = Lengths::default();
        (1..=20).for_each(|length| lengths.add(length));
        let report = lengths.report();
        assert_eq!((report.mean, report.median, report.p95, report.max), (10.5, 10, 19, 20));
        let bins: Vec<_> = report.histogram.iter().map(|bin| (bin.from, bin.to, bin.count)).collect();
        assert_eq!(bins, [(1, 2, 1), (2, 4, 2), (4, 8, 4), (8, 16, 8), (16, 32, 5)]);
    }

    #[test]
    fn nothing_and_empty_documents() {
        let mut lengths = Lengths::default();
        assert_eq!(lengths.report().histogram, []);
        lengths.add(0);
        assert_eq!(lengths.report().histogram, [Bin { from: 0, to: 1, count: 1 }]);
    }
}
