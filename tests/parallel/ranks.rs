//! Several processes, one run: the same losses and weights on any number of them; failures that end all of them and cost nothing.
//!
//! `UNTIE_RANK_KILLS=N` sets the number of kills (`make kills`: 20).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::common::{stderr, TestWorkspace};
use crate::runs::{is_being_saved, lines, metrics, wait_for};
use serde_json::Value;
use tch::Tensor;

const SETTINGS: [&str; 7] = [
    "train.precision=fp32",
    "train.steps=50",
    "train.micro_batch=2",
    "sharing.untie_at=20",
    "sharing.monitor=true",
    "sharing.check_every=10",
    "checkpoint.every=10",
];

fn arguments(run: &str, more: &[&str]) -> Vec<String> {
    let settings = SETTINGS.iter().chain(more).flat_map(|setting| ["--set", setting]);
    ["train", "--config", "run.toml", "--run-dir", run, "--resume"]
        .into_iter()
        .chain(settings)
        .map(str::to_owned)
        .collect()
}

fn command(workspace: &TestWorkspace, ranks: usize, run: &str, more: &[&str]) -> Command {
    let mut command = workspace.command(&[]);
    if ranks > 0 {
        command.args(["launch", "--nproc", &ranks.to_string(), "--"]);
    }
    command.args(arguments(run, more)).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A run on `ranks` processes; 0: alone, as nobody would notice.
fn train(workspace: &TestWorkspace, ranks: usize, run: &str, more: &[&str]) {
    let output = command(workspace, ranks, run, more).output().unwrap();
    assert!(output.status.success(), "{run}: {}", stderr(&output));
}

/// The largest difference of any tensor of two runs' checkpoints of `step`, weights and moments.
pub fn farthest(workspace: &TestWorkspace, one: &str, other: &str, step: u64) -> f64 {
    let read = |run: &str, file: &str| -> BTreeMap<String, Tensor> {
        let path = workspace.path(run).join(format!("checkpoints/step-{step:08}/{file}.safetensors"));
        Tensor::read_safetensors(path).unwrap().into_iter().collect()
    };
    let mut farthest = 0.0_f64;
    for file in ["model", "optimizer"] {
        let (one, other) = (read(one, file), read(other, file));
        assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
        for (name, tensor) in &one {
            let far = (tensor - &other[name]).abs().max().double_value(&[]);
            assert!(!far.is_nan(), "{name}");
            farthest = farthest.max(far);
        }
    }
    farthest
}

/// Every number of every step but times: relative differences of losses, perplexities and norms, absolute ones of the others.
pub fn are_near(workspace: &TestWorkspace, one: &str, other: &str, limit: f64) {
    let (expected, got) = (metrics(&workspace.path(one)), metrics(&workspace.path(other)));
    assert_eq!(expected.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>(), "{one}, {other}");
    for (step, values) in &expected {
        assert_eq!(
            values.keys().collect::<Vec<_>>(),
            got[step].keys().collect::<Vec<_>>(),
            "{one}, {other}: step {step}"
        );
        for (tag, value) in values {
            let (value, found) = (value.as_f64().unwrap(), got[step][tag].as_f64().unwrap());
            let is_relative = ["loss", "perplexity", "norm"].iter().any(|end| tag.ends_with(end));
            let scale = if is_relative { value.abs() } else { 1.0 };
            assert!((value - found).abs() <= limit * scale, "{one}, {other}: step {step}: {tag}: {value} {found}");
        }
    }
}

#[test]
fn the_number_of_processes_does_not_matter() {
    let workspace = TestWorkspace::new();
    train(&workspace, 0, "alone", &[]);
    train(&workspace, 1, "one", &[]);
    assert_eq!(farthest(&workspace, "alone", "one", 50), 0.0);
    assert_eq!(metrics(&workspace.path("alone")), metrics(&workspace.path("one")));
    train(&workspace, 2, "two", &[]);
    train(&workspace, 4, "four", &[]);
    // Micro-batches that do not fit a process's part become smaller; also the whole batch at once, and one by one.
    train(&workspace, 2, "cut", &["train.micro_batch=8"]);
    train(&workspace, 0, "whole", &["train.micro_batch=8"]);
    train(&workspace, 0, "pieces", &["train.micro_batch=1"]);
    for other in ["two", "four", "cut", "whole", "pieces"] {
        are_near(&workspace, "alone", other, 1e-6);
        let apart = farthest(&workspace, "alone", other, 50);
        println!("{other}: weights and moments at most {apart:.1e} apart after 50 steps");
        assert!(apart <= 1e-6, "{other}: {apart}");
    }
    // When gradients travel changes nothing; rounded they are others, but near.
    train(&workspace, 2, "late", &["parallel.overlap=false"]);
    assert_eq!(farthest(&workspace, "two", "late", 50), 0.0);
    train(&workspace, 2, "narrow", &["parallel.wire=bf16"]);
    assert!(farthest(&workspace, "two", "narrow", 50) > 0.0);
    are_near(&workspace, "alone", "narrow", 2e-2);
}

#[test]
fn rules_decide_the_same_on_every_process() {
    let workspace = TestWorkspace::new();
    let rule = ["sharing.rule=multi_step", "sharing.threshold=1.0", "sharing.check_every=7", "sharing.patience=1"];
    train(&workspace, 0, "alone", &rule);
    train(&workspace, 2, "two", &rule);
    let groups = |run: &str| -> Vec<Value> {
        metrics(&workspace.path(run)).values().filter_map(|row| row.get("sharing/groups").cloned()).collect()
    };
    assert!(groups("alone").iter().any(|groups| groups.as_f64() == Some(3.0)));
    assert_eq!(groups("alone"), groups("two"));
    are_near(&workspace, "alone", "two", 1e-6);
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let workspace = TestWorkspace::new();
    // Steps in between must look as in the whole run: an evaluation and a checkpoint at each end, no schedule over the length.
    let more = ["optim.schedule=constant", "eval.every=5", "checkpoint.every=5"];
    train(&workspace, 0, "whole", &more);
    for (ranks, steps) in [(2, 25), (0, 35), (4, 50)] {
        let steps = format!("train.steps={steps}");
        train(&workspace, ranks, "parts", &[&more[..], &[&steps]].concat());
    }
    are_near(&workspace, "whole", "parts", 1e-6);
    assert!(farthest(&workspace, "whole", "parts", 50) <= 1e-6);
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let workspace = TestWorkspace::new();
    let refused = |output: Output, code: i32, words: &str| {
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    };
    let output = command(&workspace, 3, "run", &[]).output().unwrap();
    refused(
        output,
        2,
        "a global batch of 8 sequences cannot be divided among 3 processes: the nearest that can is 6 or 9",
    );
    let output = command(&workspace, 0, "run", &[]).env("RANK", "0").output().unwrap();
    refused(output, 2, "error: expected both `RANK` and `WORLD_SIZE` in the environment");
    let output = command(&workspace, 2, "run", &["parallel.backend=nccl"]).output().unwrap();
    refused(output, 2, "`parallel.backend` = \"nccl\" does not carry tensors on Cpu");

    // Two processes with different settings, as on hosts where somebody edited one file.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let start = |rank: &str, setting: &str| {
        let mut command = command(&workspace, 0, "run", &[setting]);
        command.envs([("RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")]);
        command.env("MASTER_PORT", port.to_string()).spawn().unwrap()
    };
    let (first, second) = (start("0", "optim.lr=1e-3"), start("1", "optim.lr=2e-3"));
    let outputs = [first.wait_with_output().unwrap(), second.wait_with_output().unwrap()];
    for output in outputs {
        refused(output, 1, "rank 1 has another run than rank 0: the first that differs is `[optim]`");
    }
    assert!(!workspace.path("run/checkpoints").exists());
}

