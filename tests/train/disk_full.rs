//! A disk that is full in the middle of a checkpoint: a small tmpfs of the test's own.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::common::{stderr, TestWorkspace};
use crate::namespaces::{is_allowed, unshared};

/// Room for a checkpoint of the tiny model and a part of the next, in KiB.
const ROOM: u64 = 2500;

/// Runs a shell script with `untie` in a mount namespace with a tmpfs at `small`; `None` where the system does not allow that.
fn with_small_disk(workspace: &TestWorkspace, script: &str) -> Option<Output> {
    fs::create_dir_all(workspace.path("small")).unwrap();
    let mount = format!("mount -t tmpfs -o size={ROOM}k none small");
    if !is_allowed(workspace, &["--mount"], &mount) {
        return None;
    }
    Some(unshared(workspace, &["--mount"], &format!("set -e; {mount}; {script}")).output().unwrap())
}

const TRAIN: &str = "\"$UNTIE\" train --config run.toml --set model.hidden_size=64 --set train.steps=60 \
    --set checkpoint.keep_last=9 --run-dir small/run";

fn run(workspace: &TestWorkspace, settings: &str) -> Option<Output> {
    // What the run leaves is looked at and taken up again while the disk is still there: with more room.
    let script = format!(
        "{TRAIN} {settings} 2> first.txt && echo 0 > code.txt || echo $? > code.txt
         cat small/run/checkpoints/latest > latest.txt
         ls -A small/run/checkpoints > left.txt
         \"$UNTIE\" runs small/run > runs.txt
         mount -o remount,size=50m small
         {TRAIN} {settings} --resume 2> second.txt
         cp small/run/checkpoints/step-00000060/model.safetensors model"
    );
    let output = with_small_disk(workspace, &script)?;
    assert!(output.status.success(), "{}{}", stderr(&output), read(&workspace.path("second.txt")));
    Some(output)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_full_disk_costs_one_checkpoint_and_no_more() {
    let workspace = TestWorkspace::new();
    let arguments = ["train", "--config", "run.toml", "--set", "model.hidden_size=64", "--set", "train.steps=60"];
    let whole = workspace.untie(&[&arguments[..], &["--run-dir", "whole"]].concat());
    assert!(whole.status.success(), "{}", stderr(&whole));
    let expected = fs::read(workspace.path("whole/checkpoints/step-00000060/model.safetensors")).unwrap();

    for background in ["checkpoint.background=true", "checkpoint.background=false"] {
        let workspace = &workspace;
        let text = |name: &str| read(&workspace.path(name));
        if run(workspace, &format!("--set {background}")).is_none() {
            return;
        }
        let said = text("first.txt");
        assert_eq!(text("code.txt"), "1\n", "{said}");
        assert!(
            said.contains("error: cannot write `small/run/checkpoints/") && said.contains("No space left"),
            "{said}"
        );
        let latest = text("latest.txt");
        assert!(["step-00000020\n", "step-00000040\n"].contains(&latest.as_str()), "{latest}");
        assert!(!text("left.txt").contains(".partial"), "{}", text("left.txt"));
        assert!(text("runs.txt").contains(" valid\n") && !text("runs.txt").contains("damaged"), "{}", text("runs.txt"));
        assert!(
            text("second.txt").contains(&format!("small/run/checkpoints/{}", latest.trim())),
            "{}",
            text("second.txt")
        );
        assert!(fs::read(workspace.path("model")).unwrap() == expected, "{background}: the weights differ");
    }
}

#[test]
fn a_run_can_go_on_without_the_checkpoint() {
    let workspace = TestWorkspace::new();
    // The last one must succeed: here it does not.
    if run(&workspace, "--set checkpoint.on_error=continue").is_none() {
        return;
    }
    let said = read(&workspace.path("first.txt"));
    assert!(said.contains("training goes on without a checkpoint: cannot write"), "{said}");
    assert_eq!(read(&workspace.path("code.txt")), "1\n", "{said}");
    assert!(said.contains("step 60/60"), "{said}");
}

/// The disk turns read-only under a run, and goes away altogether under the next: each is told, and what was saved is whole. It goes
/// between two checkpoints, of which the one before is written.
#[test]
fn a_disk_that_cannot_be_written_any_more_is_told() {
    let workspace = TestWorkspace::new();
    let script = format!(
        "mount -o remount,size=50m small
         {TRAIN} --set train.steps=20 2> first.txt
         mount -o remount,ro small
         {TRAIN} --resume 2> second.txt && exit 9 || echo $? > code.txt
         mount -o remount,rw small
         {TRAIN} --set train.steps=1000000 --set checkpoint.every=200 --set checkpoint.background=false --resume 2> third.txt &
         while ! grep -q 'step 201/' third.txt; do sleep 0.05; done
         umount -l small
         wait $! && exit 9 || echo $? >> code.txt
         ls -A small > below.txt"
    );
    // The schedule must not depend on the number of steps.
    let config = fs::read_to_string(workspace.path("run.toml")).unwrap();
    fs::write(workspace.path("run.toml"), config.replace("[optim]\n", "[optim]\nschedule = \"constant\"\n")).unwrap();
    let Some(output) = with_small_disk(&workspace, &script) else { return };
    let text = |name: &str| read(&workspace.path(name));
    assert!(output.status.success(), "{}{}", stderr(&output), text("third.txt"));
    assert!(
        text("second.txt").contains("error: cannot lock `small/run`: Read-only file system"),
        "{}",
        text("second.txt")
    );
    let third = text("third.txt");
    assert!(third.contains("error: `small/run` is no longer the folder of this run"), "{third}");
    assert_eq!(text("code.txt"), "1\n1\n", "{third}");
    assert_eq!(text("below.txt"), "", "something was written where the disk had been");
}
