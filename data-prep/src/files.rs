//! Files that are there whole or not at all: written aside, synced, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// `PREFIX` and `.idx` or `.bin`, whatever dots the prefix has.
pub(crate) fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes `bytes` beside `path` and renames them to it: what was there is replaced at once, never half. Nothing is left beside
/// it on failure.
///
/// # Errors
/// A file that cannot be written, synced or renamed.
pub fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = with_suffix(path, ".tmp");
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    if let Err(error) = write() {
        // Perhaps it was never made.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    sync_parent(path)
}

/// Syncs the folder of `path`, without which a rename may not survive a power cut.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
