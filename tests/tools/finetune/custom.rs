//! One's own files: every format of a table gives the same run as GLUE's files of the same rows; what can be wrong with them; and
//! `untie predict`.

use std::fs;
use std::path::Path;

use serde_json::Value;
use untie::finetune::custom::{read, Names, Outputs, Record};

use super::{finetune, workspace};
use crate::common::{stderr, TestWorkspace};

const WORDS: [&str; 2] = ["bad", "good"];

/// Text and label of each row of a file of reviews.
fn rows(workspace: &TestWorkspace, name: &str) -> Vec<(String, Option<String>)> {
    let text = fs::read_to_string(workspace.path("sst2").join(name)).unwrap();
    let fields = text.lines().skip(1).map(|line| line.split_once('\t').unwrap());
    let word = |label: &str| Some(WORDS[label.parse::<usize>().unwrap()].to_owned());
    match name {
        "test.tsv" => fields.map(|(_, sentence)| (sentence.to_owned(), None)).collect(),
        _ => fields.map(|(sentence, label)| (sentence.to_owned(), word(label))).collect(),
    }
}

fn lines(rows: &[(String, Option<String>)], line: impl Fn(&str, &str) -> String) -> String {
    rows.iter().map(|(text, label)| line(text, label.as_deref().unwrap_or_default()) + "\n").collect()
}

