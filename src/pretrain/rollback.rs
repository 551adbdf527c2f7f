//! A run under guard: what ends it, what is told, and how it goes back from a spike of its loss to a checkpoint before it, and on
//! with the data after it.

use std::path::Path;

use crate::checkpoint::{self, RunState, Saver};
use crate::config::GuardConfig;
use crate::error::{Error, Result};
use crate::metrics::console::Progress;
use crate::pretrain::open::{shared, train_state};
use crate::pretrain::plan::Plan;
use crate::train::guard::{Guard, Spike};
use crate::train::state::TrainState;

/// What the run in `folder`, which has gone back `rollbacks` times, goes on with after `spike` at `step`: the checkpoint that
/// `guard.rollback_checkpoints` names, counted from the last one before the spike. Later checkpoints are put away. `None` where
/// there is no such checkpoint.
///
/// # Errors
/// Too many spikes, a checkpoint that cannot be read or written, and libtorch's own.
pub(super) fn go_back(
    plan: &Plan,
    folder: &Path,
    saver: &mut Saver,
    (step, rollbacks): (u64, u64),
    spike: Spike,
) -> Result<Option<(RunState, TrainState)>> {
    let guard = &plan.guard;
    if rollbacks >= guard.max_rollbacks {
        return Err(Error::failed(format!(
            "the loss spikes again at step {step}, after `guard.max_rollbacks` = {}",
            guard.max_rollbacks
        ))
        .hint("lower `optim.lr` or `optim.clip_norm`, or look at the data; checkpoints are as they were"));
    }
    let found = plan.world.from_first(|| {
        saver.wait()?;
        let before = checkpoint::list(folder)?.into_iter().filter(|entry| entry.step < spike.first_step);
        let mut sound = before.filter(|entry| checkpoint::verify(&entry.path).is_ok());
        let found = sound.nth(guard.rollback_checkpoints - 1);
        Ok(found.map_or(Vec::new(), |entry| entry.step.to_le_bytes().to_vec()))
    })?;
    let Ok(target) = <[u8; 8]>::try_from(found).map(u64::from_le_bytes) else { return Ok(None) };
    let loaded = shared(plan, || {
        let (entry, _) = checkpoint::roll_back(folder, Some(target))?;
        checkpoint::load(&entry.path, plan.train.precision.weight_kind(), plan.device)
    })?;
    train_state(plan, loaded, false).map(Some)
}

/// Why the run in `folder` ends at `step`, whose updates are skipped one after the other.
pub(super) fn diverged(folder: &Path, saver: &mut Saver, step: u64, in_a_row: u64) -> Error {
    // What is being written may be the last good one; if it cannot be, the one before is.
    let _ = saver.wait();
    let newest = checkpoint::newest_valid(folder).ok().flatten();
    let good = newest.map_or("there is no checkpoint".into(), |(path, _)| {
        format!("the last good checkpoint is `{}`", path.display())
    });
    Error::not_finite(format!(
        "step {step}: {in_a_row} updates in a row were skipped because loss or gradient was not finite; {good}"
    ))
    .hint("lower `optim.lr`, or take bf16 or fp32 instead of fp16; `guard.max_skipped` is the limit")
}

/// Holds the loss of `step` against those before it, and tells a spike.
pub(super) fn check_loss(
    guard: &mut Guard,
    config: &GuardConfig,
    step: u64,
    loss: f64,
    progress: &Progress,
) -> Option<Spike> {
    let spike = guard.check_loss(config, step, loss)?;
    let Spike { loss, median, score, in_a_row, .. } = spike;
    progress.note(&format!(
        "step {step}: the loss spikes: {loss:.4} after a median of {median:.4}, {score:.1} robust standard deviations above it, \
         {in_a_row} times in a row"
    ));
    Some(spike)
}
