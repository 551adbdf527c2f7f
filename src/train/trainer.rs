//! The training loop, the same for every [`Task`].
//!
//! In: a task, the state that it starts from, and the folder of the run. Out: checkpoints and metrics in that folder, and what the
//! task makes of its end. Which samples step s reads is a function of s alone, whatever happened before.

use std::time::Instant;

use crate::checkpoint::{self, Loaded};
use crate::config::SpikeAction;
use crate::error::Result;
use crate::growth::Check;
use crate::metrics::RunEnd;
use crate::optim::Schedule;
use crate::step::StepReport;
use crate::train::dashboard::with_loop;
use crate::train::event::{Event, Line};
use crate::train::guard::Guard;
use crate::train::metrics::{StepClock, StepMetrics};
use crate::train::options::{Outcome, RunOptions};
use crate::train::progress::Progress;
use crate::train::run_files::RunFiles;
use crate::train::run_folder::{shared, RunFolder};
use crate::train::state::{TrainSpec, TrainState};
use crate::train::stop::{Stop, StopFlag};
use crate::train::task::{Counts, Evaluated, LoggedStep, StepBatch, Task};
use crate::train::task_step::{Backward, StepMessage, TaskStep};

/// A run in its folder.
pub struct Trainer<'a, T: Task> {
    task: T,
    state: TrainState,
    progress: Progress,
    guard: Guard,
    schedule: Schedule,
    /// The next step's batch, where it has been fetched.
    prefetched: Option<StepBatch<T::MicroBatch>>,
    files: RunFiles,
    /// Whether nothing has been recorded yet.
    is_fresh: bool,
    clock: StepClock,
    /// When the time of the run was last added to its totals.
    unsaved: Instant,
    options: RunOptions,
    events: &'a mut dyn FnMut(Event),
}

/// What follows a step.
#[derive(Clone, Copy)]
struct Due {
    is_last: bool,
    logs: bool,
    evaluates: bool,
    saves: bool,
    /// Whether its numbers are needed.
    reads: bool,
}

impl<'a, T: Task> Trainer<'a, T> {
    /// Goes on with `loaded` in `folder`. The data of `task` are open at the step of `loaded`; `events` is told what happens.
    ///
    /// # Errors
    /// Tensors that do not fit `spec`, a folder that cannot be written, and libtorch's own.
    pub fn new(
        task: T,
        spec: TrainSpec,
        loaded: Loaded,
        mut folder: RunFolder,
        options: RunOptions,
        events: &'a mut dyn FnMut(Event),
    ) -> Result<Self> {
        let progress = Progress::from(&loaded.state);
        let step = progress.step;
        if options.world.is_first() {
            folder.create()?;
        }
        let guard = Guard::restore(&loaded.state.guard)?;
        let is_fresh = folder.is_fresh;
        let state = TrainState::from_loaded(spec, loaded, is_fresh, options.world.clone())?;
        Ok(Self {
            task,
            guard,
            schedule: state.schedule(progress.schedule_start),
            progress,
            prefetched: None,
            is_fresh,
            state,
            files: RunFiles::open(folder, &options.metrics, &options.checkpoint, step, &options.world)?,
            clock: StepClock::new(),
            unsaved: Instant::now(),
            options,
            events,
        })
    }

    /// Trains to the end, or until `stop` asks.
    ///
    /// # Errors
    /// Data that cannot be read, a full disk, a process that is gone, and libtorch's own.
    pub fn train(&mut self, stop: &StopFlag) -> Result<Outcome<T::Summary>> {
        let outcome = self.run(stop);
        if outcome.is_err() {
            // The error is what counts, also where the disk is full.
            let _ = self.files.end(self.progress.step, RunEnd::Failed);
        }
        outcome
    }

