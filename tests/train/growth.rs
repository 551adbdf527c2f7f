//! Runs whose depth changes go on from any checkpoint as if nothing had happened, and export the model that they ended with.

use std::fs;
use std::path::Path;

use serde_json::Value;

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

/// 10 steps of each walk, by hand from the FLOPs of a step: a layer of L has (F − H) / L of those of all layers.
#[test]
fn flops_are_those_of_the_layers_that_were_executed() {
    let workspace = TestWorkspace::new();
    let flops = |settings: &[&str], run: &str, step: u64| {
        train(&workspace, settings, run);
        state(&workspace.path(run), step)["totals"]["flops"].as_f64().unwrap()
    };
    // Of one step of 4 layers and of one step of 2: twice two layers apart.
    let [four, two] = [("four", "4"), ("two", "2")].map(|(run, layers)| {
        let layers = format!("model.num_hidden_layers={layers}");
        flops(&["sharing.rule=never", "sharing.start=untied", &layers], run, 1)
    });
    let layer = (four - two) / 2.0;
    let head = two - 2.0 * layer;
    // 3·8·(2·32·(4·32² + 2·32·128) + 4·32²·32) for 8 sequences of 32 tokens, 32 wide.
    assert_eq!(layer, 24.0 * (64.0 * (4096.0 + 8192.0) + 131_072.0));
    let steps =
        |list: [f64; 3]| list.iter().zip([10.0, 10.0, 20.0]).map(|(layers, n)| n * (layers * layer + head)).sum();
    let expected: [(&str, f64); 5] = [
        ("expand", steps([1.0, 4.0, 4.0])),
        ("stack", steps([1.0, 2.0, 4.0])),
        ("gradual", steps([2.0, 3.0, 4.0])),
        // Two layers with a forward alone.
        ("frozen", steps([2.0, 2.0 + 2.0 / 3.0, 4.0])),
        ("v_cycle", steps([4.0, 2.0, 4.0])),
    ];
    for ((name, settings), (same, expected)) in GROWING.into_iter().zip(expected) {
        assert_eq!(name, same);
        let found = flops(settings, name, 40);
        assert!((found / expected - 1.0).abs() < 1e-12, "{name}: {found} {expected}");
    }
}
