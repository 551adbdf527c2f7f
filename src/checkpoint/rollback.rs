//! Going back: an earlier checkpoint becomes the newest, those after it are put away.

use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{folder, list, sync, verify};
use super::save::{name_latest, rename};
use super::Entry;
use crate::error::{io, Error, Result};

/// Where checkpoints are put that came after the one that a run went back to, in `checkpoints/`; nothing reads them there.
const PUT_AWAY: &str = "rolled-back";

/// Makes the checkpoint of `step` (`None`: the sound one before the newest sound one) the newest of the run at `run_dir`, and
/// moves the later ones to `checkpoints/rolled-back/`. Returns it, and where the others are now.
///
/// # Errors
/// A run without that checkpoint, one that is damaged, and a folder that cannot be changed.
pub fn roll_back(run_dir: &Path, step: Option<u64>) -> Result<(Entry, Vec<PathBuf>)> {
    let entries = list(run_dir)?;
    let target = match step {
        Some(step) => entries.iter().find(|entry| entry.step == step).map(|entry| verify(&entry.path).map(|()| entry)),
        None => entries.iter().filter(|entry| verify(&entry.path).is_ok()).nth(1).map(Ok),
    };
    let steps: Vec<String> = entries.iter().map(|entry| entry.step.to_string()).collect();
    let Some(target) = target.transpose()? else {
        let what = step.map_or("no earlier valid checkpoint".into(), |step| format!("no checkpoint of step {step}"));
        return Err(Error::data(format!(
            "`{}` has {what}: found those of steps [{}]",
            run_dir.display(),
            steps.join(", ")
        ))
        .hint("`untie runs` lists checkpoints and says which are valid"));
    };
    let folder = folder(run_dir);
    // First: should what follows be cut short, nothing that is named has gone.
    name_latest(&folder, target.step)?;
    let mut moved = Vec::new();
    for entry in entries.iter().filter(|entry| entry.step > target.step) {
        let away = free_place(&folder, entry.step)?;
        rename(&entry.path, &away)?;
        moved.push(away);
    }
    sync(&folder)?;
    Ok((target.clone(), moved))
}

/// A folder for the checkpoint of `step` that is not there yet: a run may go back over the same steps more than once.
fn free_place(folder: &Path, step: u64) -> Result<PathBuf> {
    let place = folder.join(PUT_AWAY);
    fs::create_dir_all(&place).map_err(|error| io("create", &place, error))?;
    let name = format!("step-{step:08}");
    let again = (2_u32..).map(|time| place.join(format!("{name}.{time}")));
    let mut places = std::iter::once(place.join(&name)).chain(again);
    places.find(|path| !path.exists()).ok_or_else(|| Error::failed(format!("`{}` is full", place.display())))
}