    fn run(&mut self, stop: &StopFlag) -> Result<Outcome<T::Summary>> {
        self.start()?;
        // What the processes told each other with the last step.
        let mut message = None;
        while self.progress.step < self.task.num_steps() {
            self.poll_checkpoint()?;
            if let Some(reason) = self.asked_to_stop(stop, message)? {
                return self.save_and_stop(reason);
            }
            self.open_phase()?;
            self.clock.begin_step();
            let learning_rate = self.schedule.learning_rate(self.progress.step);
            let done = self.step(learning_rate, stop, message)?;
            message = self.message(&done)?;
            let due = self.due(&done);
            let report = if due.reads { Some(done.pending.read()?) } else { None };
            self.end_step(&done);
            if let Some(report) = &report {
                self.count_skipped(Some(report))?;
                if self.rolls_back(report.loss)? {
                    continue;
                }
            }
            let mut metrics = StepMetrics::default();
            let found = if due.evaluates { Some(self.evaluate(&mut metrics)?) } else { None };
            self.grow(done.check.as_ref(), found, &mut metrics)?;
            if let Some(report) = report.filter(|_| due.logs) {
                self.log(&done, &report, learning_rate, &mut metrics)?;
            }
            self.files.record(self.progress.step, &metrics)?;
            if due.saves {
                self.save_checkpoint(due.is_last)?;
            }
            self.clock.end_iteration(due.evaluates);
        }
        self.finish()
    }

    /// The task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// The model in training.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// How far the run is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// A new run asks its rule before the first step.
    fn start(&mut self) -> Result<()> {
        (self.events)(Event::Steps { done: self.progress.step, of: self.task.num_steps() });
        self.unsaved = Instant::now();
        self.files.describe(&with_loop(self.task.dashboard()?, &self.state)?)?;
        let mut metrics = StepMetrics::default();
        if self.is_fresh {
            self.grow(None, None, &mut metrics)?;
            self.task.log_model(&self.state, &mut metrics);
        }
        self.files.record(self.progress.step, &metrics)
    }

    fn poll_checkpoint(&mut self) -> Result<()> {
        let saved = self.files.poll();
        self.tolerate(saved)
    }

    /// Why the run stops now. Several processes stop together: one of them has asked for it in the message of the last step. Before the
    /// first step there is no message, so they ask each other.
    fn asked_to_stop(&self, stop: &StopFlag, message: Option<StepMessage>) -> Result<Option<Stop>> {
        let mine = self.own_stop(stop);
        if self.options.world.size() == 1 {
            return Ok(mine);
        }
        if let Some(message) = message {
            return Ok(Stop::from_number(message.stop));
        }
        let mut number = [f64::from(Stop::number_of(mine))];
        self.options.world.largest(&mut number)?;
        Ok(Stop::from_number(number[0] as u32))
    }

    /// Why this process asks to stop: a signal, or a deadline with no time left for two more steps.
    fn own_stop(&self, stop: &StopFlag) -> Option<Stop> {
        let needed = self.clock.needed(self.task.steps_of_an_evaluation()) + self.files.time_of_a_save(&self.state);
        stop.requested(2 * needed)
    }

    /// What the processes told each other with the step `done`. A process alone has nothing to hear, so it does not wait for the device.
    fn message(&self, done: &TaskStep) -> Result<Option<StepMessage>> {
        match self.options.world.size() {
            1 => Ok(None),
            _ => done.message().map(Some),
        }
    }

    fn save_and_stop(&mut self, reason: Stop) -> Result<Outcome<T::Summary>> {
        self.count_skipped(None)?;
        // Whatever became of the one before: this one must succeed.
        let before = self.files.wait();
        self.tolerate(before)?;
        self.save()?;
        self.files.wait()?;
        // Who starts the processes may end the others once one has.
        self.options.world.barrier()?;
        (self.events)(Event::EndOfSteps);
        Ok(Outcome::Stopped(reason, self.progress.step))
    }

    fn open_phase(&mut self) -> Result<()> {
        if self.progress.step == self.task.phase_end() {
            self.guard.forget_losses();
            self.seek()?;
        }
        Ok(())
    }

