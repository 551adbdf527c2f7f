//! What can be wrong with models, folders and files; pairs, scores and spans.

use std::fs;

use super::common::stderr;
use super::{finetune, workshop};

#[test]
fn mistakes_have_a_message_and_an_exit_code() {
    let workshop = workshop();
    fs::create_dir(workshop.path("empty")).unwrap();
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
        let output = finetune(&workshop, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
    let unfit =
        workshop.untie(&["finetune", "--task", "sst2", "--model", "runs/tiny", "--data", "sst2", "--lr", "1e-3"]);
    assert_eq!(unfit.status.code(), Some(2));
    assert!(
        stderr(&unfit).contains("`task.max_length` = 128 is longer than the model's 32 positions"),
        "{}",
        stderr(&unfit)
    );
    let untrained = workshop.untie(&[
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
    let workshop = workshop();
    fs::create_dir(workshop.path("stsb")).unwrap();
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
        fs::write(workshop.path(&format!("stsb/{name}.tsv")), text).unwrap();
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
    let output = finetune(&workshop, &flags);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("there is no test set in `stsb`"), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| dev/mean | dev/pearson | dev/spearman |"), "{table}");
    let config = fs::read_to_string(workshop.path("out/best/config.json")).unwrap();
    assert!(config.contains("\"problem_type\": \"regression\""), "{config}");
}

/// The answer is always the object: a model that learns anything finds some of them.
#[test]
fn spans_are_learnt_and_answered_in_the_texts_words() {
    let workshop = workshop();
    fs::create_dir(workshop.path("squad")).unwrap();
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
        fs::write(workshop.path(&format!("squad/{name}.json")), text).unwrap();
    }
    let flags = ["--task", "squad1", "--model", "runs/tiny", "--data", "squad", "--lr", "3e-3", "--seeds", "1"];
    let output = finetune(&workshop, &[&flags[..], &["--run-dir", "out", "--set", "task.stride=8"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| dev/exact | dev/f1 |"), "{table}");
    let predictions = fs::read_to_string(workshop.path("out/best-predictions/predictions.json")).unwrap();
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

#[test]
fn every_task_has_a_configuration_that_is_the_protocol_of_the_paper() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/finetune");
    for task in untie::finetune::Task::ALL.into_iter().filter(|&task| task != untie::finetune::Task::Ax) {
        let path = folder.join(format!("{task}.toml"));
        let config: untie::finetune::FinetuneConfig = untie::config::tables(Some(&path), &[]).unwrap();
        config.validate().unwrap();
        let defaults = untie::finetune::FinetuneConfig::of_task(task);
        assert_eq!(config.computed().unwrap(), defaults.computed().unwrap(), "{task}");
        assert_eq!((config.num_seeds(), config.optim.lr), (defaults.num_seeds(), defaults.optim.lr), "{task}");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 11);
}
