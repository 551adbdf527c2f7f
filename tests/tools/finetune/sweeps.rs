//! Rows, tables, resuming, and what is refused.

use std::fs;

use serde_json::Value;

use super::{finetune, workspace};
use crate::common::{stderr, TestWorkspace};

const TO_RUN: [&str; 6] = ["--task", "sst2", "--model", "runs/tiny", "--data", "sst2"];

fn rows(workspace: &TestWorkspace, folder: &str) -> Vec<Value> {
    let text = fs::read_to_string(workspace.path(folder).join("results.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_sweep_has_a_row_a_run_and_keeps_the_best_model() {
    let workspace = workspace();
    let begun =
        finetune(&workspace, &[&TO_RUN[..], &["--lr", "1e-3,3e-3", "--seeds", "2", "--run-dir", "out"]].concat());
    assert!(begun.status.success(), "{}", stderr(&begun));
    let table = String::from_utf8(begun.stdout).unwrap();
    assert!(table.contains("| learning rate | seeds | dev/accuracy |"), "{table}");
    assert!(table.contains("| 1e-3 | 2 |") && table.contains("| 3e-3 | 2 |"), "{table}");
    let rows = rows(&workspace, "out");
    let settings: Vec<(f64, u64)> =
        rows.iter().map(|row| (row["lr"].as_f64().unwrap(), row["seed"].as_u64().unwrap())).collect();
    assert_eq!(settings, [(1e-3, 1), (1e-3, 2), (3e-3, 1), (3e-3, 2)]);
    // 60 examples in steps of 8: 8 steps an epoch, the last of them with 4.
    assert!(rows.iter().all(|row| row["steps"] == 32 && row["batch"] == 8), "{rows:?}");
    let accuracy = |row: &Value| row["scores"]["dev/accuracy"].as_f64().unwrap();
    let best = rows.iter().map(accuracy).fold(0.0, f64::max);
    // The word that decides is always there: a model that learns anything finds it.
    assert!(best > 0.9, "{rows:?}");
    let submission = fs::read_to_string(workspace.path("out/best-predictions/SST-2.tsv")).unwrap();
    assert_eq!(submission.lines().count(), 13);
    assert!(submission.starts_with("index\tprediction\n0\t"), "{submission}");
    // The kept model is the one of the best row: asked again, it scores the same.
    let scored = workspace.untie(&[
        "finetune",
        "--task",
        "sst2",
        "--model",
        "out/best",
        "--data",
        "sst2",
        "--epochs",
        "0",
        "--precision",
        "fp32",
        "--max-length",
        "32",
        "--run-dir",
        "scored",
    ]);
    assert!(scored.status.success(), "{}", stderr(&scored));
    let printed = String::from_utf8(scored.stdout).unwrap();
    assert!(printed.contains(&format!("dev/accuracy                 {best:.4}")), "{printed}");
    assert_eq!(fs::read_to_string(workspace.path("scored/predictions/SST-2.tsv")).unwrap(), submission);
}

#[test]
fn a_sweep_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let workspace = workspace();
    let flags = ["--lr", "1e-3", "--seeds", "2", "--set", "checkpoint.every=5", "--set", "train.log_every=1"];
    let whole = finetune(&workspace, &[&TO_RUN[..], &flags, &["--run-dir", "whole"]].concat());
    assert!(whole.status.success(), "{}", stderr(&whole));
    let folder = "parts/sst2-lr1e-3-seed1";
    let child = workspace
        .command(&[&["finetune"], &TO_RUN[..], &flags, &["--run-dir", "parts"], &super::SMALL].concat())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let checkpoints = workspace.path(folder).join("checkpoints/latest");
    while !checkpoints.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let again = [&TO_RUN[..], &flags, &["--run-dir", "parts"]].concat();
    let refused = finetune(&workspace, &again);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("already has results"), "{}", stderr(&refused));
    let resumed = finetune(&workspace, &[&again[..], &["--resume"]].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let without_time = |mut row: Value| {
        row.as_object_mut().unwrap().remove("wall_seconds");
        row
    };
    let of = |name| rows(&workspace, name).into_iter().map(without_time).collect::<Vec<Value>>();
    assert_eq!(of("whole"), of("parts"));
    let losses = |name: &str| -> Vec<Value> {
        let path = workspace.path(name).join("sst2-lr1e-3-seed1/metrics.jsonl");
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|record| record.get("train/loss").is_some())
            .map(|record| Value::from(vec![record["step"].clone(), record["train/loss"].clone()]))
            .collect()
    };
    assert_eq!(losses("whole").len(), 32);
    assert_eq!(losses("whole"), losses("parts"));
    assert!(!workspace.path(folder).join("checkpoints").exists(), "a finished run has no use for checkpoints");
}