    fn seek(&mut self) -> Result<()> {
        self.prefetched = None;
        if let Some(words) = self.task.seek(self.progress.step, self.progress.samples_skipped)? {
            self.note(&words);
        }
        Ok(())
    }

    /// One step; where memory does not suffice for it, once more in smaller micro-batches, if the task has some.
    fn step(&mut self, learning_rate: f64, stop: &StopFlag, message: Option<StepMessage>) -> Result<TaskStep> {
        let backward = loop {
            // The batch may have been fetched during the last step, whose message has its counts over all processes.
            let (batch, counts) = match (self.prefetched.take(), message) {
                (Some(batch), Some(message)) => (batch, message.next),
                _ => {
                    let batch = self.task.next_batch()?;
                    let counts = batch.counts.over(&self.options.world)?;
                    (batch, counts)
                }
            };
            match Backward::run(&self.task, &mut self.state, self.progress.step, &batch, counts) {
                Ok(backward) => break backward,
                // The other processes are in the middle of the same step.
                Err(error) if !self.options.world.is_alone() || !error.is_out_of_memory() => return Err(error),
                Err(error) => {
                    let words = self.task.make_room(error)?;
                    (self.events)(Event::note(self.progress.step + 1, &words));
                    self.seek()?;
                }
            }
        };
        if self.options.world.size() > 1 && self.progress.step + 1 < self.task.phase_end() {
            self.prefetched = Some(self.task.next_batch()?);
        }
        let next = self.prefetched.as_ref().map_or(Counts::default(), |batch| batch.counts);
        let stop = Stop::number_of(self.own_stop(stop));
        let done = backward.update(&mut self.state, learning_rate, stop, next)?;
        self.progress.step += 1;
        self.progress.totals.tokens += done.tokens;
        Ok(done)
    }

    /// Counts what the step took.
    fn end_step(&mut self, done: &TaskStep) {
        // Layers that do not train have a forward only, a third of their products.
        let layers = done.num_layers as f64 - self.state.num_frozen_layers() as f64 * 2.0 / 3.0;
        let totals = &mut self.progress.totals;
        totals.flops += self.task.flops(layers);
        totals.step_seconds += self.clock.end_step(done.tokens, layers);
    }

    fn due(&self, done: &TaskStep) -> Due {
        let step = self.progress.step;
        let is_last = step == self.task.num_steps();
        let is_due = |every: u64| is_last || every > 0 && step.is_multiple_of(every);
        let logs = is_due(self.options.log_every);
        let evaluates = self.task.evaluates_after(step);
        let saves = is_due(self.options.checkpoint.every);
        // Where reading waits for the device, only what is about to be used is read, so that the host can work ahead.
        // Also before a phase is opened, whose measurement would wait for steps outside of their time.
        let uses = done.check.is_some() || logs || evaluates || saves || step == self.task.phase_end();
        Due { is_last, logs, evaluates, saves, reads: done.pending.is_read() || uses }
    }

    /// Counts and tells the steps that were skipped since the last time; `report` is that of the last step, if it was read.
    fn count_skipped(&mut self, report: Option<&StepReport>) -> Result<()> {
        let num_skipped = self.state.settle()?;
        if num_skipped == 0 {
            // Without a report no step has been taken since the last time.
            if report.is_some() {
                self.guard.count(0, true);
            }
            return Ok(());
        }
        self.progress.totals.skipped_steps += num_skipped;
        let in_a_row = self.guard.count(num_skipped, report.is_some_and(|report| report.applied));
        let most = self.options.guard.max_skipped;
        if most > 0 && in_a_row >= most {
            return Err(self.files.diverged(self.progress.step, in_a_row));
        }
        let mut words = match report {
            Some(report) if num_skipped == 1 && !report.applied => format!(
                "loss {} or gradient norm {} is not finite, the update is skipped",
                report.loss, report.grad_norm
            ),
            _ => format!("{num_skipped} updates up to here were skipped, where loss or gradient norm was not finite"),
        };
        if let Some(scaler) = self.state.scaler()? {
            words.push_str(&format!("; the loss scale is now {}", scaler.scale));
        }
        self.note(&words);
        Ok(())
    }

