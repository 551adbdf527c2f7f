//! `untie data inspect` shows the samples that a run reads.

use crate::common::{stderr, TestWorkspace};

#[test]
fn samples_are_those_of_a_run_with_their_masks() {
    let workspace = TestWorkspace::new();
    let output = workspace.untie(&["data", "inspect", "data", "--sequence-length", "32", "--verify"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let samples: Vec<&str> = text.split("samples ([seen|to predict])\n").nth(1).unwrap().lines().collect();
    assert_eq!(samples.len(), 10);
    for sample in samples {
        assert!(sample.contains("[CLS]") && sample.ends_with("[SEP]"), "{sample}");
        // 15 % of 30 tokens are 4.5: five, unless documents end within the sample, whose [SEP] cannot be masked.
        let targets = sample.matches('|').count();
        assert!(targets == 5 || (targets == 4 && sample.matches("[SEP]").count() > 1), "{sample}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let workspace = TestWorkspace::new();
    for (arguments, code, words) in [
        (&["--objective", "nsp"][..], 2, "unknown variant `nsp`"),
        (&["--sequence-length", "2"], 2, "`data.sequence_length` must be at least 3"),
        (&["--objective", "mlm+nsp"], 3, "--sentences"),
    ] {
        let output = workspace.untie(&[&["data", "inspect", "data"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

/// As megatron-core's `IndexedDataset` has them: all documents, none lost and none in both splits.
#[test]
fn files_of_megatron_are_read_by_their_name_with_a_part_held_out() {
    let workspace = TestWorkspace::new();
    std::fs::create_dir(workspace.path("mega")).unwrap();
    for suffix in ["bin", "idx"] {
        let from = workspace.path(&format!("data/train-00000.{suffix}"));
        std::fs::copy(from, workspace.path(&format!("mega/my-bert_text_document.{suffix}"))).unwrap();
    }
    let facts = |dir: &str| -> Vec<u64> {
        let arguments = ["data", "inspect", dir, "--tokenizer", "data/vocab.txt", "--valid-fraction", "0.2"];
        let shown = ["--sequence-length", "32", "--json"];
        let output = workspace.untie(&[&arguments[..], &shown].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains(" documents ("), "{}", stderr(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["splits"].as_array().unwrap().iter().map(|split| split["documents"].as_u64().unwrap()).collect()
    };
    let manifest = std::fs::read_to_string(workspace.path("data/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let by_folder = facts("mega");
    assert_eq!(by_folder.iter().sum::<u64>(), manifest["train"]["documents"].as_u64().unwrap());
    assert!(by_folder.len() == 2 && by_folder[1] > 0 && by_folder[0] > by_folder[1], "{by_folder:?}");
    assert_eq!(facts("mega/my-bert_text_document"), by_folder);

    let train = |sets: &[&str]| {
        let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", "run"];
        for set in [&["data.tokenizer=data/vocab.txt", "train.steps=20", "data.dir=mega"], sets].concat() {
            arguments.extend(["--set", set]);
        }
        workspace.untie(&arguments)
    };
    let output = train(&["data.valid_fraction=0.2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let share = format!("held out           {} of {} documents", by_folder[1], by_folder.iter().sum::<u64>());
    assert!(stderr(&output).contains(&share), "{}", stderr(&output));
    let output = train(&["data.valid_fraction=1.5"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
