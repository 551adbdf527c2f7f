//! A run under `[guard]`, end to end. With a rate of 1e-9 its losses stand still and only scatter, and a threshold of almost nothing
//! makes spikes of those above the median.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use crate::common::{stderr, TestWorkspace};
use crate::runs::metrics;
use serde_json::Value;

const SETTINGS: [&str; 11] = [
    "train.precision=fp32",
    "eval.every=10",
    "checkpoint.every=10",
    "optim.lr=1e-9",
    "optim.schedule=constant",
    "guard.spike=rollback",
    "guard.spike_window=20",
    "guard.spike_threshold=1e-9",
    "guard.spike_patience=1",
    "guard.max_rollbacks=1000",
    "sharing.untie_at=30",
];

fn train(workspace: &TestWorkspace, run: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", run, "--resume"];
    arguments.extend(SETTINGS.iter().chain(more).flat_map(|setting| ["--set", setting]));
    workspace.untie(&arguments)
}

fn state(workspace: &TestWorkspace, run: &str, step: u64) -> Value {
    let path = workspace.path(run).join(format!("checkpoints/step-{step:08}/state.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Each spike goes back to the checkpoint before it; the steps are done again, with data that were not read before.
#[test]
fn a_run_goes_back_from_spikes_and_on_with_other_data() {
    let workspace = TestWorkspace::new();
    let output = train(&workspace, "run", &[]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let (rows, state) = (metrics(&workspace.path("run")), state(&workspace, "run", 100));
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (0..=100).collect::<Vec<_>>(), "each step once");
    let backs = said.matches(": back to the checkpoint of step ").count() as u64;
    assert!(backs >= 1 && said.matches("the loss spikes").count() as u64 == backs, "{said}");
    assert_eq!(state["totals"]["rollbacks"], backs);
    // 8 sequences a step; those that were read before going back are left out for good.
    let skipped = state["samples_skipped"].as_u64().unwrap();
    assert!(skipped >= 8 * backs, "{state}");
    assert_eq!(state["samples_consumed"].as_u64().unwrap(), 800 + skipped);
    assert_eq!(state["totals"]["tokens"], 100 * 8 * 32, "tokens of steps that are done again count once");

    // After the first spike, twenty steps read what a run that watches nothing reads behind it: with a rate of 1e-9 the losses of
    // the same samples, whose dropout goes with them, are the same to six digits.
    let (spiked, target) = first_return(&said);
    let quiet = train(&workspace, "quiet", &["guard.spike=off"]);
    assert!(quiet.status.success(), "{}", stderr(&quiet));
    let quiet = metrics(&workspace.path("quiet"));
    let loss = |rows: &BTreeMap<u64, BTreeMap<String, Value>>, step| rows[&step]["train/loss"].as_f64().unwrap();
    assert!(target < spiked && spiked <= 60, "{said}");
    for ahead in 1..=20 {
        let (again, ahead_of_it) = (loss(&rows, target + ahead), loss(&quiet, spiked + ahead));
        assert!((again / ahead_of_it - 1.0).abs() < 1e-6, "step {}: {again} {ahead_of_it}", target + ahead);
    }
}

/// The step of the first spike, and that of the checkpoint which the run went back to.
fn first_return(said: &str) -> (u64, u64) {
    let (before, after) = said.split_once(": back to the checkpoint of step ").unwrap();
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    (number(before.rsplit_once("step ").unwrap().1), number(after))
}

/// Stopped after it went back and taken up again, it ends as the run that nobody stopped.
#[test]
fn what_is_left_out_stays_out_after_a_resume() {
    let workspace = TestWorkspace::new();
    for (run, steps) in [("whole", "train.steps=100"), ("halves", "train.steps=70"), ("halves", "train.steps=100")] {
        let output = train(&workspace, run, &[steps]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(metrics(&workspace.path("whole")), metrics(&workspace.path("halves")));
    let model = |run| fs::read(workspace.path(run).join("checkpoints/step-00000100/model.safetensors")).unwrap();
    assert!(model("whole") == model("halves"));
    let [whole, halves] = ["whole", "halves"].map(|run| state(&workspace, run, 100));
    assert!(whole["samples_skipped"].as_u64() > Some(0));
    assert_eq!(whole["samples_skipped"], halves["samples_skipped"]);
    assert_eq!(whole["guard"], halves["guard"]);
}

#[test]
fn spikes_are_told_or_end_the_run_or_are_nothing() {
    let workspace = TestWorkspace::new();
    let told = train(&workspace, "told", &["guard.spike=warn"]);
    let said = stderr(&told);
    assert!(told.status.success() && said.contains("the loss spikes: ") && !said.contains("back to"), "{said}");
    let ended = train(&workspace, "ended", &["guard.max_rollbacks=0"]);
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        said.contains("error: the loss spikes again at step ") && said.contains("`guard.max_rollbacks` = 0"),
        "{said}"
    );
    let quiet = train(&workspace, "quiet", &["guard.spike=off"]);
    assert!(quiet.status.success() && !stderr(&quiet).contains("spikes"), "{}", stderr(&quiet));
}

/// A rate that throws the weights away: loss and gradients stop being numbers, and nothing is learned from there on.
#[test]
fn a_run_that_diverges_ends_with_its_last_good_checkpoint_named() {
    let workspace = TestWorkspace::new();
    let settings =
        ["optim.lr=1e30", "optim.clip_norm=0", "guard.spike=off", "guard.max_skipped=5", "checkpoint.every=1"];
    let output = train(&workspace, "run", &settings);
    let said = stderr(&output);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains(": 5 updates in a row were skipped because loss or gradient was not finite; the last good"),
        "{said}"
    );
    assert!(said.contains("`run/checkpoints/step-"), "{said}");
}
