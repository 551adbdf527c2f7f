//! Which examples each step of fine-tuning reads: a function of (seed, step). An epoch is a permutation of the training set; its last
//! step has what is left.

use std::cmp::Reverse;

use crate::batch::order::Permutation;

/// Batches that share their examples when those are grouped by length.
pub const POOLED_BATCHES: u64 = 50;

/// The numbers of the examples of step `step`, from 0, among `size` in all: a function of (seed, step).
pub fn examples_of(step: u64, batch: usize, size: usize, seed: u64) -> Vec<u64> {
    let of_epoch = size.div_ceil(batch) as u64;
    let order = Permutation::new(size as u64, seed, (step / of_epoch) as u32);
    let first = step % of_epoch * batch as u64;
    (first..(first + batch as u64).min(size as u64)).map(|position| order.at(position)).collect()
}

/// [`examples_of`] where examples of like lengths meet: the examples of up to [`POOLED_BATCHES`] steps in a row, sorted by
/// length, are dealt out to them, the longest first, as transformers' `group_by_length` does.
pub fn examples_by_length(step: u64, batch: usize, size: usize, seed: u64, length: impl Fn(u64) -> usize) -> Vec<u64> {
    let of_epoch = size.div_ceil(batch) as u64;
    let (epoch, within) = (step / of_epoch, step % of_epoch);
    let first = within - within % POOLED_BATCHES;
    let pool = first..of_epoch.min(first + POOLED_BATCHES);
    let mut examples: Vec<u64> =
        pool.flat_map(|step| examples_of(epoch * of_epoch + step, batch, size, seed)).collect();
    examples.sort_by_key(|&at| Reverse(length(at)));
    examples.chunks(batch).nth((within - first) as usize).map(<[u64]>::to_vec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_epoch_reads_every_example_once() {
        for (size, batch) in [(10, 4), (8, 4), (3, 5), (1, 1)] {
            let of_epoch = usize::div_ceil(size, batch) as u64;
            for epoch in 0..3 {
                let steps = epoch * of_epoch..(epoch + 1) * of_epoch;
                let mut seen: Vec<u64> = steps.flat_map(|step| examples_of(step, batch, size, 5)).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..size as u64), "{size} by {batch}");
            }
        }
        assert_ne!(examples_of(0, 8, 100, 1), examples_of(0, 8, 100, 2));
    }

    /// 130 batches: two whole pools and one of 30, whose last batch has 3 examples.
    #[test]
    fn grouped_by_length_an_epoch_still_reads_every_example_once() {
        let (batch, size, seed) = (4, 519, 5);
        let length = |at: u64| (at * 7919 % 97) as usize;
        let grouped = |step| examples_by_length(step, batch, size, seed, length);
        for epoch in 0..2 {
            let steps = epoch * 130..(epoch + 1) * 130;
            let sizes: Vec<usize> = steps.clone().map(|step| grouped(step).len()).collect();
            assert!(sizes[..129].iter().all(|&size| size == 4) && sizes[129] == 3);
            for pool in [0..50, 50..100, 100..130] {
                let steps = steps.start + pool.start..steps.start + pool.end;
                let lengths: Vec<usize> = steps.clone().flat_map(grouped).map(length).collect();
                assert!(lengths.is_sorted_by(|one, other| one >= other));
                let set = |examples: Vec<u64>| examples.into_iter().collect::<BTreeSet<_>>();
                let plain = steps.clone().flat_map(|step| examples_of(step, batch, size, seed)).collect();
                assert_eq!(set(steps.flat_map(grouped).collect()), set(plain));
            }
        }
    }
}
