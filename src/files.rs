//! Files that a kill leaves whole or not at all, and folders that one process writes to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use crate::error::{io, Error, Result};

/// [`untie_data::files::write_aside`] with an error that names the file.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn write_aside(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    untie_data::files::write_aside(path, bytes.as_ref()).map_err(|error| io("write", path, error))
}

const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// What NFS without a lock daemon says, on Linux.
const ENOLCK: i32 = 37;

/// A folder that no other process of ours writes to: an advisory lock (flock) on a file in it, which is gone with the value
/// or with the process, however that ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// The file that is locked; it stays, and holds the process that locked it last.
    pub(crate) const FILE: &str = ".lock";

    /// Takes the lock of `folder`. A file system without locks is told and does without.
    ///
    /// # Errors
    /// A folder that another process holds, by its number, or that may not be written.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let failed = |error| io("lock", folder, error);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(&path).map_err(failed)?;
        let mut tries = 0;
        let locked = loop {
            // Who only looks whether it is held holds it for a moment.
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if tries < TRIES => std::thread::sleep(PAUSE),
                locked => break locked,
            }
            tries += 1;
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(folder, file)),
            Err(TryLockError::Error(error))
                if error.kind() == ErrorKind::Unsupported || error.raw_os_error() == Some(ENOLCK) =>
            {
                log::warn!("`{}` cannot be locked: {error}; let one process only write to it", folder.display());
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Only for a message: without room for it the lock still holds.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// Whether a process holds the lock of `folder`; a folder that was never locked is not made one.
    pub(crate) fn is_held(folder: &Path) -> bool {
        let file = OpenOptions::new().read(true).open(folder.join(Self::FILE));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn in_use(folder: &Path, mut file: File) -> Error {
    let mut holder = String::new();
    let process = match Read::by_ref(&mut file).take(20).read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!("process {}", holder.trim()),
        _ => "another process".into(),
    };
    Error::config(format!("`{}` is in use by {process}", folder.display()))
        .hint("wait until it ends, or choose another `--run-dir`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_replaced_or_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.md");
        for text in ["one", "two"] {
            write_aside(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let taken = folder.path().join("folder");
        fs::create_dir(&taken).unwrap();
        let message = write_aside(&taken, "three").unwrap_err().to_string();
        assert_eq!(message, format!("cannot write `{}`", taken.display()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was left beside them");
    }

    /// Two files that are opened apart, as two processes would.
    #[test]
    fn a_folder_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!FolderLock::is_held(folder.path()));
        let lock = FolderLock::take(folder.path()).unwrap();
        assert!(FolderLock::is_held(folder.path()));
        let error = FolderLock::take(folder.path()).unwrap_err();
        let held = format!("`{}` is in use by process {}", folder.path().display(), std::process::id());
        assert_eq!((error.to_string(), error.exit_code()), (held, 2));
        drop(lock);
        assert!(!FolderLock::is_held(folder.path()));
        FolderLock::take(folder.path()).unwrap();
    }
}
