//! The pre-training loop of one run folder.
//!
//! In: a [`Plan`] (sizes, tables, tokenizer) and a folder. Out: checkpoints, metrics, and an exported model in that
//! folder. Which samples step s of the run reads is a function of s alone (of its phase: s·G to (s+1)·G with G the global
//! batch), whatever happened before: the state is the weights, the moments, the layer map and one integer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::batch::{Batch, Loader};
use crate::checkpoint::{self, RunState, Saver, Totals, Untying};
use crate::error::{Error, Result};
use crate::files::FolderLock;
use crate::growth::{Check, Transition};
use crate::hub;
use crate::metrics::console::{Line, Progress};
use crate::metrics::Recorder;
use crate::optim::Schedule;
use crate::parallel::World;
use crate::step::StepReport;
use crate::train::active_phase::ActivePhase;
use crate::train::auto_micro_batch::make_room;
use crate::train::environment;
use crate::train::evaluate::{evaluate, Evaluation};
use crate::train::guard::{Guard, Spike, SpikeAction};
use crate::train::metrics::{padding, Speed, StepMetrics};
use crate::train::open::{open, write_config, Opened};
use crate::train::phases::Phase;
use crate::train::plan::Plan;
use crate::train::rollback::{check_loss, diverged, go_back};
use crate::train::run_stats::RunStats;
use crate::train::state::TrainState;
use crate::train::stop::{Stop, StopFlag};
use crate::train::summary::Summary;
use crate::train::update::{loss_totals, update};

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All steps are done.
    Finished(Box<Summary>),
    /// Something asked to stop; the state is saved. Holds what, and the step.
    Stopped(Stop, u64),
}

/// A run in its folder.
#[derive(Debug)]
pub struct Run {
    plan: Plan,
    folder: PathBuf,
    active: ActivePhase,
    stats: RunStats,
    recorder: Recorder,
    saver: Saver,
    schedule: Schedule,
    state: TrainState,
    step: u64,
    /// Whether nothing has been recorded yet.
    is_fresh: bool,
    totals: Totals,
    untying: Vec<Untying>,
    /// Samples left out by going back.
    samples_skipped: u64,
    guard: Guard,
    /// No other process writes to the folder while it is held.
    _lock: Option<FolderLock>,
}

impl Run {
    /// Opens the data and the folder: a new run, or with `resume` the newest valid checkpoint (a new run if there is
    /// none).
    ///
    /// # Errors
    /// Invalid data, a folder that has checkpoints without `resume`, a checkpoint of another run, full disk.
    pub fn open(plan: Plan, folder: &Path, resume: bool) -> Result<Self> {
        let Opened { saved, state, guard, active, stats, recorder, is_fresh, lock } = open(&plan, folder, resume)?;
        let run = Self {
            guard,
            samples_skipped: saved.samples_skipped,
            schedule: Schedule::new(&plan.optim, plan.train.steps, 0),
            saver: Saver::new(folder, &plan.checkpoint),
            _lock: lock,
            folder: folder.into(),
            step: saved.step,
            is_fresh,
            totals: saved.totals,
            untying: saved.untying,
            active,
            stats,
            recorder,
            state,
            plan,
        };
        write_config(&run.plan, &run.folder)?;
        Ok(run)
    }

    /// What a step and the whole run amount to, and how fast the machine's matrix products are.
    pub fn describe(&self) -> String {
        let rate = self.active.product_rate * self.plan.world.size() as f64;
        let mut text = self.plan.describe(&self.stats, rate);
        for share in self.active.valid.held_out() {
            text.push_str(&format!("\nheld out           {share}; `data.valid_fraction` = {}", share.fraction));
        }
        text
    }

