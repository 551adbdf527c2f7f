//! One run of a sweep: a pre-trained encoder with a new head learns a task with one learning rate and one seed.
//!
//! In: a [`SweepContext`] and a [`Setting`]. Out: the scores at the end, and in the run's folder checkpoints, metrics and, at the
//! end, predictions. Which examples step s reads is a function of (seed, s): an epoch is a permutation of the training set,
//! its last step has what is left. A run that was killed goes on from its newest checkpoint as if nothing had happened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{json, Value};
use tch::{Device, Kind};
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::order::Permutation;
use crate::batch::random::SampleRandom;
use crate::checkpoint::{self, DataFingerprint, RunState, Saver, Totals};
use crate::error::{io, Error, Result};
use crate::finetune::batch::{Example, TaskBatch};
use crate::finetune::config::FinetuneConfig;
use crate::finetune::event::Event;
use crate::finetune::loss::{loss, outputs, Output};
use crate::finetune::task_data::{EvalSet, TaskData};
use crate::hub;
use crate::keys::flatten;
use crate::metrics::console::Line;
use crate::metrics::Recorder;
use crate::model::{Bert, Mode, TaskHead, Weights};
use crate::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming, ScalerState, Schedule};
use crate::step::{train_step, StepReport, Update};

/// Batches that share their examples when those are grouped by length.
pub const POOLED_BATCHES: u64 = 50;

/// Examples of a forward without a graph.
const EVALUATED_AT_ONCE: usize = 64;

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
    /// What bit-equal results depend on beside the configuration.
    pub environment: &'a BTreeMap<String, String>,
    /// The exit code of a signal that asks to stop.
    pub stop: &'a dyn Fn() -> Option<u8>,
}

/// What the runs of a sweep differ in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Peak learning rate.
    pub lr: f64,
    /// Seed of head, order and dropout.
    pub seed: u64,
}

/// A finished run.
#[derive(Debug)]
pub struct Finished {
    /// By set and name; NaN where the run diverged.
    pub scores: BTreeMap<String, f64>,
    /// Where it stands: steps, tokens and time, and the model's sizes.
    pub state: RunState,
    /// The weights.
    pub weights: Weights,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All steps are done.
    Finished(Box<Finished>),
    /// A signal asked to stop; the state is saved. Holds the exit code and the step.
    Stopped(u8, u64),
}

/// Trains `setting` in `folder`, from its newest checkpoint if there is one; `events` hears what happens.
///
/// # Errors
/// A model that does not fit, a checkpoint of another run, a disk that is full, and libtorch's own.
pub fn run(
    context: &SweepContext<'_>,
    setting: Setting,
    folder: &Path,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    Run::open(context, setting, folder, events)?.train()
}

/// Scores of `model` on the sets of `data`, with predictions in `folder`.
///
/// # Errors
/// Outputs that are not finite, a file that cannot be written, and libtorch's own.
pub fn evaluate(model: &Bert, data: &TaskData, folder: &Path, device: Device) -> Result<BTreeMap<String, f64>> {
    fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
    let mut scores = BTreeMap::new();
    for set in &data.sets {
        let outputs = ask(model, data, set, device)?;
        scores.extend(set.scores(&outputs)?);
        set.write(folder, &outputs)?;
    }
    Ok(scores)
}

struct Run<'a> {
    context: &'a SweepContext<'a>,
    setting: Setting,
    folder: PathBuf,
    optim: OptimConfig,
    schedule: Schedule,
    steps: u64,
    recorder: Recorder,
    saver: Saver,
    state: RunState,
    weights: Weights,
    moments: Moments,
    model: Bert,
    optimizer: Optimizer,
    clock: Instant,
    events: &'a mut dyn FnMut(Event),
}

