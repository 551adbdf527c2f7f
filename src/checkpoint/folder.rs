//! The folder `checkpoints/` of a run: which checkpoints are in it, and which of them are sound.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::checksums::Checksums;
use crate::error::{io as io_error, Error, Result};

/// The file that names the newest checkpoint.
pub(super) const LATEST_FILE: &str = "latest";

/// One checkpoint of a run; complete by its name, sound only if [`verify`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Updates attempted before it was saved.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
}

/// What a name in `checkpoints/` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A checkpoint.
    Complete,
    /// One that is being written, or was when the run died.
    Partial,
    /// The old one of two with the same step; takes part only until the new one has its name.
    Replaced,
    /// One that is being removed.
    Removed,
}

impl Role {
    const ALL: [Self; 4] = [Self::Complete, Self::Partial, Self::Replaced, Self::Removed];

    /// The name that a checkpoint of `step` has in this role.
    pub(super) fn name(self, step: u64) -> String {
        let name = format!("step-{step:08}");
        match self {
            Self::Complete => name,
            Self::Partial => format!(".{name}.partial"),
            Self::Replaced => format!(".{name}.replaced"),
            Self::Removed => format!(".{name}.removed"),
        }
    }

    /// The opposite of [`Role::name`].
    fn parse(name: &OsStr) -> Option<(Self, u64)> {
        let name = name.to_str()?;
        let digits = name.trim_start_matches('.').strip_prefix("step-")?.split('.').next()?;
        let step = digits.parse().ok()?;
        Self::ALL.into_iter().find(|role| role.name(step) == name).map(|role| (role, step))
    }
}

/// Where the checkpoints of the run at `run_dir` are.
pub(super) fn folder(run_dir: &Path) -> PathBuf {
    run_dir.join("checkpoints")
}

/// Every folder in `folder` with a name of ours; none when there is no such folder.
pub(super) fn scan(folder: &Path) -> Result<Vec<(Role, Entry)>> {
    let failed = |error| io_error("list", folder, error);
    let items = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.map_err(failed)?,
    };
    let mut found = Vec::new();
    for item in items {
        let path = item.map_err(failed)?.path();
        if let Some((role, step)) = path.file_name().and_then(Role::parse) {
            if path.is_dir() {
                found.push((role, Entry { step, path }));
            }
        }
    }
    Ok(found)
}

/// Syncs a folder, without which a rename inside it may not survive a power cut.
pub(super) fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|opened| opened.sync_all()).map_err(|error| io_error("sync", folder, error))
}

/// The checkpoints of a run, newest first; none when the run has none. They are not verified.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(run_dir: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut replaced = Vec::new();
    for (role, entry) in scan(&folder(run_dir))? {
        match role {
            Role::Complete => entries.push(entry),
            Role::Replaced => replaced.push(entry),
            Role::Partial | Role::Removed => {}
        }
    }
    // Died between the two renames of a replacement: the old one still counts.
    for old in replaced {
        if entries.iter().all(|entry| entry.step != old.step) {
            entries.push(old);
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.step));
    Ok(entries)
}

/// Checks size and checksum of every file of the checkpoint at `path`.
///
/// # Errors
/// The first file that is missing or damaged, by name.
pub fn verify(path: &Path) -> Result<()> {
    let checksums = Checksums::read(path)?;
    checksums.check_all(path)
}

/// The newest checkpoint that verifies, with one warning for each newer one that does not; `None` when the run has no
/// checkpoints.
///
/// # Errors
/// When there are checkpoints and none of them is sound: starting afresh must then be the user's decision.
pub fn newest_valid(run_dir: &Path) -> Result<Option<(PathBuf, Vec<Error>)>> {
    let mut warnings = Vec::new();
    for entry in list(run_dir)? {
        match verify(&entry.path) {
            Ok(()) => return Ok(Some((entry.path, warnings))),
            Err(error) => warnings.push(
                Error::data(format!("skipped the checkpoint of step {}, it is damaged", entry.step)).caused_by(error),
            ),
        }
    }
    let folder = folder(run_dir);
    match (warnings.len(), warnings.into_iter().next()) {
        (number, Some(newest)) => Err(Error::data(format!(
            "expected a valid checkpoint in `{}`, got {number} damaged; the newest",
            folder.display()
        ))
        .hint("to start from step 0, move that folder away")
        .caused_by(newest)),
        (_, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for role in Role::ALL {
            for step in [0, 42, 99_999_999, 100_000_000, u64::MAX] {
                assert_eq!(Role::parse(OsStr::new(&role.name(step))), Some((role, step)));
            }
        }
        for foreign in ["step-1", "step-000000001", "step-0000000a", "latest", "step-00000001.bak", "..step-00000001"] {
            assert_eq!(Role::parse(OsStr::new(foreign)), None, "{foreign}");
        }
    }
}
