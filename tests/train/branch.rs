//! `untie train --from`: tails that branch from one trunk.

use std::fs;

use crate::common::{stderr, TestWorkspace};
use crate::runs::metrics;

const WSD: [&str; 5] =
    ["train.precision=fp32", "optim.schedule=wsd", "optim.warmup=4", "checkpoint.every=10", "checkpoint.keep_last=9"];

fn train(workspace: &TestWorkspace, run: &str, settings: &[&str], more: &[&str]) -> std::process::Output {
    let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", run];
    arguments.extend(WSD.iter().chain(settings).flat_map(|setting| ["--set", setting]));
    arguments.extend(more);
    workspace.untie(&arguments)
}

fn weights(workspace: &TestWorkspace, run: &str, step: u64) -> Vec<u8> {
    fs::read(workspace.path(run).join(format!("checkpoints/step-{step:08}/model.safetensors"))).unwrap()
}

/// Until step 20 the rate of a trunk of 60 steps is that of a run of 30 steps whose rate falls from 20 on: the tail is that run.
#[test]
fn a_tail_is_the_run_that_was_always_that_long() {
    let workspace = TestWorkspace::new();
    let fixed = ["sharing.untie_at=15", "train.steps=60"];
    assert!(train(&workspace, "trunk", &fixed, &[]).status.success());
    let tail = ["sharing.untie_at=15", "train.steps=30", "optim.decay_from=20"];
    assert!(train(&workspace, "whole", &tail, &[]).status.success());
    let output = train(&workspace, "tail", &tail, &["--from", "trunk:20"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    for words in ["branch: `train.steps`: 60 → 30", "branch: from `trunk/checkpoints/step-00000020`, after step 20"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(weights(&workspace, "tail", 30), weights(&workspace, "whole", 30));
    let (whole, found) = (metrics(&workspace.path("whole")), metrics(&workspace.path("tail")));
    assert_eq!(found.keys().min(), Some(&20));
    for (step, row) in found.iter().filter(|(step, _)| **step > 20) {
        assert_eq!(row, &whole[step], "step {step}");
    }
    // It is a run of its own: it goes on from its own checkpoints.
    let longer = ["sharing.untie_at=15", "train.steps=40", "optim.decay_from=20"];
    let output = train(&workspace, "tail", &longer, &["--from", "trunk:20", "--resume"]);
    assert!(stderr(&output).contains("resume: from `tail/checkpoints/step-00000030`"), "{}", stderr(&output));
}

/// Another rule begins where the branch does: tied until then, untied at once.
#[test]
fn a_branch_may_have_another_rule() {
    let workspace = TestWorkspace::new();
    assert!(train(&workspace, "trunk", &["sharing.rule=never", "train.steps=20"], &[]).status.success());
    let output = train(&workspace, "untied", &["sharing.untie_at=20", "train.steps=30"], &["--from", "trunk"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("step 20: untied, 1 → 3 sets of layer weights"), "{said}");
}

#[test]
fn what_is_no_trunk_is_refused() {
    let workspace = TestWorkspace::new();
    assert!(train(&workspace, "trunk", &["train.steps=20"], &[]).status.success());
    for (settings, from, code, words) in [
        (&["train.steps=30"][..], "trunk:15", 3, "`--from`: `trunk` has no checkpoint of step 15"),
        (&["train.steps=30"], "nowhere", 3, "`--from`: `nowhere` has no checkpoint"),
        (&["train.steps=30", "model.hidden_size=16"], "trunk", 2, "expected a model of"),
        (&["train.steps=30", "train.global_batch=4"], "trunk", 2, "the position in the data would change"),
        (&["train.steps=15"], "trunk", 2, "after the end of the run"),
    ] {
        let output = train(&workspace, "branch", settings, &["--from", from]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!workspace.path("branch").exists(), "{from}: something was written");
    }
}
