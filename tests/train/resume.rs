//! kill -9 and `--resume`: the steps after it are those of a run that nobody killed, bit for bit.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{stderr, TestWorkspace};
use crate::runs::{lines, metrics};
use serde_json::Value;

/// A run of 100 steps that unties at `untie_step`, beside one that is killed after step 60 and resumed.
fn killed_run_equals_uninterrupted_run(untie_step: u64, settings: &[&str]) {
    let untie_at = format!("sharing.untie_at={untie_step}");
    let settings = [&[untie_at.as_str()], settings].concat();
    killed_run_with_groups(&[(untie_step, 3.0)], &settings);
}

/// The same for any rule; `groups` holds the steps of the transitions and the groups after each.
fn killed_run_with_groups(groups: &[(u64, f64)], settings: &[&str]) {
    let workspace = TestWorkspace::new();
    let train = |run_dir: &'static str| {
        let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", run_dir];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        arguments
    };
    let whole = workspace.untie(&train("whole"));
    assert!(whole.status.success(), "{}", stderr(&whole));

    let killed = workspace.path("killed");
    // Again where the machine is so busy that the kill comes behind the next checkpoint.
    let is_in_time = (0..5).any(|_| {
        let _ = fs::remove_dir_all(&killed);
        let mut child =
            workspace.command(&train("killed")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        // A line a step and one for step 0, so line 64 is step 63: three steps behind the checkpoint of step 60.
        while lines(&killed) < 64 || !killed.join("checkpoints/step-00000060").exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "the run to be killed does not get to step 63");
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines(&killed) <= 80
    });
    assert!(is_in_time, "the kill came too late");
    assert!(!killed.join("export").exists());

    // What the kill left behind: groups before the untying step if that is still to come.
    let left = fs::read_to_string(killed.join("metrics.jsonl")).unwrap();
    let groups_of = |line: &str| serde_json::from_str::<Value>(line).ok()?["sharing/groups"].as_f64();
    let expected_at = |step| groups.iter().rfind(|(at, _)| *at <= step).map_or(1.0, |(_, groups)| *groups);
    let last = lines(&killed) as u64 - 1;
    let at = left.lines().filter_map(groups_of).next_back();
    assert!([last, last - 1].iter().any(|&step| at == Some(expected_at(step))), "{at:?} after step {last}");

    let mut arguments = train("killed");
    arguments.push("--resume");
    let resumed = workspace.untie(&arguments);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("resume: from `killed/checkpoints/step-00000060`"), "{}", stderr(&resumed));

    let (expected, got) = (metrics(&workspace.path("whole")), metrics(&killed));
    assert_eq!(expected.len(), 101);
    for (step, values) in &expected {
        assert_eq!(Some(values), got.get(step), "step {step}");
    }
    assert_eq!(expected.len(), got.len());
    for step in 0..=100 {
        assert_eq!(expected[&step]["sharing/groups"], expected_at(step), "step {step}");
    }
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |run: &str| fs::read(workspace.path(run).join("checkpoints/step-00000100").join(file)).unwrap();
        assert!(read("whole") == read("killed"), "{file} differs");
    }
}

#[test]
fn untying_after_the_kill_fp32() {
    killed_run_equals_uninterrupted_run(90, &["train.precision=fp32"]);
}

#[test]
fn untying_before_the_kill_fp32() {
    killed_run_equals_uninterrupted_run(30, &["train.precision=fp32"]);
}

#[test]
fn untying_after_the_kill_bf16_pre_ln() {
    killed_run_equals_uninterrupted_run(90, &["train.precision=bf16", "model.norm=pre"]);
}

#[test]
fn untying_before_the_kill_bf16_pre_ln() {
    killed_run_equals_uninterrupted_run(30, &["train.precision=bf16", "model.norm=pre"]);
}

/// Kernels on two threads split their sums in the same places every time.
#[test]
fn untying_after_the_kill_on_two_threads() {
    killed_run_equals_uninterrupted_run(90, &["train.precision=bf16", "train.threads=2"]);
}

