//! Whole runs on the CPU whose steps are read as late as on a GPU: what is read late is right.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use serde_json::Value;
use tch::Device;
use untie::config::RunConfig;
use untie::optim::ReportTiming;
use untie::parallel::World;
use untie::pretrain::{self, earlier_config, resolve, ResolvedRun, StartOptions};
use untie::train::{Event, Outcome, StopFlag};

use crate::common::{stderr, TestWorkspace};
use crate::runs::metrics;

/// A run of 40 steps that unties at 20, with `settings` on top, whose steps are read as `timing` says; what it told.
fn run(workspace: &TestWorkspace, run_dir: &str, settings: &[&str], timing: ReportTiming) -> String {
    tch::set_num_threads(1);
    let data = format!("data.dir={}", workspace.path("data").display());
    let usual = [&data, "train.steps=40", "sharing.untie_at=20", "optim.schedule=constant"];
    let settings: Vec<String> = usual.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
    let config = RunConfig::load(&workspace.path("run.toml"), &settings).unwrap();
    let (folder, world, mut told) = (workspace.path(run_dir), Rc::new(World::alone()), String::new());
    let mut events = |event| {
        if let Event::Note(words) = event {
            told += &(words + "\n");
        }
    };
    let earlier = earlier_config(&folder, &world).unwrap();
    let place = (folder.as_path(), Instant::now());
    let resolved = resolve(config, Device::Cpu, earlier.as_ref(), &world, place, &mut events).unwrap();
    let start = StartOptions { resume: true, ..StartOptions::default() };
    let resolved = ResolvedRun { timing: Some(timing), ..resolved };
    let mut trainer = pretrain::open(resolved, &folder, &start, &mut events).unwrap();
    assert!(matches!(trainer.train(&StopFlag::default()).unwrap(), Outcome::Finished(_)));
    drop(trainer);
    told
}

fn train(workspace: &TestWorkspace, run_dir: &str, settings: &[&str]) -> String {
    run(workspace, run_dir, settings, ReportTiming::Late)
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("checkpoints/step-00000040/model.safetensors")).unwrap()
}

fn state(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("checkpoints/step-00000040/state.json")).unwrap()).unwrap()
}

/// Every step read, or the 7th and those with a checkpoint or an evaluation only: the same run.
#[test]
fn reading_late_changes_nothing() {
    let workspace = TestWorkspace::new();
    train(&workspace, "every", &[]);
    train(&workspace, "some", &["train.log_every=7"]);
    let [every, some] = ["every", "some"].map(|run| workspace.path(run));
    assert_eq!(weights(&every), weights(&some));
    assert_eq!(state(&some)["num_updates"], 40);
    let (every, some) = (metrics(&every), metrics(&some));
    for step in [7, 14, 21, 28, 35, 40] {
        assert_eq!(every[&step], some[&step], "step {step}");
    }
    assert!(!some.contains_key(&8) && some[&7].contains_key("train/mlm_accuracy"));
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let workspace = TestWorkspace::new();
    train(&workspace, "whole", &["train.log_every=3"]);
    train(&workspace, "halves", &["train.log_every=3", "train.steps=25"]);
    train(&workspace, "halves", &["train.log_every=3"]);
    assert_eq!(weights(&workspace.path("whole")), weights(&workspace.path("halves")));
    assert_eq!(state(&workspace.path("halves"))["num_updates"], 40);
}

/// Reading late changes no bit.
#[test]
fn the_losses_are_those_of_a_run_that_reads_at_once() {
    let workspace = TestWorkspace::new();
    train(&workspace, "late", &[]);
    run(&workspace, "at-once", &[], ReportTiming::AtOnce);
    let [late, at_once] = ["late", "at-once"].map(|run| metrics(&workspace.path(run)));
    assert_eq!(late.len(), at_once.len());
    for (step, row) in at_once.iter().filter(|(&step, _)| step > 0) {
        for tag in ["train/loss", "train/grad_norm"] {
            assert_eq!(row[tag], late[step][tag], "step {step}, {tag}");
        }
    }
}

/// A learning rate at which the first update ruins the model: every later one is skipped, and counted although only every
/// 16th step is read.
#[test]
fn skipped_steps_are_counted_and_told_late() {
    let workspace = TestWorkspace::new();
    let settings = ["optim.lr=1e30", "optim.warmup=0", "train.log_every=16", "eval.every=0", "sharing.rule=never"];
    let text = train(&workspace, "ruined", &settings);
    let state = state(&workspace.path("ruined"));
    let (updates, skipped) = (state["num_updates"].as_u64().unwrap(), &state["totals"]["skipped_steps"]);
    assert_eq!(skipped.as_u64(), Some(40 - updates), "{text}");
    assert!(updates < 20, "{updates} updates were applied");
    // Read at 16, 20 (a checkpoint), 32 and 40.
    for (step, num_skipped) in [(32, 12), (40, 8)] {
        assert!(text.contains(&format!("step {step}: {num_skipped} updates up to here were skipped")), "{text}");
    }
}

#[test]
fn fp16_on_the_cpu_is_refused_with_what_to_use_instead() {
    let workspace = TestWorkspace::new();
    let arguments = ["train", "--config", "run.toml", "--run-dir", "half", "--set", "train.precision=fp16"];
    let output = workspace.untie(&arguments);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(text.contains("`train.precision` = \"fp16\"") && text.contains("hint: set `train.precision`"), "{text}");
}
