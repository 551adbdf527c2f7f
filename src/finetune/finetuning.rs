//! Fine-tuning as a [`Task`]: one run of a sweep, in which a pre-trained encoder with a new head learns with one learning rate and
//! one seed.
//!
//! In: a [`SweepContext`] and a [`Setting`]. Out: the scores at the end, and in the run's folder checkpoints, metrics and
//! predictions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{json, Value};
use tch::Device;

use crate::batch::random::SampleRandom;
use crate::checkpoint::{self, DataFingerprint, Loaded, RunState};
use crate::config::{GuardConfig, SpikeAction};
use crate::error::{Error, Result};
use crate::finetune::batch::{Example, TaskBatch};
use crate::finetune::config::FinetuneConfig;
use crate::finetune::eval_set::EvalSet;
use crate::finetune::loss::loss;
use crate::finetune::order::{examples_by_length, examples_of};
use crate::finetune::scoring::{ask, described, evaluate};
use crate::finetune::task_data::TaskData;
use crate::growth::{RuleKind, SharingConfig};
use crate::hub;
use crate::keys::flatten;
use crate::metrics::{Category, Chart, Dashboard};
use crate::model::{Bert, Mode, TaskHead};
use crate::optim::Moments;
use crate::parallel::World;
use crate::train::environment::environment;
use crate::train::{
    shared, Counts, Evaluated, Event, LoggedStep, Loss, Progress, RunFolder, RunOptions, StepBatch, StepMetrics,
    StopFlag, Task, TrainSpec, TrainState, Trainer,
};

/// What all runs of a sweep share.
pub struct SweepContext<'a> {
    /// The tables, `auto` decided.
    pub config: &'a FinetuneConfig,
    /// The task.
    pub data: &'a TaskData,
    /// A Hugging Face directory to start from.
    pub model: &'a Path,
    /// [`crate::metrics::results::file_hash`] of its weights.
    pub model_hash: &'a str,
    /// Where to compute.
    pub device: Device,
    /// The processes that share each run.
    pub world: Rc<World>,
    /// What asks to stop.
    pub stop: &'a StopFlag,
}

/// What the runs of a sweep differ in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Peak learning rate.
    pub lr: f64,
    /// Seed of head, order and dropout.
    pub seed: u64,
}

/// The scores of a finished run.
#[derive(Debug)]
pub struct Scored {
    /// By set and name; NaN where the run diverged.
    pub scores: BTreeMap<String, f64>,
    /// Why there are none.
    pub failure: Option<String>,
}

/// One run of a sweep.
pub struct Finetuning<'a> {
    context: &'a SweepContext<'a>,
    setting: Setting,
    folder: PathBuf,
    /// Steps whose batch has been made.
    step: u64,
}

/// Examples of one forward and backward.
#[derive(Debug)]
pub struct Examples {
    /// Which of the training set.
    numbers: Vec<u64>,
    epoch: u32,
}

/// Opens the run of `setting` in `folder`, at its newest checkpoint if there is one; `events` hears what happens.
///
/// # Errors
/// A model that does not fit, a checkpoint of another run, and libtorch's own.
pub fn open<'a>(
    context: &'a SweepContext<'a>,
    setting: Setting,
    folder: &Path,
    events: &'a mut dyn FnMut(Event),
) -> Result<Trainer<'a, Finetuning<'a>>> {
    let SweepContext { config, device, .. } = *context;
    let world = context.world.clone();
    let compute = config.train.compute();
    let mut task = Finetuning { context, setting, folder: folder.into(), step: 0 };
    let optim = config.optim.at(setting.lr);
    optim.validate(task.num_steps())?;
    let found = RunFolder::find(folder, true, &world, &mut *events)?;
    let loaded = shared(&world, compute.weight_kind(), device, || match &found.newest {
        Some(path) => {
            let loaded = checkpoint::load(path, compute.weight_kind(), device)?;
            task.same_run(&loaded.state, path)?;
            Ok(loaded)
        }
        None => task.start(),
    })?;
    task.step = loaded.state.step;
    let sharing = SharingConfig { rule: Some(RuleKind::Never), ..SharingConfig::default() };
    let spec = TrainSpec::new(loaded.state.bert.clone(), optim, sharing, compute, task.num_steps());
    let options = RunOptions {
        checkpoint: config.checkpoint.clone(),
        metrics: config.metrics.clone(),
        guard: GuardConfig { max_skipped: 0, spike: SpikeAction::Off, ..GuardConfig::default() },
        log_every: config.train.log_every,
        device,
        world,
    };
    Trainer::new(task, spec, loaded, found, options, events)
}

