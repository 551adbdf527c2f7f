//! `train.micro_batch = "auto"`, and steps that run out of memory.

use std::fs;
use std::process::Command;

use crate::common::{stderr, TestWorkspace};
use tch::{Device, Kind};
use untie::batch::Batch;
use untie::bench::batch::made_up;
use untie::error::{libtorch, Result};
use untie::growth::SharingConfig;
use untie::layer_map::LayerMap;
use untie::loss::{pretraining, Totals};
use untie::model::{Mode, ModelConfig, Weights};
use untie::optim::{Moments, OptimConfig};
use untie::parallel::World;
use untie::train::{InitialState, TrainSpec, TrainState};

const AUTO: [&str; 2] = ["--set", "train.micro_batch=auto"];

fn train<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--config", "run.toml", "--run-dir", "run"][..], arguments].concat()
}

/// The value of `key` in a run's resolved configuration, wherever it stands.
fn setting(workspace: &TestWorkspace, key: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace.path("run/config.toml")).unwrap();
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='));
    values.map(|value| value.trim().into()).collect()
}

#[test]
fn auto_is_decided_once() {
    let workspace = TestWorkspace::new();
    let output = workspace.untie(&train(&[&AUTO[..], &["--set", "train.steps=20"]].concat()));
    assert!(output.status.success(), "{}", stderr(&output));
    // A tiny model fits as a whole: the global batch of 8.
    assert_eq!(setting(&workspace, "micro_batch"), ["8"]);
    // As if memory had been short when the run began: a resume does not decide again.
    let newest = fs::read_to_string(workspace.path("run/checkpoints/latest")).unwrap();
    assert!(!newest.is_empty());
    let output = workspace.untie(&train(&[&AUTO[..], &["--set", "train.steps=24", "--resume"]].concat()));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("`train.micro_batch`"), "{}", stderr(&output));
    assert_eq!(setting(&workspace, "micro_batch"), ["8"]);
}

#[test]
fn phases_have_their_own() {
    let workspace = TestWorkspace::new();
    let phases = "data.phase=[{ until = 2, sequence_length = 16 }, { sequence_length = 32, global_batch = 6, \
                  micro_batch = 3 }]";
    let short = ["--set", phases, "--set", "train.steps=12"];
    let output = workspace.untie(&train(&[&AUTO[..], &short[..]].concat()));
    assert!(output.status.success(), "{}", stderr(&output));
    let mut sizes = setting(&workspace, "micro_batch");
    sizes.sort();
    assert_eq!(sizes, ["3", "8", "8"]);
}

/// What `auto` relies on: a step that failed in the middle, done again in smaller micro-batches, is the step that these make
/// by themselves, bit for bit.
#[test]
fn a_step_that_ran_out_of_memory_is_done_again() -> Result<()> {
    tch::set_num_threads(1);
    let sizes = ModelConfig {
        hidden_size: Some(32),
        num_hidden_layers: Some(3),
        num_attention_heads: Some(2),
        ..Default::default()
    };
    let bert = sizes.resolve(90)?;
    let map = LayerMap::tied(3);
    let start = || -> Result<TrainState> {
        let weights = Weights::initialise(&bert, &map, 3, Kind::Float, Device::Cpu)?;
        let moments = Moments::zeros(&weights)?;
        // Every step is probed, so that the gradients apart are made anew as well.
        let sharing = SharingConfig { monitor: true, check_every: 1, ..Default::default() };
        let (optim, compute) = (OptimConfig::default(), Kind::Float.into());
        let spec = TrainSpec::new(bert.clone(), optim, sharing, compute, 100);
        TrainState::new(spec, InitialState::new(map.clone(), weights, moments), World::alone().into())
    };
    let whole: Vec<Batch> = (0..2).map(|at| made_up(4, 16, 60 + at)).collect();
    let totals = Totals { targets: whole.iter().map(|batch| batch.num_targets).sum(), sequences: 8 };
    let step = |state: &mut TrainState, batches: &[Batch], number: u64, failing: Option<usize>| {
        state.step(number, 1e-2, batches.len(), |model, index| {
            if failing == Some(index) {
                return Err(libtorch("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to"));
            }
            pretraining(model, &batches[index].to_device(Device::Cpu)?, totals, Mode::Train)?.total()
        })
    };
    let halves: Vec<Batch> = whole.iter().flat_map(halve).collect();
    let (mut failing, mut smaller) = (start()?, start()?);
    for number in 1..=3 {
        let error = step(&mut failing, &whole, number, Some(1)).unwrap_err();
        assert!(error.is_out_of_memory() && error.report().contains("`train.micro_batch`"), "{}", error.report());
        let (again, check) = step(&mut failing, &halves, number, None)?;
        let (alone, expected) = step(&mut smaller, &halves, number, None)?;
        let (again, alone) = (again.read().unwrap(), alone.read().unwrap());
        assert_eq!((again.loss, again.grad_norm), (alone.loss, alone.grad_norm));
        assert_eq!(check.unwrap().matrix, expected.unwrap().matrix);
    }
    let pairs = failing.weights().entries().iter().zip(smaller.weights().entries());
    assert!(pairs.into_iter().all(|(one, other)| one.tensor == other.tensor));
    Ok(())
}

