//! Tags of words: scores as seqeval's, labels of tokens as run_ner.py's, and a sweep that learns them from files in each format.

use std::fs;

use serde::Deserialize;
use serde_json::{json, Value};
use untie::finetune::batch::Target;
use untie::finetune::custom::{read_sentences, Names, TaggedWords};
use untie::finetune::entities::tag_scores;
use untie::finetune::word_features::word_features;
use untie_data::wordpiece::Pretrained;

use super::{finetune, workspace};
use crate::common::stderr;

#[derive(Deserialize)]
struct Fixture {
    scores: Vec<Scored>,
    aligned: Vec<Aligned>,
}

#[derive(Deserialize)]
struct Scored {
    name: String,
    predicted: Vec<Vec<String>>,
    expected: Vec<Vec<String>>,
    precision: f64,
    recall: f64,
    f1: f64,
    accuracy: f64,
}

#[derive(Deserialize)]
struct Aligned {
    words: Vec<String>,
    tags: Vec<usize>,
    ids: Vec<u32>,
    labels: Vec<i64>,
}

/// tests/fixtures/finetune/make_tags.py made it.
fn fixture() -> Fixture {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/finetune");
    serde_json::from_slice(&fs::read(folder.join("tags.json")).unwrap()).unwrap()
}

#[test]
fn scores_of_tags_are_those_of_seqeval() {
    for case in fixture().scores {
        let words = |tags: &'static [Vec<String>]| tags.iter().map(|tags| tags.iter().map(String::as_str).collect());
        let [predicted, expected]: [Vec<Vec<&str>>; 2] =
            [case.predicted, case.expected].map(|tags| words(tags.leak()).collect());
        let found = tag_scores(&predicted, &expected).unwrap();
        for (name, expected) in
            [("precision", case.precision), ("recall", case.recall), ("f1", case.f1), ("accuracy", case.accuracy)]
        {
            assert!((found[name] - expected).abs() < 1e-12, "{}: {name} {} {expected}", case.name, found[name]);
        }
    }
    assert!(tag_scores(&[vec!["O"]], &[vec!["O", "O"]]).is_err());
}

#[test]
fn a_word_has_its_tag_on_its_first_token() {
    let hub = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub/post");
    let Pretrained { tokenizer, .. } = untie::hub::open_tokenizer(&hub, 1 << 20).unwrap();
    for Aligned { words, tags, ids, labels } in fixture().aligned {
        let sentence = TaggedWords { words: words.clone(), tags: Some(tags) };
        let (found, num_cut) = word_features(&tokenizer, &[sentence], 12).unwrap();
        assert_eq!(found[0].example.token_ids, ids, "{words:?}");
        let expected: Vec<Option<usize>> = labels.iter().map(|&label| usize::try_from(label).ok()).collect();
        assert_eq!(found[0].example.target, Target::Tags(expected), "{words:?}");
        assert_eq!(num_cut == 1, found[0].firsts.last() == Some(&None) && ids.len() == 12, "{words:?}");
    }
}

/// Sentences in which objects are entities of two words.
fn sentences(first: usize, count: usize) -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
    let sentence = |at: usize| {
        let (article, noun) = [("the", "boat"), ("seven", "coins"), ("a", "letter"), ("the", "clock")][at % 4];
        let verb = ["carried", "painted", "sold"][at % 3];
        (vec!["the", "miller", verb, article, noun], vec!["O", "B-MAN", "O", "B-THING", "I-THING"])
    };
    (first..first + count).map(sentence).collect()
}

#[test]
fn tags_are_learnt_and_predicted() {
    let workspace = workspace();
    fs::create_dir(workspace.path("ner")).unwrap();
    let conll: String = sentences(0, 60)
        .iter()
        .map(|(words, tags)| {
            words.iter().zip(tags).map(|(word, tag)| format!("{word} X {tag}\n")).collect::<String>() + "\n"
        })
        .collect();
    fs::write(workspace.path("ner/train.conll"), format!("-DOCSTART- -X- O\n\n{conll}")).unwrap();
    let lines: String = sentences(60, 20)
        .iter()
        .map(|(words, tags)| json!({ "tokens": words, "ner_tags": tags }).to_string() + "\n")
        .collect();
    fs::write(workspace.path("ner/validation.jsonl"), lines).unwrap();
    let asked: String = sentences(80, 6).iter().map(|(words, _)| words.join("\n") + "\n\n").collect();
    fs::write(workspace.path("ner/test.txt"), &asked).unwrap();
    let flags = ["--task", "token-classification", "--model", "runs/tiny", "--data", "ner", "--lr", "1e-2"];
    let output = finetune(&workspace, &[&flags[..], &["--run-dir", "out"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| dev/accuracy | dev/f1 | dev/precision | dev/recall |"), "{table}");
    assert!(table.contains("best by dev/f1: 100.00"), "{table}");
    let config: Value = serde_json::from_slice(&fs::read(workspace.path("out/best/config.json")).unwrap()).unwrap();
    assert_eq!(config["architectures"], json!(["BertForTokenClassification"]));
    assert_eq!(config["id2label"], json!({ "0": "B-MAN", "1": "B-THING", "2": "I-THING", "3": "O" }));

    let predicted = fs::read_to_string(workspace.path("out/best-predictions/test.jsonl")).unwrap();
    let printed = workspace.untie(&["predict", "--model", "out/best", "--input", "ner/test.txt", "--device", "cpu"]);
    assert!(printed.status.success(), "{}", stderr(&printed));
    assert_eq!(String::from_utf8_lossy(&printed.stdout), predicted);
    assert_eq!(predicted.lines().next(), Some(r#"{"tags":["O","B-MAN","O","B-THING","I-THING"]}"#));
    // Words that are cut off have no tag.
    let cut = workspace.untie(&["predict", "--model", "out/best", "--input", "ner/test.txt", "--max-length", "5"]);
    assert!(String::from_utf8_lossy(&cut.stdout).contains("null]}"), "{}", String::from_utf8_lossy(&cut.stdout));
    assert!(stderr(&cut).contains("6 of 6 examples are cut at 5 tokens"), "{}", stderr(&cut));
    let scored =
        ["finetune", "--task", "token-classification", "--model", "out/best", "--epochs", "0", "--data", "ner"];
    let scored = workspace.untie(&[&scored[..], &["--max-length", "32", "--run-dir", "scored"]].concat());
    assert!(
        String::from_utf8_lossy(&scored.stdout).contains("dev/f1                       1.0000"),
        "{}",
        stderr(&scored)
    );
    let other = ["finetune", "--task", "text-classification", "--model", "out/best", "--epochs", "0", "--data", "ner"];
    let other = workspace.untie(&[&other[..], &["--max-length", "32"]].concat());
    assert!(stderr(&other).contains("needs a head of 2 labels, got a head for every token"), "{}", stderr(&other));
}

#[test]
fn files_of_tags_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, words) in [
        ("a.conll", "the O\nmiller\n", "line 2: some words of a sentence have a tag and others not"),
        ("a.conll", "\n\n", "has no sentences"),
        ("a.jsonl", "{\"words\": [\"a\"], \"tags\": [\"O\", \"O\"]}\n", "row 1: 1 words and 2 tags"),
        ("a.jsonl", "{\"sentence\": [\"a\"]}\n", "has no column with lists of words, one of `tokens`"),
        ("a.jsonl", "{\"tokens\": \"a b\"}\n", "row 1: expected a list of words"),
        ("a.csv", "a,b\n", "expected a file of one of `conll`"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let error = read_sentences(&path, &Names::default()).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains(words), "{words}: {}", error.report());
    }
}
