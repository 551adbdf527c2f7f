//! What the parts of a run take here, measured before it on a model of its own: the run itself is not touched.
//!
//! In: a [`ResolvedRun`]. Out: [`Costs`], the largest of all processes, so that all of them count with the same. Cost: a few steps of
//! every phase, of the cheapest walk and untied; an evaluation of a part of the held-out text; a checkpoint and an export, written
//! beside the run's folder and removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::checkpoint::{CheckpointConfig, Saver};
use crate::error::{io, Result};
use crate::growth::{GrowthConfig, SharingConfig};
use crate::hub;
use crate::layer_map::LayerMap;
use crate::model::Weights;
use crate::optim::Moments;
use crate::pretrain::costs::{cheapest_walk, Costs, PhaseCosts};
use crate::pretrain::evaluate::evaluate;
use crate::pretrain::pretraining::Pretraining;
use crate::pretrain::resolved_run::ResolvedRun;
use crate::train::{InitialState, Task, TaskStep, TrainSpec, TrainState};

/// Steps before the measured ones, where a step is shorter than its share of the time.
const WARM_UP: usize = 3;
/// Micro-batches of a process that are evaluated at most.
const EVALUATED: u64 = 8;
/// Measured steps of one kind take at most so many seconds, or are one.
const LONGEST: f64 = 20.0;

/// What the parts of the run take, in about `budget`; the checkpoint of `folder` is tried beside it.
///
/// # Errors
/// Invalid data, a folder that cannot be written, a process that is gone, and libtorch's own.
pub(super) fn measure(run: &ResolvedRun, folder: &Path, budget: Duration) -> Result<Costs> {
    let layers = run.bert.num_hidden_layers;
    let cheapest = cheapest_walk(&*run.config.rule(layers)?, run.config.train.steps)?;
    let untied = LayerMap::untied(layers);
    let maps = if cheapest == untied { 1 } else { 2 };
    let share = (budget.as_secs_f64() / (run.phases.list().len() * maps) as f64).min(LONGEST);
    let mut costs = Costs::default();
    for phase in run.phases.list() {
        let begin = Instant::now();
        let mut task = Pretraining::open(run.clone(), folder, (phase.start, 0))?;
        costs.opening += begin.elapsed().as_secs_f64();
        let mut timer = StepTimer::new(run, &mut task, &untied, false)?;
        let untied_step = timer.seconds_of_a_step(share)?;
        let evaluation = timer.seconds_of_an_evaluation()?;
        drop(timer);
        let of_cheapest = match maps {
            1 => untied_step,
            _ => StepTimer::new(run, &mut task, &cheapest, false)?.seconds_of_a_step(share)?,
        };
        let check = match run.config.sharing.has_checks() {
            true => (StepTimer::new(run, &mut task, &cheapest, true)?.seconds_of_a_step(share)? - of_cheapest).max(0.0),
            false => 0.0,
        };
        let sequence_length = phase.sequence_length;
        costs.phases.push(PhaseCosts {
            sequence_length,
            cheapest: of_cheapest,
            untied: untied_step,
            check,
            evaluation,
        });
    }
    let begin = Instant::now();
    let (weights, moments) = random(run, &untied)?;
    costs.opening += begin.elapsed().as_secs_f64();
    if run.world.is_first() {
        let aside = ScratchFolder::beside(folder)?;
        costs.save = seconds_of_a_save(run, &aside.0, &untied, &weights, &moments)?;
        let (begin, tokenizer) = (Instant::now(), aside.0.join("tokenizer.json"));
        fs::write(&tokenizer, &run.vocabulary.json).map_err(|error| io("write", &tokenizer, error))?;
        hub::export(&aside.0.join("export"), &run.bert, &untied, &weights, &tokenizer)?;
        costs.export = begin.elapsed().as_secs_f64();
    }
    let mut times = costs.times_mut();
    let mut values: Vec<f64> = times.iter().map(|time| **time).collect();
    run.world.largest(&mut values)?;
    times.iter_mut().zip(values).for_each(|(time, value)| **time = value);
    Ok(costs)
}

