//! All runs of a task: every learning rate with every seed, one row of `results.jsonl` a run, the best model kept.
//!
//! In: a [`SweepContext`] and a folder. Out: in that folder `results.jsonl`, a folder a run with its metrics and predictions, and
//! `best/`, the model that scores highest on dev with its predictions; and a table. What happens meanwhile is told as [`Event`]s.
//! A sweep that was killed goes on: finished runs have their row, the one that was under way its checkpoint, which goes when the
//! run has its row.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{io, Error, Result};
use crate::files::FolderLock;
use crate::finetune::event::Event;
use crate::finetune::finetuning::{self, Scored, Setting, SweepContext};
use crate::finetune::scoring::described;
use crate::finetune::table;
use crate::hub;
use crate::metrics::results::{self, ResultRow, RESULTS_FILE};
use crate::train::{Outcome, Progress, TrainState};

/// The best model and its predictions.
const BEST: &str = "best";
/// A run's predictions, and those of the best model.
const PREDICTIONS: &str = "predictions";

/// How a sweep ended.
#[derive(Debug)]
pub enum SweepOutcome {
    /// The table of its results, Markdown.
    Finished(String),
    /// A signal asked to stop; the state is saved. Holds the exit code.
    Stopped(u8),
}

/// Runs what is missing of the sweep in `folder`; `model_name` is what the rows call the model, `events` hears what happens.
///
/// # Errors
/// A folder with results where `resume` is false, or with those of another sweep; and what a run can fail with.
pub fn sweep(
    context: &SweepContext<'_>,
    folder: &Path,
    model_name: &str,
    resume: bool,
    events: &mut dyn FnMut(Event),
) -> Result<SweepOutcome> {
    let (config, world) = (context.config, &context.world);
    let path = folder.join(RESULTS_FILE);
    let settings: Vec<Setting> =
        config.rates().iter().flat_map(|&lr| (1..=config.num_seeds()).map(move |seed| Setting { lr, seed })).collect();
    let hash = config.hash()?;
    let mut lock = None;
    // What is there already decides which runs follow, on all processes alike.
    let found = world.from_first(|| {
        fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
        lock = Some(FolderLock::take(folder)?);
        let has_begun = settings.iter().any(|&setting| run_folder(context, folder, setting).exists());
        if !resume && (path.exists() || has_begun) {
            return Err(Error::config(format!("`{}` already has results", folder.display()))
                .hint("continue with `--resume`, or choose another `--run-dir`"));
        }
        let bytes = results::read_bytes(&path)?;
        for row in &results::rows(&path, &bytes)? {
            if (row.config_hash != hash || row.model_hash != context.model_hash) && is_asked(&settings, row) {
                let what = if row.model_hash == context.model_hash { "other settings" } else { "another model" };
                return Err(Error::config(format!("`{}` has results of {what}", path.display()))
                    .hint("restore them, or choose another `--run-dir`"));
            }
        }
        Ok(bytes)
    })?;
    let mut rows = results::rows(&path, &found)?;
    let selection = context.data.selection();
    for (at, &setting) in settings.iter().enumerate() {
        let run_folder = run_folder(context, folder, setting);
        if rows.iter().any(|row| (row.lr, row.seed) == (setting.lr, setting.seed)) {
            if world.is_first() {
                remove_checkpoints(&run_folder)?;
            }
            continue;
        }
        let Setting { lr, seed } = setting;
        events(Event::Run { number: at + 1, of: settings.len(), lr, seed });
        let mut of_run = |event| events(Event::Train(event));
        let mut trainer = finetuning::open(context, setting, &run_folder, &mut of_run)?;
        let scored = match trainer.train(context.stop)? {
            Outcome::Finished(scored) => scored,
            Outcome::Stopped(reason, step) => {
                events(Event::note(format!("stopped by {reason} after step {step}; saved, continue with `--resume`")));
                return Ok(SweepOutcome::Stopped(reason.exit_code()));
            }
        };
        let row = row(context, setting, &scored, trainer.progress(), model_name, &hash);
        let score = |row: &ResultRow| row.scores.get(&selection).copied().filter(|score| !score.is_nan());
        let best_before = rows.iter().filter_map(score).fold(f64::NEG_INFINITY, f64::max);
        if world.is_first() {
            if score(&row).is_some_and(|score| score > best_before) {
                keep(context, trainer.state(), &run_folder, &folder.join(BEST))?;
            }
            results::append(&path, &row)?;
            remove_checkpoints(&run_folder)?;
        }
        drop(trainer);
        scored.failure.iter().for_each(|why| events(Event::note(why.clone())));
        events(Event::note(described(&scored.scores)));
        rows.push(row);
    }
    rows.retain(|row| is_asked(&settings, row));
    Ok(SweepOutcome::Finished(table::markdown(context.data.task, &selection, &rows)))
}

fn is_asked(settings: &[Setting], row: &ResultRow) -> bool {
    settings.iter().any(|setting| (setting.lr, setting.seed) == (row.lr, row.seed))
}

fn run_folder(context: &SweepContext<'_>, folder: &Path, setting: Setting) -> PathBuf {
    folder.join(format!("{}-lr{:e}-seed{}", context.data.task, setting.lr, setting.seed))
}

fn row(
    context: &SweepContext<'_>,
    setting: Setting,
    scored: &Scored,
    progress: &Progress,
    model_name: &str,
    hash: &str,
) -> ResultRow {
    let config = context.config;
    ResultRow {
        task: context.data.task.to_string(),
        model: model_name.into(),
        model_hash: context.model_hash.into(),
        lr: setting.lr,
        seed: setting.seed,
        epochs: config.train.epochs as f64,
        batch: config.train.batch,
        max_length: config.max_length(),
        precision: config.train.precision.name().into(),
        steps: progress.step,
        tokens: progress.totals.tokens,
        wall_seconds: progress.totals.wall_seconds,
        config_hash: hash.into(),
        scores: scored.scores.clone(),
        untie: env!("CARGO_PKG_VERSION").into(),
    }
}

/// Exports the model of a run to `best`, with its predictions beside it.
fn keep(context: &SweepContext<'_>, state: &TrainState, run_folder: &Path, best: &Path) -> Result<()> {
    let (bert, labels) = (&state.spec().bert, &context.data.labels);
    hub::export_labelled(best, bert, state.map(), state.weights(), context.model, labels)?;
    let (from, to) = (run_folder.join(PREDICTIONS), best.with_file_name(format!("{BEST}-{PREDICTIONS}")));
    fs::create_dir_all(&to).map_err(|error| io("create", &to, error))?;
    for entry in fs::read_dir(&from).map_err(|error| io("list", &from, error))? {
        let path = entry.map_err(|error| io("list", &from, error))?.path();
        if let Some(name) = path.file_name() {
            fs::copy(&path, to.join(name)).map_err(|error| io("copy", &path, error))?;
        }
    }
    Ok(())
}

fn remove_checkpoints(run_folder: &Path) -> Result<()> {
    let checkpoints = run_folder.join("checkpoints");
    match fs::remove_dir_all(&checkpoints) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &checkpoints, error)),
        _ => Ok(()),
    }
}