#[test]
fn other_settings_or_another_model_are_not_mixed_in() {
    let workspace = workspace();
    let flags = ["--lr", "1e-3", "--seeds", "1", "--run-dir", "out"];
    let begun = finetune(&workspace, &[&TO_RUN[..], &flags].concat());
    assert!(begun.status.success(), "{}", stderr(&begun));
    let other = finetune(&workspace, &[&TO_RUN[..], &flags, &["--resume", "--set", "optim.weight_decay=0.1"]].concat());
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("results of other settings"), "{}", stderr(&other));
    // More seeds are more runs of the same sweep, also on another machine or in other pieces; the first is not run again.
    let elsewhere = ["--set", "train.kernels=plain", "--set", "train.micro_batch=4"];
    let more = ["--lr", "1e-3", "--seeds", "2", "--run-dir", "out", "--resume"];
    let more = finetune(&workspace, &[&TO_RUN[..], &more, &elsewhere].concat());
    assert!(more.status.success(), "{}", stderr(&more));
    assert!(stderr(&more).contains("run 2 of 2") && !stderr(&more).contains("run 1 of 2"), "{}", stderr(&more));
    assert_eq!(rows(&workspace, "out").len(), 2);
}

/// libtorch emulates bf16 where it has no AVX-512; who asks for it is told.
#[test]
fn emulated_bf16_is_told() {
    let workspace = workspace();
    for (precision, is_told) in [("bf16", true), ("fp32", false), ("auto", false)] {
        let flags = ["--epochs", "1", "--batch", "32", "--max-length", "32", "--lr", "1e-3", "--seeds", "1"];
        let arguments =
            [&["finetune"], &TO_RUN[..], &flags, &["--precision", precision, "--run-dir", precision]].concat();
        let output = workspace.command(&arguments).env("ATEN_CPU_CAPABILITY", "avx2").output().unwrap();
        let said = stderr(&output);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("warning: bf16 is emulated on this CPU (AVX2"), is_told, "{precision}: {said}");
        assert_eq!(rows(&workspace, precision)[0]["precision"], if is_told { "bf16" } else { "fp32" });
    }
}

#[test]
fn a_run_that_diverges_counts_as_not_a_number() {
    let workspace = workspace();
    let flags = ["--lr", "1e30", "--seeds", "1", "--run-dir", "out", "--set", "optim.clip_norm=0"];
    let diverged = finetune(&workspace, &[&TO_RUN[..], &flags].concat());
    let told = stderr(&diverged);
    assert!(diverged.status.success(), "{told}");
    // An evaluation between two epochs says so and does not end the run; that at the end decides.
    for words in ["epoch 1: the model's output for example 0 is", "its scores count as not a number"] {
        assert!(told.contains(words), "{told}");
    }
    assert!(rows(&workspace, "out")[0]["scores"]["dev/accuracy"].is_null());
    let table = String::from_utf8(diverged.stdout).unwrap();
    assert!(table.contains("no run has a finite dev/accuracy"), "{table}");
}
