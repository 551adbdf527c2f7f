//! `untie finetune` as a user calls it: sweeps on made-up tasks with a model that this test pre-trains for a moment.

mod sweeps;
mod tasks;

use std::fs;
use std::path::Path;

use crate::common::{stderr, TestWorkspace};

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

fn write_reviews(path: &Path, first: usize, count: usize, labelled: bool) {
    let mut text = String::from(if labelled { "sentence\tlabel\n" } else { "index\tsentence\n" });
    for index in 0..count {
        let at = first + index;
        let object = ["the red boat", "seven coins", "a letter", "the clock"][at % 4];
        let verb = ["carried", "painted", "sold"][at % 3];
        let sentence = format!("the miller {verb} {object}");
        let is_good = at % 4 < 2;
        text.push_str(&match labelled {
            true => format!("{sentence}\t{}\n", u8::from(is_good)),
            false => format!("{index}\t{sentence}\n"),
        });
    }
    fs::write(path, text).unwrap();
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
