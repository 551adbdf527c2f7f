//! What a run folder says of itself, held against the configuration of its row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::batch::masking::budget;
use crate::checkpoint::{self, RunState, Untying};
use crate::config::Phases;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::keys::{class_of, flatten, Keys};
use crate::metrics::results::{self, RESULTS_FILE};
use crate::pretrain::run_stats::PhaseStats;
use crate::report::run::{Run, EVAL_ACCURACY};
use crate::report::tables::{Finished, Pretraining, RunFacts, Sweeps, EXTRA_COLUMNS, PAPER_COLUMNS};
use crate::step::Precision;

/// What is known of the run in `folder`, which should be that of `expected`.
///
/// # Errors
/// A folder that cannot be read. A run that is damaged, unfinished or another one is no error but a fact.
pub(super) fn facts(folder: Option<&Path>, expected: &RunConfig) -> Result<RunFacts> {
    let Some(folder) = folder else {
        return Ok(RunFacts { pretraining: Pretraining::Missing, sweeps: Sweeps::new() });
    };
    let sweeps = sweeps(folder);
    let unfinished = |step| Pretraining::Unfinished { step, steps: expected.train.steps };
    let pretraining = match newest_state(folder)? {
        Ok(None) => unfinished(0),
        Err(error) => Pretraining::Unreadable(reason(&error)),
        Ok(Some(state)) => match serde_json::from_value::<RunConfig>(state.config.clone()) {
            Err(error) => Pretraining::Unreadable(format!("its configuration is of another version of untie: {error}")),
            Ok(config) => match differences(expected, &config, &state)?.as_slice() {
                [] if state.step < expected.train.steps => unfinished(state.step),
                [] => Pretraining::Finished(finished(folder, &state, &config, !sweeps.is_empty())?),
                [(key, expected, found), others @ ..] => Pretraining::Differs {
                    key: key.clone(),
                    expected: expected.clone(),
                    found: found.clone(),
                    others: others.len(),
                },
            },
        },
    };
    Ok(RunFacts { pretraining, sweeps })
}

/// An error as a footnote says it: the message with its causes, without the hint.
fn reason(error: &Error) -> String {
    let report = error.report();
    let message = report.split("\nhint: ").next().unwrap_or_default();
    message.trim_start_matches("error: ").to_owned()
}

/// The state of the newest checkpoint that has one; the newest one's error where none has. Only the state is verified: no
/// tensor is read here.
fn newest_state(folder: &Path) -> Result<Result<Option<RunState>>> {
    let mut first_error = None;
    for entry in checkpoint::list(folder)? {
        match checkpoint::load_state(&entry.path) {
            Ok(state) => return Ok(Ok(Some(state))),
            Err(error) => {
                eprintln!("warning: {}", error.report().trim_start_matches("error: "));
                first_error.get_or_insert(error);
            }
        }
    }
    Ok(first_error.map_or(Ok(None), Err))
}

/// Key, expected and found value of everything that makes the run `found`, which came to `state`, another one than `expected`. What
/// the data are is compared by hash among the runs of a table, and so is a precision that the row leaves at `auto`.
fn differences(expected: &RunConfig, found: &RunConfig, state: &RunState) -> Result<Vec<(String, String, String)>> {
    let [expected_keys, found_keys] = [keys(expected)?, keys(found)?];
    let is_auto = expected.train.precision == Precision::Auto;
    let all: BTreeSet<&String> = expected_keys.keys().chain(found_keys.keys()).collect();
    let show = |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
    let differ = all.into_iter().filter_map(|key| {
        let (one, other) = (expected_keys.get(key), found_keys.get(key));
        let matters = match key.as_str() {
            "train.precision" => !is_auto,
            // A run that went back left data out.
            "guard.spike" => state.samples_skipped > 0,
            key => class_of(RunConfig::CLASSES, key).decides_result(),
        };
        (one != other && matters).then(|| (key.clone(), show(one), show(other)))
    });
    Ok(differ.collect())
}

