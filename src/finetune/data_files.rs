//! Where the files of a task are.

use std::path::PathBuf;

/// Where a task's files are.
#[derive(Clone, Debug)]
pub struct DataFiles {
    /// The task's own folder, with the official names.
    pub dir: PathBuf,
    /// SQuAD and own files: another file to train on.
    pub train: Option<PathBuf>,
    /// SQuAD and own files: another file to be scored on.
    pub dev: Option<PathBuf>,
    /// Own files: another file to be predicted for.
    pub test: Option<PathBuf>,
}
