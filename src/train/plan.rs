//! What a run is, decided before it begins.
//!
//! In: a configuration, the data's vocabulary and sizes, a device and the processes. Out: what the run computes, and its numbers.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use serde_json::Value;
use tch::Device;
use untie_data::shard::Split;

use crate::batch::samples::Vocabulary;
use crate::batch::{DataConfig, Samples};
use crate::checkpoint::{CheckpointConfig, DataStamp};
use crate::error::Result;
use crate::keys::Classes;
use crate::metrics::human::{human_duration, human_integer};
use crate::metrics::MetricsConfig;
use crate::model::{BertConfig, Compute};
use crate::optim::OptimConfig;
use crate::parallel::World;
use crate::sharing::SharingConfig;
use crate::train::calibrate::{self, Product};
use crate::train::config::{EvalConfig, TrainConfig};
use crate::train::costs::Course;
use crate::train::guard::GuardConfig;
use crate::train::length::{self, Asked};
use crate::train::numbers::{Numbers, PhaseNumbers};
use crate::train::phases::{Phase, Phases};
use crate::train::trainee::Recipe;

/// The part of `train.time` in which steps are measured.
const MEASURING: f64 = 0.04;
/// The part of it that is kept for what is not measured, and for a machine that slows down.
const RESERVE: f64 = 0.04;

/// Everything that decides what a run computes, resolved.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sizes of the model.
    pub bert: BertConfig,
    /// The tokenizer that made the data.
    pub vocabulary: Vocabulary,
    /// What the vocabulary and the shards are.
    pub data_stamp: DataStamp,
    /// Weights to start from.
    pub init: Option<PathBuf>,
    /// `[data]`.
    pub data: DataConfig,
    /// `[train]`, `auto` decided.
    pub train: TrainConfig,
    /// What `[data]` and `[train]` say of sequence lengths and batches.
    pub phases: Phases,
    /// How models in training compute. Where `train.kernels` was `auto`, each part of a model takes what there is for it; the decided
    /// name in [`Self::train`] is that of layers.
    pub compute: Compute,
    /// Whether `train.micro_batch` was `auto`: then it may become smaller.
    pub chooses_micro_batch: bool,
    /// `[optim]`.
    pub optim: OptimConfig,
    /// `[sharing]`.
    pub sharing: SharingConfig,
    /// `[checkpoint]`.
    pub checkpoint: CheckpointConfig,
    /// `[eval]`.
    pub eval: EvalConfig,
    /// `[metrics]`.
    pub metrics: MetricsConfig,
    /// `[guard]`.
    pub guard: GuardConfig,
    /// All tables, for state.json.
    pub config: Value,
    /// The same with every key at its default, for checkpoints of versions that had fewer keys.
    pub defaults: Value,
    /// What their keys are for.
    pub classes: Classes,
    /// The tables, as the run folder's config.toml.
    pub config_toml: String,
    /// Where to compute.
    pub device: Device,
    /// The processes that share the run.
    pub world: Rc<World>,
    /// Whether a resume may change what makes it another run.
    pub allow_changes: bool,
}

impl Plan {
    /// The training samples of `phase`.
    ///
    /// # Errors
    /// Missing or damaged shards, and a split shorter than one sample.
    pub fn samples(&self, phase: &Phase) -> Result<Samples> {
        let samples = Samples::open(&phase.data(&self.data), &self.vocabulary, Split::Train, self.train.seed)?;
        Ok(samples.for_phase(phase.number))
    }

    /// The derived numbers of the run.
    ///
    /// # Errors
    /// As [`Self::samples`], and a sharing pattern that does not fit.
    pub fn numbers(&self) -> Result<Numbers> {
        let phases = self.phases.list().iter().map(|phase| {
            let samples = self.samples(phase)?;
            Ok(PhaseNumbers::new(&self.bert, *phase, samples.capacity(), samples.num_samples()))
        });
        self.numbers_of(phases.collect::<Result<_>>()?)
    }