impl<'a> Run<'a> {
    fn open(
        context: &'a SweepContext<'a>,
        setting: Setting,
        folder: &Path,
        events: &'a mut dyn FnMut(Event),
    ) -> Result<Self> {
        let SweepContext { config, data, .. } = *context;
        let optim = config.optim.at(setting.lr);
        let steps = config.train.epochs * steps_of_epoch(config, data);
        optim.validate(steps)?;
        let kind = config.train.precision.weight_kind();
        let identity = context.identity(setting)?;
        let found = checkpoint::newest_valid(folder)?;
        let is_fresh = found.is_none();
        let checkpoint::Loaded { state, weights, moments } = match found {
            Some((path, damaged)) => {
                for error in damaged {
                    events(Event::Note(format!("resume: {}", error.report().trim_start_matches("error: "))));
                }
                let loaded = checkpoint::load(&path, kind, context.device)?;
                same_run(&loaded.state, &identity, &context.fingerprint(), &path)?;
                loaded
            }
            None => context.start(setting, identity, kind)?,
        };
        weights.make_gradients()?;
        let compute = config.train.compute();
        let model = Bert::new(&state.bert, &state.layer_map, &weights, compute)?;
        let scaler = (compute.kind == Kind::Half).then(|| state.scaler.unwrap_or_default());
        let num_updates = moments.num_updates;
        let optimizer = Optimizer::new(
            &weights,
            num_updates,
            GroupGradient::Mean,
            scaler,
            ReportTiming::for_device(context.device),
        )?;
        let recorder = match is_fresh {
            true => Recorder::create(folder, &config.metrics)?,
            false => Recorder::resume(folder, &config.metrics, state.step)?,
        };
        let schedule = Schedule::new(&optim, steps, 0);
        let saver = Saver::new(folder, &config.checkpoint);
        let (folder, clock) = (folder.into(), Instant::now());
        Ok(Self {
            context,
            setting,
            folder,
            optim,
            schedule,
            steps,
            recorder,
            saver,
            state,
            weights,
            moments,
            model,
            optimizer,
            clock,
            events,
        })
    }

    fn train(mut self) -> Result<Outcome> {
        let SweepContext { config, data, .. } = *self.context;
        let of_epoch = steps_of_epoch(config, data);
        (self.events)(Event::Steps { done: self.state.step, of: self.steps });
        let (mut since, mut tokens) = (Instant::now(), 0);
        while self.state.step < self.steps {
            if let Some(code) = (self.context.stop)() {
                let before = self.saver.wait();
                self.tolerate(before)?;
                self.save()?;
                self.saver.wait()?;
                (self.events)(Event::EndOfSteps);
                return Ok(Outcome::Stopped(code, self.state.step));
            }
            let learning_rate = self.schedule.learning_rate(self.state.step);
            let (report, read) = self.step(learning_rate)?;
            tokens += read;
            let step = self.state.step;
            if !report.applied {
                self.note(format!("step {step}: loss or gradient is not finite, the update is skipped"));
            }
            if step == self.steps || step.is_multiple_of(config.train.log_every) {
                let rate = tokens as f64 / since.elapsed().as_secs_f64();
                (since, tokens) = (Instant::now(), 0);
                self.recorder.record(
                    step,
                    &[
                        ("train/loss", report.loss),
                        ("train/lr", learning_rate),
                        ("train/grad_norm", report.grad_norm),
                        ("train/tokens_per_second", rate),
                    ],
                )?;
                let line = Line { loss: report.loss, accuracy: None, learning_rate, tokens_per_second: rate };
                (self.events)(Event::Step { step, line });
            }
            if step < self.steps && step.is_multiple_of(of_epoch) {
                let dev = &data.sets[0];
                let scores = ask(&self.model, data, dev, self.context.device).and_then(|found| dev.scores(&found));
                match scores {
                    Ok(scores) => {
                        self.record(&scores)?;
                        self.note(format!("epoch {}: {}", step / of_epoch, described(&scores)));
                    }
                    Err(error) => self.note(format!("epoch {}: {error}", step / of_epoch)),
                }
                // The rate is that of steps alone.
                (since, tokens) = (Instant::now(), 0);
            }
            if step == self.steps || step.is_multiple_of(config.checkpoint.every) {
                let before = self.saver.wait();
                self.tolerate(before)?;
                let saved = self.save();
                match step == self.steps {
                    true => saved.and_then(|()| self.saver.wait())?,
                    false => self.tolerate(saved)?,
                }
            }
        }
        (self.events)(Event::EndOfSteps);
        let folder = self.folder.join("predictions");
        let scores = match evaluate(&self.model, data, &folder, self.context.device) {
            Ok(scores) => scores,
            Err(error) if error.is_not_finite() => {
                let run = self.folder.display();
                (self.events)(Event::Note(format!("{run}: {error}; its scores count as not a number")));
                BTreeMap::from([(data.selection(), f64::NAN)])
            }
            Err(error) => return Err(error),
        };
        self.record(&scores)?;
        self.recorder.flush()?;
        Ok(Outcome::Finished(Box::new(Finished { scores, state: self.state, weights: self.weights })))
    }

