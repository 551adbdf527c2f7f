//! One step of a [`Task`], as a run takes it and as it is measured before the run.

use tch::Tensor;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::parallel::World;
use crate::sharing::Check;
use crate::step::Pending;
use crate::train::state::TrainState;
use crate::train::task::{Counts, StepBatch, Task, MOST_PARTS};

/// A step that was taken.
#[derive(Debug)]
pub struct TaskStep {
    /// Its report, which may still be under way.
    pub pending: Pending,
    /// The correlations of its gradients, if a check was due.
    pub check: Option<Check>,
    /// What its batch has, over all processes.
    pub counts: Counts,
    /// Its tokens, over all processes.
    pub tokens: u64,
    /// [`super::task::Loss::parts`] of each micro-batch of this process.
    parts: Vec<Vec<Tensor>>,
}

impl TaskStep {
    /// Step `step` + 1 of `state` on `batch`, this process's part of it.
    ///
    /// # Errors
    /// A process of `world` that is gone, and libtorch's own.
    pub fn take<T: Task>(
        task: &T,
        state: &mut TrainState,
        (step, learning_rate): (u64, f64),
        batch: &StepBatch<T::MicroBatch>,
        world: &World,
    ) -> Result<Self> {
        let mut counts = batch.counts.to_array();
        world.sum(&mut counts)?;
        let counts = Counts::from(counts);
        let mut parts = Vec::with_capacity(batch.micro_batches.len());
        let (pending, check) = state.step(step + 1, learning_rate, batch.micro_batches.len(), |model, index| {
            // Where libtorch drops out, from (seed, step, micro-batch), a resumed run draws what the other drew; our own
            // kernels go by the samples' keys. Micro-batches are numbered through all processes, so that any split into
            // pieces of their size draws the same.
            let words = [task.seed(), step, (batch.first + index) as u64].map(u64::to_le_bytes).concat();
            tch::manual_seed(xxh3_64(&words) as i64);
            let loss = task.loss(model, &batch.micro_batches[index], counts)?;
            parts.push(loss.parts);
            Ok(loss.total)
        })?;
        Ok(Self { pending, check, counts, tokens: batch.tokens, parts })
    }

    /// The sums of the parts of its losses over micro-batches and processes. Waits for the device.
    ///
    /// # Errors
    /// A process of `world` that is gone, and libtorch's own.
    pub fn sums(&self, world: &World) -> Result<[f64; MOST_PARTS]> {
        let mut sums = [0.0; MOST_PARTS];
        for parts in &self.parts {
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum += f64::try_from(part)?;
            }
        }
        world.sum(&mut sums)?;
        Ok(sums)
    }
}