    /// Trains to the end, or until `stop` asks; then exports.
    ///
    /// # Errors
    /// A damaged shard, full disk, and libtorch's own.
    pub fn train(&mut self, stop: &StopFlag) -> Result<Outcome> {
        let steps = self.plan.train.steps;
        let mut loader = self.loader()?;
        let world = self.plan.world.clone();
        let mut progress = match world.is_first() {
            true => Progress::new(steps, self.step),
            false => Progress::silent(),
        };
        let mut clock = Instant::now();
        let mut last = None;
        if self.is_fresh {
            let mut metrics = StepMetrics::new();
            if let Some(transition) = self.state.decide(0, None) {
                self.grow(&transition, &mut metrics, None, &progress)?;
            }
            metrics.insert("sharing/groups", self.state.map().num_groups() as f64);
            self.recorder.record(0, &metrics.list())?;
        }
        let mut speed = Speed::default();
        let (mut slowest, mut has_evaluated) = (Duration::ZERO, self.plan.eval.every == 0);
        while self.step < steps {
            let saved = self.saver.poll();
            self.tolerate(saved, &progress)?;
            // The first evaluation of a process is foreseen from its steps, which take three times as long.
            let ActivePhase { phase, eval_length, .. } = &self.active;
            let held_out = self.plan.eval.sequences as f64 * *eval_length as f64;
            let evaluation = slowest.mul_f64(held_out / (phase.part() * phase.sequence_length) as f64);
            let needed = slowest + self.time_of_a_save() + if has_evaluated { Duration::ZERO } else { evaluation };
            if let Some(reason) = agreed(stop.requested(2 * needed), &world)? {
                self.settle(None, &progress)?;
                // Whatever became of the one before: this one must succeed.
                let before = self.saver.wait();
                self.tolerate(before, &progress)?;
                self.save(&mut clock)?;
                self.saver.wait()?;
                // Who starts the processes may end the others once one has.
                world.barrier()?;
                progress.finish();
                return Ok(Outcome::Stopped(reason, self.step));
            }
            if self.step == self.active.phase.end {
                self.active = ActivePhase::open(&self.plan, self.plan.phases.after(self.step))?;
                self.guard.forget_losses();
                loader = self.loader()?;
                let Phase { sequence_length, global_batch, .. } = self.active.phase;
                let held_out = if self.plan.eval.sequence_length.is_none() { ", also held-out ones" } else { "" };
                progress.note(&format!(
                    "step {}: from here on {global_batch} sequences of {sequence_length} tokens{held_out}",
                    self.step
                ));
            }
            let begin = Instant::now();
            let learning_rate = self.schedule.learning_rate(self.step);
            let (batches, totals, (pending, check, counts)) = loop {
                let numbers = 0..self.active.phase.num_micro_batches();
                let batches: Vec<Batch> = numbers.map(|_| loader.next_batch()).collect::<Result<_>>()?;
                let totals = loss_totals(&batches, &world)?;
                match update(&self.plan, &mut self.state, (self.step, learning_rate), &batches, totals) {
                    Ok(done) => break (batches, totals, done),
                    Err(error) => self.make_room(error, &progress)?,
                }
                // The same samples, in smaller micro-batches.
                loader = self.loader()?;
            };
            let tokens = self.active.phase.tokens();
            self.step += 1;
            self.totals.tokens += tokens;
            let ends = self.step == steps;
            let logs = ends || is_due(self.step, self.plan.train.log_every);
            let evaluates = ends || is_due(self.step, self.plan.eval.every);
            let saves = ends || is_due(self.step, self.plan.checkpoint.every);
            // Where reading waits for the device, only what is about to be used is read, so that the host can work ahead.
            // Also before a phase is opened, whose measurement would wait for steps outside of their time.
            let uses = check.is_some() || logs || evaluates || saves || self.step == self.active.phase.end;
            let report = match pending.is_read() || uses {
                true => Some(pending.read()?),
                false => None,
            };
            speed.add(tokens, begin.elapsed().as_secs_f64());
            let mut spike = None;
            if let Some(report) = &report {
                self.settle(Some(report), &progress)?;
                spike = check_loss(&mut self.guard, &self.plan.guard, self.step, report.loss, &progress);
            }
            if let Some(spike) = spike.filter(|_| self.plan.guard.spike == SpikeAction::Rollback) {
                if self.go_back(spike, &progress)? {
                    loader = self.loader()?;
                    // What is left out must stay so, also if the run dies before its next checkpoint.
                    self.save(&mut clock)?;
                    self.saver.wait()?;
                    continue;
                }
            }
            let mut metrics = StepMetrics::new();
            last = if evaluates { Some(self.evaluate()?) } else { None };
            if let Some(found) = last {
                metrics.evaluation(found);
                progress.note(&format!("step {}: held-out {found}", self.step));
            }
            // Also after the last step: a run that is made longer goes on from here as one that was always that long.
            let transition = self.state.decide(self.step, check.as_ref());
            if let Some(check) = &check {
                self.record_check(&mut metrics, check, &progress)?;
            }
            if let Some(transition) = transition {
                self.grow(&transition, &mut metrics, last, &progress)?;
            }
            if let Some(report) = report.filter(|_| logs) {
                let rate = speed.take();
                self.step_metrics(&mut metrics, &report, learning_rate, rate);
                let right = counts.accuracies(totals, &world)?;
                metrics.accuracies(&right);
                if let Some(padding) = padding(&batches, &world)? {
                    metrics.insert("data/padding", padding);
                }
                let accuracy = Some(right.mlm_accuracy);
                let line = Line { loss: report.loss, accuracy, learning_rate, tokens_per_second: rate };
                progress.update(self.step, &line);
            }
            if !metrics.is_empty() {
                self.recorder.record(self.step, &metrics.list())?;
            }
            if saves {
                let before = self.saver.wait();
                self.tolerate(before, &progress)?;
                self.state.check_same()?;
                let saved = self.save(&mut clock);
                match ends {
                    true => saved.and_then(|()| self.saver.wait())?,
                    false => self.tolerate(saved, &progress)?,
                }
            }
            slowest = slowest.max(begin.elapsed());
            has_evaluated |= evaluates;
        }
        progress.finish();
        // A finished run that is resumed trains no step: it is evaluated again for the summary, and exported again.
        let evaluation = match last {
            Some(found) => found,
            None => self.evaluate()?,
        };
        let export = self.folder.join("export");
        if world.is_first() {
            let tokenizer = self.folder.join("tokenizer.json");
            hub::export(&export, &self.plan.bert, self.state.map(), self.state.weights(), &tokenizer)?;
        }
        world.barrier()?;
        let (totals, untying) = (self.totals, self.untying.clone());
        Ok(Outcome::Finished(Box::new(Summary { steps, totals, untying, evaluation, export })))
    }

