//! A list of times in four numbers.

use serde::Serialize;

/// Median, extremes and number of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimingStats {
    /// The one in the middle, or the mean of the two there.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub n: usize,
}

impl TimingStats {
    /// Of `values`; none of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        Some(Self { median: (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0, min, max, n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(TimingStats::of(&[]), None);
        assert_eq!(TimingStats::of(&[3.0, 1.0, 8.0]), Some(TimingStats { median: 3.0, min: 1.0, max: 8.0, n: 3 }));
        assert_eq!(TimingStats::of(&[4.0, 1.0, 8.0, 2.0]).unwrap().median, 3.0);
    }
}
