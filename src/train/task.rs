//! What a run learns: its data, its loss, its evaluation. The [`Trainer`](super::Trainer) knows nothing else of it.

use serde_json::Value;
use tch::Tensor;

use crate::checkpoint::DataFingerprint;
use crate::error::{Error, Result};
use crate::metrics::Dashboard;
use crate::model::Bert;
use crate::parallel::World;
use crate::train::metrics::StepMetrics;
use crate::train::progress::Progress;
use crate::train::state::{TrainState, NUM_SUMS};

/// What a run learns.
pub trait Task {
    /// The data of one forward and backward, in host memory.
    type MicroBatch;
    /// What a finished run is.
    type Summary;

    /// Steps of the whole run.
    fn num_steps(&self) -> u64;

    /// What the random numbers of a step are drawn from, beside its number.
    fn seed(&self) -> u64;

    /// The last step of the phase whose data are open. After it the loop calls [`Self::seek`].
    fn phase_end(&self) -> u64 {
        self.num_steps()
    }

    /// Goes to the data that follow step `step`, with `skipped` samples left out. Returns a note for the user where a new phase begins.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn seek(&mut self, step: u64, skipped: u64) -> Result<Option<String>>;

    /// This process's part of the next step.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn next_batch(&mut self) -> Result<StepBatch<Self::MicroBatch>>;

    /// The share of `micro_batch` in the loss of the global batch, which has `counts`.
    ///
    /// # Errors
    /// libtorch's own.
    fn loss(&self, model: &Bert, micro_batch: &Self::MicroBatch, counts: Counts) -> Result<Loss>;

    /// After a step that ran out of memory: makes the micro-batches smaller, if it can, and returns a note for the user.
    ///
    /// # Errors
    /// `error` itself, where nothing can be done.
    fn make_room(&mut self, error: Error) -> Result<String> {
        Err(error)
    }

    /// Samples of the first `step` steps.
    fn samples_consumed(&self, step: u64) -> u64;

    /// Whether the model is evaluated after step `step`.
    fn evaluates_after(&self, step: u64) -> bool;

    /// The expected time of an evaluation, as a number of steps.
    fn steps_of_an_evaluation(&self) -> f64;

    /// Evaluates the model after step `step`.
    ///
    /// # Errors
    /// Data that cannot be read, a process that is gone, and libtorch's own.
    fn evaluate(&mut self, step: u64, state: &TrainState) -> Result<Evaluated>;

    /// Adds metrics of the model: at the start, after a transition and with every logged step.
    fn log_model(&self, _state: &TrainState, _metrics: &mut StepMetrics) {}

    /// Adds a step's metrics besides loss, rate and norm. Returns the accuracy, a fraction, if the task has one.
    fn log(&self, step: &LoggedStep<'_>, metrics: &mut StepMetrics) -> Option<f64>;

    /// FLOPs of the matrix products of a step that executes `layers`; a layer without its backward counts as a third.
    fn flops(&self, _layers: f64) -> f64 {
        0.0
    }

    /// The charts of the metrics that the task adds, and what tells one run of it from another, by the key of the configuration. The sizes of
    /// the model are added by the loop.
    ///
    /// # Errors
    /// Numbers that JSON does not have.
    fn dashboard(&self) -> Result<Dashboard>;

    /// What identifies the run in its checkpoints: its configuration, and its data.
    ///
    /// # Errors
    /// Numbers that JSON does not have.
    fn identity(&self) -> Result<(Value, DataFingerprint)>;

    /// Ends a run whose steps are done and saved; adds the metrics of the finished model.
    ///
    /// # Errors
    /// A file that cannot be written, and those of [`Self::evaluate`].
    fn finish(&mut self, state: &TrainState, progress: &Progress, metrics: &mut StepMetrics) -> Result<Self::Summary>;
}

/// One process's part of a step.
#[derive(Debug)]
pub struct StepBatch<M> {
    /// Its micro-batches, in their order.
    pub micro_batches: Vec<M>,
    /// Micro-batches of the processes before this one.
    pub first: usize,
    /// Tokens of the whole step, over all processes.
    pub tokens: u64,
    /// What this part has.
    pub counts: Counts,
}

/// What a batch has: of one process, or of all together, by which losses are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Tokens to be predicted.
    pub targets: f64,
    /// Sequences.
    pub sequences: f64,
    /// Tokens, padding included, where there may be padding.
    pub positions: f64,
    /// Tokens of padding.
    pub padding: f64,
}

/// Numbers of [`Counts`].
pub(super) const NUM_COUNTS: usize = 4;

impl Counts {
    /// In a fixed order.
    pub(super) fn to_array(self) -> [f64; NUM_COUNTS] {
        [self.targets, self.sequences, self.positions, self.padding]
    }

    /// Those of all processes of `world` together, of which these are one's.
    ///
    /// # Errors
    /// A process that is gone.
    pub(super) fn over(self, world: &World) -> Result<Self> {
        let mut counts = self.to_array();
        world.sum(&mut counts)?;
        Ok(counts.into())
    }
}

impl From<[f64; NUM_COUNTS]> for Counts {
    fn from([targets, sequences, positions, padding]: [f64; NUM_COUNTS]) -> Self {
        Self { targets, sequences, positions, padding }
    }
}

/// The loss of a micro-batch.
#[derive(Debug)]
pub struct Loss {
    /// What is minimised: the share in the loss of the global batch, a scalar with a graph.
    pub total: Tensor,
    /// Scalars on the device whose sums over the step a task logs; as many for every micro-batch, at most [`MOST_PARTS`].
    pub parts: Vec<Tensor>,
}

/// The most that a loss has of [`Loss::parts`]: a message has the sums of these and the counts of the next batch.
pub const MOST_PARTS: usize = NUM_SUMS - NUM_COUNTS;

/// What an evaluation found.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// For the metrics.
    pub metrics: Vec<(String, f64)>,
    /// Predictions that were right, a fraction.
    pub accuracy: f64,
    /// For a person.
    pub words: String,
}

/// A step that is logged.
#[derive(Debug)]
pub struct LoggedStep<'a> {
    /// How far the run is with it.
    pub progress: &'a Progress,
    /// Of all processes together.
    pub counts: Counts,
    /// The sums of [`Loss::parts`], over all processes.
    pub sums: [f64; MOST_PARTS],
    /// Since the last logged step, of all processes together.
    pub tokens_per_second: f64,
    /// Layers of a step since then, in the mean.
    pub mean_layers: f64,
}
