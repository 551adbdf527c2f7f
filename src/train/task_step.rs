//! One step of a [`Task`], as a run takes it and as it is measured before the run.

use tch::{Kind, Tensor};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::growth::Check;
use crate::parallel::{Addend, Message, World};
use crate::step::Pending;
use crate::train::state::{Gradients, TrainState, NUM_SUMS};
use crate::train::task::{Counts, StepBatch, Task, MOST_PARTS, NUM_COUNTS};

/// A step whose backward is done.
#[derive(Debug)]
pub struct Backward {
    gradients: Gradients,
    counts: Counts,
    tokens: u64,
    /// The sums of [`super::task::Loss::parts`] over the micro-batches of this process, on the device.
    parts: [Option<Tensor>; MOST_PARTS],
}

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
    /// The layers that it executed.
    pub num_layers: usize,
}

/// What the processes have told each other with a step.
#[derive(Clone, Copy, Debug)]
pub struct StepMessage {
    /// The largest request to stop; 0: none.
    pub stop: u32,
    /// What the next batch has, over all processes.
    pub next: Counts,
    /// The sums of [`super::task::Loss::parts`], over all processes.
    pub sums: [f64; MOST_PARTS],
}

impl Backward {
    /// The forwards and backwards of step `step` + 1 of `state` on `batch`, this process's part of a step that has `counts`.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn run<T: Task>(
        task: &T,
        state: &mut TrainState,
        step: u64,
        batch: &StepBatch<T::MicroBatch>,
        counts: Counts,
    ) -> Result<Self> {
        let mut parts: [Option<Tensor>; MOST_PARTS] = Default::default();
        let gradients = state.backward(step + 1, batch.micro_batches.len(), |model, index| {
            // Where libtorch drops out, from (seed, step, micro-batch), a resumed run draws what the other drew; our own
            // kernels go by the samples' keys. Micro-batches are numbered through all processes, so that any split into
            // pieces of their size draws the same.
            let words = [task.seed(), step, (batch.first + index) as u64].map(u64::to_le_bytes).concat();
            tch::manual_seed(xxh3_64(&words) as i64);
            let loss = task.loss(model, &batch.micro_batches[index], counts)?;
            for (sum, part) in parts.iter_mut().zip(&loss.parts) {
                let part = part.f_to_kind(Kind::Double)?;
                *sum = Some(match sum.take() {
                    Some(sum) => sum.f_add(&part)?,
                    None => part,
                });
            }
            Ok(loss.total)
        })?;
        Ok(Self { gradients, counts, tokens: batch.tokens, parts })
    }

    /// The update with `learning_rate`. The processes tell each other the sums of the losses' parts, a request to `stop` and what
    /// this process's part of the `next` batch has.
    ///
    /// # Errors
    /// A process that is gone, and libtorch's own.
    pub fn update(self, state: &mut TrainState, learning_rate: f64, stop: u32, next: Counts) -> Result<TaskStep> {
        let next = next.to_array().map(Addend::Host);
        let parts = self.parts.map(|part| part.map_or(Addend::Host(0.0), Addend::Device));
        let message = Message { stop, sums: next.into_iter().chain(parts).collect() };
        let (counts, tokens, num_layers) = (self.counts, self.tokens, self.gradients.num_layers);
        let (pending, check) = state.update(self.gradients, learning_rate, &message)?;
        Ok(TaskStep { pending, check, counts, tokens, num_layers })
    }
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
        let counts = batch.counts.over(world)?;
        Backward::run(task, state, step, batch, counts)?.update(state, learning_rate, 0, Counts::default())
    }

    /// What the processes have told each other with the step. Waits for the device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn message(&self) -> Result<StepMessage> {
        let message = self.pending.message()?;
        let mut numbers = [0.0; NUM_SUMS];
        numbers.iter_mut().zip(&message.sums).for_each(|(number, sum)| *number = *sum);
        let (mut next, mut sums) = ([0.0; NUM_COUNTS], [0.0; MOST_PARTS]);
        next.copy_from_slice(&numbers[..NUM_COUNTS]);
        sums.copy_from_slice(&numbers[NUM_COUNTS..]);
        Ok(StepMessage { stop: message.stop, next: Counts::from(next), sums })
    }
}