    /// Holds `loss` against those before it; after a spike the run may go back to a checkpoint.
    fn rolls_back(&mut self, loss: f64) -> Result<bool> {
        let step = self.progress.step;
        let Some(spike) = self.guard.check_loss(&self.options.guard, step, loss) else { return Ok(false) };
        self.note(&spike.to_string());
        if self.options.guard.spike != SpikeAction::Rollback {
            return Ok(false);
        }
        let RunOptions { guard, world, device, .. } = &self.options;
        if self.progress.totals.rollbacks >= guard.max_rollbacks {
            return Err(guard.spikes_again(step));
        }
        let Some(target) = self.files.checkpoint_before(spike, guard, world)? else {
            self.note("there is no checkpoint to go back to");
            return Ok(false);
        };
        let spec = self.state.spec().clone();
        let loaded = shared(world, spec.compute.weight_kind(), *device, || {
            checkpoint::load(&self.files.roll_back(target)?, spec.compute.weight_kind(), *device)
        })?;
        let before = std::mem::replace(&mut self.progress, Progress::from(&loaded.state));
        self.state = TrainState::from_loaded(spec, loaded, false, world.clone())?;
        self.schedule = self.state.schedule(self.progress.schedule_start);
        self.guard = Guard::default();
        let read = self.task.samples_consumed(step) + before.samples_skipped;
        let progress = &mut self.progress;
        progress.samples_skipped = read - self.task.samples_consumed(progress.step);
        // Time and skips stay on the account of the run, the tokens of the steps that are done again do not count twice.
        let checkpoint::Totals { tokens, flops, .. } = progress.totals;
        progress.totals = checkpoint::Totals { tokens, flops, rollbacks: before.totals.rollbacks + 1, ..before.totals };
        self.files.cut_metrics(self.progress.step)?;
        self.prefetched = None;
        self.task.seek(self.progress.step, self.progress.samples_skipped)?;
        let words =
            format!("back to the checkpoint of step {target}; training continues with the samples from {read} on");
        (self.events)(Event::note(step, &words));
        // What is left out must stay so, also if the run dies before its next checkpoint.
        self.save()?;
        self.files.wait()?;
        Ok(true)
    }

    fn evaluate(&mut self, metrics: &mut StepMetrics) -> Result<Evaluated> {
        let found = self.task.evaluate(self.progress.step, &self.state)?;
        metrics.extend(found.metrics.iter().cloned());
        self.note(&found.words);
        Ok(found)
    }

    /// Asks the rule, and changes the model as it says. Also after the last step: a run that is made longer goes on from there as
    /// one that was always that long. `found` is the evaluation of this step, if there was one.
    fn grow(&mut self, check: Option<&Check>, found: Option<Evaluated>, metrics: &mut StepMetrics) -> Result<()> {
        let step = self.progress.step;
        let transition = self.state.decide(step, check);
        if let Some(check) = check {
            self.record_check(check, metrics)?;
        }
        let Some(transition) = transition else { return Ok(()) };
        let found = match found {
            Some(found) => found,
            None => self.task.evaluate(step, &self.state)?,
        };
        let before = self.state.map().clone();
        self.state.grow(&transition)?;
        let after = self.state.map();
        let (groups, changes_depth) = (after.num_groups(), after.num_layers() != before.num_layers());
        let layers = changes_depth.then_some(after.num_layers());
        if changes_depth {
            // Losses of another model are no measure.
            self.guard.forget_losses();
        }
        let change = match layers {
            None if groups == before.num_groups() => format!("the same {groups} sets of layer weights"),
            None => format!("untied, {} → {groups} sets of layer weights", before.num_groups()),
            Some(layers) => format!("{} → {layers} layers", before.num_layers()),
        };
        if transition.restarts_schedule {
            self.progress.schedule_start = step;
            self.schedule = self.state.schedule(step);
        }
        if *after != before {
            self.progress.untying.push(checkpoint::Untying { step, groups, mlm_accuracy: found.accuracy, layers });
        }
        metrics.extend(found.metrics);
        self.task.log_model(&self.state, metrics);
        self.note(&format!("{change}: {}; just before: {}", transition.reason, found.words));
        Ok(())
    }

