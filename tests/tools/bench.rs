//! `untie bench` as a stranger meets it: one JSON object with the promised fields, a table by op, the time of a run.

use std::fs;

use crate::common::{stderr, TestWorkspace};
use serde_json::{json, Value};

const TINY: [&str; 16] = [
    "bench",
    "--hidden-size",
    "32",
    "--layers",
    "3",
    "--heads",
    "2",
    "--vocab-size",
    "100",
    "--threads",
    "1",
    "--device",
    "cpu",
    "--seconds",
    "0",
    "--warmup-steps=1",
];

fn with<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    TINY.iter().chain(arguments).copied().collect()
}

fn object(workspace: &TestWorkspace, arguments: &[&str]) -> Value {
    let output = workspace.untie(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("expected a number at {path} of {value}"))
}

#[test]
fn steps_are_measured_as_json() {
    let workspace = TestWorkspace::new();
    let found = object(&workspace, &with(&["--batch", "4", "--sequence-length", "16", "--precision", "fp32"]));
    for (path, expected) in [
        ("/precision", json!("fp32")),
        ("/device", json!("cpu")),
        ("/threads", json!(1)),
        ("/groups", json!(1)),
        ("/batch", json!(4)),
        ("/sequence_length", json!(16)),
        ("/targets", json!(8)),
        ("/step_seconds/n", json!(3)),
        ("/versions/libtorch", json!("2.11.0")),
    ] {
        assert_eq!(found.pointer(path), Some(&expected), "{path} of {found}");
    }
    // 3·2·(3 layers · 64 rows · 32·(96 + 32 + 128 + 128) + 8 targets · 32·(32 + 128)), the vocabulary padded to 128.
    let flops = 6.0 * (3.0 * 64.0 * 12_288.0 + 8.0 * 5120.0);
    assert!((number(&found, "/product_tflop") * 1e12 / flops - 1.0).abs() < 1e-9);
    let seconds = number(&found, "/step_seconds/median");
    assert!((number(&found, "/tokens_per_second") * seconds / 64.0 - 1.0).abs() < 1e-9);
    let utilisation = flops / (number(&found, "/product_tflops") * 1e12) / seconds;
    assert!((number(&found, "/utilisation") / utilisation - 1.0).abs() < 1e-9);
    assert!(number(&found, "/peak_mib") > 0.0 && !found["cpu"].as_str().unwrap().is_empty());
    let losses = found["losses"].as_array().unwrap();
    // Random weights know nothing of 100 tokens; the padded columns are out of the question.
    assert!((losses[0].as_f64().unwrap() - 100_f64.ln()).abs() < 0.3, "{found}");
    assert_eq!(losses.len(), 3);
}

#[test]
fn a_step_is_profiled_as_a_table() {
    let workspace = TestWorkspace::new();
    let output = workspace.untie(&with(&["--batch", "2", "--sequence-length", "8", "--profile"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["ms", "untie::adamw", "untie::layer", "FusedHeadBackward", "(outside ops)", "(the step)"] {
        assert!(table.contains(words), "expected `{words}` in: {table}");
    }
}

#[test]
fn a_start_without_a_tokenizer_and_a_batch_are_taken_from_files() {
    let workspace = TestWorkspace::new();
    let short = ["--run-dir", "run", "--set", "train.steps=12", "--set", "sharing.rule=never"];
    let output = workspace.untie(&[&["train", "--config", "run.toml"][..], &short[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    fs::write(
        workspace.path("batch.json"),
        json!({ "token_ids": [[2, 5, 6, 3], [2, 7, 8, 3]], "positions": [1, 6], "labels": [9, 10] }).to_string(),
    )
    .unwrap();
    // The weights need none.
    for name in ["tokenizer.json", "tokenizer_config.json", "vocab.txt"] {
        fs::remove_file(workspace.path("run/export").join(name)).unwrap();
    }
    let start = |sharing: &str| {
        let files =
            ["bench", "--init", "run/export", "--batch-file", "batch.json", "--dropout", "0", "--start", sharing];
        let short = ["--seconds", "0", "--warmup-steps", "0", "--precision", "fp32", "--device", "cpu"];
        object(&workspace, &[&files[..], &short[..]].concat())
    };
    // An export of layers that are still tied: the same function, tied or not.
    let (tied, untied) = (start("tied"), start("untied"));
    assert_eq!((&tied["groups"], &untied["groups"], &tied["targets"]), (&json!(1), &json!(3), &json!(2)));
    assert!((number(&tied, "/losses/0") - number(&untied, "/losses/0")).abs() < 1e-6, "{tied} {untied}");
}

#[test]
fn a_run_is_predicted() {
    let workspace = TestWorkspace::new();
    let arguments = ["bench", "--config", "run.toml", "--seconds", "0", "--warmup-steps", "1", "--save-in", "."];
    let found = object(&workspace, &[&arguments[..], &["--set", "train.global_batch=12"]].concat());
    assert_eq!((&found["phases"][0]["steps"], &found["untied_from_step"]), (&json!(100), &json!(10)));
    let [start, untied] = ["at_start", "untied"].map(|name| number(&found["phases"][0][name], "/step_seconds"));
    assert!((number(&found, "/predicted_seconds") / (10.0 * start + 90.0 * untied) - 1.0).abs() < 1e-9, "{found}");
    // 12 sequences of 32 tokens; two of the three micro-batches are measured.
    assert!((number(&found, "/phases/0/untied/tokens_per_second") * untied / 384.0 - 1.0).abs() < 1e-9, "{found}");
    assert_eq!(found["phases"][0]["untied"]["measured_micro_batches"], 2);
    for path in [
        "/checkpoint_seconds/median",
        "/checkpoint_stall_seconds/median",
        "/phases/0/at_start/loader_wait_seconds/max",
        "/phases/0/at_start/peak_mib",
    ] {
        assert!(number(&found, path) > 0.0, "{path} of {found}");
    }
    let left = fs::read_dir(workspace.root()).unwrap();
    assert!(!left.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("untie-bench")));
}

#[test]
fn mistakes_are_refused() {
    let workspace = TestWorkspace::new();
    fs::write(workspace.path("batch.json"), r#"{"token_ids": [[100]], "positions": [0], "labels": [1]}"#).unwrap();
    for (arguments, code, words) in [
        (&["bench"][..], 2, &["`model.hidden_size` is missing", "hint:"][..]),
        (&["bench", "--preset", "bert-huge"], 2, &["bert-huge"]),
        (&["bench", "--config", "run.toml", "--batch", "4"], 2, &["cannot be used with"]),
        (&with(&["--batch-file", "batch.json"]), 3, &["is not a batch", "`token_ids`", "got 100"]),
        (&with(&["--batch-file", "absent.json"]), 3, &["absent.json"]),
        (&with(&["--start", "2x2"]), 2, &["does not fit"]),
        (&with(&["--dropout", "1.5"]), 2, &["hidden_dropout_prob"]),
        (&["bench", "--preset", "bert-base", "--seconds=-1"], 2, &["`--seconds`"]),
        (&["bench", "--init", "absent"], 3, &["absent"]),
    ] {
        let output = workspace.untie(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty() && !text.contains("panicked"), "{text}");
        for word in words {
            assert!(text.contains(word), "{arguments:?}: expected `{word}` in: {text}");
        }
    }
}
