//! What a run will take here: a few of its steps, on its own data, before and after untying.
//!
//! In: a [`ResolvedRun`]. Out: for each phase tokens a second, memory and what a step waits for its batch; the time of all steps, as [`Costs`] predicts it; and
//! where wanted the time of a checkpoint. A step of more than two micro-batches is measured with two: its time is that of the
//! two, and forward and backward once more for each of the others.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{json, Map, Value};

use crate::batch::{Batch, Loader, Share};
use crate::bench::memory::mebibytes;
use crate::bench::report::{facts, predicted_mib, Products};
use crate::bench::{BenchModel, BenchOptions, Stopwatch, TimingStats};
use crate::checkpoint::{CheckpointConfig, RunState, Saver};
use crate::config::Phase;
use crate::error::{io, Result};
use crate::layer_map::LayerMap;
use crate::metrics::human::human_duration;
use crate::pretrain::costs::{cheapest_walk, Costs, PhaseCosts};
use crate::pretrain::run_stats::PhaseStats;
use crate::pretrain::{Memory, ResolvedRun};
use crate::train::Event;

/// Micro-batches of a measured step.
const MOST_MICRO_BATCHES: usize = 2;

/// Times of a checkpoint.
const NUM_SAVES: u64 = 3;

/// One phase under one sharing.
struct Pace {
    /// Of a whole step.
    step_seconds: f64,
    json: Value,
}

/// Measures every phase of `run` as `options` says, the cheapest step and an untied one, and where `save_in` names a folder a
/// checkpoint there, which is removed again.
///
/// # Errors
/// Invalid data, a folder that cannot be written, and libtorch's own.
pub fn calibrate(
    run: &ResolvedRun,
    options: BenchOptions,
    save_in: Option<&Path>,
    events: &mut dyn FnMut(Event),
) -> Result<Value> {
    let model = BenchModel {
        bert: run.bert.clone(),
        optim: run.config.optim.clone(),
        sharing: run.config.sharing.clone(),
        precision: run.config.train.precision,
        compute: run.compute,
        device: run.device,
    };
    let layers = run.bert.num_hidden_layers;
    let steps = run.config.train.steps;
    let (start, untied) = (cheapest_walk(&*run.config.rule(layers)?, steps)?, LayerMap::untied(layers));
    let untie_at = run.course()?.get(1).map_or(steps, |(step, _)| *step);
    let (mut phases, mut costs) = (Vec::new(), Costs::default());
    for stats in &run.stats()?.phases {
        let phase = stats.phase;
        let (rows, targets) = (phase.micro_batch * phase.sequence_length, phase.micro_batch * stats.capacity());
        let products = Products::of(&model, rows, targets, options)?;
        let before = pace(run, &model, &start, stats, products, options, events)?;
        let after =
            if start == untied { None } else { Some(pace(run, &model, &untied, stats, products, options, events)?) };
        let untied = after.as_ref().map_or(before.step_seconds, |pace| pace.step_seconds);
        costs.phases.push(PhaseCosts { cheapest: before.step_seconds, untied, ..PhaseCosts::default() });
        phases.push(json!({
            "steps": phase.end - phase.start,
            "sequence_length": phase.sequence_length,
            "global_batch": phase.global_batch,
            "micro_batch": phase.micro_batch,
            "product_tflops": products.rate / 1e12,
            "at_start": before.json,
            "untied": after.map(|pace| pace.json),
        }));
    }
    let seconds = costs.seconds(&run.config, layers, steps)?;
    let mut report = facts(&model)?;
    let body = json!({
        "phases": phases,
        "untied_from_step": untie_at,
        // Without evaluations and checkpoints.
        "predicted_seconds": seconds,
        "predicted": human_duration(seconds),
    });
    if let Some(folder) = save_in {
        report.extend(save(run, &model, &untied, folder)?);
    }
    report.extend(body.as_object().cloned().unwrap_or_default());
    Ok(Value::Object(report))
}

fn pace(
    run: &ResolvedRun,
    model: &BenchModel,
    map: &LayerMap,
    stats: &PhaseStats,
    products: Products,
    options: BenchOptions,
    events: &mut dyn FnMut(Event),
) -> Result<Pace> {
    let phase: Phase = stats.phase;
    let loader =
        Loader::start(Arc::new(run.samples(&phase)?), 0, Share::whole(phase.micro_batch), run.config.data.workers)?;
    let all = phase.num_micro_batches();
    let some = all.min(MOST_MICRO_BATCHES);
    let (sequences, length, groups) = (phase.global_batch, phase.sequence_length, map.num_groups());
    events(Event::Note(format!("{sequences} sequences of {length}, {groups} sets of layer weights")));
    let predicted = Memory::of(&stats.step(&run.bert, map, run.compute, (run.device, false)));
    let mut stopwatch = model.start(map, run.config.model.init.as_deref())?;
    let next = || (0..some).map(|_| loader.next_batch()).collect::<Result<Vec<Batch>>>();
    let measured = stopwatch.measure(options, next, events)?;
    let median = |values: &[f64]| TimingStats::of(values).map_or(0.0, |stats| stats.median);
    let step_seconds = median(&measured.step_seconds) + (all - some) as f64 * median(&measured.micro_seconds);
    let json = json!({
        "groups": map.num_groups(),
        "tokens_per_second": phase.tokens() as f64 / step_seconds,
        "step_seconds": step_seconds,
        "measured_micro_batches": some,
        "measured_seconds": TimingStats::of(&measured.step_seconds),
        "loader_wait_seconds": TimingStats::of(&measured.wait_seconds),
        "peak_mib": measured.peak_bytes.map(mebibytes),
        "predicted": predicted_mib(&predicted),
        "losses": measured.losses,
        "utilisation": products.utilisation(all, step_seconds),
    });
    Ok(Pace { step_seconds, json })
}

/// Times of checkpoints of the untied model, the largest there are: of whole ones, and what a step waits for one that is written
/// in the background.
fn save(run: &ResolvedRun, model: &BenchModel, map: &LayerMap, folder: &Path) -> Result<Map<String, Value>> {
    let aside = folder.join(format!("untie-bench-{}", std::process::id()));
    fs::create_dir_all(&aside).map_err(|error| io("create", &aside, error))?;
    let stopwatch = model.start(map, run.config.model.init.as_deref())?;
    let times = [false, true].map(|background| save_to(run, &stopwatch, &aside, background));
    fs::remove_dir_all(&aside).map_err(|error| io("remove", &aside, error))?;
    let [whole, stalls] = times;
    let times = [("checkpoint_seconds", whole?), ("checkpoint_stall_seconds", stalls?)];
    Ok(times.into_iter().map(|(name, times)| (name.to_owned(), json!(TimingStats::of(&times)))).collect())
}

/// What a step waits for each of a few checkpoints.
fn save_to(run: &ResolvedRun, stopwatch: &Stopwatch, folder: &Path, background: bool) -> Result<Vec<f64>> {
    let state = stopwatch.state();
    let first = run.first_state(state.map())?;
    let mut saved = RunState { num_updates: state.moments().num_updates, rule: state.rule().state(), ..first };
    let mut saver = Saver::new(folder, &CheckpointConfig { background, ..Default::default() });
    let mut times = Vec::new();
    for step in 1..=NUM_SAVES {
        saved.step = step;
        let begin = Instant::now();
        saver.save(&saved, state.weights(), state.moments(), None)?;
        times.push(begin.elapsed().as_secs_f64());
        saver.wait()?;
    }
    Ok(times)
}
