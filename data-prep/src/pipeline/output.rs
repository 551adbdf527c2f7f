//! A folder that appears whole, or not at all.
//!
//! Everything is written into `OUT/.partial` and renamed into `OUT` at the end; the manifest comes last. A folder with
//! `.partial` and without a manifest is unfinished, readers refuse it, and the next preparation goes on with it if it has a
//! [`Journal`] of the same input and settings. One process at a time works in it: a lock goes with its process.

use super::journal::{self, Journal};
use super::{PrepareError, Progress};
use crate::files::sync_parent;
use crate::manifest::{Manifest, Settings, Source, MANIFEST_FILE, PARTIAL_DIR, TOKENIZER_FILE, VOCAB_FILE};
use crate::shard::Split;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Locked while a preparation works in the folder.
const LOCK_FILE: &str = ".lock";

/// The folder in which a preparation works.
pub(super) struct Workplace {
    out: PathBuf,
    partial: PathBuf,
    /// Whether `OUT` was not there before.
    new: bool,
    _lock: File,
}

impl Workplace {
    /// Makes or takes up `OUT/.partial`; with it the journal to go on from, which is `fresh` with `force`, and
    /// unless one is there that fits.
    pub(super) fn open(
        out: &Path,
        fresh: Journal,
        force: bool,
        progress: &dyn Progress,
    ) -> Result<(Workplace, Journal), PrepareError> {
        let partial = out.join(PARTIAL_DIR);
        let new = !out.exists();
        let failed = |source| PrepareError::Output { path: partial.clone(), source };
        fs::create_dir_all(&partial).map_err(failed)?;
        let lock = File::create(out.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PrepareError::InUse { path: out.to_owned() }),
            // File systems without locks, such as some network mounts: as before there were any.
            Err(TryLockError::Error(_)) => {}
        }
        let workplace = Workplace { out: out.to_owned(), partial: partial.clone(), new, _lock: lock };
        let found = if force { None } else { Journal::load(&partial) };
        let change = found
            .as_ref()
            .map(|found| difference((&found.settings, &found.sources), (&fresh.settings, &fresh.sources)));
        let drop_all = || fs::remove_dir_all(&partial).and_then(|()| fs::create_dir_all(&partial)).map_err(failed);
        let (Some(found), Some(change)) = (found, change) else {
            drop_all()?;
            return Ok((workplace, fresh));
        };
        let place = out.display();
        let Some(change) = change else {
            progress.warn(&format!("going on with the unfinished preparation in `{place}`"));
            return Ok((workplace, found));
        };
        match found.for_fresh(&fresh) {
            Some(journal) => {
                let num_files = journal.num_files();
                progress.warn(&format!(
                    "going on with the unfinished preparation in `{place}`, with what was read of the first {num_files} files: \
                     {change}"
                ));
                Ok((workplace, journal))
            }
            None => {
                progress.warn(&format!("the unfinished preparation in `{place}` is dropped: {change}"));
                drop_all()?;
                Ok((workplace, fresh))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Leaves nothing behind: for input or settings with which going on is no use.
    pub(super) fn discard(self) {
        // The error that led here is the one to report.
        let _ = fs::remove_dir_all(&self.partial);
        let _ = fs::remove_file(self.out.join(LOCK_FILE));
        if self.new {
            let _ = fs::remove_dir(&self.out);
        }
    }

    /// Replaces whatever `OUT` holds by what was made here.
    pub(super) fn publish(self, manifest: &Manifest) -> Result<(), PrepareError> {
        self.replace(manifest).map_err(|source| PrepareError::Output { path: self.out.clone(), source })
    }

    fn replace(&self, manifest: &Manifest) -> io::Result<()> {
        // From here on the files of `.partial` leave it: nothing to go on with.
        fs::remove_file(self.partial.join(journal::FILE))?;
        match fs::remove_file(self.out.join(MANIFEST_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => sync_parent(&self.partial)?,
        }
        for name in shard_files(&self.out)? {
            fs::remove_file(self.out.join(name))?;
        }
        let mut names: Vec<String> = vec![TOKENIZER_FILE.to_owned(), VOCAB_FILE.to_owned()];
        for shard in &manifest.shards {
            names.extend([format!("{}.bin", shard.name), format!("{}.idx", shard.name)]);
        }
        for name in names {
            fs::rename(self.partial.join(&name), self.out.join(&name))?;
        }
        sync_parent(&self.partial)?;
        manifest.save(&self.out)?;
        fs::remove_dir_all(&self.partial)?;
        fs::remove_file(self.out.join(LOCK_FILE))
    }
}

/// Removes what a process that was killed right after it had published left beside a complete folder.
pub(super) fn tidy(out: &Path) {
    // Nothing depends on it, and a read-only folder is as good.
    let _ = fs::remove_dir_all(out.join(PARTIAL_DIR));
    let _ = fs::remove_file(out.join(LOCK_FILE));
}

/// Names of the shard files in a folder.
pub(super) fn shard_files(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let stem = name.strip_suffix(".bin").or_else(|| name.strip_suffix(".idx"));
        if stem.is_some_and(|stem| Split::ALL.iter().any(|split| split.names(stem))) {
            names.push(name);
        }
    }
    Ok(names)
}

/// How what was made, or begun, differs from what is asked for.
pub(super) fn difference(before: (&Settings, &[Source]), now: (&Settings, &[Source])) -> Option<String> {
    if now.1.iter().any(|source| source.name == "-") {
        return Some("whether standard input is the same cannot be told".to_owned());
    }
    if before.1 != now.1 {
        let changed = now.1.iter().find(|source| !before.1.contains(source));
        return Some(match changed {
            Some(source) => format!("the input `{}` is new or has changed", source.name),
            None => "the input files are fewer, or in another order".to_owned(),
        });
    }
    let as_value = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    let (before, now) = (as_value(before.0), as_value(now.0));
    let fields = now.as_object()?;
    let (field, now) = fields.iter().find(|(field, now)| before.get(field) != Some(now))?;
    Some(format!("`{field}` was {}, now {now}", before.get(field).unwrap_or(&serde_json::Value::Null)))
}