    /// A checkpoint that could not be written ends the run, or is told, as `checkpoint.on_error` says.
    fn tolerate(&mut self, saved: Result<()>) -> Result<()> {
        if let Some(words) = self.saver.tolerated(saved)? {
            self.note(format!("step {}: {words}", self.state.step));
        }
        Ok(())
    }

    /// One step; its report, and the tokens that it read.
    fn step(&mut self, learning_rate: f64) -> Result<(StepReport, u64)> {
        let SweepContext { config, data, device, .. } = *self.context;
        let (step, seed) = (self.state.step, self.setting.seed);
        let of_epoch = steps_of_epoch(config, data);
        let epoch = (step / of_epoch) as u32;
        let (batch, size) = (config.train.batch, data.train.len());
        let numbers = match config.train.group_by_length {
            true => examples_by_length(step, batch, size, seed, |at| data.train[at as usize].token_ids.len()),
            false => examples_of(step, batch, size, seed),
        };
        let chunks: Vec<&[u64]> = numbers.chunks(config.micro_batch()).collect();
        let (model, total) = (&self.model, numbers.len());
        let update = Update { optim: &self.optim, learning_rate, sync: None };
        let (optimizer, moments) = (&mut self.optimizer, &mut self.moments);
        let pending = train_step(optimizer, &self.weights, moments, update, chunks.len(), |index| {
            // Where libtorch drops out; our own kernels go by the examples' keys.
            let words = [seed, step, index as u64].map(u64::to_le_bytes).concat();
            tch::manual_seed(xxh3_64(&words) as i64);
            let examples: Vec<&Example> = chunks[index].iter().map(|&at| &data.train[at as usize]).collect();
            let keys: Vec<i64> = chunks[index].iter().map(|&at| SampleRandom::dropout_key(seed, epoch, at)).collect();
            let batch = TaskBatch::new(&examples, &keys, data.padding, device)?;
            loss(model, &batch, total, Mode::Train)
        })?;
        let report = pending.read()?;
        self.state.totals.skipped_steps += self.optimizer.settle(&mut self.moments)?;
        let tokens = numbers.iter().map(|&at| data.train[at as usize].token_ids.len() as u64).sum();
        self.state.step += 1;
        self.state.samples_consumed += total as u64;
        self.state.totals.tokens += tokens;
        Ok((report, tokens))
    }

    fn note(&mut self, words: String) {
        (self.events)(Event::Note(words));
    }

    fn record(&mut self, scores: &BTreeMap<String, f64>) -> Result<()> {
        let values: Vec<(&str, f64)> = scores.iter().map(|(name, &score)| (name.as_str(), score)).collect();
        self.recorder.record(self.state.step, &values)
    }