    fn record_check(&mut self, check: &Check, metrics: &mut StepMetrics) -> Result<()> {
        let threshold = self.state.spec().sharing.threshold;
        metrics.check(check, threshold);
        self.files.record_matrix(self.progress.step, "sharing/correlation_matrix", &check.matrix)?;
        let standing = self.state.rule().standing(self.state.map());
        let standing = standing.map_or(String::new(), |standing| format!("; {standing}"));
        let (below, pairs) = check.below(threshold);
        self.note(&format!("gradient correlations {}, {below} of {pairs} below {threshold}{standing}", check.range()));
        Ok(())
    }

    fn log(
        &mut self,
        done: &TaskStep,
        report: &StepReport,
        learning_rate: f64,
        metrics: &mut StepMetrics,
    ) -> Result<()> {
        let (tokens_per_second, mean_layers) = self.clock.take_rate();
        metrics.insert("train/loss", report.loss);
        metrics.insert("train/lr", learning_rate);
        metrics.insert("train/grad_norm", report.grad_norm);
        if let Some(scale) = report.loss_scale {
            metrics.insert("train/loss_scale", scale);
        }
        metrics.insert("train/tokens_per_second", tokens_per_second);
        let sums = done.message()?.sums;
        let (counts, state, progress) = (done.counts, &self.state, &self.progress);
        let logged = LoggedStep { progress, counts, sums, tokens_per_second, mean_layers };
        self.task.log_model(state, metrics);
        let accuracy = self.task.log(&logged, metrics);
        let line = Line { loss: report.loss, accuracy, learning_rate, tokens_per_second };
        (self.events)(Event::Step { step: progress.step, line });
        Ok(())
    }

    /// The checkpoint that is due; that of the last step must succeed.
    fn save_checkpoint(&mut self, is_last: bool) -> Result<()> {
        let before = self.files.wait();
        self.tolerate(before)?;
        self.state.check_same()?;
        let saved = self.save();
        match is_last {
            true => saved.and_then(|()| self.files.wait()),
            false => self.tolerate(saved),
        }
    }

    fn save(&mut self) -> Result<()> {
        self.progress.totals.wall_seconds += self.unsaved.elapsed().as_secs_f64();
        self.unsaved = Instant::now();
        let samples = self.task.samples_consumed(self.progress.step);
        let identity = self.task.identity()?;
        let saved = self.progress.to_run_state(&self.state, &self.guard, identity, samples, self.options.device)?;
        self.files.save(&saved, &self.state)
    }

    /// A checkpoint that could not be written ends the run, or is told, as `checkpoint.on_error` says.
    fn tolerate(&mut self, saved: Result<()>) -> Result<()> {
        if let Some(words) = self.files.tolerated(saved)? {
            self.note(&words);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Outcome<T::Summary>> {
        (self.events)(Event::EndOfSteps);
        let mut metrics = StepMetrics::default();
        let summary = self.task.finish(&self.state, &self.progress, &mut metrics)?;
        self.files.record(self.progress.step, &metrics)?;
        self.files.end(self.progress.step, RunEnd::Finished)?;
        self.files.flush()?;
        Ok(Outcome::Finished(summary))
    }

    fn note(&mut self, words: &str) {
        (self.events)(Event::note(self.progress.step, words));
    }
}