/// The sequences of `batch` in two.
fn halve(batch: &Batch) -> [Batch; 2] {
    let tokens = batch.token_ids.len() / 2;
    let targets = batch.positions.len() / 2;
    [0, 1].map(|half| Batch {
        token_ids: batch.token_ids[half * tokens..][..tokens].to_vec(),
        positions: batch.positions[half * targets..][..targets].iter().map(|at| at - (half * tokens) as i64).collect(),
        labels: batch.labels[half * targets..][..targets].to_vec(),
        weights: batch.weights[half * targets..][..targets].to_vec(),
        num_targets: targets,
        dropout_keys: batch.dropout_keys[half * batch.num_sequences() / 2..][..batch.num_sequences() / 2].to_vec(),
        ..batch.clone()
    })
}

/// A real limit, on addresses, which `auto` does not look at: the step is repeated with what fits, and the run ends as one that
/// began so; without `auto` it is an error that says what to do.
#[test]
fn a_run_goes_on_in_less_memory() {
    let workspace = TestWorkspace::new();
    let large = [
        "train",
        "--config",
        "run.toml",
        "--set",
        "train.steps=2",
        "--set",
        "optim.warmup=0",
        "--set",
        "train.global_batch=128",
        "--set",
        "model.intermediate_size=8192",
        "--set",
        "train.log_every=1",
        "--set",
        "eval.sequences=4",
        "--set",
        "train.precision=fp32",
        "--set",
        "data.workers=1",
    ];
    let addresses = |micro_batch: &str| {
        // The most that a run with micro-batches of that size asks for.
        let run = format!("{micro_batch}-alone");
        let setting = format!("train.micro_batch={micro_batch}");
        let arguments = [&large[..], &["--run-dir", &run, "--set", &setting]].concat();
        let mut child = workspace.command(&arguments).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut most = 0;
        while child.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmPeak:"));
            most = line.map_or(most, |line| line.trim().trim_end_matches(" kB").parse().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(child.wait().unwrap().success());
        most
    };
    // Three layers keep 8,192 values a token: 200 MB for micro-batches of 64, 25 MB for those of 8.
    let (fits, exceeds): (u64, u64) = (addresses("8"), addresses("64"));
    assert!(exceeds > fits + 60_000, "{fits} kB, {exceeds} kB");
    let limited = |arguments: &[&str]| {
        let command = format!("ulimit -v {} && exec \"$0\" \"$@\"", fits + (exceeds - fits) / 2);
        let mut shell = Command::new("sh");
        shell.args(["-c", &command, env!("CARGO_BIN_EXE_untie")]).args(large).args(arguments);
        shell.current_dir(workspace.root()).env("OMP_NUM_THREADS", "1").output().unwrap()
    };
    let output = limited(&["--run-dir", "run", "--set", "train.micro_batch=auto"]);
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("out of memory; the step is repeated with micro-batches of 32 sequences instead of 64"),
        "{text}"
    );
    let size: usize = setting(&workspace, "micro_batch")[0].parse().unwrap();
    assert!((8..=32).contains(&size), "{size}");
    let refused = limited(&["--run-dir", "refused", "--set", "train.micro_batch=64"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    for words in ["hint:", "`train.micro_batch`", "`train.activation_checkpointing = true`"] {
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
    let losses = |run: &str| -> Vec<f64> {
        let text = fs::read_to_string(workspace.path(run).join("metrics.jsonl")).unwrap();
        let objects = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        objects.filter_map(|object| object["train/loss"].as_f64()).collect()
    };
    let (found, expected) = (losses("run"), losses("8-alone"));
    assert_eq!(found.len(), 2);
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?} {expected:?}");
}
