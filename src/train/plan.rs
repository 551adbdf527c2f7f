//! What a run is, decided before it begins.
//!
//! In: a configuration, the data's vocabulary and sizes, a device and the processes. Out: what the run computes, and its [`RunStats`].

use std::path::PathBuf;
use std::rc::Rc;

use serde_json::Value;
use tch::Device;
use untie_data::shard::Split;

use crate::batch::samples::Vocabulary;
use crate::batch::{DataConfig, Samples};
use crate::checkpoint::{CheckpointConfig, DataFingerprint};
use crate::error::Result;
use crate::growth::{describe, rule, SharingConfig};
use crate::keys::Classes;
use crate::metrics::MetricsConfig;
use crate::model::{BertConfig, Compute};
use crate::optim::OptimConfig;
use crate::parallel::World;
use crate::train::calibrate::{self, Product};
use crate::train::config::{EvalConfig, TrainConfig};
use crate::train::costs::Course;
use crate::train::guard::GuardConfig;
use crate::train::phases::{Phase, Phases};
use crate::train::run_stats::{PhaseStats, RunStats};
use crate::train::state::TrainSpec;

/// Everything that decides what a run computes, resolved.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sizes of the model.
    pub bert: BertConfig,
    /// The tokenizer that made the data.
    pub vocabulary: Vocabulary,
    /// What the vocabulary and the shards are.
    pub data_fingerprint: DataFingerprint,
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

    /// The derived statistics of the run.
    ///
    /// # Errors
    /// As [`Self::samples`], and a sharing pattern that does not fit.
    pub fn stats(&self) -> Result<RunStats> {
        let phases = self.phases.list().iter().map(|phase| {
            let samples = self.samples(phase)?;
            Ok(PhaseStats::new(&self.bert, *phase, samples.capacity(), samples.num_samples()))
        });
        self.stats_of(phases.collect::<Result<_>>()?)
    }

    /// Those of a run through `phases`.
    pub(super) fn stats_of(&self, phases: Vec<PhaseStats>) -> Result<RunStats> {
        let course = rule(&self.sharing, self.bert.num_hidden_layers, self.train.steps)?.course(self.train.steps);
        let walk: Vec<_> = course.into_iter().map(|(_, walk)| walk).collect();
        let place = (self.device, self.sharing.has_checks(), self.checkpoint.background);
        Ok(RunStats::new(&self.bert, &walk, self.compute, place, phases))
    }

    /// What a step and the whole run amount to, for a person, from its [`Self::stats`]; `rate` as [`Self::product_rate`] gives
    /// it.
    pub fn describe(&self, stats: &RunStats, rate: f64) -> String {
        let length = self.train.steps_from.as_ref().map(|from| format!("\nsteps              decided from {from}"));
        let length = length.unwrap_or_default();
        let kernels = self.train.kernels.describe(&self.bert, self.train.precision.compute_kind(), self.device);
        let rule = rule(&self.sharing, self.bert.num_hidden_layers, self.train.steps);
        let sharing = rule.map_or_else(|error| error.to_string(), |rule| describe(&*rule, self.train.steps));
        format!("{}{length}\nkernels            {kernels}\nsharing            {sharing}", stats.describe(rate))
    }

    /// The tables that say how often each part of the run comes.
    pub(super) fn course(&self) -> Course<'_> {
        let Self { data, train, sharing, eval, checkpoint, .. } = self;
        Course { data, train, sharing, eval, checkpoint, num_layers: self.bert.num_hidden_layers }
    }

    /// What decides how the model is trained, besides its data.
    pub fn spec(&self) -> TrainSpec {
        TrainSpec {
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