    /// Counts and tells the steps that were skipped since the last time; `report` is that of the last step, if it was read.
    fn settle(&mut self, report: Option<&StepReport>, progress: &Progress) -> Result<()> {
        let num_skipped = self.state.settle()?;
        if num_skipped == 0 {
            // Without a report no step has been taken since the last time.
            if report.is_some() {
                self.guard.count(0, true);
            }
            return Ok(());
        }
        self.totals.skipped_steps += num_skipped;
        let in_a_row = self.guard.count(num_skipped, report.is_some_and(|report| report.applied));
        let most = self.plan.guard.max_skipped;
        if most > 0 && in_a_row >= most {
            return Err(diverged(&self.folder, &mut self.saver, self.step, in_a_row));
        }
        let mut note = match report {
            Some(report) if num_skipped == 1 && !report.applied => format!(
                "step {}: loss {} or gradient norm {} is not finite, the update is skipped",
                self.step, report.loss, report.grad_norm
            ),
            _ => format!(
                "step {}: {num_skipped} updates up to here were skipped, where loss or gradient norm was not finite",
                self.step
            ),
        };
        if let Some(scaler) = self.state.scaler()? {
            note.push_str(&format!("; the loss scale is now {}", scaler.scale));
        }
        progress.note(&note);
        Ok(())
    }

    /// After a step that failed with `error`: as [`make_room`].
    fn make_room(&mut self, error: Error, progress: &Progress) -> Result<()> {
        let words = make_room(&mut self.plan, &mut self.active.phase, error)?;
        write_config(&self.plan, &self.folder)?;
        progress.note(&format!("step {}: {words}", self.step + 1));
        Ok(())
    }

    /// Goes back from `spike`, as [`go_back`]; from there on the run reads the samples behind those that it has read so far.
    /// Metrics after the checkpoint are cut off. Returns whether there was a checkpoint to go back to.
    fn go_back(&mut self, spike: Spike, progress: &Progress) -> Result<bool> {
        let now = (self.step, self.totals.rollbacks);
        let Some((saved, state)) = go_back(&self.plan, &self.folder, &mut self.saver, now, spike)? else {
            progress.note(&format!("step {}: there is no checkpoint to go back to", self.step));
            return Ok(false);
        };
        let read = self.plan.phases.samples_consumed(self.step) + self.samples_skipped;
        self.state = state;
        let step_before = std::mem::replace(&mut self.step, saved.step);
        // Time and skips stay on the account of the run, the tokens of the steps that are done again do not count twice.
        self.totals.tokens = saved.totals.tokens;
        self.totals.rollbacks += 1;
        self.untying = saved.untying;
        self.guard = Guard::default();
        self.samples_skipped = read - self.plan.phases.samples_consumed(self.step);
        if self.plan.world.is_first() {
            self.recorder = Recorder::resume(&self.folder, &self.plan.metrics, self.step)?;
        }
        self.active = ActivePhase::open(&self.plan, self.plan.phases.after(self.step))?;
        progress.note(&format!(
            "step {step_before}: back to the checkpoint of step {}, and on with the samples from {read} on",
            self.step
        ));
        Ok(true)
    }

    /// Micro-batches from here on.
    fn loader(&self) -> Result<Loader> {
        self.active.loader(&self.plan, self.step, self.samples_skipped)
    }

    /// Changes the shape of the model. `found` is the evaluation of this step, if there was one.
    fn grow(
        &mut self,
        transition: &Transition,
        metrics: &mut StepMetrics,
        found: Option<Evaluation>,
        progress: &Progress,
    ) -> Result<()> {
        let found = match found {
            Some(found) => found,
            None => self.evaluate()?,
        };
        let before = self.state.map().num_groups();
        self.state.grow(transition)?;
        let groups = self.state.map().num_groups();
        self.untying.push(Untying { step: self.step, groups, mlm_accuracy: found.accuracy });
        metrics.evaluation(found);
        metrics.insert("sharing/groups", groups as f64);
        progress.note(&format!(
            "step {}: untied, {before} → {groups} sets of layer weights: {}; held-out just before: {found}",
            self.step, transition.reason
        ));
        Ok(())
    }

