//! Runs whose depth changes go on from any checkpoint as if nothing had happened, and export the model that they ended with.

use std::fs;
use std::path::Path;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::common::{stderr, TestWorkspace};
use crate::growing::{arguments, GROWING};
use crate::runs::metrics;

fn train(workspace: &TestWorkspace, settings: &[&str], run: &str) -> String {
    let arguments = arguments(settings, run, &[]);
    let output = workspace.untie(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{run}: {}", stderr(&output));
    stderr(&output)
}

/// The files of the checkpoint of `step`, by name.
fn checkpoint(run: &Path, step: u64) -> Vec<(String, Vec<u8>)> {
    let folder = run.join(format!("checkpoints/step-{step:08}"));
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// What a kill right after the checkpoint of `step` leaves of the run `whole`.
fn cut(workspace: &TestWorkspace, whole: &str, run: &str, step: u64) {
    let (from, to) = (workspace.path(whole), workspace.path(run));
    fs::create_dir_all(to.join("checkpoints")).unwrap();
    for file in ["metrics.jsonl", "config.toml", "tokenizer.json", "env.json"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let name = format!("checkpoints/step-{step:08}");
    fs::create_dir(to.join(&name)).unwrap();
    for entry in fs::read_dir(from.join(&name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(&name).join(path.file_name().unwrap())).unwrap();
    }
}

fn state(run: &Path, step: u64) -> Value {
    let path = run.join(format!("checkpoints/step-{step:08}/state.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_that_grows_goes_on_from_any_checkpoint() {
    let workspace = TestWorkspace::new();
    for (name, settings) in GROWING {
        train(&workspace, settings, name);
        let whole = workspace.path(name);
        let expected = (checkpoint(&whole, 40), metrics(&whole));
        // Before, at and after each transition.
        for step in [9, 10, 11, 19, 20, 21] {
            let run = format!("{name}-{step}");
            cut(&workspace, name, &run, step);
            let said = train(&workspace, settings, &run);
            assert!(said.contains("resume: from"), "{said}");
            let found = workspace.path(&run);
            assert!(checkpoint(&found, 40) == expected.0, "{run}: other tensors");
            assert_eq!(metrics(&found), expected.1, "{run}");
            let totals = |run: &Path| state(run, 40)["totals"]["flops"].as_f64().unwrap();
            assert_eq!(totals(&found), totals(&whole), "{run}");
        }
    }
}

/// By hand, at the start, between the transitions, and after them.
#[test]
fn checkpoints_hold_what_the_next_transition_needs() {
    let workspace = TestWorkspace::new();
    let layers: [(&str, [usize; 3]); 6] = [
        ("expand", [1, 4, 4]),
        ("stack", [1, 2, 4]),
        ("gradual", [2, 3, 4]),
        ("frozen", [2, 4, 4]),
        ("v_cycle", [4, 2, 4]),
        ("depth", [4, 4, 4]),
    ];
    for ((name, settings), (same, layers)) in GROWING.into_iter().zip(layers) {
        assert_eq!(name, same);
        train(&workspace, settings, name);
        let run = workspace.path(name);
        for (step, layers) in [5, 15, 40].into_iter().zip(layers) {
            let state = state(&run, step);
            assert_eq!(state["layer_map"].as_array().unwrap().len(), layers, "{name}, step {step}");
            let names: Vec<String> = checkpoint(&run, step).into_iter().map(|(name, _)| name).collect();
            let remembers = name == "v_cycle" && step == 15;
            assert_eq!(names.contains(&"remembered.safetensors".to_owned()), remembers, "{name}, step {step}");
            assert_eq!(state.get("remembered").is_some(), remembers, "{name}, step {step}");
            let frozen = state.get("frozen").cloned();
            assert_eq!(
                frozen,
                (name == "frozen" && step == 15).then(|| serde_json::json!([0, 1])),
                "{name}, step {step}"
            );
        }
        let starts = [5, 15, 40].map(|step| state(&run, step)["schedule_start"].as_u64().unwrap_or(0));
        assert_eq!(starts, if ["gradual", "v_cycle"].contains(&name) { [0, 10, 20] } else { [0; 3] }, "{name}");
        let config: Value = serde_json::from_slice(&fs::read(run.join("export/config.json")).unwrap()).unwrap();
        assert_eq!(config["num_hidden_layers"], 4, "{name}");
    }
}

/// A frozen group has the same values until it trains again, and a new one moves.
#[test]
fn frozen_layers_stay() {
    let workspace = TestWorkspace::new();
    let (name, settings) = GROWING[3];
    train(&workspace, settings, name);
    let run = workspace.path(name);
    let tensors = |step: u64| -> std::collections::BTreeMap<String, tch::Tensor> {
        let path = run.join(format!("checkpoints/step-{step:08}/model.safetensors"));
        tch::Tensor::read_safetensors(path).unwrap().into_iter().collect()
    };
    let (before, after, later) = (tensors(10), tensors(20), tensors(25));
    let is_frozen = |name: &str| {
        ["bert.embeddings.", "bert.encoder.layer.0.", "bert.encoder.layer.1."].iter().any(|part| name.starts_with(part))
    };
    for (name, tensor) in &after {
        assert_eq!(before[name].equal(tensor), is_frozen(name), "{name} from step 10 to 20");
        assert!(!later[name].equal(tensor), "{name} from step 20 to 25");
    }
}

/// Layers of step `step`, from 1, of the run `depth`, as docs/growth.md says: one group until step 10, two until step 20, then four.
fn drawn_layers(step: u64, seed: u64) -> f64 {
    let groups = if step <= 10 { 1.0 } else { 2.0 };
    if step > 20 {
        return 4.0;
    }
    let bytes = [&(step - 1).to_le_bytes()[..], b"depth"].concat();
    let uniform = (xxh3_64_with_seed(&bytes, seed) >> 11) as f64 / 2_f64.powi(53);
    let (ratio, end, floor) = (4.0 / groups, 0.6, 1e-6);
    let (begin, x) = (ratio + 0.4, 1.0 - (1.0 - floor) * uniform);
    let n = (begin * floor - end) / (end - begin);
    let m = end * (n + 1.0);
    (groups * (m / (x + n)).clamp(1.0, ratio)).floor()
}

/// By hand, after every step of a whole run of each rule: 6·B·(layers·(T(4C² + 2CI) + 2T²C) + targets·(C² + CV)) FLOPs, with 8
/// sequences of 32 tokens, 32 wide, 128 inside a layer, at most round(0.15·31) = 5 targets a sequence (one token is [CLS]), a
/// vocabulary of 150 padded to 192.
#[test]
fn flops_are_those_of_the_layers_that_were_executed() {
    const SEED: u64 = 7;
    let (layer, head) =
        (32.0 * (4.0 * 1024.0 + 2.0 * 32.0 * 128.0) + 2.0 * 1024.0 * 32.0, 5.0 * (1024.0 + 32.0 * 192.0));
    // Layers of steps 1 to 10, 11 to 20 and 21 to 40.
    let stages = |layers: [f64; 3]| [[layers[0]; 10].as_slice(), &[layers[1]; 10], &[layers[2]; 20]].concat();
    let drawn: Vec<f64> = (1..=40).map(|step| drawn_layers(step, SEED)).collect();
    assert!(drawn[..10].contains(&1.0) && drawn[..20].iter().any(|&layers| layers > 2.0), "{drawn:?}");
    let runs: [(&str, &[&str], Vec<f64>); 8] = [
        // Tied layers cost what untied ones do.
        ("fixed", &["sharing.rule=fixed", "sharing.untie_at=10"], stages([4.0, 4.0, 4.0])),
        ("untied", &["sharing.rule=never", "sharing.start=untied"], stages([4.0, 4.0, 4.0])),
        ("expand", GROWING[0].1, stages([1.0, 4.0, 4.0])),
        ("stack", GROWING[1].1, stages([1.0, 2.0, 4.0])),
        ("gradual", GROWING[2].1, stages([2.0, 3.0, 4.0])),
        // Two layers with a forward alone, a third of their products.
        ("frozen", GROWING[3].1, stages([2.0, 2.0 + 2.0 / 3.0, 4.0])),
        ("v_cycle", GROWING[4].1, stages([4.0, 2.0, 4.0])),
        ("depth", GROWING[5].1, drawn),
    ];
    let workspace = TestWorkspace::new();
    let seed = format!("train.seed={SEED}");
    for (name, settings, layers) in runs {
        train(&workspace, &[settings, &[seed.as_str(), "checkpoint.every=40"]].concat(), name);
        let metrics = metrics(&workspace.path(name));
        let mut expected = 0.0;
        for (step, layers) in (1..).zip(layers) {
            expected += 6.0 * 8.0 * (layers * layer + head);
            let found = metrics[&step]["train/flops"].as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-12, "{name}, step {step}: {found}, by hand {expected}");
        }
        assert_eq!(state(&workspace.path(name), 40)["totals"]["flops"], metrics[&40]["train/flops"], "{name}");
    }
}
