//! GLUE's files as they are and as they are broken, scores beside scikit-learn's and scipy's, and what is sent to the site.

mod bad_files;
mod layouts;
mod scores;
mod shared;
mod submission;
mod tokenizers;

use std::fs;
use std::path::{Path, PathBuf};

/// A file below tests/fixtures/finetune.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/finetune").join(name)
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}
