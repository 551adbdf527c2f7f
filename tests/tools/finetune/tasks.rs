//! What can be wrong with models, folders and files; pairs, scores and spans.

use std::fs;
use std::path::Path;

use serde_json::{json, Value};

use super::{finetune, workspace};
use crate::common::stderr;

#[test]
fn mistakes_have_a_message_and_an_exit_code() {
    let workspace = workspace();
    fs::create_dir(workspace.path("empty")).unwrap();
    for (arguments, code, words) in [
        (&["--task", "sst3", "--model", "runs/tiny", "--data", "sst2"][..], 2, "unknown variant `sst3`"),
        (&["--task", "sst2", "--model", "nowhere", "--data", "sst2"], 3, "`nowhere` holds no model"),
        (&["--task", "sst2", "--model", "runs/tiny", "--data", "empty"], 3, "no `train` set of `sst2` in `empty`"),
        (&["--task", "sst2", "--model", "runs/tiny", "--data", "sst2", "--lr", "0"], 2, "`optim.lr`"),
        (
            &["--task", "sst2", "--model", "runs/tiny", "--data", "sst2", "--set", "train.bach=3"],
            2,
            "unknown field `bach`",
        ),
        (
            &["--task", "sst2", "--model", "runs/tiny", "--data", "sst2", "--ax", "sst2"],
            2,
            "`task.diagnostics` is for `mnli`",
        ),
        (&["--task", "sst2", "--model", "runs/tiny", "--data", "sst2", "--dev-file", "x"], 2, "are for SQuAD"),
        (&["--task", "ax", "--model", "runs/tiny", "--data", "empty"], 3, "`runs/tiny/export` is not fine-tuned"),
    ] {
        let output = finetune(&workspace, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
    let unfit =
        workspace.untie(&["finetune", "--task", "sst2", "--model", "runs/tiny", "--data", "sst2", "--lr", "1e-3"]);
    assert_eq!(unfit.status.code(), Some(2));
    assert!(
        stderr(&unfit).contains("`task.max_length` = 128 is longer than the model's 32 positions"),
        "{}",
        stderr(&unfit)
    );
    let untrained = workspace.untie(&[
        "finetune",
        "--task",
        "sst2",
        "--model",
        "runs/tiny",
        "--data",
        "sst2",
        "--epochs",
        "0",
        "--max-length",
        "32",
    ]);
    assert_eq!(untrained.status.code(), Some(3));
    assert!(stderr(&untrained).contains("is not fine-tuned"), "{}", stderr(&untrained));
}

/// Scores of pairs, with a test set and without one.
#[test]
fn a_regression_learns_scores_of_pairs() {
    let workspace = workspace();
    fs::create_dir(workspace.path("stsb")).unwrap();
    let header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n";
    for (name, first, count) in [("train", 0, 48), ("dev", 48, 16)] {
        let mut text = String::from(header);
        for at in first..first + count {
            let objects = ["the red boat", "a letter"];
            let (one, other) = (objects[at % 2], objects[at / 2 % 2]);
            let score = if one == other { "5.000" } else { "0.500" };
            text.push_str(&format!(
                "{at}\tg\tf\t2012\t{at}\tnone\tnone\tthe miller sold {one}\tthe queen hid {other}\t{score}\n"
            ));
        }
        fs::write(workspace.path(&format!("stsb/{name}.tsv")), text).unwrap();
    }
    let flags = [
        "--task",
        "stsb",
        "--model",
        "runs/tiny",
        "--data",
        "stsb",
        "--lr",
        "3e-3",
        "--seeds",
        "1",
        "--run-dir",
        "out",
    ];
    let output = finetune(&workspace, &flags);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("there is no test set in `stsb`"), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| dev/mean | dev/pearson | dev/spearman |"), "{table}");
    let config = fs::read_to_string(workspace.path("out/best/config.json")).unwrap();
    assert!(config.contains("\"problem_type\": \"regression\""), "{config}");
}

/// The answer is always the object: a model that learns anything finds some of them.
#[test]
fn spans_are_learnt_and_answered_in_the_texts_words() {
    let workspace = workspace();
    fs::create_dir(workspace.path("squad")).unwrap();
    for (name, first, count) in [("train-v1.1", 0, 40), ("dev-v1.1", 40, 10)] {
        let paragraphs: Vec<_> = (first..first + count)
            .map(|at: usize| {
                let object = ["the red boat", "seven coins", "a letter", "the clock"][at % 4];
                let verb = ["carried", "painted", "sold"][at % 3];
                let context = format!("the miller {verb} {object} .");
                let start = context.find(object).unwrap();
                let answers = serde_json::json!([{ "text": object, "answer_start": start }]);
                let question = serde_json::json!({ "id": at.to_string(), "question": "what ?", "answers": answers });
                serde_json::json!({ "context": context, "qas": [question] })
            })
            .collect();
        let data = serde_json::json!([{ "title": "t", "paragraphs": paragraphs }]);
        let text = serde_json::json!({ "version": "1.1", "data": data }).to_string();
        fs::write(workspace.path(&format!("squad/{name}.json")), text).unwrap();
    }
    let flags = ["--task", "squad1", "--model", "runs/tiny", "--data", "squad", "--lr", "3e-3", "--seeds", "1"];
    let output = finetune(&workspace, &[&flags[..], &["--run-dir", "out", "--set", "task.stride=8"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| dev/exact | dev/f1 |"), "{table}");
    let predictions = fs::read_to_string(workspace.path("out/best-predictions/predictions.json")).unwrap();
    let predictions: std::collections::BTreeMap<String, String> = serde_json::from_str(&predictions).unwrap();
    assert_eq!(predictions.len(), 10);
    assert!(
        predictions
            .values()
            .all(|answer| "the miller carried painted sold the red boat seven coins a letter the clock ."
                .contains(answer.split(' ').next().unwrap_or_default())),
        "{predictions:?}"
    );
}

/// Changes config.json of a model.
fn change(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// Labels by their words, in the order of the model: scores are those of the same answers, whatever they are called.
#[test]
fn a_finished_models_labels_are_matched_by_their_words() {
    let workspace = workspace();
    let sweep = [
        "--task",
        "sst2",
        "--model",
        "runs/tiny",
        "--data",
        "sst2",
        "--lr",
        "3e-3",
        "--seeds",
        "1",
        "--run-dir",
        "out",
    ];
    let output = finetune(&workspace, &sweep);
    assert!(output.status.success(), "{}", stderr(&output));
    let best = workspace.path("out/best");
    let score = |task: &str, data: &str| {
        let common = [
            "--epochs",
            "0",
            "--max-length",
            "32",
            "--precision",
            "fp32",
            "--model",
            "out/best",
            "--run-dir",
            "scored",
        ];
        workspace.untie(&[&["finetune", "--task", task, "--data", data], &common[..]].concat())
    };
    let accuracy = |labels: Value| -> f64 {
        change(&best, |config| {
            let numbers = labels.as_array().unwrap().iter().enumerate();
            config["label2id"] = numbers.map(|(id, word)| (word.as_str().unwrap().to_owned(), json!(id))).collect();
            config["id2label"] = (0..2).map(|id| (id.to_string(), labels[id].clone())).collect();
        });
        let output = score("sst2", "sst2");
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().next().unwrap().split_whitespace().last().unwrap().parse().unwrap()
    };
    let learnt = accuracy(json!(["0", "1"]));
    assert!(learnt > 0.6, "{learnt}");
    for same in [json!(["negative", "positive"]), json!(["NEGATIVE", "POSITIVE"]), json!(["LABEL_0", "LABEL_1"])] {
        assert_eq!(accuracy(same.clone()), learnt, "{same}");
    }
    for other in [json!(["positive", "negative"]), json!(["1", "0"])] {
        assert!((accuracy(other.clone()) - (1.0 - learnt)).abs() < 1e-9, "{other}");
    }
    let labels = json!({ "0": "bad", "1": "good" });
    change(&best, |config| (config["id2label"], config["label2id"]) = (labels, json!({ "bad": 0, "good": 1 })));
    let unknown = score("sst2", "nowhere");
    assert_eq!(unknown.status.code(), Some(3));
    let words =
        "expected `0`, `1` or `negative`, `positive` in any order, got `bad`, `good`\nhint: name them so in `id2label`";
    assert!(stderr(&unknown).contains(words), "{}", stderr(&unknown));
    // Told before the task is read: its folder is not there.
    let head = score("mnli", "nowhere");
    assert_eq!(head.status.code(), Some(3));
    assert!(stderr(&head).contains("`mnli` needs a head of 3 labels, got a head of 2 labels"), "{}", stderr(&head));
}

#[test]
fn a_model_that_cannot_do_the_task_is_refused_before_the_task_is_read() {
    let workspace = workspace();
    let refused = |task: &str, key: &str, value: Value, more: &[&str]| {
        let copy = tempfile::tempdir_in(workspace.root()).unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"] {
            fs::copy(workspace.path("runs/tiny/export").join(name), copy.path().join(name)).unwrap();
        }
        change(copy.path(), |config| config[key] = value);
        let model = copy.path().display().to_string();
        let flags = ["finetune", "--task", task, "--model", &model, "--data", "nowhere", "--run-dir", "out"];
        let output = workspace.untie(&[&flags[..], more].concat());
        assert!(!workspace.path("out").exists());
        (output.status.code(), stderr(&output))
    };
    let short = ["--max-length", "32"];
    for (task, key, value, more, code, words) in [
        ("sst2", "is_decoder", json!(true), &short[..], 3, "`is_decoder`: expected `false`, got `true`"),
        ("sst2", "model_type", json!("roberta"), &short, 3, "expected `bert` or `megatron-bert`, got `roberta`"),
        (
            "sst2",
            "untie_version",
            json!(null),
            &[],
            2,
            "`task.max_length` = 128 is longer than the model's 32 positions",
        ),
        ("sst2", "untie_version", json!(null), &["--epochs", "0"], 2, "longer than the model's 32 positions"),
        ("mnli", "type_vocab_size", json!(1), &short, 2, "a pair of texts has 2 segments, the model knows 1"),
        ("squad1", "type_vocab_size", json!(1), &short, 2, "cannot do `squad1`"),
        ("sst2", "intermediate_size", json!(7), &short, 3, "expected shape"),
        // One text has one segment, and the tensors tell that the file has two.
        ("sst2", "type_vocab_size", json!(1), &short, 3, "token_type_embeddings.weight`: expected shape"),
    ] {
        let (got, message) = refused(task, key, value, more);
        assert!(got == Some(code) && message.contains(words), "{task}, {key}: {got:?} {message}");
    }
}

#[test]
fn every_task_has_a_configuration_that_is_the_protocol_of_the_paper() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/finetune");
    for task in untie::finetune::Task::ALL.into_iter().filter(|&task| task != untie::finetune::Task::Ax) {
        let path = folder.join(format!("{task}.toml"));
        let config: untie::finetune::FinetuneConfig = untie::config::tables(Some(&path), &[]).unwrap();
        config.validate().unwrap();
        let defaults = untie::finetune::FinetuneConfig::of_task(task);
        assert_eq!(config.computed().unwrap(), defaults.computed().unwrap(), "{task}");
        assert_eq!((config.num_seeds(), config.rates()), (defaults.num_seeds(), defaults.rates()), "{task}");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 14);
}