/// One process with the variables of several, as in a shell of `srun -n 4 --pty`, and one whose master is not there: they say so, and
/// name who asked for the others; and the others may still come.
#[test]
fn a_process_that_waits_for_others_says_so() {
    let workspace = TestWorkspace::new();
    let free_port = || std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port().to_string();
    let start = |run: &str, port: &str, variables: &[(&str, &str)]| {
        let mut command = command(&workspace, 0, run, &[]);
        command.env("MASTER_PORT", port).envs(variables.iter().copied()).spawn().unwrap()
    };
    let slurm = |rank: &'static str| {
        [
            ("SLURM_PROCID", rank),
            ("SLURM_LOCALID", rank),
            ("SLURM_NODEID", "0"),
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("SLURM_STEP_TASKS_PER_NODE", "2"),
            ("SLURM_STEP_NODELIST", "localhost"),
        ]
    };
    let says = |child: &mut Child, words: &str| {
        use std::io::BufRead;
        // Ends with the process; an end without the words fails the test.
        let lines = std::io::BufReader::new(child.stderr.as_mut().unwrap()).lines();
        let mut before = String::new();
        for line in lines.map_while(Result::ok) {
            if line == words {
                return;
            }
            before += &line;
        }
        panic!("expected `{words}`, got {before}");
    };
    let port = free_port();
    let mut first = start("srun", &port, &slurm("0"));
    says(&mut first, "waiting for 1 of 2 processes (srun: SLURM_STEP_NUM_TASKS=2); unset it to train alone");
    let second = start("srun", &port, &slurm("1"));
    for output in [ended(first), ended(second)] {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let port = free_port();
    let torchrun = [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")];
    let mut alone = start("torchrun", &port, &torchrun);
    let words = format!(
        "rank=1 waiting for rank 0 at 127.0.0.1:{port}, 1 of 2 processes (WORLD_SIZE=2); unset RANK and WORLD_SIZE to train alone"
    );
    says(&mut alone, &words);
    alone.kill().unwrap();
    assert!(!ended(alone).status.success());
}

/// Waits for a process that must end by itself.
pub fn ended(child: Child) -> Output {
    let pid = child.id();
    let (done, waits) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = waits.recv_timeout(Duration::from_secs(120)).unwrap_or_else(|_| panic!("process {pid} hangs"));
    thread.join().unwrap().unwrap();
    output.unwrap()
}

/// The processes that `pid` has started, by their numbers.
pub fn children(pid: u32) -> Vec<u32> {
    let parent_of = |child: u32| -> Option<u32> {
        // After the name, which may hold anything: the state and the parent.
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    let mut found: Vec<u32> = pids.filter(|&child| parent_of(child) == Some(pid)).collect();
    found.sort_unstable();
    found
}

/// By the shell's own `kill`.
pub fn signal(pid: u32, signal: &str) {
    assert!(Command::new("sh").args(["-c", &format!("kill {signal} {pid}")]).status().unwrap().success());
}

/// A process is killed, now the first and now the last, some of the times during a save, others near a transition: the other says
/// which one is gone and ends, nothing damaged is left, and in the end the run is the one that nobody killed.
#[test]
fn a_process_that_is_killed_ends_the_others_and_costs_nothing() {
    let kills: usize = std::env::var("UNTIE_RANK_KILLS").map_or(3, |number| number.parse().unwrap());
    let workspace = TestWorkspace::new();
    let steps = format!("train.steps={}", 60 + 20 * kills);
    // A transition at every check until all layers are untied, and the last of them near the middle.
    let more = [&steps, "checkpoint.every=5", "parallel.heartbeat=5", "sharing.untie_at=0.5"];
    train(&workspace, 2, "whole", &more);
    let run = workspace.path("killed");
    let mut met = BTreeMap::new();
    for kill in 0..kills {
        let child = command(&workspace, 2, "killed", &more).spawn().unwrap();
        let before = lines(&run);
        let during_a_save = kill % 3 == 1;
        wait_for("a moment to kill at", || {
            lines(&run) > before + 1 + kill % 7 && (!during_a_save || is_being_saved(&run))
        });
        std::thread::sleep(Duration::from_micros(if during_a_save { 0 } else { 700 * (kill as u64 % 11) }));
        let ranks = children(child.id());
        assert_eq!(ranks.len(), 2, "{ranks:?}");
        let victim = kill % 2;
        *met.entry((victim, is_being_saved(&run))).or_insert(0) += 1;
        signal(ranks[victim], "-KILL");
        let output = ended(child);
        let said = stderr(&output);
        assert!(!output.status.success(), "{said}");
        let survivor = 1 - victim;
        let accused = match victim {
            0 => "rank 0's store at 127.0.0.1:",
            _ => "rank 1 has sent no heartbeat for ",
        };
        let words = format!("error: rank {survivor} of 2: a collective failed, {accused}");
        assert!(said.contains(&words), "{said}");
        let runs = workspace.untie(&["runs", "killed"]);
        let listed = String::from_utf8_lossy(&runs.stdout).into_owned();
        assert!(!listed.contains("damaged"), "{listed}");
    }
    println!("(victim, whether a checkpoint was being written): {met:?}");
    train(&workspace, 2, "killed", &more);
    assert_eq!(metrics(&workspace.path("whole")), metrics(&run));
    assert_eq!(farthest(&workspace, "whole", "killed", 60 + 20 * kills as u64), 0.0);
}

/// Killed in the step that ends with a transition: while it computes, is evaluated, copies weights and moments, or compares them.
#[test]
fn a_process_that_is_killed_at_a_transition_costs_nothing() {
    let kills: u64 = std::env::var("UNTIE_RANK_KILLS").map_or(1, |number| number.parse::<u64>().unwrap() / 4);
    let workspace = TestWorkspace::new();
    let more = ["parallel.heartbeat=5", "sharing.untie_at=12"];
    train(&workspace, 2, "whole", &more);
    let run = workspace.path("killed");
    let mut before_its_end = 0;
    for kill in 0..kills {
        let child = command(&workspace, 2, "killed", &more).spawn().unwrap();
        // Lines 1 to 12 are of steps 0 to 11; that of step 12 is written behind the transition. A resume from step 10 cuts them.
        wait_for("step 11 to be cut", || kill == 0 || lines(&run) <= 11);
        wait_for("step 11", || lines(&run) >= 12);
        std::thread::sleep(Duration::from_micros(1500 * kill));
        let ranks = children(child.id());
        before_its_end += u64::from(lines(&run) == 12);
        signal(ranks[(kill % 2) as usize], "-KILL");
        assert!(!ended(child).status.success());
    }
    println!("{kills} kills at a transition, {before_its_end} before it was recorded");
    assert!(before_its_end > 0);
    train(&workspace, 2, "killed", &more);
    assert_eq!(metrics(&workspace.path("whole")), metrics(&run));
    assert_eq!(farthest(&workspace, "whole", "killed", 50), 0.0);
}

/// Stopped, not killed: its connections stay open, and nothing comes.
#[test]
fn a_process_that_hangs_ends_the_others() {
    let workspace = TestWorkspace::new();
    let child = command(&workspace, 2, "run", &["train.steps=1000000", "parallel.heartbeat=3"]).spawn().unwrap();
    let run = workspace.path("run");
    wait_for("the first checkpoint", || run.join("checkpoints/step-00000010").exists());
    let ranks = children(child.id());
    signal(ranks[1], "-STOP");
    wait_for("the end of rank 0", || !Path::new(&format!("/proc/{}", ranks[0])).exists() || is_zombie(ranks[0]));
    signal(ranks[1], "-KILL");
    let said = stderr(&ended(child));
    assert!(said.contains("rank 1 has sent no heartbeat for "), "{said}");
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// An error of one process is what all of them report.
#[test]
fn the_reason_of_one_is_told_by_all() {
    let workspace = TestWorkspace::new();
    fs::create_dir_all(workspace.path("run/checkpoints")).unwrap();
    fs::write(workspace.path("run/checkpoints/.step-00000010.partial"), "").unwrap();
    let output = ended(command(&workspace, 2, "run", &[]).spawn().unwrap());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("[0] error: cannot create `run/checkpoints/.step-00000010.partial`"), "{said}");
    assert!(
        said.contains("[1] rank=1 error: rank 1 of 2: a collective failed, rank 0 ended: cannot create `run/"),
        "{said}"
    );
}

/// SIGTERM to the launcher reaches all; they stop after the same step, and one of them saves.
#[test]
fn a_signal_stops_all_of_them_once() {
    let workspace = TestWorkspace::new();
    train(&workspace, 0, "whole", &["train.steps=200", "sharing.untie_at=20"]);
    let more = ["train.steps=200", "sharing.untie_at=20"];
    let run = workspace.path("run");
    for (name, code) in [("-TERM", 143), ("-INT", 130), ("-USR1", 75)] {
        let child = command(&workspace, 2, "run", &more).spawn().unwrap();
        let before = lines(&run);
        wait_for("some steps", || lines(&run) > before + 5);
        signal(child.id(), name);
        let output = ended(child);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(stderr(&output).matches("; saved, continue with `--resume`").count(), 1, "{}", stderr(&output));
    }
    train(&workspace, 2, "run", &more);
    are_near(&workspace, "whole", "run", 1e-5);
}

/// Every process counts with the slowest one's times.
#[test]
fn processes_agree_on_the_steps_of_a_time() {
    let workspace = TestWorkspace::new();
    // The first time that is enough on a machine as busy as this one is now.
    let is_enough = ["10s", "40s", "2m", "6m"].iter().any(|time| {
        let arguments =
            ["launch", "--nproc", "2", "--", "train", "--config", "run.toml", "--run-dir", "timed", "--time", time];
        let output = workspace.untie(&[&arguments[..], &["--set", "train.log_every=10"]].concat());
        assert!(output.status.success() || stderr(&output).contains("is too short"), "{}", stderr(&output));
        output.status.success()
    });
    assert!(is_enough);
    let config: toml::Table = fs::read_to_string(workspace.path("timed/config.toml")).unwrap().parse().unwrap();
    let steps = config["train"]["steps"].as_integer().unwrap();
    let folder = workspace.path("timed/checkpoints").join(format!("step-{steps:08}"));
    assert!(steps > 1 && folder.join("state.json").exists(), "{steps}");
}