#[test]
fn own_files_train_as_glues_do_and_predict() {
    let workspace = workspace();
    let run = |arguments: &[&str]| {
        let output =
            finetune(&workspace, &[arguments, &["--model", "runs/tiny", "--lr", "3e-3", "--seeds", "1"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["--task", "sst2", "--data", "sst2", "--run-dir", "official"]);
    fs::create_dir(workspace.path("own")).unwrap();
    let (train, dev, test) = (rows(&workspace, "train.tsv"), rows(&workspace, "dev.tsv"), rows(&workspace, "test.tsv"));
    let csv = String::from("label,text\r\n") + &lines(&train, |text, label| format!("{label},\"{text}\""));
    fs::write(workspace.path("own/train.csv"), csv).unwrap();
    let jsonl = lines(&dev, |text, label| serde_json::json!({ "text": text, "label": label }).to_string());
    fs::write(workspace.path("own/dev.jsonl"), jsonl).unwrap();
    fs::write(workspace.path("own/test.tsv"), String::from("text\n") + &lines(&test, |text, _| text.into())).unwrap();
    let table = run(&["--task", "text-classification", "--data", "own", "--run-dir", "out"]);
    assert!(table.contains("| dev/accuracy | dev/macro_f1 | dev/matthews |"), "{table}");
    let [official, own] = ["official", "out"].map(|folder| {
        let bytes = fs::read(workspace.path(folder).join("best/model.safetensors")).unwrap();
        (bytes, fs::read_to_string(workspace.path(folder).join("best/config.json")).unwrap())
    });
    assert!(official.0 == own.0, "the same rows, other weights");
    assert!(own.1.contains("\"0\": \"bad\"") && own.1.contains("\"good\": 1"), "{}", own.1);

    // What the sweep predicted, `untie predict` predicts; GLUE's file of the same predictions has the numbers of the labels.
    let predicted = fs::read_to_string(workspace.path("out/best-predictions/test.jsonl")).unwrap();
    let asked = workspace.untie(&["predict", "--model", "out/best", "--input", "own/test.tsv", "--device", "cpu"]);
    assert!(asked.status.success(), "{}", stderr(&asked));
    let parse = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    let (predicted, asked) = (parse(&predicted), parse(&String::from_utf8(asked.stdout).unwrap()));
    let submission = fs::read_to_string(workspace.path("official/best-predictions/SST-2.tsv")).unwrap();
    assert_eq!((predicted.len(), asked.len()), (12, 12));
    for ((one, other), line) in predicted.iter().zip(&asked).zip(submission.lines().skip(1)) {
        let asked_label = other["label"].as_str().unwrap();
        assert_eq!(one["label"], asked_label);
        let [one, other] = [one, other].map(|of| of["probability"].as_f64().unwrap());
        assert!((one - other).abs() < 1e-5 && (0.5..=1.0).contains(&one), "{one} {other}");
        let (_, class) = line.split_once('\t').unwrap();
        assert_eq!(asked_label, WORDS[class.parse::<usize>().unwrap()]);
    }

    // A finished model is scored as it is, also on a test set alone.
    let dev_file = workspace.path("own/dev.jsonl");
    let flags = ["--task", "text-classification", "--model", "out/best", "--epochs", "0", "--max-length", "32"];
    let scored = workspace.untie(
        &[&["finetune"], &flags[..], &["--dev-file", dev_file.to_str().unwrap(), "--run-dir", "scored"]].concat(),
    );
    assert!(scored.status.success(), "{}", stderr(&scored));
    let best = table.lines().find(|line| line.starts_with("best by dev/accuracy")).unwrap();
    let printed = String::from_utf8(scored.stdout).unwrap();
    let accuracy: f64 = printed.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(best.contains(&format!("{:.2} with", 100.0 * accuracy)), "{printed}{best}");
}

#[test]
fn without_a_dev_set_some_rows_are_held_out() {
    let workspace = workspace();
    let texts = ["the miller sold the red boat", "the queen hid a letter"];
    let mut csv = String::from("sentence1,sentence2,score\n");
    for at in 0..60 {
        let (one, other) = (texts[at % 2], texts[at / 2 % 2]);
        csv += &format!("{one} {at},{other},{}\n", if one == other { "4.5" } else { "-0.5" });
    }
    fs::write(workspace.path("pairs.csv"), csv).unwrap();
    let flags = ["--task", "regression", "--model", "runs/tiny", "--train-file", "pairs.csv", "--lr", "3e-3"];
    let output = finetune(&workspace, &[&flags[..], &["--run-dir", "out"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    let (_, held_out) = told.split_once("there is no dev set: ").unwrap();
    let (count, _) = held_out.split_once(" of the 60 training rows are held out").unwrap();
    assert!((1..20).contains(&count.parse::<usize>().unwrap()), "{told}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| dev/pearson | dev/spearman |"), "{table}");
    fs::write(workspace.path("asked.jsonl"), "{\"sentence1\": \"the miller\", \"sentence2\": \"a letter\"}\n").unwrap();
    let asked = workspace.untie(&["predict", "--model", "out/best", "--input", "asked.jsonl"]);
    assert!(asked.status.success(), "{}", stderr(&asked));
    let printed: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert!(printed["score"].as_f64().unwrap().is_finite(), "{printed}");
}

fn record(place: usize, first: &str, second: Option<&str>, label: Option<&str>) -> Record {
    Record { place, first: first.into(), second: second.map(str::to_owned), label: label.map(str::to_owned) }
}

/// The fields are those that Python's csv module (CSV) and a split at tabs (TSV) give.
#[test]
fn tables_are_read_as_other_programs_write_them() {
    let folder = tempfile::tempdir().unwrap();
    let found = |name: &str, text: &str, names: &Names, needs_labels: bool| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        read(&path, names, needs_labels)
    };
    let any = Names::default();
    let csv = "\u{feff}text,label\n\"one, \"\"two\"\"\nthree\",1\nfour,0\n";
    assert_eq!(
        found("a.csv", csv, &any, true).unwrap(),
        [record(2, "one, \"two\"\nthree", None, Some("1")), record(4, "four", None, Some("0"))]
    );
    let tsv = "id\tpremise\thypothesis\tlabel\n7\t\"a\tb \"c\"\tyes\n";
    assert_eq!(found("a.tsv", tsv, &any, true).unwrap(), [record(2, "\"a", Some("b \"c\""), Some("yes"))]);
    let jsonl = "{\"body\": \"x\", \"stars\": 4}\n\n{\"body\": \"y\", \"stars\": null}\n";
    let named = Names { text: Some("body".into()), label: Some("stars".into()), ..Names::default() };
    let expected = [record(1, "x", None, Some("4")), record(3, "y", None, None)];
    assert_eq!(found("a.jsonl", jsonl, &named, true).unwrap(), expected);
    let array = "[{\"text\": \"x\", \"label\": true}]";
    assert_eq!(found("a.json", array, &any, true).unwrap(), [record(1, "x", None, Some("true"))]);
    assert_eq!(
        found("a.txt", "x\n\ny\n", &any, false).unwrap(),
        [record(1, "x", None, None), record(3, "y", None, None)]
    );
    let hub = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/finetune/glue/sst2/hub");
    let rows = read(&hub.join("validation-00000-of-00001.parquet"), &any, true).unwrap();
    assert!(rows.iter().all(|row| ["0", "1"].contains(&row.label.as_deref().unwrap()) && !row.first.is_empty()));

    for (name, text, names, words) in [
        ("b.csv", "text\nx\n", &any, "has no column of labels, one of `label`, `labels`, `score`: found `text`"),
        ("b.csv", "a,b\nx,y\n", &any, "has no column of texts, one of `text`, `sentence`"),
        ("b.csv", "text,label\nx,1\n", &named, "has no column `body`: found `text`, `label`"),
        ("b.csv", "text,label\nx\n", &any, "cannot read"),
        ("b.csv", "text,label\n", &any, "has no rows"),
        ("b.jsonl", "{\"text\": \"x\", \"label\": 1}\nnothing\n", &any, "row 2: expected a JSON object in one line"),
        ("b.jsonl", "{\"text\": null, \"label\": 1}\n", &any, "row 1: it has no text"),
        ("b.xlsx", "PK", &any, "expected a file of one of `csv`"),
    ] {
        let error = found(name, text, names, true).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.report().contains(words), "{words}: {}", error.report());
    }
}

/// The order of classes is that of run_glue.py: Python's sorted() of the labels, numbers by size.
#[test]
fn classes_are_in_the_order_of_run_glue() {
    let of = |labels: &[&str]| {
        let records: Vec<Record> =
            (1..).zip(labels).map(|(place, label)| record(place, "x", None, Some(label))).collect();
        Outputs::of(&records, Path::new("train.csv")).map(|outputs| outputs.words())
    };
    assert_eq!(of(&["10", "9", "9", "-1"]).unwrap(), ["-1", "9", "10"]);
    assert_eq!(of(&["b", "a", "10", "9"]).unwrap(), ["10", "9", "a", "b"]);
    let report = of(&["a", "a"]).unwrap_err().report();
    assert!(report.starts_with("error: `train.csv`: all labels are `a`\nhint:"), "{report}");
    let outputs = Outputs::Classes(vec!["a".into(), "b".into()]);
    let unknown = outputs.example(&record(7, "x", None, Some("c")), Path::new("dev.csv")).unwrap_err().to_string();
    assert_eq!(unknown, "`dev.csv` row 7: label `c` is not among those of the training set or the model: `a`, `b`");
    let number = Outputs::Number.example(&record(7, "x", None, Some("c")), Path::new("dev.csv")).unwrap_err();
    assert_eq!(number.to_string(), "`dev.csv` row 7: expected a number, got `c`");
}