    fn record_check(&mut self, metrics: &mut StepMetrics, check: &Check, progress: &Progress) -> Result<()> {
        let threshold = self.plan.sharing.threshold;
        metrics.check(check, threshold);
        self.recorder.record_matrix(self.step, "sharing/correlation_matrix", &check.matrix)?;
        let standing = self.state.rule().standing(self.state.map());
        let standing = standing.map_or(String::new(), |standing| format!("; {standing}"));
        let (below, pairs) = check.below(threshold);
        progress.note(&format!(
            "step {}: gradient correlations {}, {below} of {pairs} below {threshold}{standing}",
            self.step,
            check.range()
        ));
        Ok(())
    }

    fn evaluate(&self) -> Result<Evaluation> {
        let (train, sequences) = (&self.plan.train, self.plan.eval.sequences);
        // The same tensors in the precision of the weights, as `untie eval` computes.
        let model = self.state.model_in(train.precision.weight_kind())?;
        let Plan { device, world, .. } = &self.plan;
        evaluate(&model, &self.active.valid, sequences, self.active.eval_batch(), *device, world)
    }

    fn step_metrics(&self, metrics: &mut StepMetrics, report: &StepReport, learning_rate: f64, rate: f64) {
        let ActivePhase { phase, train, product_seconds, .. } = &self.active;
        metrics.insert("train/loss", report.loss);
        metrics.insert("train/lr", learning_rate);
        metrics.insert("train/grad_norm", report.grad_norm);
        if let Some(scale) = report.loss_scale {
            metrics.insert("train/loss_scale", scale);
        }
        metrics.insert("train/tokens_per_second", rate);
        // What the products of one process's part take at its rate.
        metrics.insert("train/mfu", rate * product_seconds / self.plan.world.size() as f64);
        metrics.insert("sharing/groups", self.state.map().num_groups() as f64);
        metrics.insert(
            "data/epoch",
            (phase.position(self.step) + self.samples_skipped) as f64 / train.num_samples() as f64,
        );
    }

    fn save(&mut self, clock: &mut Instant) -> Result<()> {
        self.totals.wall_seconds += clock.elapsed().as_secs_f64();
        *clock = Instant::now();
        let saved = RunState {
            format: checkpoint::FORMAT,
            step: self.step,
            layer_map: self.state.map().clone(),
            num_updates: self.state.moments().num_updates,
            scaler: self.state.scaler()?,
            samples_consumed: self.plan.phases.samples_consumed(self.step) + self.samples_skipped,
            samples_skipped: self.samples_skipped,
            guard: serde_json::to_value(&self.guard)
                .map_err(|error| Error::failed("the guard has no JSON form").caused_by(error))?,
            data: self.plan.data_fingerprint.clone(),
            rule: self.state.rule().state(),
            config: self.plan.config.clone(),
            totals: self.totals,
            environment: environment::environment(self.plan.device)?,
            untying: self.untying.clone(),
            bert: self.plan.bert.clone(),
        };
        if !self.plan.world.is_first() {
            return Ok(());
        }
        // Metrics on disk first: a checkpoint must never be ahead of them.
        self.recorder.flush()?;
        self.saver.save(&saved, self.state.weights(), self.state.moments())
    }

    /// A checkpoint that could not be written ends the run, or is told, as `checkpoint.on_error` says.
    fn tolerate(&self, saved: Result<()>, progress: &Progress) -> Result<()> {
        if let Some(words) = self.saver.tolerated(saved)? {
            progress.note(&format!("step {}: {words}", self.step));
        }
        Ok(())
    }

    /// How long a checkpoint may take: as long as the longest so far, the first one by its size.
    fn time_of_a_save(&self) -> Duration {
        const SLOW_DISK: f64 = 50e6; // bytes a second
        match self.saver.longest() {
            Duration::ZERO => {
                let weights: usize = self.state.weights().entries().iter().map(|weight| weight.tensor.numel()).sum();
                Duration::from_secs_f64(12.0 * weights as f64 / SLOW_DISK)
            }
            longest => longest,
        }
    }
}

/// Why the processes of `world` stop together, where one of them was asked to: `mine` is what asked this one.
fn agreed(mine: Option<Stop>, world: &World) -> Result<Option<Stop>> {
    if world.size() == 1 {
        return Ok(mine);
    }
    let mut number = [mine.map_or(0.0, |stop| f64::from(stop.number()))];
    world.largest(&mut number)?;
    Ok(Stop::from_number(number[0] as u32))
}

/// Whether something that happens every `every` steps (0: never) happens after `step`.
fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
