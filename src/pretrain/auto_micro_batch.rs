//! What `train.micro_batch` = `auto` means here.
//!
//! It is decided when a run starts: the largest divisor of the global batch whose predicted memory fits into what is
//! free. The number stands in the run's config.toml and checkpoints, and a resume takes it from there. Should memory not
//! suffice all the same, the step is done again with smaller micro-batches; the loss is divided by the whole global batch's
//! targets, so it is the same step up to rounding.

use crate::batch::DataConfig;
use crate::config::micro_batch::MicroBatch;
use crate::config::phases::Phase;
use crate::config::{RunConfig, TrainConfig};
use crate::error::{Error, Result};
use crate::pretrain::memory::machine;
use crate::pretrain::resolved_run::ResolvedRun;
use crate::pretrain::run_stats::PhaseStats;

/// Larger ones are not chosen on the CPU, where they run no faster: the step's tiles are of 64 tokens whatever its size.
const MOST_ON_CPU: usize = 64;

/// The divisors of `global_batch` that are at most `most`, from the largest.
fn divisors(global_batch: usize, most: usize) -> impl Iterator<Item = usize> {
    (1..=most.min(global_batch)).rev().filter(move |&size| global_batch.is_multiple_of(size))
}

/// Writes `sizes`, one a phase, where the tables leave the choice open. The size of the whole run, which phases with their own do
/// not use, has to divide its own global batch.
pub fn settle(data: &mut DataConfig, train: &mut TrainConfig, sizes: &[usize]) {
    if train.micro_batch != MicroBatch::AUTO || sizes.is_empty() {
        return;
    }
    let divides = |size: &usize| train.global_batch.is_multiple_of(*size);
    train.micro_batch = sizes.iter().copied().find(divides).unwrap_or(1).into();
    for (phase, &size) in data.phase.iter_mut().zip(sizes) {
        phase.micro_batch.get_or_insert(size);
    }
}

/// What [`settle`] wrote, from the tables of an earlier part of the run.
pub fn earlier_sizes(config: &RunConfig) -> Option<Vec<usize>> {
    let whole = config.train.micro_batch.sequences()?;
    let phases = &config.data.phase;
    match phases.is_empty() {
        true => Some(vec![whole]),
        false => Some(phases.iter().map(|phase| phase.micro_batch.unwrap_or(whole)).collect()),
    }
}

/// What `auto` means for each phase on this machine, now: of the sizes that divide the global batch the largest whose
/// predicted peaks fit, at the start, at transitions and after them.
///
/// # Errors
/// Invalid data, and a CUDA device that does not answer.
pub fn fitting_micro_batches(run: &ResolvedRun) -> Result<Vec<usize>> {
    let on_this_device = if run.device.is_cuda() { 1 } else { run.world.local_size() };
    let budget = machine::budget(run.device)?.unwrap_or(0.0) / on_this_device as f64;
    let phases = run.stats()?.phases;
    let fits = |stats: &PhaseStats, size: usize| -> Result<bool> {
        let phase = Phase { micro_batch: size, ..stats.phase };
        let sized = run.stats_of(vec![PhaseStats { phase, ..*stats }])?;
        Ok(sized.memory.highest() <= budget)
    };
    let most = if run.device.is_cuda() { usize::MAX } else { MOST_ON_CPU };
    let choose = |stats: &PhaseStats| -> Result<usize> {
        for size in divisors(stats.phase.part(), most) {
            if fits(stats, size)? {
                return Ok(size);
            }
        }
        Ok(1)
    };
    let sizes: Vec<usize> = phases.iter().map(choose).collect::<Result<_>>()?;
    // The least that any process has room for; largest() of negatives.
    let mut least: Vec<f64> = sizes.iter().map(|&size| -(size as f64)).collect();
    run.world.largest(&mut least)?;
    Ok(least.into_iter().map(|size| -size as usize).collect())
}

/// Makes the micro-batches of `phase` smaller, also in the tables that are saved. False where they are of one sequence.
fn shrink(run: &mut ResolvedRun, phase: &mut Phase) -> bool {
    let Some(size) = divisors(phase.global_batch, phase.micro_batch / 2).next() else { return false };
    phase.micro_batch = size;
    run.phases.replace(*phase);
    match run.config.data.phase.get_mut(phase.number as usize) {
        Some(table) => table.micro_batch = Some(size),
        None => run.config.train.micro_batch = size.into(),
    }
    true
}

/// After a step of `phase` that failed with `error` for want of memory: where `train.micro_batch` is `auto`, makes the
/// micro-batches smaller, also in the tables that are saved, for the step to be done again, and says so. The step changed nothing
/// but gradients: an update allocates next to nothing, after the backward has freed all it had.
///
/// # Errors
/// `error` itself, where nothing can be done.
pub(super) fn make_room(run: &mut ResolvedRun, phase: &mut Phase, error: Error) -> Result<String> {
    let before = phase.micro_batch;
    if !run.chooses_micro_batch || !shrink(run, phase) {
        return Err(error);
    }
    let now = phase.micro_batch;
    Ok(format!(
        "out of memory; the step is repeated with micro-batches of {now} sequences instead of {before}, and so are later steps ({error})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::phase::PhaseConfig;

    #[test]
    fn divisors_come_from_the_largest() {
        assert_eq!(divisors(192, MOST_ON_CPU).take(3).collect::<Vec<_>>(), [64, 48, 32]);
        let largest = |global_batch, most| divisors(global_batch, most).next();
        assert_eq!([largest(96, 5), largest(7, 6), largest(8, 100)], [Some(4), Some(1), Some(8)]);
        assert_eq!((largest(192, usize::MAX), largest(8, 0)), (Some(192), None));
    }

    #[test]
    fn what_is_left_open_is_settled_and_found_again() {
        let phase = |micro_batch| PhaseConfig { until: None, sequence_length: 8, micro_batch, global_batch: None };
        let mut data = DataConfig { phase: vec![phase(None), phase(Some(2))], ..Default::default() };
        let open = |global_batch| TrainConfig { micro_batch: MicroBatch::AUTO, global_batch, ..Default::default() };
        let mut train = open(16);
        // The first phase has a global batch of its own, which 32 divides.
        for (global_batch, sizes, chosen) in [(16, [32, 16], 16), (12, [32, 16], 1)] {
            let mut train = open(global_batch);
            settle(&mut data.clone(), &mut train, &sizes);
            assert_eq!(train.micro_batch, MicroBatch::Sequences(chosen));
            train.validate().unwrap();
        }
        settle(&mut data, &mut train, &[16, 4]);
        assert_eq!(train.micro_batch, MicroBatch::Sequences(16));
        assert_eq!(data.phase.iter().map(|phase| phase.micro_batch).collect::<Vec<_>>(), [Some(16), Some(2)]);
        let config = RunConfig { data, train, ..Default::default() };
        assert_eq!(earlier_sizes(&config), Some(vec![16, 2]));
        let train = TrainConfig { micro_batch: 8.into(), ..Default::default() };
        assert_eq!(earlier_sizes(&RunConfig { train, ..Default::default() }), Some(vec![8]));
        let train = TrainConfig { micro_batch: MicroBatch::AUTO, ..Default::default() };
        assert_eq!(earlier_sizes(&RunConfig { train, ..Default::default() }), None);
    }
}
