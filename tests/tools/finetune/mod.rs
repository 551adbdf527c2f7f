//! `untie finetune` as a user calls it: sweeps on made-up tasks with a model that this test pre-trains for a moment.

mod sweeps;
mod tasks;

use std::fs;

use crate::common::{stderr, TestWorkspace};
use crate::reviews::write_reviews;

/// A workspace with a finished run in `runs/tiny` and SST-2 files in `sst2/`: reviews are good if they name gold or silver.
fn workspace() -> TestWorkspace {
    let workspace = TestWorkspace::new();
    let trained =
        workspace.untie(&["train", "--config", "run.toml", "--run-dir", "runs/tiny", "--set", "train.steps=30"]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    fs::create_dir(workspace.path("sst2")).unwrap();
    write_reviews(&workspace.path("sst2/train.tsv"), 0, 60, true);
    write_reviews(&workspace.path("sst2/dev.tsv"), 60, 20, true);
    write_reviews(&workspace.path("sst2/test.tsv"), 80, 12, false);
    workspace
}

/// The flags of every sweep here: small, deterministic.
const SMALL: [&str; 12] = [
    "--epochs",
    "4",
    "--batch",
    "8",
    "--max-length",
    "32",
    "--precision",
    "fp32",
    "--set",
    "train.deterministic=true",
    "--set",
    "train.threads=1",
];

fn finetune(workspace: &TestWorkspace, arguments: &[&str]) -> std::process::Output {
    workspace.untie(&[&["finetune"], arguments, &SMALL].concat())
}