fn keys(config: &RunConfig) -> Result<BTreeMap<String, Value>> {
    let mut config = config.clone();
    config.sharing.resolve(config.model.init.is_some())?;
    let tables = serde_json::to_value(&config)
        .map_err(|error| Error::failed("cannot compare configurations").caused_by(error))?;
    Ok(flatten(&tables))
}

/// The numbers of a run that is done; `is_tuned`: whether there are results to hold against its export.
fn finished(folder: &Path, state: &RunState, config: &RunConfig, is_tuned: bool) -> Result<Finished> {
    let weights = folder.join("export/model.safetensors");
    let precision = keys(config)?.get("train.precision").map_or(String::new(), Value::to_string);
    Ok(Finished {
        steps: state.step,
        tokens: state.totals.tokens,
        seconds: state.totals.wall_seconds,
        flops: flops(state, config)?,
        untied: untied(state, config)?,
        mlm_accuracy: last_accuracy(folder, state.step),
        model_hash: if is_tuned && weights.exists() { Some(results::file_hash(&weights)?) } else { None },
        common: BTreeMap::from([
            ("vocabulary".into(), state.data.vocabulary.clone()),
            ("training data".into(), state.data.shards.clone()),
            ("precision".into(), precision.trim_matches('"').into()),
        ]),
    })
}

/// FLOPs of the run: what its steps executed, or for checkpoints that do not say so those of steps of all layers.
fn flops(state: &RunState, config: &RunConfig) -> Result<f64> {
    if state.totals.flops > 0.0 {
        return Ok(state.totals.flops);
    }
    let phases = Phases::new(&config.data, &config.train)?;
    let flops = phases.list().iter().map(|phase| {
        let capacity = budget(config.data.mask_rate, phase.sequence_length - config.data.num_special_tokens());
        // How long an epoch is does not matter here.
        let stats = PhaseStats::new(&state.bert, *phase, capacity, 1);
        stats.flops(state.bert.num_hidden_layers as f64) * (phase.end - phase.start) as f64
    });
    Ok(flops.sum())
}

/// When layers were untied, for a person.
fn untied(state: &RunState, config: &RunConfig) -> Result<String> {
    let layers = state.bert.num_hidden_layers;
    let transitions: Vec<&Untying> = state.untying.iter().collect();
    Ok(match transitions.as_slice() {
        [] if config.sharing.start_map(layers)?.num_groups() == layers => "from the start".into(),
        [] => "never".into(),
        [first, .., last] => {
            let all = format!("{} to {}", first.step, last.step);
            if last.groups == layers {
                all
            } else {
                format!("{all}, {} of {layers} sets", last.groups)
            }
        }
        [only] if only.groups == layers => only.step.to_string(),
        [only] => format!("{}, {} of {layers} sets", only.step, only.groups),
    })
}

/// Held-out accuracy after step `step`, as metrics.jsonl has it.
fn last_accuracy(folder: &Path, step: u64) -> Option<f64> {
    let run = Run::read(folder).ok()?;
    let last = run.series(EVAL_ACCURACY).iter().rev().find(|(at, _)| *at == step as f64);
    last.map(|(_, accuracy)| *accuracy).filter(|accuracy| accuracy.is_finite())
}

/// The results of every task that a table may show: `finetune/TASK/results.jsonl`.
fn sweeps(folder: &Path) -> Sweeps {
    let tasks: BTreeSet<&str> = PAPER_COLUMNS.iter().chain(&EXTRA_COLUMNS).filter_map(|column| column.task).collect();
    let read = tasks.into_iter().map(|task| {
        let path = folder.join("finetune").join(task).join(RESULTS_FILE);
        (task.to_owned(), results::read(&path).map_err(|error| reason(&error)))
    });
    read.filter(|(_, rows)| rows.as_ref().map_or(true, |rows| !rows.is_empty())).collect()
}