    fn save(&mut self) -> Result<()> {
        self.state.totals.wall_seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.state.num_updates = self.moments.num_updates;
        self.state.scaler = self.optimizer.scaler()?;
        // Metrics on disk first: a checkpoint must never be ahead of them.
        self.recorder.flush()?;
        self.saver.save(&self.state, &self.weights, &self.moments)
    }
}

impl SweepContext<'_> {
    /// What makes a run this run and no other: a checkpoint goes on under the same only.
    fn identity(&self, setting: Setting) -> Result<Value> {
        let tables = self.config.computed()?;
        Ok(json!({ "tables": tables, "lr": setting.lr, "seed": setting.seed, "model": self.model_hash }))
    }

    fn fingerprint(&self) -> DataFingerprint {
        DataFingerprint { vocabulary: self.model_hash.into(), shards: self.data.train_hash.clone() }
    }

    /// The state before step 0: the pre-trained encoder and a new head.
    fn start(&self, setting: Setting, identity: Value, kind: Kind) -> Result<checkpoint::Loaded> {
        let head: TaskHead = self.data.head;
        let loaded = hub::load_for_task(self.model, head, setting.seed, kind, self.device)?;
        let mut bert = loaded.config.clone();
        let train = &self.config.train;
        bert.hidden_dropout_prob = train.hidden_dropout_prob.unwrap_or(bert.hidden_dropout_prob);
        bert.attention_probs_dropout_prob =
            train.attention_probs_dropout_prob.unwrap_or(bert.attention_probs_dropout_prob);
        let moments = Moments::zeros(&loaded.weights)?;
        let state = RunState {
            format: checkpoint::FORMAT,
            step: 0,
            layer_map: loaded.layer_map(),
            num_updates: 0,
            scaler: None::<ScalerState>,
            samples_consumed: 0,
            samples_skipped: 0,
            guard: Value::Null,
            rule: Value::Null,
            config: identity,
            totals: Totals::default(),
            environment: self.environment.clone(),
            untying: Vec::new(),
            data: self.fingerprint(),
            bert,
        };
        Ok(checkpoint::Loaded { state, weights: loaded.weights, moments })
    }
}

fn same_run(state: &RunState, identity: &Value, fingerprint: &DataFingerprint, path: &Path) -> Result<()> {
    let refuse = |what: &str| {
        Err(Error::config(format!("cannot resume from `{}`: {what}", path.display()))
            .hint("restore the settings, or choose another `--run-dir`"))
    };
    let (before, now) = (flatten(&state.config), flatten(identity));
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    if let Some(key) = keys.into_iter().find(|&key| before.get(key) != now.get(key)) {
        let show = |value: Option<&Value>| value.map_or("none".into(), Value::to_string);
        let (expected, got) = (show(before.get(key)), show(now.get(key)));
        return refuse(&format!("`{}` differs: expected {expected}, got {got}", key.trim_start_matches("tables.")));
    }
    if state.data != *fingerprint {
        return refuse("the training examples differ");
    }
    Ok(())
}

/// Steps of an epoch; the last one has what is left.
pub(super) fn steps_of_epoch(config: &FinetuneConfig, data: &TaskData) -> u64 {
    data.train.len().div_ceil(config.train.batch) as u64
}

/// The numbers of the examples of step `step`, from 0, among `size` in all: a function of (seed, step).
pub fn examples_of(step: u64, batch: usize, size: usize, seed: u64) -> Vec<u64> {
    let of_epoch = size.div_ceil(batch) as u64;
    let order = Permutation::new(size as u64, seed, (step / of_epoch) as u32);
    let first = step % of_epoch * batch as u64;
    (first..(first + batch as u64).min(size as u64)).map(|position| order.at(position)).collect()
}