/// Every correlation counts as low, so three checks decide: at 23, 46 and 69, two before the checkpoint and the kill.
#[test]
fn adaptive_counts_its_checks_across_the_kill() {
    let rule = ["sharing.rule=adaptive", "sharing.threshold=1.0", "sharing.check_every=23"];
    killed_run_with_groups(&[(69, 3.0)], &rule);
}

/// Two checks a boundary: 0|1 splits at the second, step 50; 1|2, ripe as well, at the third, after the kill.
#[test]
fn multi_step_goes_on_splitting_after_the_kill() {
    let rule = ["sharing.rule=multi_step", "sharing.threshold=1.0", "sharing.check_every=25", "sharing.patience=2"];
    killed_run_with_groups(&[(50, 2.0), (75, 3.0)], &rule);
}

/// Transitions by hand, one before and one after the kill, under the monitor and with moments that are reset.
#[test]
fn transitions_by_hand_around_the_kill() {
    let settings = [
        "sharing.transition=[{ at = 30, groups = [[0], [1, 2]] }, { at = 0.8, groups = \"untied\" }]",
        "sharing.monitor=true",
        "sharing.check_every=7",
        "sharing.moments=reset",
        "train.precision=bf16",
    ];
    killed_run_with_groups(&[(30, 2.0), (80, 3.0)], &settings);
}

/// Sequences of another length from step `border` on, with other batches; dropout on.
fn killed_run_with_phases(border: u64) {
    let phases = format!(
        "data.phase=[{{ until = {border}, sequence_length = 12 }}, \
         {{ sequence_length = 16, micro_batch = 2, global_batch = 4 }}]"
    );
    // Untied in the step after the border: neither the one nor the other is forgotten.
    killed_run_equals_uninterrupted_run(border + 1, &[&phases, "train.precision=fp32", "data.workers=2"]);
}

#[test]
fn a_phase_that_ended_before_the_kill() {
    killed_run_with_phases(30);
}

/// The step of the checkpoint is the last one of the phase.
#[test]
fn a_phase_that_ends_where_the_run_is_taken_up() {
    killed_run_with_phases(60);
}

#[test]
fn a_phase_that_ends_after_the_kill() {
    killed_run_with_phases(90);
}

