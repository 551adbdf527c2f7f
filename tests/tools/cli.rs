//! The binary as a stranger meets it: what works end to end, and one clear error with its exit code for what does not.

use std::fs;

use crate::common::{stderr, TestWorkspace};
use serde_json::Value;

/// The error must have this exit code and contain all of these words; nothing may panic.
fn refused(workspace: &TestWorkspace, arguments: &[&str], code: i32, words: &[&str]) {
    let output = workspace.untie(arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?}: expected `{word}` in: {text}");
    }
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
}

fn train<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", "run", "--set", "train.steps=12"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    arguments
}

#[test]
fn a_run_is_trained_evaluated_asked_and_exported() {
    let workspace = TestWorkspace::new();
    let output = workspace.untie(&train(&["sharing.untie_at=0.5", "checkpoint.every=5", "checkpoint.keep_last=3"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["12 steps", "baseline: the most frequent token", "at step 6        (untied to 3  )", "run/export"] {
        assert!(summary.contains(words), "{summary}");
    }
    for name in ["config.toml", "env.json", "metrics.jsonl", "tb", "checkpoints/latest", "export/model.safetensors"] {
        assert!(workspace.path("run").join(name).exists(), "{name}");
    }
    // The model of the run and the model of its export are one: the same held-out loss, to the printed digits.
    let eval = workspace.untie(&[
        "eval",
        "--model",
        "run/export",
        "--data",
        "data",
        "--sequence-length",
        "32",
        "--sequences",
        "16",
        "--batch",
        "4",
    ]);
    assert!(eval.status.success(), "{}", stderr(&eval));
    let printed = String::from_utf8_lossy(&eval.stdout).into_owned();
    let of_run = summary.split("loss ").last().unwrap().split_whitespace().next().unwrap();
    let of_export = printed.lines().find(|line| line.starts_with("loss ")).unwrap().split_whitespace().last().unwrap();
    assert_eq!(of_run, of_export);
    let by_document = ["--sequence-length", "32", "--sequences", "16", "--by-document", "documents.jsonl"];
    let eval = workspace.untie(&[&["eval", "--model", "run", "--data", "data"][..], &by_document].concat());
    assert_eq!(String::from_utf8_lossy(&eval.stdout), printed, "{}", stderr(&eval));
    let lines = fs::read_to_string(workspace.path("documents.jsonl")).unwrap();
    let documents: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(documents.len() > 1 && documents.is_sorted_by_key(|document| document["document"].as_u64()), "{lines}");
    let sum = |key: &str| documents.iter().map(|document| document[key].as_f64().unwrap()).sum::<f64>();
    let printed_loss = format!("loss               {:.4}\n", sum("loss") / sum("targets"));
    let printed_accuracy = format!("accuracy           {:.2} %\n", 100.0 * sum("correct") / sum("targets"));
    assert!(printed.contains(&printed_loss) && printed.contains(&printed_accuracy), "{printed}{lines}");

    let asked = workspace.untie(&["fill-mask", "--model", "run/export", "the miller [MASK] a letter ."]);
    assert!(asked.status.success(), "{}", stderr(&asked));
    assert_eq!(String::from_utf8_lossy(&asked.stdout).lines().count(), 5);

    for (step, groups) in [("5", "tied"), ("10", "untied")] {
        let out = format!("export-{groups}");
        let exported = workspace.untie(&["export", "--run", "run", "--step", step, "--out", &out]);
        assert!(exported.status.success(), "{}", stderr(&exported));
        let tensors = fs::read(workspace.path(&out).join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&tensors).unwrap();
        let name = |layer: usize| format!("bert.encoder.layer.{layer}.output.dense.weight");
        let [first, last] = [0, 2].map(|layer| tensors.tensor(&name(layer)).unwrap().data().to_vec());
        assert_eq!(first == last, groups == "tied", "layers of an export at step {step}");
    }
    refused(&workspace, &["export", "--run", "run", "--step", "7", "--out", "x"], 3, &["no checkpoint of step 7"]);

    // Going on is asked for, a changed model is not gone on with, and a finished run can be asked again.
    refused(&workspace, &train(&[]), 2, &["already has checkpoints", "hint:", "--resume"]);
    let mut changed = train(&["optim.lr=1e-2"]);
    changed.push("--resume");
    let resolved = || fs::read_to_string(workspace.path("run/config.toml")).unwrap();
    let before = resolved();
    refused(&workspace, &changed, 2, &["cannot resume with another `optim.lr`", "hint:"]);
    let shorter = ["sharing.untie_at=0.5", "checkpoint.every=5", "checkpoint.keep_last=3", "train.steps=11"];
    let mut shorter = train(&shorter);
    shorter.push("--resume");
    refused(&workspace, &shorter, 2, &["is at step 12, after the end of the run, `train.steps` = 11", "hint:"]);
    assert_eq!(resolved(), before, "a refused resume must leave the folder alone");

    // Another vocabulary of the same size: the weights' ids would mean other tokens.
    let other = fs::read_to_string(workspace.path("corpus.jsonl")).unwrap().replace("queen", "tailor");
    fs::write(workspace.path("other.jsonl"), other).unwrap();
    let prepared = workspace.untie(&[
        "prepare",
        "--input",
        "other.jsonl",
        "--out",
        "other",
        "--vocab-size",
        "150",
        "--valid-fraction",
        "0.1",
    ]);
    assert!(prepared.status.success(), "{}", stderr(&prepared));
    let settings = ["sharing.untie_at=0.5", "checkpoint.every=5", "checkpoint.keep_last=3", "data.dir=other"];
    let mut moved = train(&settings);
    moved.push("--resume");
    refused(&workspace, &moved, 3, &["cannot resume with another vocabulary", "hint:"]);
    // The same data elsewhere is the same data.
    fs::rename(workspace.path("data"), workspace.path("moved")).unwrap();
    let settings = ["sharing.untie_at=0.5", "checkpoint.every=5", "checkpoint.keep_last=3", "data.dir=moved"];
    let mut moved = train(&settings);
    moved.push("--resume");
    let output = workspace.untie(&moved);
    assert!(output.status.success(), "{}", stderr(&output));
    fs::rename(workspace.path("moved"), workspace.path("data")).unwrap();

    // A run may start from an export, if tokenizer and sizes fit.
    let mut started = train(&["model.init=run/export"]);
    started[4] = "second";
    let output = workspace.untie(&started);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut started = train(&["model.init=run/export", "model.num_attention_heads=4"]);
    started[4] = "third";
    refused(
        &workspace,
        &started,
        2,
        &["`model.num_attention_heads` = 4, but the model in `run/export` has 2", "hint:"],
    );

    let mut again = train(&["sharing.untie_at=0.5", "checkpoint.every=5", "checkpoint.keep_last=3"]);
    again.push("--resume");
    let output = workspace.untie(&again);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn wrong_configurations_are_refused() {
    let workspace = TestWorkspace::new();
    refused(&workspace, &["train"], 2, &["--config"]);
    refused(
        &workspace,
        &["train", "--config", "absent.toml"],
        2,
        &["there is no configuration at `absent.toml`", "hint:"],
    );
    for (setting, words) in [
        ("train.stepz=1", &["unknown field `stepz`"][..]),
        ("model.num_attention_heads=5", &["`model.hidden_size` = 32 is not divisible", "hint:"]),
        (
            "data.sequence_length=64",
            &["`data.sequence_length` = 64 is longer than `model.max_position_embeddings` = 32"],
        ),
        ("sharing.start=2x2", &["sharing unit `2x2` does not fit", "hint:"]),
        ("sharing.untie_at=12", &["`sharing.untie_at` = 12 is not before the end"]),
        ("train.micro_batch=3", &["not a multiple"]),
        ("train.device=cuda:63", &["expected a CUDA device", "hint:"]),
        ("train.precision=int8", &["unknown variant `int8`"]),
        ("checkpoint.keep_last=0", &["keep_last"]),
        ("eval.sequences=0", &["`eval.sequences`"]),
        ("train.global_batch=1000000000000", &["`train.global_batch` must be at most"]),
        ("train.threads=100000", &["`train.threads` must be at most"]),
        ("model.num_hidden_layers=1048576", &["`model.num_hidden_layers` must be between 1 and 1024"]),
        ("sharing.untie_at=soon", &["`--set sharing.untie_at=soon`", "a step (an integer of 0 or more) or a fraction"]),
        ("train.steps=-5", &["`--set train.steps=-5`"]),
    ] {
        refused(&workspace, &train(&[setting]), 2, words);
    }
    assert!(!workspace.path("run").exists(), "a refused run left a folder behind");
}

#[test]
fn wrong_data_is_refused() {
    let workspace = TestWorkspace::new();
    refused(
        &workspace,
        &train(&["data.dir=absent"]),
        3,
        &["there is no tokenizer at `absent/tokenizer.json`", "hint:"],
    );

    // Another vocabulary of the same size: what the ids mean is another thing.
    let vocabulary = fs::read_to_string(workspace.path("data/vocab.txt")).unwrap();
    let mut tokens: Vec<&str> = vocabulary.lines().collect();
    let last = tokens.len() - 1;
    tokens.swap(last, last - 1);
    fs::write(workspace.path("other.txt"), tokens.join("\n")).unwrap();
    refused(&workspace, &train(&["data.tokenizer=other.txt"]), 3, &["is not the tokenizer that made `data`", "hint:"]);

    fs::rename(workspace.path("data/tokenizer.json"), workspace.path("tokenizer.json")).unwrap();
    refused(&workspace, &train(&[]), 3, &["there is no tokenizer"]);
    fs::rename(workspace.path("tokenizer.json"), workspace.path("data/tokenizer.json")).unwrap();

    let bin = workspace.path("data/train-00000.bin");
    let bytes = fs::read(&bin).unwrap();
    fs::write(&bin, &bytes[..bytes.len() - 2]).unwrap();
    refused(&workspace, &train(&[]), 3, &["the data cannot be used", "train-00000.bin", "expected", "got"]);
    // A token outside the vocabulary: no embedding, no crash.
    let mut damaged = bytes.clone();
    damaged.iter_mut().for_each(|byte| *byte = 0xff);
    fs::write(&bin, &damaged).unwrap();
    refused(&workspace, &train(&[]), 3, &["the data cannot be used"]);
    refused(&workspace, &train(&["data.verify=true"]), 3, &["train-00000.bin", "xxh3"]);
    fs::remove_file(workspace.path("data/train-00000.idx")).unwrap();
    refused(&workspace, &train(&[]), 3, &["the data cannot be used", "train-00000.idx"]);
    assert!(!workspace.path("run/checkpoints/latest").exists());
}

#[test]
fn wrong_models_and_questions_are_refused() {
    let workspace = TestWorkspace::new();
    refused(&workspace, &["eval", "--model", "absent", "--data", "data"], 3, &["absent"]);
    refused(&workspace, &["fill-mask", "--model", "absent", "a [MASK]"], 3, &["absent"]);
    refused(&workspace, &["export", "--run", "absent", "--out", "x"], 3, &["`absent` has no checkpoint", "hint:"]);
    fs::write(workspace.path("empty.txt"), "").unwrap();
    refused(&workspace, &["prepare", "--input", "empty.txt", "--out", "none"], 3, &["the corpus is empty"]);
    refused(&workspace, &["prepare", "--input", "absent.txt", "--out", "none"], 2, &["absent.txt"]);
    assert!(!workspace.path("none/manifest.json").exists());

    let output = workspace.untie(&train(&[]));
    assert!(output.status.success(), "{}", stderr(&output));
    refused(&workspace, &["fill-mask", "--model", "run/export", "no mask here"], 2, &["[MASK]"]);
    let long = "the miller ".repeat(40) + "[MASK]";
    refused(&workspace, &["fill-mask", "--model", "run/export", &long], 2, &["32"]);
    let other = TestWorkspace::new();
    fs::write(
        other.path("words.jsonl"),
        "{\"text\": \"zebra quick jumps vex bold wax fjord nymph glyph\"}\n".repeat(40),
    )
    .unwrap();
    let prepared = other.untie(&[
        "prepare",
        "--input",
        "words.jsonl",
        "--out",
        "other",
        "--vocab-size",
        "90",
        "--valid-fraction",
        "0.5",
    ]);
    let model = workspace.path("run/export");
    if prepared.status.success() {
        let arguments = ["eval", "--model", model.to_str().unwrap(), "--data", "other"];
        refused(&other, &arguments, 3, &["the vocabularies differ: token 5 of", "hint:"]);
    } else {
        panic!("{}", stderr(&prepared));
    }
}

/// Post-mortem of a damaged newest checkpoint: named, skipped, and the one before is taken.
#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_taken() {
    let workspace = TestWorkspace::new();
    let settings = ["checkpoint.every=4", "checkpoint.keep_last=3", "sharing.untie_at=2"];
    let output = workspace.untie(&train(&settings));
    assert!(output.status.success(), "{}", stderr(&output));
    let damaged = workspace.path("run/checkpoints/step-00000012/optimizer.safetensors");
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&damaged, bytes).unwrap();
    let mut arguments = train(&settings);
    arguments.push("--resume");
    let output = workspace.untie(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("skipped the checkpoint of step 12, it is damaged") && text.contains("optimizer.safetensors"),
        "{text}"
    );
    assert!(text.contains("resume: from `run/checkpoints/step-00000008`"), "{text}");
}

/// libtorch emulates bf16 where it has no AVX-512: whoever asks for it is told what to set, before the first step; `auto` does not.
#[test]
fn emulated_bf16_is_told() {
    let workspace = TestWorkspace::new();
    let bench =
        ["bench", "--hidden-size", "32", "--layers", "2", "--vocab-size", "90", "--batch", "2", "--seconds", "0"];
    let dry = ["train", "--config", "run.toml", "--dry-run"];
    let run = train(&["train.steps=3", "optim.warmup=0", "sharing.untie_at=1"]);
    let measured = ["bench", "--config", "run.toml", "--seconds", "0", "--set", "train.steps=10"];
    let with = |arguments: &[&str], key: &str, precision: &str, capability: &str| {
        let setting = format!("train.precision={precision}");
        let flags = if key == "--set" { [key, &setting] } else { [key, precision] };
        let run_dir = format!("{precision}-{capability}");
        let mut arguments = [arguments, &flags].concat();
        if let Some(at) = arguments.iter().position(|argument| *argument == "run") {
            arguments[at] = &run_dir;
        }
        let output = workspace.command(&arguments).env("ATEN_CPU_CAPABILITY", capability).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stderr(&output)
    };
    for (arguments, key) in
        [(&bench[..], "--precision"), (&dry[..], "--set"), (&run[..], "--set"), (&measured[..], "--set")]
    {
        for (precision, is_told) in [("bf16", true), ("fp32", false), ("auto", false)] {
            let said = with(arguments, key, precision, "avx2");
            assert_eq!(said.contains("warning: bf16 is emulated on this CPU (AVX2, "), is_told, "{precision}: {said}");
            assert_eq!(said.contains("hint: set `train.precision` to \"fp32\""), is_told, "{precision}: {said}");
        }
    }
    assert!(with(&dry, "--set", "bf16", "default").contains("emulated on this CPU (DEFAULT, "));
    if fs::read_to_string("/proc/cpuinfo").unwrap().contains(" avx512bw ") {
        assert!(!with(&dry, "--set", "bf16", "avx512").contains("emulated"));
    }
}

/// Checks of gradients, evaluations, logs and checkpoints draw nothing and change nothing, also where layers are compositions, whose
/// dropout comes from libtorch's generator: the same bits at the end.
#[test]
fn watching_never_changes_a_run() {
    let workspace = TestWorkspace::new();
    let common = ["sharing.untie_at=5", "train.steps=9", "optim.warmup=2", "checkpoint.keep_last=9"];
    let seldom = ["sharing.monitor=false", "eval.every=0", "train.log_every=9", "checkpoint.every=9"];
    let often = ["sharing.monitor=true", "sharing.check_every=2", "eval.every=2", "checkpoint.every=2"];
    for (kernels, precision) in [("fused", "fp32"), ("plain", "fp32"), ("plain", "bf16")] {
        let how = [format!("train.kernels={kernels}"), format!("train.precision={precision}")];
        let end = |watched: &str, settings: &[&str]| {
            let run = format!("{kernels}-{precision}-{watched}");
            let mut arguments = train(&[&common[..], settings, &[&how[0], &how[1]]].concat());
            arguments[4] = &run;
            let output = workspace.untie(&arguments);
            assert!(output.status.success(), "{}", stderr(&output));
            let last = workspace.path(&run).join("checkpoints/step-00000009");
            ["model.safetensors", "optimizer.safetensors"].map(|name| fs::read(last.join(name)).unwrap())
        };
        assert!(end("seldom", &seldom) == end("often", &often), "{kernels} {precision}");
    }
}