fn seconds_of_a_save(
    run: &ResolvedRun,
    aside: &Path,
    map: &LayerMap,
    weights: &Weights,
    moments: &Moments,
) -> Result<f64> {
    let state = run.first_state(map)?;
    let begin = Instant::now();
    let mut saver = Saver::new(aside, &CheckpointConfig { background: false, ..run.config.checkpoint.clone() });
    saver.save(&state, weights, moments, None)?;
    saver.wait()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// A model of the run's sizes with random weights, shared as `map`.
fn random(run: &ResolvedRun, map: &LayerMap) -> Result<(Weights, Moments)> {
    let weights = run.initial_weights(map)?;
    let moments = Moments::zeros(&weights)?;
    Ok((weights, moments))
}

/// A model that takes steps of one phase, to be timed.
struct StepTimer<'a> {
    run: &'a ResolvedRun,
    task: &'a mut Pretraining,
    state: TrainState,
}

impl<'a> StepTimer<'a> {
    /// Shared as `map` to the end; `checks`: every step measures its layers' gradients.
    fn new(run: &'a ResolvedRun, task: &'a mut Pretraining, map: &LayerMap, checks: bool) -> Result<Self> {
        let sharing = run.config.sharing.without_transitions();
        let sharing = SharingConfig { monitor: checks, check_every: 1, ..sharing };
        let growth = GrowthConfig::default();
        let (weights, moments) = random(run, map)?;
        let (spec, start) =
            (TrainSpec { sharing, growth, ..run.spec() }, InitialState::new(map.clone(), weights, moments));
        let state = TrainState::new(spec, start, run.world.clone())?;
        task.seek(task.active().phase.start, 0)?;
        Ok(Self { run, task, state })
    }

    /// Seconds of a whole step, by steps of `share` seconds together. A step of more than two micro-batches takes what one of them
    /// does, and what each further one adds.
    fn seconds_of_a_step(&mut self, share: f64) -> Result<f64> {
        match self.task.active().phase.num_micro_batches() {
            all @ (1 | 2) => self.seconds_of(all, share),
            all => {
                let one = self.seconds_of(1, share / 2.0)?;
                let two = self.seconds_of(2, share / 2.0)?;
                Ok(one + (all - 1) as f64 * (two - one).max(0.0))
            }
        }
    }

    /// The mean time of steps of `count` micro-batches. All processes take as many.
    fn seconds_of(&mut self, count: usize, share: f64) -> Result<f64> {
        for _ in 0..WARM_UP {
            if self.timed_step(count)? > share {
                break;
            }
        }
        let (mut spent, mut steps) = (0.0, 0.0);
        while steps == 0.0 || spent < share {
            spent += self.timed_step(count)?;
            steps += 1.0;
        }
        Ok(spent / steps)
    }

    /// Seconds of one step, of the slowest process.
    fn timed_step(&mut self, count: usize) -> Result<f64> {
        let begin = Instant::now();
        let batch = self.task.batch_of(count)?;
        // With no rate the weights stay as they are, and finite.
        let done = TaskStep::take(self.task, &mut self.state, (0, 0.0), &batch, &self.run.world)?;
        done.pending.read()?;
        self.state.settle()?;
        let mut seconds = [begin.elapsed().as_secs_f64()];
        self.run.world.largest(&mut seconds)?;
        Ok(seconds[0])
    }

    /// Seconds of an evaluation, by a part of its batches.
    fn seconds_of_an_evaluation(&self) -> Result<f64> {
        let ResolvedRun { device, world, compute, config, .. } = self.run;
        let active = self.task.active();
        let batch = active.eval_batch();
        let whole = config.eval.sequences.min(active.valid.num_samples());
        let part = whole.min(EVALUATED * (batch * world.size()) as u64);
        let begin = Instant::now();
        let model = self.state.model_in(compute.weight_kind())?;
        evaluate(&model, &active.valid, part, batch, *device, world)?;
        Ok(begin.elapsed().as_secs_f64() * whole as f64 / part.max(1) as f64)
    }
}

/// A temporary folder, removed when this is dropped.
struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// On the disk that `folder` is or will be on.
    fn beside(folder: &Path) -> Result<Self> {
        let there = folder.ancestors().skip(1).find(|parent| parent.is_dir()).unwrap_or(Path::new("."));
        let path = there.join(format!(".untie-measures-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| io("create", &path, error))?;
        Ok(Self(path))
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // What is left is a hidden folder that the next run does not read.
        let _ = fs::remove_dir_all(&self.0);
    }
}
