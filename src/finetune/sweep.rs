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
use crate::finetune::run::{described, run, Finished, Outcome, Setting, SweepContext};
use crate::finetune::table;
use crate::hub;
use crate::metrics::results::{self, ResultRow, RESULTS_FILE};

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
    let config = context.config;
    fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
    let _lock = FolderLock::take(folder)?;
    let path = folder.join(RESULTS_FILE);
    let settings: Vec<Setting> =
        config.optim.lr.iter().flat_map(|&lr| (1..=config.num_seeds()).map(move |seed| Setting { lr, seed })).collect();
    let has_begun = settings.iter().any(|&setting| run_folder(context, folder, setting).exists());
    if !resume && (path.exists() || has_begun) {
        return Err(Error::config(format!("`{}` already has results", folder.display()))
            .hint("go on with `--resume`, or choose another `--run-dir`"));
    }
    let hash = config.hash()?;
    let mut rows = results::read(&path)?;
    for row in &rows {
        if (row.config_hash != hash || row.model_hash != context.model_hash) && is_asked(&settings, row) {
            let what = if row.model_hash == context.model_hash { "other settings" } else { "another model" };
            return Err(Error::config(format!("`{}` has results of {what}", path.display()))
                .hint("restore them, or choose another `--run-dir`"));
        }
    }
    let selection = context.data.selection();
    for (at, &setting) in settings.iter().enumerate() {
        let run_folder = run_folder(context, folder, setting);
        if rows.iter().any(|row| (row.lr, row.seed) == (setting.lr, setting.seed)) {
            remove_checkpoints(&run_folder)?;
            continue;
        }
        let Setting { lr, seed } = setting;
        events(Event::Run { number: at + 1, of: settings.len(), lr, seed });
        let finished = match run(context, setting, &run_folder, events)? {
            Outcome::Finished(finished) => finished,
            Outcome::Stopped(code, step) => {
                events(Event::Note(format!("stopped by a signal after step {step}; saved, go on with `--resume`")));
                return Ok(SweepOutcome::Stopped(code));
            }
        };
        events(Event::Note(described(&finished.scores)));
        let row = row(context, setting, &finished, model_name, &hash);
        let score = |row: &ResultRow| row.scores.get(&selection).copied().filter(|score| !score.is_nan());
        let best_before = rows.iter().filter_map(score).fold(f64::NEG_INFINITY, f64::max);
        if score(&row).is_some_and(|score| score > best_before) {
            keep(context, &finished, &run_folder, &folder.join(BEST))?;
        }
        results::append(&path, &row)?;
        rows.push(row);
        remove_checkpoints(&run_folder)?;
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

fn row(context: &SweepContext<'_>, setting: Setting, finished: &Finished, model_name: &str, hash: &str) -> ResultRow {
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
        steps: finished.state.step,
        tokens: finished.state.totals.tokens,
        wall_seconds: finished.state.totals.wall_seconds,
        config_hash: hash.into(),
        scores: finished.scores.clone(),
        untie: env!("CARGO_PKG_VERSION").into(),
    }
}

/// Exports the model of a run to `best`, with its predictions beside it.
fn keep(context: &SweepContext<'_>, finished: &Finished, run_folder: &Path, best: &Path) -> Result<()> {
    let Finished { state, weights, .. } = finished;
    hub::export_labelled(best, &state.bert, &state.layer_map, weights, context.model, &context.data.labels)?;
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
