//! What the parts of a run take here, measured before it on a model of its own: the run itself is not touched.
//!
//! In: a [`Plan`]. Out: [`Costs`], the largest of all processes, so that all of them count with the same. Cost: a few steps of
//! every phase, tied as at the start and untied; an evaluation of a part of the held-out text; a checkpoint and an export, written
//! beside the run's folder and removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::batch::{Batch, Loader};
use crate::checkpoint::{CheckpointConfig, Saver};
use crate::error::{io, Result};
use crate::growth::{RuleKind, SharingConfig};
use crate::hub;
use crate::layer_map::LayerMap;
use crate::model::Weights;
use crate::optim::Moments;
use crate::train::active_phase::ActivePhase;
use crate::train::costs::{Costs, PhaseCosts};
use crate::train::evaluate::evaluate;
use crate::train::open::first_state;
use crate::train::plan::Plan;
use crate::train::state::{InitialState, TrainSpec, TrainState};
use crate::train::update::{loss_totals, update};

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
pub(super) fn measure(plan: &Plan, folder: &Path, budget: Duration) -> Result<Costs> {
    let layers = plan.bert.num_hidden_layers;
    let (start, untied) = (plan.sharing.start_map(layers)?, LayerMap::untied(layers));
    let maps = if start == untied { 1 } else { 2 };
    let share = (budget.as_secs_f64() / (plan.phases.list().len() * maps) as f64).min(LONGEST);
    let mut costs = Costs::default();
    for phase in plan.phases.list() {
        let begin = Instant::now();
        let active = ActivePhase::open(plan, *phase)?;
        costs.opening += begin.elapsed().as_secs_f64();
        let mut rehearsal = Rehearsal::new(plan, &active, &untied, false)?;
        let untied_step = rehearsal.seconds_of_a_step(share)?;
        let evaluation = rehearsal.seconds_of_an_evaluation()?;
        drop(rehearsal);
        let at_start = match maps {
            1 => untied_step,
            _ => Rehearsal::new(plan, &active, &start, false)?.seconds_of_a_step(share)?,
        };
        let check = match plan.sharing.has_checks() {
            true => (Rehearsal::new(plan, &active, &start, true)?.seconds_of_a_step(share)? - at_start).max(0.0),
            false => 0.0,
        };
        let sequence_length = phase.sequence_length;
        costs.phases.push(PhaseCosts { sequence_length, at_start, untied: untied_step, check, evaluation });
    }
    let begin = Instant::now();
    let (weights, moments) = random(plan, &untied)?;
    costs.opening += begin.elapsed().as_secs_f64();
    if plan.world.is_first() {
        let aside = Aside::beside(folder)?;
        costs.save = seconds_of_a_save(plan, &aside.0, &untied, &weights, &moments)?;
        let (begin, tokenizer) = (Instant::now(), aside.0.join("tokenizer.json"));
        fs::write(&tokenizer, &plan.vocabulary.json).map_err(|error| io("write", &tokenizer, error))?;
        hub::export(&aside.0.join("export"), &plan.bert, &untied, &weights, &tokenizer)?;
        costs.export = begin.elapsed().as_secs_f64();
    }
    let mut times = costs.times_mut();
    let mut values: Vec<f64> = times.iter().map(|time| **time).collect();
    plan.world.largest(&mut values)?;
    times.iter_mut().zip(values).for_each(|(time, value)| **time = value);
    Ok(costs)
}

fn seconds_of_a_save(plan: &Plan, aside: &Path, map: &LayerMap, weights: &Weights, moments: &Moments) -> Result<f64> {
    let state = first_state(plan, map)?;
    let begin = Instant::now();
    let mut saver = Saver::new(aside, &CheckpointConfig { background: false, ..plan.checkpoint.clone() });
    saver.save(&state, weights, moments)?;
    saver.wait()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// A model of the run's sizes with random weights, shared as `map`.
fn random(plan: &Plan, map: &LayerMap) -> Result<(Weights, Moments)> {
    let weights =
        Weights::initialise(&plan.bert, map, plan.train.seed, plan.train.precision.weight_kind(), plan.device)?;
    let moments = Moments::zeros(&weights)?;
    Ok((weights, moments))
}

/// A model that takes steps of one phase, to be timed.
struct Rehearsal<'a> {
    plan: &'a Plan,
    active: &'a ActivePhase,
    state: TrainState,
    loader: Loader,
}

impl<'a> Rehearsal<'a> {
    /// Shared as `map` to the end; `checks`: every step measures its layers' gradients.
    fn new(plan: &'a Plan, active: &'a ActivePhase, map: &LayerMap, checks: bool) -> Result<Self> {
        let sharing = SharingConfig {
            rule: Some(RuleKind::Never),
            transition: Vec::new(),
            monitor: checks,
            check_every: 1,
            ..plan.sharing.clone()
        };
        let (weights, moments) = random(plan, map)?;
        let (spec, start) = (TrainSpec { sharing, ..plan.spec() }, InitialState::new(map.clone(), weights, moments));
        let state = TrainState::new(spec, start, plan.world.clone())?;
        let loader = active.loader(plan, active.phase.start, 0)?;
        Ok(Self { plan, active, state, loader })
    }

    /// Seconds of a whole step, by steps of `share` seconds together. A step of more than two micro-batches takes what one of them
    /// does, and what each further one adds.
    fn seconds_of_a_step(&mut self, share: f64) -> Result<f64> {
        match self.active.phase.num_micro_batches() {
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
            if self.lap(count)? > share {
                break;
            }
        }
        let (mut spent, mut steps) = (0.0, 0.0);
        while steps == 0.0 || spent < share {
            spent += self.lap(count)?;
            steps += 1.0;
        }
        Ok(spent / steps)
    }

    /// Seconds of one step, of the slowest process.
    fn lap(&mut self, count: usize) -> Result<f64> {
        let begin = Instant::now();
        let batches: Vec<Batch> = (0..count).map(|_| self.loader.next_batch()).collect::<Result<_>>()?;
        let totals = loss_totals(&batches, &self.plan.world)?;
        // With no rate the weights stay as they are, and finite.
        let (pending, ..) = update(self.plan, &mut self.state, (0, 0.0), &batches, totals)?;
        pending.read()?;
        self.state.settle()?;
        let mut seconds = [begin.elapsed().as_secs_f64()];
        self.plan.world.largest(&mut seconds)?;
        Ok(seconds[0])
    }

    /// Seconds of an evaluation, by a part of its batches.
    fn seconds_of_an_evaluation(&self) -> Result<f64> {
        let Plan { device, world, train, eval, .. } = self.plan;
        let batch = self.active.eval_batch();
        let whole = eval.sequences.min(self.active.valid.num_samples());
        let part = whole.min(EVALUATED * (batch * world.size()) as u64);
        let begin = Instant::now();
        let model = self.state.model_in(train.precision.weight_kind())?;
        evaluate(&model, &self.active.valid, part, batch, *device, world)?;
        Ok(begin.elapsed().as_secs_f64() * whole as f64 / part.max(1) as f64)
    }
}

/// A temporary folder, removed when this is dropped.
struct Aside(PathBuf);

impl Aside {
    /// On the disk that `folder` is or will be on.
    fn beside(folder: &Path) -> Result<Self> {
        let there = folder.ancestors().skip(1).find(|parent| parent.is_dir()).unwrap_or(Path::new("."));
        let path = there.join(format!(".untie-measures-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| io("create", &path, error))?;
        Ok(Self(path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What is left is a hidden folder that the next run does not read.
        let _ = fs::remove_dir_all(&self.0);
    }
}
