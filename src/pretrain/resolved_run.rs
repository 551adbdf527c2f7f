//! What a run is, decided before it begins.
//!
//! In: a configuration without `auto`, the data's vocabulary and sizes, a device and the processes. Out: what the run computes, and
//! its [`RunStats`].

use std::rc::Rc;

use serde_json::Value;
use tch::Device;
use untie_data::shard::Split;

use crate::batch::samples::{shards_hash, Vocabulary};
use crate::batch::Samples;
use crate::checkpoint::{DataFingerprint, RunState};
use crate::config::{Phase, Phases, RunConfig};
use crate::error::{Error, Result};
use crate::growth::{describe, GrowthKind};
use crate::layer_map::LayerMap;
use crate::model::{BertConfig, Compute, Weights};
use crate::optim::ReportTiming;
use crate::parallel::World;
use crate::pretrain::calibrate::{self, Product};
use crate::pretrain::run_stats::{PhaseStats, RunStats};
use crate::train::environment::environment;
use crate::train::TrainSpec;

/// Everything that decides what a run computes, resolved.
#[derive(Clone, Debug)]
pub struct ResolvedRun {
    /// All tables, nothing in them `auto`, the number of steps decided.
    pub config: RunConfig,
    /// Sizes of the model.
    pub bert: BertConfig,
    /// The tokenizer that made the data.
    pub vocabulary: Vocabulary,
    /// What the vocabulary and the shards are.
    pub data_fingerprint: DataFingerprint,
    /// What `[data]` and `[train]` say of sequence lengths and batches.
    pub phases: Phases,
    /// How models in training compute. Where `train.kernels` was `auto`, each part of a model takes what there is for it; the decided
    /// name in [`Self::config`] is that of layers.
    pub compute: Compute,
    /// Whether `train.micro_batch` was `auto`: then it may become smaller.
    pub chooses_micro_batch: bool,
    /// When the host learns what a step did; `None`: as is best for the device.
    pub timing: Option<ReportTiming>,
    /// Where to compute.
    pub device: Device,
    /// The processes that share the run.
    pub world: Rc<World>,
}

impl ResolvedRun {
    /// The run of `config`, which may still have open steps and micro-batches.
    ///
    /// # Errors
    /// Data that cannot be read, and sizes that do not fit.
    pub fn new(
        config: &RunConfig,
        compute: Compute,
        vocabulary: &Vocabulary,
        device: Device,
        world: &Rc<World>,
    ) -> Result<Self> {
        Ok(Self {
            bert: config.bert(vocabulary.size)?,
            data_fingerprint: DataFingerprint {
                vocabulary: vocabulary.hash.clone(),
                shards: shards_hash(&config.data)?,
            },
            vocabulary: vocabulary.clone(),
            phases: Phases::new(&config.data, &config.train)?.shared_by(world.size())?,
            config: config.clone(),
            compute,
            chooses_micro_batch: false,
            timing: None,
            device,
            world: world.clone(),
        })
    }

    /// All tables, as state.json holds them.
    ///
    /// # Errors
    /// Numbers that JSON does not have.
    pub fn tables(&self) -> Result<Value> {
        serde_json::to_value(&self.config)
            .map_err(|error| Error::failed("the configuration has no JSON form").caused_by(error))
    }

    /// All tables, as the run's config.toml.
    ///
    /// # Errors
    /// Numbers that TOML does not have.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.config)
            .map_err(|error| Error::failed("cannot write the resolved configuration").caused_by(error))
    }

    /// The training samples of `phase`.
    ///
    /// # Errors
    /// Missing or damaged shards, and a split shorter than one sample.
    pub fn samples(&self, phase: &Phase) -> Result<Samples> {
        let RunConfig { data, train, .. } = &self.config;
        let samples = Samples::open(&phase.data(data), &self.vocabulary, Split::Train, train.seed)?;
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
        let RunConfig { sharing, checkpoint, growth, .. } = &self.config;
        let remembers = growth.rule == Some(GrowthKind::VCycle);
        let place = (self.device, sharing.has_checks(), checkpoint.background, remembers);
        let (rule, course) = (self.config.rule(self.bert.num_hidden_layers)?, self.course()?);
        let layers = course.iter().map(|(step, walk)| (*step, rule.mean_layers(walk))).collect();
        Ok(RunStats { layers, ..RunStats::new(&self.bert, course, self.compute, place, phases) })
    }

    /// What a step and the whole run amount to, for a person, from its [`Self::stats`]; `rate` as [`Self::product_rate`] gives
    /// it.
    pub fn describe(&self, stats: &RunStats, rate: f64) -> String {
        let train = &self.config.train;
        let length = train.steps_from.as_ref().map(|from| format!("\nsteps              decided from {from}"));
        let length = length.unwrap_or_default();
        let kernels = train.kernels.describe(&self.bert, train.precision.compute_kind(), self.device);
        let rule = self.config.rule(self.bert.num_hidden_layers);
        let sharing = rule.map_or_else(|error| error.to_string(), |rule| describe(&*rule, train.steps));
        format!("{}{length}\nkernels            {kernels}\nsharing            {sharing}", stats.describe(rate))
    }

    /// The walks that the run goes through, as [`crate::growth::Rule::course`].
    ///
    /// # Errors
    /// A pattern of sharing that does not fit.
    pub fn course(&self) -> Result<Vec<(u64, LayerMap)>> {
        Ok(self.config.rule(self.bert.num_hidden_layers)?.course(self.config.train.steps))
    }

    /// The walk of the first step.
    ///
    /// # Errors
    /// As [`Self::course`].
    pub fn start_walk(&self) -> Result<LayerMap> {
        let course = self.course()?;
        course.into_iter().next().map(|(_, walk)| walk).ok_or_else(|| Error::failed("the rule has no first walk"))
    }

    /// What decides how the model is trained, besides its data.
    pub fn spec(&self) -> TrainSpec {
        TrainSpec {
            bert: self.bert.clone(),
            optim: self.config.optim.clone(),
            sharing: self.config.sharing.clone(),
            growth: self.config.growth.clone(),
            seed: self.config.train.seed,
            compute: self.compute,
            steps: self.config.train.steps,
            timing: self.timing,
        }
    }

    /// Random weights of the run's sizes and seed, shared as `map`.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn initial_weights(&self, map: &LayerMap) -> Result<Weights> {
        Weights::initialise(&self.bert, map, self.config.train.seed, self.compute.weight_kind(), self.device)
    }

    /// Where the run, with layers shared as `map`, stands before its first step.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn first_state(&self, map: &LayerMap) -> Result<RunState> {
        let (map, bert, data) = (map.clone(), self.bert.clone(), self.data_fingerprint.clone());
        Ok(RunState::first(map, bert, self.tables()?, data, environment(self.device)?))
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
        calibrate::product_rate(products, self.compute.kind, self.device, calibrate::BRIEF)
    }
}
