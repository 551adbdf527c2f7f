//! One step on its micro-batches, as a run takes it and as it is measured before the run.

use tch::Tensor;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Batch;
use crate::error::Result;
use crate::growth::Check;
use crate::loss;
use crate::model::Mode;
use crate::parallel::World;
use crate::step::Pending;
use crate::train::metrics::StepCounts;
use crate::train::plan::Plan;
use crate::train::state::TrainState;

/// Step `step` + 1 of `state` on `batches`; its report, the correlations of its gradients if a check was due, and what the
/// model got right.
pub(super) fn update(
    plan: &Plan,
    state: &mut TrainState,
    (step, learning_rate): (u64, f64),
    batches: &[Batch],
    totals: loss::Totals,
) -> Result<(Pending, Option<Check>, StepCounts)> {
    let (device, seed) = (plan.device, plan.train.seed);
    // Numbered through all processes, so that any split into pieces of this size draws the same.
    let first = plan.world.rank() * batches.len();
    let mut counts = StepCounts::default();
    let (pending, check) = state.step(step + 1, learning_rate, batches.len(), |model, index| -> Result<Tensor> {
        // Where libtorch drops out, from (seed, step, micro-batch), a resumed run draws what the other drew; our own
        // kernels go by the sequences' keys.
        let words = [seed, step, (first + index) as u64].map(u64::to_le_bytes).concat();
        tch::manual_seed(xxh3_64(&words) as i64);
        let losses = loss::pretraining(model, &batches[index].to_device(device)?, totals, Mode::Train)?;
        counts.add(&losses);
        losses.total()
    })?;
    Ok((pending, check, counts))
}

/// What the global batch, of which `batches` are this process's part, divides its losses by.
pub(super) fn loss_totals(batches: &[Batch], world: &World) -> Result<loss::Totals> {
    let targets: usize = batches.iter().map(|batch| batch.num_targets).sum();
    let sequences: usize = batches.iter().map(Batch::num_sequences).sum();
    let mut sums = [targets as f64, sequences as f64];
    world.sum(&mut sums)?;
    Ok(loss::Totals { targets: (sums[0] as usize).max(1), sequences: sums[1] as usize })
}