impl Finetuning<'_> {
    fn steps_of_epoch(&self) -> u64 {
        self.context.data.train.len().div_ceil(self.context.config.train.batch) as u64
    }

    /// The state before step 0: the pre-trained encoder and a new head.
    fn start(&self) -> Result<Loaded> {
        let SweepContext { config, data, device, model, .. } = *self.context;
        let kind = config.train.compute().weight_kind();
        let loaded = hub::load_for_task(model, data.head, self.setting.seed, kind, device)?;
        let (layer_map, mut bert, train) = (loaded.layer_map(), loaded.config, &config.train);
        bert.hidden_dropout_prob = train.hidden_dropout_prob.unwrap_or(bert.hidden_dropout_prob);
        bert.attention_probs_dropout_prob =
            train.attention_probs_dropout_prob.unwrap_or(bert.attention_probs_dropout_prob);
        let moments = Moments::zeros(&loaded.weights)?;
        let (identity, fingerprint) = self.identity()?;
        let state = RunState::first(layer_map, bert, identity, fingerprint, environment(device)?);
        Ok(Loaded { state, weights: loaded.weights, moments, remembered: None })
    }

    /// Refuses the checkpoint at `path` where it is of another run, by the first difference.
    fn same_run(&self, state: &RunState, path: &Path) -> Result<()> {
        let refuse = |what: &str| {
            Err(Error::config(format!("cannot resume from `{}`: {what}", path.display()))
                .hint("restore the settings, or choose another `--run-dir`"))
        };
        let (identity, fingerprint) = self.identity()?;
        let (before, now) = (flatten(&state.config), flatten(&identity));
        let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        if let Some(key) = keys.into_iter().find(|&key| before.get(key) != now.get(key)) {
            let show = |value: Option<&Value>| value.map_or("none".into(), Value::to_string);
            let (expected, got) = (show(before.get(key)), show(now.get(key)));
            return refuse(&format!("`{}` differs: expected {expected}, got {got}", key.trim_start_matches("tables.")));
        }
        if state.data != fingerprint {
            return refuse("the training examples differ");
        }
        Ok(())
    }
}

