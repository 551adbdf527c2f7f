//! `untie finetune` as a user calls it: sweeps on made-up tasks with a model that this test pre-trains for a moment.

mod custom;
mod sweeps;
mod tags;
mod tasks;

use crate::common::TestWorkspace;
use crate::reviews;

fn workspace() -> TestWorkspace {
    reviews::workspace([60, 20, 12])
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
