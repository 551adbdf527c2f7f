//! What a run will take here: a few of its steps, on its own data, before and after untying.
//!
//! In: a [`Plan`]. Out: for each phase tokens a second, memory and what a step waits for its batch; the time of all steps; and
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
use crate::error::{io, Result};
use crate::growth::rule;
use crate::layer_map::LayerMap;
use crate::metrics::human::human_duration;
use crate::train::run_stats::PhaseStats;
use crate::train::{first_state, Memory, Phase, Plan};

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

/// Measures every phase of `plan` as `options` says, tied as at the start and untied, and where `save_in` names a folder a
/// checkpoint there, which is removed again.
///
/// # Errors
/// Invalid data, a folder that cannot be written, and libtorch's own.
pub fn calibrate(plan: &Plan, options: BenchOptions, save_in: Option<&Path>) -> Result<Value> {
    let model = BenchModel {
        bert: plan.bert.clone(),
        optim: plan.optim.clone(),
        sharing: plan.sharing.clone(),
        precision: plan.train.precision,
        compute: plan.compute,
        device: plan.device,
    };
    let layers = plan.bert.num_hidden_layers;
    let (start, untied) = (plan.sharing.start_map(layers)?, LayerMap::untied(layers));
    let course = rule(&plan.sharing, layers, plan.train.steps)?.course(plan.train.steps);
    let untie_at = course.get(1).map_or(plan.train.steps, |(step, _)| *step);
    let (mut phases, mut seconds) = (Vec::new(), 0.0);
    for stats in &plan.stats()?.phases {
        let phase = stats.phase;
        let (rows, targets) = (phase.micro_batch * phase.sequence_length, phase.micro_batch * stats.capacity());
        let products = Products::of(&model, rows, targets, options)?;
        let before = pace(plan, &model, &start, stats, products, options)?;
        let after = if start == untied { None } else { Some(pace(plan, &model, &untied, stats, products, options)?) };
        let border = untie_at.clamp(phase.start, phase.end);
        let later = after.as_ref().map_or(before.step_seconds, |pace| pace.step_seconds);
        seconds += (border - phase.start) as f64 * before.step_seconds + (phase.end - border) as f64 * later;
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
    let mut report = facts(&model)?;
    let body = json!({
        "phases": phases,
        "untied_from_step": untie_at,
        // Without evaluations and checkpoints.
        "predicted_seconds": seconds,
        "predicted": human_duration(seconds),
    });
    if let Some(folder) = save_in {
        report.extend(save(plan, &model, &untied, folder)?);
    }
    report.extend(body.as_object().cloned().unwrap_or_default());
    Ok(Value::Object(report))
}

fn pace(
    plan: &Plan,
    model: &BenchModel,
    map: &LayerMap,
    stats: &PhaseStats,
    products: Products,
    options: BenchOptions,
) -> Result<Pace> {
    let phase: Phase = stats.phase;
    let loader = Loader::start(Arc::new(plan.samples(&phase)?), 0, Share::whole(phase.micro_batch), plan.data.workers)?;
    let all = phase.num_micro_batches();
    let some = all.min(MOST_MICRO_BATCHES);
    eprintln!(
        "{} sequences of {}, {} sets of layer weights",
        phase.global_batch,
        phase.sequence_length,
        map.num_groups()
    );
    let predicted = Memory::of(&stats.step(&plan.bert, map, plan.compute, (plan.device, false)));
    let mut stopwatch = model.start(map, plan.init.as_deref())?;
    let next = || (0..some).map(|_| loader.next_batch()).collect::<Result<Vec<Batch>>>();
    let measured = stopwatch.measure(options, next)?;
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
fn save(plan: &Plan, model: &BenchModel, map: &LayerMap, folder: &Path) -> Result<Map<String, Value>> {
    let aside = folder.join(format!("untie-bench-{}", std::process::id()));
    fs::create_dir_all(&aside).map_err(|error| io("create", &aside, error))?;
    let stopwatch = model.start(map, plan.init.as_deref())?;
    let times = [false, true].map(|background| save_to(plan, &stopwatch, &aside, background));
    fs::remove_dir_all(&aside).map_err(|error| io("remove", &aside, error))?;
    let [whole, stalls] = times;
    let times = [("checkpoint_seconds", whole?), ("checkpoint_stall_seconds", stalls?)];
    Ok(times.into_iter().map(|(name, times)| (name.to_owned(), json!(TimingStats::of(&times)))).collect())
}

/// What a step waits for each of a few checkpoints.
fn save_to(plan: &Plan, stopwatch: &Stopwatch, folder: &Path, background: bool) -> Result<Vec<f64>> {
    let state = stopwatch.state();
    let first = first_state(plan, state.map())?;
    let mut saved = RunState { num_updates: state.moments().num_updates, rule: state.rule().state(), ..first };
    let mut saver = Saver::new(folder, &CheckpointConfig { background, ..Default::default() });
    let mut times = Vec::new();
    for step in 1..=NUM_SAVES {
        saved.step = step;
        let begin = Instant::now();
        saver.save(&saved, state.weights(), state.moments())?;
        times.push(begin.elapsed().as_secs_f64());
        saver.wait()?;
    }
    Ok(times)
}