impl Task for Finetuning<'_> {
    type MicroBatch = Examples;
    type Summary = Scored;

    fn num_steps(&self) -> u64 {
        self.context.config.train.epochs * self.steps_of_epoch()
    }

    fn seed(&self) -> u64 {
        self.setting.seed
    }

    fn seek(&mut self, step: u64, _skipped: u64) -> Result<Option<String>> {
        self.step = step;
        Ok(None)
    }

    /// The examples of a step are cut into one part a process, a part into micro-batches. A process may have none, at the end of an
    /// epoch.
    fn next_batch(&mut self) -> Result<StepBatch<Examples>> {
        let SweepContext { config, data, .. } = *self.context;
        let (step, seed, batch, size) = (self.step, self.setting.seed, config.train.batch, data.train.len());
        let length = |at: u64| data.train[at as usize].token_ids.len();
        let numbers = match config.train.group_by_length {
            true => examples_by_length(step, batch, size, seed, length),
            false => examples_of(step, batch, size, seed),
        };
        self.step += 1;
        let epoch = (step / self.steps_of_epoch()) as u32;
        let (rank, of_part) = (self.context.world.rank(), numbers.len().div_ceil(self.context.world.size()));
        let parts: Vec<&[u64]> = numbers.chunks(of_part).collect();
        let count = |part: &&[u64]| part.len().div_ceil(config.micro_batch());
        let first = parts.iter().take(rank).map(count).sum();
        let part = parts.get(rank).copied().unwrap_or(&[]);
        let micro_batches =
            part.chunks(config.micro_batch()).map(|numbers| Examples { numbers: numbers.to_vec(), epoch }).collect();
        let tokens = numbers.iter().map(|&at| length(at) as u64).sum();
        let targets: usize = part.iter().map(|&at| data.train[at as usize].target.num_tags()).sum();
        let counts = Counts { sequences: part.len() as f64, targets: targets as f64, ..Counts::default() };
        Ok(StepBatch { micro_batches, first, tokens, counts })
    }

    fn loss(&self, model: &Bert, micro_batch: &Examples, counts: Counts) -> Result<Loss> {
        let SweepContext { data, device, .. } = *self.context;
        let Examples { numbers, epoch } = micro_batch;
        let examples: Vec<&Example> = numbers.iter().map(|&at| &data.train[at as usize]).collect();
        let keys: Vec<i64> =
            numbers.iter().map(|&at| SampleRandom::dropout_key(self.setting.seed, *epoch, at)).collect();
        let batch = TaskBatch::new(&examples, &keys, data.padding, device)?;
        let total = match data.head {
            TaskHead::Token { .. } => counts.targets.max(1.0),
            TaskHead::Sequence { .. } | TaskHead::Span => counts.sequences,
        };
        Ok(Loss { total: loss(model, &batch, total as usize, Mode::Train)?, parts: Vec::new() })
    }

    fn samples_consumed(&self, step: u64) -> u64 {
        let (of_epoch, size) = (self.steps_of_epoch(), self.context.data.train.len() as u64);
        let within = (step % of_epoch * self.context.config.train.batch as u64).min(size);
        step / of_epoch * size + within
    }

    /// An epoch is, but for the last one, whose model is scored on all sets.
    fn evaluates_after(&self, step: u64) -> bool {
        step < self.num_steps() && step.is_multiple_of(self.steps_of_epoch())
    }

    fn steps_of_an_evaluation(&self) -> f64 {
        let examples = self.context.data.sets.first().map_or(0, |dev| dev.examples.len());
        examples as f64 / self.context.config.train.batch as f64
    }

    /// On the first set. A model whose outputs are not finite has no scores, and trains on. Any other failure ends the run, as in
    /// pre-training: its checkpoint goes on from before.
    fn evaluate(&mut self, step: u64, state: &TrainState) -> Result<Evaluated> {
        let SweepContext { data, device, ref world, .. } = *self.context;
        let epoch = step / self.steps_of_epoch();
        let dev = &data.sets[0];
        let found = ask(state.model(), data, dev, device, world)?;
        Ok(match dev.scores(&found) {
            Ok(scores) => {
                let accuracy = scores.get(&data.selection()).copied().unwrap_or(f64::NAN);
                let words = format!("epoch {epoch}: {}", described(&scores));
                Evaluated { metrics: scores.into_iter().collect(), accuracy, words }
            }
            Err(error) if error.is_not_finite() => {
                Evaluated { metrics: Vec::new(), accuracy: f64::NAN, words: format!("epoch {epoch}: {error}") }
            }
            Err(error) => return Err(error),
        })
    }

    fn log(&self, _step: &LoggedStep<'_>, _metrics: &mut StepMetrics) -> Option<f64> {
        None
    }

    /// A chart for each set that is scored; thresholds are no scores.
    fn dashboard(&self) -> Result<Dashboard> {
        let SweepContext { config, data, model, .. } = *self.context;
        let chart = |set: &EvalSet| {
            let title = format!("Scores on {}", set.name);
            Chart::of(Category::Accuracy, &title, &[&format!("{}/(?!.*threshold).*", set.name)])
        };
        let charts = data.sets.iter().filter(|set| set.has_labels()).map(chart).collect();
        let mut settings = flatten(&config.computed()?);
        settings.insert("model.init".into(), json!(model));
        settings.insert("optim.lr".into(), json!(self.setting.lr));
        settings.insert("train.seed".into(), json!(self.setting.seed));
        Ok(Dashboard { charts, settings })
    }

    fn identity(&self) -> Result<(Value, DataFingerprint)> {
        let SweepContext { config, data, model_hash, .. } = *self.context;
        let Setting { lr, seed } = self.setting;
        let tables = json!({ "tables": config.computed()?, "lr": lr, "seed": seed, "model": model_hash });
        Ok((tables, DataFingerprint { vocabulary: model_hash.into(), shards: data.train_hash.clone() }))
    }

    fn finish(&mut self, state: &TrainState, _progress: &Progress, metrics: &mut StepMetrics) -> Result<Scored> {
        let SweepContext { data, device, ref world, .. } = *self.context;
        let scored = match evaluate(state.model(), data, &self.folder.join("predictions"), device, world) {
            Ok(scores) => Scored { scores, failure: None },
            Err(error) if error.is_not_finite() => {
                let failure = format!("{}: {error}; its scores count as not a number", self.folder.display());
                let scores = BTreeMap::from([(data.selection(), f64::NAN)]);
                Scored { scores, failure: Some(failure) }
            }
            Err(error) => return Err(error),
        };
        metrics.extend(scored.scores.clone());
        Ok(scored)
    }
}
