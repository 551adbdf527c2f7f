//! Files that a kill leaves whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{io, Result};

/// Writes `bytes` beside `path` and renames them to it: what was there is replaced at once, never half. Nothing is left
/// beside it on failure.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn write_aside(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".partial");
    let aside = PathBuf::from(aside);
    fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path)).map_err(|error| {
        // Perhaps it was never made.
        let _ = fs::remove_file(&aside);
        io("write", path, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