/// What a run of 20 steps of 8 sequences of 12 tokens and 10 of 4 of 16 has read, by hand.
#[test]
fn phases_read_what_they_declare() {
    let workspace = TestWorkspace::new();
    let phases = "data.phase=[{ until = 20, sequence_length = 12 }, { sequence_length = 16, micro_batch = 2, global_batch = 4 }]";
    let settings = ["train.steps=30", "sharing.rule=never", phases];
    let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", "run"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = workspace.untie(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("step 20: now 4 sequences of 16 tokens"), "{}", stderr(&output));
    let state = fs::read(workspace.path("run/checkpoints/step-00000030/state.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["samples_consumed"], 20 * 8 + 10 * 4);
    assert_eq!(state["totals"]["tokens"], 20 * 8 * 12 + 10 * 4 * 16);

    // The plan is part of the run.
    let other = "data.phase=[{ until = 25, sequence_length = 12 }, { sequence_length = 16 }]";
    arguments.extend(["--resume", "--set", other]);
    let output = workspace.untie(&arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot resume with another `data.phase."), "{}", stderr(&output));
}

/// Held-out sequences keep their length at a phase border: in the first phase, of 12 tokens, the loss is that of `untie eval` with 24.
#[test]
fn held_out_sequences_may_be_longer_than_those_of_a_phase() {
    let workspace = TestWorkspace::new();
    let phases = "data.phase=[{ until = 20, sequence_length = 12 }, { sequence_length = 24, micro_batch = 2, global_batch = 4 }]";
    let settings = ["train.steps=30", "sharing.rule=never", "eval.every=10", "eval.sequence_length=24", phases];
    let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", "run"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = workspace.untie(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let losses = metrics(&workspace.path("run"));
    for step in ["20", "30"] {
        let output = workspace.untie(&["export", "--run", "run", "--step", step, "--out", step]);
        assert!(output.status.success(), "{}", stderr(&output));
        let sizes = ["--sequence-length", "24", "--sequences", "16", "--device", "cpu"];
        let output = workspace.untie(&[&["eval", "--model", step, "--data", "data"][..], &sizes].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let loss = text.lines().find_map(|line| line.strip_prefix("loss ")).unwrap().trim();
        assert_eq!(
            format!("{:.4}", losses[&step.parse::<u64>().unwrap()]["eval/loss"].as_f64().unwrap()),
            loss,
            "{text}"
        );
    }
}

/// A step that is a checkpoint and the untying step at once is neither untied twice nor forgotten.
#[test]
fn untying_at_a_checkpoint() {
    killed_run_equals_uninterrupted_run(60, &["train.precision=fp32"]);
}

/// A run of 60 steps that is made longer is the run of 100 steps, also where a rule decides after the 60th.
#[test]
fn a_finished_run_goes_on_as_a_longer_one() {
    let workspace = TestWorkspace::new();
    let train = |run_dir: &'static str, steps: &'static str, more: &[&'static str]| {
        let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", run_dir, "--set", steps];
        let settings = [
            "sharing.rule=multi_step",
            "sharing.threshold=1.0",
            "sharing.patience=1",
            "sharing.check_every=30",
            "optim.schedule=constant",
        ];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        arguments.extend(more);
        let output = workspace.untie(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    train("whole", "train.steps=100", &[]);
    train("longer", "train.steps=60", &[]);
    train("longer", "train.steps=100", &["--resume"]);
    let (expected, got) = (metrics(&workspace.path("whole")), metrics(&workspace.path("longer")));
    assert_eq!((&expected[&59]["sharing/groups"], &expected[&61]["sharing/groups"]), (&2.0.into(), &3.0.into()));
    for step in 61..=100 {
        assert_eq!(expected[&step], got[&step], "step {step}");
    }
}

/// Accumulation is a way to cut a step, not another run: dropout off, one micro-batch of 8 equals two of 4.
#[test]
fn micro_batches_add_up() {
    let workspace = TestWorkspace::new();
    for (run_dir, micro_batch) in [("two", "train.micro_batch=4"), ("one", "train.micro_batch=8")] {
        let output = workspace.untie(&[
            "train",
            "--config",
            "run.toml",
            "--run-dir",
            run_dir,
            "--set",
            micro_batch,
            "--set",
            "train.precision=fp64",
            "--set",
            "train.steps=30",
            "--set",
            "model.hidden_dropout_prob=0.0",
            "--set",
            "model.attention_probs_dropout_prob=0.0",
            "--set",
            "sharing.untie_at=10",
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let (one, two) = (metrics(&workspace.path("one")), metrics(&workspace.path("two")));
    for step in 1..=30 {
        let loss = |rows: &BTreeMap<u64, BTreeMap<String, Value>>| rows[&step]["train/loss"].as_f64().unwrap();
        let difference = (loss(&one) - loss(&two)).abs();
        assert!(difference < 1e-9, "step {step}: {difference}");
    }
}

#[cfg(unix)]
#[test]
fn a_termination_signal_saves_and_says_so() {
    let workspace = TestWorkspace::new();
    let mut child = workspace
        .command(&["train", "--config", "run.toml", "--run-dir", "run", "--set", "train.steps=100000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while lines(&workspace.path("run")) < 5 {
        assert!(start.elapsed() < Duration::from_secs(120), "the run does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = std::process::Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let checkpoints = fs::read_dir(workspace.path("run/checkpoints")).unwrap().count();
    assert!(checkpoints >= 2, "a checkpoint and `latest`, found {checkpoints} entries");
}

/// A time is measured into steps once. Measuring leaves no trace: the run is the one whose steps were written by hand, bit for
/// bit, with dropout and a transition; a resume keeps the steps, and another length given by hand takes their place.
#[test]
fn a_time_becomes_steps_once() {
    let workspace = TestWorkspace::new();
    let train = |run_dir: &str, more: &[&str]| {
        let mut arguments =
            vec!["train", "--config", "run.toml", "--run-dir", run_dir, "--set", "sharing.untie_at=0.3"];
        arguments.extend(["--set", "checkpoint.every=1000", "--set", "eval.every=1000"]);
        arguments.extend(more);
        workspace.untie(&arguments)
    };
    // The first time that is enough on a machine as busy as this one is now.
    let (time, timed) = enough(|time| train("timed", &["--time", time]));
    assert!(stderr(&timed).contains("predicted to end after"), "{}", stderr(&timed));
    let (_, dry) = enough(|time| train("dry", &["--time", time, "--dry-run"]));
    assert!(String::from_utf8_lossy(&dry.stdout).contains("decided from time "), "{dry:?}");
    let config: toml::Table = fs::read_to_string(workspace.path("timed/config.toml")).unwrap().parse().unwrap();
    let table = config["train"].as_table().unwrap();
    assert_eq!((table.get("time"), table["steps_from"].as_str()), (None, Some(format!("time {time}").as_str())));
    let steps = table["steps"].as_integer().unwrap();

    let by_hand = train("by-hand", &["--set", &format!("train.steps={steps}")]);
    assert!(by_hand.status.success(), "{}", stderr(&by_hand));
    let (expected, got) = (metrics(&workspace.path("by-hand")), metrics(&workspace.path("timed")));
    assert_eq!(expected.len() as i64, steps + 1);
    assert_eq!(expected, got);

    // Neither the same time, nor the run's own configuration, measures anything.
    let own = ["train", "--config", "timed/config.toml", "--run-dir", "timed", "--resume"];
    for again in [train("timed", &["--resume", "--time", time]), workspace.untie(&own)] {
        assert!(again.status.success(), "{}", stderr(&again));
        assert!(!stderr(&again).contains("predicted to end"), "{}", stderr(&again));
        let summary = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(summary.contains(&format!(" {steps} steps, ")), "{summary}");
    }
    let longer = train("timed", &["--resume", "--set", &format!("train.steps={}", steps + 5)]);
    assert!(longer.status.success(), "{}", stderr(&longer));
    assert!(stderr(&longer).contains(&format!("`train.steps`: {steps} → {}", steps + 5)), "{}", stderr(&longer));

    let short = train("short", &["--time", "1s"]);
    assert_eq!(short.status.code(), Some(2), "{}", stderr(&short));
    assert!(stderr(&short).contains("`train.time` = 1s is too short"), "{}", stderr(&short));
    let names = fs::read_dir(workspace.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with('.') || name == "dry" || name == "short").collect();
    assert_eq!(left, Vec::<String>::new(), "left behind by measuring");
}

/// The first of a few times that is not too short, with what `run` makes of it.
fn enough(run: impl Fn(&str) -> Output) -> (&'static str, Output) {
    for time in ["10s", "40s", "2m", "6m"] {
        let output = run(time);
        if output.status.success() {
            return (time, output);
        }
        assert!(stderr(&output).contains("is too short"), "{}", stderr(&output));
    }
    panic!("six minutes are too short for ten steps of a tiny model");
}

/// Two phases: passes over samples of 12 tokens in half of the steps, over samples of 16 in the others.
#[test]
fn epochs_become_steps() {
    let workspace = TestWorkspace::new();
    let phases = "data.phase=[{ until = 0.5, sequence_length = 12 }, { sequence_length = 16, micro_batch = 2, global_batch = 4 }]";
    let arguments = ["train", "--config", "run.toml", "--dry-run", "--set", phases, "--set", "train.epochs=2.5"];
    let output = workspace.untie(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |words: &str, part: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {text}"));
        let before = line.split(part).next().unwrap().trim();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let manifest: Value = serde_json::from_slice(&fs::read(workspace.path("data/manifest.json")).unwrap()).unwrap();
    let split = &manifest["train"];
    // Every document ends with a [SEP] in the stream; a sample has two special tokens of its own.
    let stream = split["tokens"].as_f64().unwrap() + split["documents"].as_f64().unwrap();
    let samples = |length: f64| (stream / (length - 2.0)).floor();
    let per_pair_of_steps = 8.0 / samples(12.0) + 4.0 / samples(16.0);
    let steps = number("the run", " steps");
    assert!((steps / 2.0 * per_pair_of_steps - 2.5).abs() <= per_pair_of_steps, "{steps} steps: {text}");
    assert!(text.contains("decided from epochs 2.5"), "{text}");
}