/// [`examples_of`] where examples of like lengths meet: the examples of up to [`POOLED_BATCHES`] steps in a row, sorted by
/// length, are dealt out to them, the longest first, as transformers' `group_by_length` does.
pub fn examples_by_length(step: u64, batch: usize, size: usize, seed: u64, length: impl Fn(u64) -> usize) -> Vec<u64> {
    let of_epoch = size.div_ceil(batch) as u64;
    let (epoch, within) = (step / of_epoch, step % of_epoch);
    let first = within - within % POOLED_BATCHES;
    let pool = first..of_epoch.min(first + POOLED_BATCHES);
    let mut examples: Vec<u64> =
        pool.flat_map(|step| examples_of(epoch * of_epoch + step, batch, size, seed)).collect();
    examples.sort_by_key(|&at| Reverse(length(at)));
    examples.chunks(batch).nth((within - first) as usize).map(<[u64]>::to_vec).unwrap_or_default()
}

/// What `model` says about the examples of `set`, in their order; examples of like lengths are asked together.
fn ask(model: &Bert, data: &TaskData, set: &EvalSet, device: Device) -> Result<Vec<Output>> {
    let mut order: Vec<usize> = (0..set.examples.len()).collect();
    order.sort_by_key(|&at| set.examples[at].token_ids.len());
    let mut found: Vec<Option<Output>> = vec![None; order.len()];
    for chunk in order.chunks(EVALUATED_AT_ONCE) {
        let examples: Vec<&Example> = chunk.iter().map(|&at| &set.examples[at]).collect();
        let batch = TaskBatch::new(&examples, &[], data.padding, device)?;
        for (&at, output) in chunk.iter().zip(outputs(model, &batch, &examples, data.head == TaskHead::Span)?) {
            found[at] = Some(data.ordered(output));
        }
    }
    found.into_iter().map(|output| output.ok_or_else(|| Error::failed("an example has no output"))).collect()
}

/// Scores in per cent, for a person.
pub(super) fn described(scores: &BTreeMap<String, f64>) -> String {
    let shown = |(name, score): (&String, &f64)| match name.ends_with("threshold") {
        true => format!("{name} {score:.3}"),
        false => format!("{name} {:.2}", 100.0 * score),
    };
    scores.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_every_example_once() {
        for (size, batch) in [(10, 4), (8, 4), (3, 5), (1, 1)] {
            let of_epoch = usize::div_ceil(size, batch) as u64;
            for epoch in 0..3 {
                let steps = epoch * of_epoch..(epoch + 1) * of_epoch;
                let mut seen: Vec<u64> = steps.flat_map(|step| examples_of(step, batch, size, 5)).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..size as u64), "{size} by {batch}");
            }
        }
        assert_ne!(examples_of(0, 8, 100, 1), examples_of(0, 8, 100, 2));
    }

    /// 130 batches: two whole pools and one of 30, whose last batch has 3 examples.
    #[test]
    fn grouped_by_length_an_epoch_still_reads_every_example_once() {
        let (batch, size, seed) = (4, 519, 5);
        let length = |at: u64| (at * 7919 % 97) as usize;
        let grouped = |step| examples_by_length(step, batch, size, seed, length);
        for epoch in 0..2 {
            let steps = epoch * 130..(epoch + 1) * 130;
            let sizes: Vec<usize> = steps.clone().map(|step| grouped(step).len()).collect();
            assert!(sizes[..129].iter().all(|&size| size == 4) && sizes[129] == 3);
            for pool in [0..50, 50..100, 100..130] {
                let steps = steps.start + pool.start..steps.start + pool.end;
                let lengths: Vec<usize> = steps.clone().flat_map(grouped).map(length).collect();
                assert!(lengths.is_sorted_by(|one, other| one >= other));
                let set = |examples: Vec<u64>| examples.into_iter().collect::<BTreeSet<_>>();
                let plain = steps.clone().flat_map(|step| examples_of(step, batch, size, seed)).collect();
                assert_eq!(set(steps.flat_map(grouped).collect()), set(plain));
            }
        }
    }
}