    /// Those of a run through `phases`.
    pub(super) fn numbers_of(&self, phases: Vec<PhaseNumbers>) -> Result<Numbers> {
        let walk = self.sharing.walk(self.bert.num_hidden_layers, self.train.steps)?;
        let place = (self.device, self.sharing.has_checks(), self.checkpoint.background);
        Ok(Numbers::new(&self.bert, &walk, self.compute, place, phases))
    }

    /// What a step and the whole run amount to, for a person, from its [`Self::numbers`]; `rate` as [`Self::product_rate`] gives
    /// it.
    pub fn describe(&self, numbers: &Numbers, rate: f64) -> String {
        let length = self.train.steps_from.as_ref().map(|from| format!("\nsteps              decided from {from}"));
        let length = length.unwrap_or_default();
        let kernels = self.train.kernels.describe(&self.bert, self.train.precision.compute_kind(), self.device);
        let sharing = self.sharing.describe(self.bert.num_hidden_layers, self.train.steps);
        format!("{}{length}\nkernels            {kernels}\nsharing            {sharing}", numbers.describe(rate))
    }

    /// The steps of a run that asks for time or epochs; for a time as `folder`'s disk and this machine take it now, of which `begin`
    /// is the start. All processes get the same. `check` says whether a run of so many steps is possible.
    ///
    /// # Errors
    /// A time or epochs without room for the run, and as [`Self::numbers`].
    pub fn decide_steps(
        &self,
        asked: Asked,
        (folder, begin): (&Path, Instant),
        check: impl Fn(u64) -> Result<()>,
    ) -> Result<u64> {
        let course = Course::of(self);
        match asked {
            Asked::Epochs(epochs) => {
                let sizes: Vec<u64> = self.numbers()?.phases.iter().map(|phase| phase.samples_per_epoch).collect();
                length::steps_of_epochs(epochs, check, |steps| {
                    let phases = course.phases(steps)?;
                    let samples = phases.list().iter().map(|phase| phase.position(steps) as f64);
                    Ok(samples.zip(&sizes).map(|(samples, &size)| samples / size as f64).sum())
                })
            }
            Asked::Time(time) => {
                let costs = self.measure(folder, time.0.mul_f64(MEASURING))?;
                // All processes go by the clock of rank 0, so that they get the same steps.
                let left =
                    || (time.0.mul_f64(1.0 - RESERVE).as_secs_f64() - begin.elapsed().as_secs_f64()).to_le_bytes();
                let left = self.world.from_first(|| Ok(left().to_vec()))?;
                let left = <[u8; 8]>::try_from(left).map_or(0.0, f64::from_le_bytes);
                let steps = length::steps_in_time(time, left, check, |steps| costs.seconds(&course, steps))?;
                if self.world.is_first() {
                    let predicted = begin.elapsed().as_secs_f64() + costs.seconds(&course, steps)?;
                    eprintln!(
                        "{:<18} {} steps, predicted to end after {}\n{costs}",
                        asked.to_string().replace('`', ""),
                        human_integer(steps),
                        human_duration(predicted)
                    );
                }
                Ok(steps)
            }
        }
    }

    /// What decides how the model is trained, besides its data.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            bert: self.bert.clone(),
            optim: self.optim.clone(),
            sharing: self.sharing.clone(),
            compute: self.compute,
            steps: self.train.steps,
        }
    }

    /// The linear maps of a micro-batch of `phase`, whose samples have `capacity` target slots.
    pub fn products(&self, phase: &Phase, capacity: usize) -> Vec<Product> {
        calibrate::products(&self.bert, phase.micro_batch * phase.sequence_length, phase.micro_batch * capacity)
    }

    /// The measured rate of `products` on this machine, FLOP/s.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn product_rate(&self, products: &[Product]) -> Result<f64> {
        calibrate::product_rate(products, self.train.precision.compute_kind(), self.device, calibrate::BRIEF)
    }
}
