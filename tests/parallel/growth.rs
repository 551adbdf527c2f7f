//! Runs whose depth changes, on several processes.

use std::process::Stdio;

use crate::common::{stderr, TestWorkspace};
use crate::growing::{arguments, GROWING};
use crate::ranks::{are_near, children, ended, farthest, signal};
use crate::runs::{lines, metrics, wait_for};

/// A run on `ranks` processes; 0: alone, as nobody would notice.
fn command(workspace: &TestWorkspace, settings: &[&str], ranks: usize, run: &str) -> std::process::Command {
    let mut command = workspace.command(&[]);
    if ranks > 0 {
        command.args(["launch", "--nproc", &ranks.to_string(), "--"]);
    }
    let more = ["train.micro_batch=2", "parallel.heartbeat=5"];
    command.args(arguments(settings, run, &more)).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn train(workspace: &TestWorkspace, settings: &[&str], ranks: usize, run: &str) {
    let output = command(workspace, settings, ranks, run).output().unwrap();
    assert!(output.status.success(), "{run}: {}", stderr(&output));
}

#[test]
fn the_number_of_processes_does_not_matter_where_a_run_grows() {
    let workspace = TestWorkspace::new();
    for (name, settings) in GROWING {
        let run = |ranks: usize| format!("{name}-{ranks}");
        train(&workspace, settings, 0, &run(0));
        for ranks in [2, 4] {
            train(&workspace, settings, ranks, &run(ranks));
            are_near(&workspace, &run(0), &run(ranks), 1e-6);
            let apart = farthest(&workspace, &run(0), &run(ranks), 40);
            println!("{name}, {ranks} processes: weights and moments at most {apart:.1e} apart after 40 steps");
            assert!(apart <= 1e-6, "{name}, {ranks}: {apart}");
        }
    }
}

/// Killed near both transitions, now the first process and now the second.
#[test]
fn two_processes_that_are_killed_while_a_run_grows_cost_nothing() {
    let workspace = TestWorkspace::new();
    for (name, settings) in GROWING {
        // The others have no memory of their own beside their walk.
        if !["v_cycle", "frozen", "depth"].contains(&name) {
            continue;
        }
        let (whole, killed) = (format!("{name}-whole"), format!("{name}-killed"));
        train(&workspace, settings, 2, &whole);
        let run = workspace.path(&killed);
        for (victim, step) in [(1, 10), (0, 20)] {
            let child = command(&workspace, settings, 2, &killed).spawn().unwrap();
            wait_for("a step to kill at", || lines(&run) > step);
            signal(children(child.id())[victim], "-KILL");
            assert!(!ended(child).status.success());
        }
        train(&workspace, settings, 2, &killed);
        assert_eq!(metrics(&workspace.path(&whole)), metrics(&run), "{name}");
        assert_eq!(farthest(&workspace, &whole, &killed, 40), 0.0, "{name}");
    }
}
