//! Fine-tuning on several processes: the weights and scores of one.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tch::Tensor;

use crate::common::{stderr, TestWorkspace};
use crate::ranks::{children, ended, signal};
use crate::reviews;
use crate::runs::{lines, metrics, wait_for};

/// 57 examples in batches of 8: 8 steps an epoch, the last of them with one example, which leaves the other processes without any.
fn workspace() -> TestWorkspace {
    reviews::workspace([57, 20, 12])
}

/// The command of a sweep of one run of 7 epochs, 56 steps, on `ranks` processes; 0: alone, as nobody would notice.
fn finetune(workspace: &TestWorkspace, ranks: usize, folder: &str, more: &[&str]) -> std::process::Command {
    let nproc = ranks.to_string();
    let launch = ["launch", "--nproc", &nproc, "--"];
    let mut command = workspace.command(if ranks > 0 { &launch } else { &[] });
    command
        .args(["finetune", "--task", "sst2", "--model", "runs/tiny", "--data", "sst2", "--run-dir", folder, "--resume"])
        .args(["--lr", "1e-3", "--seeds", "1", "--epochs", "7", "--batch", "8", "--max-length", "32"])
        .args(["--precision", "fp32", "--set", "train.threads=1", "--set", "train.log_every=1"])
        .args(["--set", "train.micro_batch=2", "--set", "checkpoint.every=10"])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn run(workspace: &TestWorkspace, ranks: usize, folder: &str, more: &[&str]) {
    let output = finetune(workspace, ranks, folder, more).output().unwrap();
    assert!(output.status.success(), "{folder}: {}", stderr(&output));
}

/// The largest difference of any tensor of two sweeps' models.
fn farthest(workspace: &TestWorkspace, one: &str, other: &str) -> f64 {
    let read = |folder: &str| -> BTreeMap<String, Tensor> {
        let path = workspace.path(folder).join("best/model.safetensors");
        Tensor::read_safetensors(path).unwrap().into_iter().collect()
    };
    let (one, other) = (read(one), read(other));
    assert!(one.keys().eq(other.keys()));
    one.iter().map(|(name, tensor)| (tensor - &other[name]).abs().max().double_value(&[])).fold(0.0, f64::max)
}

const RUN: &str = "sst2-lr1e-3-seed1";

/// The scores of a sweep's only run.
fn scores(workspace: &TestWorkspace, folder: &str) -> Value {
    let text = fs::read_to_string(workspace.path(folder).join("results.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 1, "{folder}");
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(row["steps"], 56);
    row["scores"].clone()
}

#[test]
fn the_number_of_processes_does_not_matter() {
    let workspace = workspace();
    for (order, more) in [("shuffled", &[][..]), ("grouped", &["--set", "train.group_by_length=true"])] {
        let folder = |ranks: usize| format!("{order}-{ranks}");
        run(&workspace, 0, &folder(0), more);
        for ranks in [1, 2, 3] {
            run(&workspace, ranks, &folder(ranks), more);
            let apart = farthest(&workspace, &folder(0), &folder(ranks));
            println!("{order}: {ranks} processes: weights at most {apart:.1e} apart after 56 steps");
            // One process beside itself: the same bits. Several add gradients in another order.
            assert!(apart <= if ranks == 1 { 0.0 } else { 1e-6 }, "{order}, {ranks}: {apart}");
            assert_eq!(scores(&workspace, &folder(0)), scores(&workspace, &folder(ranks)));
            let of = |ranks: usize| metrics(&workspace.path(&folder(ranks)).join(RUN));
            let (expected, got) = (of(0), of(ranks));
            assert_eq!(expected.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
            for (step, values) in &expected {
                let (loss, found) = (values["train/loss"].as_f64().unwrap(), got[step]["train/loss"].as_f64().unwrap());
                assert!((loss - found).abs() <= 1e-6 * loss.abs(), "{order}, {ranks}, step {step}: {loss} {found}");
            }
            let predictions =
                |ranks: usize| fs::read(workspace.path(&folder(ranks)).join("best-predictions/SST-2.tsv")).unwrap();
            assert_eq!(predictions(0), predictions(ranks));
        }
    }
}

#[test]
fn two_processes_that_are_killed_go_on_as_if_nothing_had_happened() {
    let workspace = workspace();
    run(&workspace, 2, "whole", &[]);
    let folder = workspace.path("killed").join(RUN);
    for (victim, steps) in [(1, 15), (0, 32)] {
        let child = finetune(&workspace, 2, "killed", &["--set", "parallel.heartbeat=5"]).spawn().unwrap();
        wait_for("a step to kill at", || lines(&folder) >= steps);
        signal(children(child.id())[victim], "-KILL");
        assert!(!ended(child).status.success());
    }
    run(&workspace, 2, "killed", &[]);
    assert_eq!(farthest(&workspace, "whole", "killed"), 0.0);
    assert_eq!(metrics(&workspace.path("whole").join(RUN)), metrics(&workspace.path("killed").join(RUN)));
    assert_eq!(scores(&workspace, "whole"), scores(&workspace, "killed"));
}
