//! `untie runs`: the runs below a folder, where they stand, and which of their checkpoints are sound.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::checkpoint::{self, Entry};
use crate::error::{io, quoted, Error, Result};
use crate::files::FolderLock;
use crate::metrics::human::{human_count, human_integer};

/// How deep runs are looked for below a folder: runs/paper-mini/swe-f is two deep.
const DEPTH: usize = 3;

/// Arguments of `untie runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Runs, or folders with runs
    #[arg(value_name = "DIR", default_value = "runs")]
    folders: Vec<PathBuf>,
}

impl RunsArgs {
    /// Prints a line a run and a line a checkpoint, every checksum verified.
    ///
    /// # Errors
    /// A folder that cannot be read, and folders without a run.
    pub fn run(&self) -> Result<()> {
        let mut runs = Vec::new();
        for folder in &self.folders {
            find(folder, DEPTH, &mut runs)?;
        }
        if runs.is_empty() {
            let names = quoted(self.folders.iter().map(|folder| folder.display()));
            return Err(Error::data(format!("there is no run in {names}")));
        }
        for run in runs {
            match described(&run) {
                Ok(text) => print!("{text}"),
                Err(error) => println!("{}: {}", run.display(), error.report().trim_start_matches("error: ")),
            }
        }
        Ok(())
    }
}

/// Adds the runs in `folder` and, if it is none itself, below it, by name.
fn find(folder: &Path, depth: usize, runs: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join("config.toml").is_file() && folder.join("metrics.jsonl").is_file() {
        runs.push(folder.into());
        return Ok(());
    }
    let failed = |error| io("list", folder, error);
    let items = fs::read_dir(folder).map_err(failed)?.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    let mut below: Vec<PathBuf> = items.into_iter().map(|item| item.path()).filter(|path| path.is_dir()).collect();
    below.sort();
    below.iter().filter(|_| depth > 0).try_for_each(|path| find(path, depth - 1, runs))
}

/// What a run is, and each of its checkpoints from the oldest.
fn described(run: &Path) -> Result<String> {
    let mut entries = checkpoint::list(run)?;
    entries.reverse();
    let verified = entries.into_iter().map(|entry| (entry.clone(), checkpoint::verify(&entry.path)));
    // A running one may have removed some meanwhile.
    let found: Vec<(Entry, Result<()>)> = verified.filter(|(entry, _)| entry.path.exists()).collect();
    let newest = found.iter().rev().find(|(_, sound)| sound.is_ok());
    let standing = match newest {
        None => "no valid checkpoint".into(),
        Some((entry, _)) => {
            let state = checkpoint::load_state(&entry.path)?;
            let steps = state.config["train"]["steps"].as_u64();
            let status = match steps {
                _ if FolderLock::is_held(run) => "running",
                Some(steps) if state.step >= steps => "finished",
                _ => "unfinished",
            };
            format!(
                "{status}, step {}{}, {} tokens, {:.1} hours, {} sets of layer weights",
                human_integer(state.step),
                steps.map_or(String::new(), |steps| format!(" of {}", human_integer(steps))),
                human_count(state.totals.tokens.into()),
                state.totals.wall_seconds / 3600.0,
                state.layer_map.num_groups(),
            )
        }
    };
    let mut text = format!("{}: {standing}\n", run.display());
    for (entry, sound) in found {
        let sound = match sound {
            Ok(()) => "valid".into(),
            Err(error) => format!("damaged: {}", error.report().trim_start_matches("error: ")),
        };
        text.push_str(&format!("  step {:<12} {sound}\n", human_integer(entry.step)));
    }
    Ok(text)
}
