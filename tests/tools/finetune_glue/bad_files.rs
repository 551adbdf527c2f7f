//! Every way in which a file can be wrong, with the whole message; and the rows that are left out, counted.

use std::fs;
use std::path::Path;

use untie::finetune::glue::{read, Label, Rows, Split};
use untie::finetune::task::Task;

/// Reads files of which one is at fault, and returns the message with the folder's own name left out.
fn report(task: Task, split: Split, files: &[(&str, &[u8])]) -> String {
    let dir = super::folder(files);
    let error = read(task, dir.path(), split).unwrap_err();
    assert_eq!(error.exit_code(), 3, "bad data");
    error.report().replace(&format!("{}/", dir.path().display()), "").replace(&dir.path().display().to_string(), "DIR")
}

#[track_caller]
fn expect(task: Task, file: &str, bytes: impl AsRef<[u8]>, message: &str) {
    let split = if file.starts_with("dev") {
        Split::Dev
    } else if file.starts_with("test") || task == Task::Ax {
        Split::Test
    } else {
        Split::Train
    };
    assert_eq!(report(task, split, &[(file, bytes.as_ref())]), message);
}

const NO_QUOTING: &str =
    "\nhint: fields are separated by single tabs, without quoting: a text cannot have a tab or a line break";
const OTHER_TASK: &str = "\nhint: `--data` is the folder of this task's own files";

#[test]
fn wrong_columns() {
    let message = "error: `train.tsv`: the header has no column `label`: found `sentence`, `sentiment`";
    expect(Task::Sst2, "train.tsv", "sentence\tsentiment\na b\t1\n", &format!("{message}{OTHER_TASK}"));
    // The files of another task.
    let message =
        "error: `dev.tsv`: the header has no column `#1 String`: found `index`, `sentence1`, `sentence2`, `label`";
    expect(Task::Mrpc, "dev.tsv", "index\tsentence1\tsentence2\tlabel\n", &format!("{message}{OTHER_TASK}"));
    // No header: its first sentence is not printed whole.
    let message =
        "error: `dev.tsv`: the header has no column `sentence`: found `a sentence that goes on and on and on an…`, `1`";
    let long = "a sentence that goes on and on and on and on and on\t1\n";
    expect(Task::Sst2, "dev.tsv", long, &format!("{message}{OTHER_TASK}"));
    let message = "error: `dev.tsv`: the header has the column `label` twice";
    expect(Task::Sst2, "dev.tsv", "sentence\tlabel\tlabel\na\t1\t0\n", &format!("{message}{OTHER_TASK}"));
    let message = "error: `test.tsv`: the header has no column `question2`: found `id`, `question1`";
    expect(Task::Qqp, "test.tsv", "id\tquestion1\n0\ta\n", &format!("{message}{OTHER_TASK}"));
}

#[test]
fn too_few_and_too_many_fields() {
    let message = format!("error: `train.tsv` line 3: expected 2 fields, got 1{NO_QUOTING}");
    expect(Task::Sst2, "train.tsv", "sentence\tlabel\ngood\t1\nbad\n", &message);
    let message = format!("error: `dev.tsv` line 2: expected 4 fields, got 5{NO_QUOTING}");
    expect(Task::Rte, "dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tc\tentailment\n", &message);
    // A quoted field, as a spreadsheet writes it, does not protect its tab or its line break.
    let message = format!("error: `train.tsv` line 2: expected 2 fields, got 3{NO_QUOTING}");
    expect(Task::Sst2, "train.tsv", "sentence\tlabel\n\"a\tb\"\t1\n", &message);
    let message = format!("error: `train.tsv` line 2: expected 2 fields, got 1{NO_QUOTING}");
    expect(Task::Sst2, "train.tsv", "sentence\tlabel\n\"a\nb\"\t1\n", &message);
    let message = format!("error: `train.tsv` line 1: expected 4 fields, got 2{NO_QUOTING}");
    expect(Task::Cola, "train.tsv", "good\t1\n", &message);
    // A test set must be whole: each row is to be predicted.
    let message = format!("error: `test.tsv` line 2: expected 3 fields, got 2{NO_QUOTING}");
    expect(Task::Qqp, "test.tsv", "id\tquestion1\tquestion2\n0\ta\n", &message);
}

#[test]
fn labels_that_are_missing_or_unknown() {
    expect(Task::Sst2, "train.tsv", "sentence\tlabel\ngood\t\n", "error: `train.tsv` line 2: no label");
    let message = "error: `dev.tsv` line 3: unknown label `2`: expected `0` or `1`";
    expect(Task::Sst2, "dev.tsv", "sentence\tlabel\na\t1\na\t2\n", message);
    let message = "error: `dev_matched.tsv` line 2: unknown label `hidden`: expected `entailment` or `neutral` or \
                   `contradiction`";
    let rows = "index\tsentence1\tsentence2\tgold_label\n0\ta\tb\thidden\n";
    expect(Task::Mnli, "dev_matched.tsv", rows, message);
    // Words are as they are in the official files: no spaces, no capitals.
    let message = "error: `dev.tsv` line 2: unknown label ` 1`: expected `0` or `1`";
    expect(Task::Sst2, "dev.tsv", "sentence\tlabel\na\t 1\n", message);
    // A header where CoLA has none.
    let message = "error: `train.tsv` line 1: unknown label `label`: expected `0` or `1`\n\
                   hint: the official `train.tsv` has no header";
    expect(Task::Cola, "train.tsv", "source\tlabel\tmark\tsentence\ngj04\t1\t\ta\n", message);
    // A column of labels in a test set is read, so it must be right.
    expect(Task::Sst2, "test.tsv", "sentence\tlabel\na\t\n", "error: `test.tsv` line 2: no label");
    let rows = "Premise\tHypothesis\tLabel\na\tb\t-\n";
    let message =
        "error: `diagnostic-full.tsv` line 2: unknown label `-`: expected `entailment` or `neutral` or `contradiction`";
    expect(Task::Ax, "diagnostic-full.tsv", rows, message);
}

#[test]
fn scores_out_of_range() {
    for (score, message) in [
        ("5.001", "score 5.001: expected 0 to 5"),
        ("-1", "score -1: expected 0 to 5"),
        ("nan", "score NaN: expected 0 to 5"),
        ("inf", "score inf: expected 0 to 5"),
        ("three", "score `three` is not a number"),
        ("", "no label"),
    ] {
        let rows = format!("index\tsentence1\tsentence2\tscore\n0\ta\tb\t5.0\n1\ta\tb\t{score}\n");
        expect(Task::Stsb, "train.tsv", rows, &format!("error: `train.tsv` line 3: {message}"));
    }
}

#[test]
fn files_without_rows() {
    expect(Task::Sst2, "train.tsv", "", "error: `train.tsv` is empty");
    expect(Task::Cola, "train.tsv", "", "error: `train.tsv` is empty");
    expect(Task::Sst2, "train.tsv", "sentence\tlabel\n", "error: `train.tsv` has no examples");
    let message = "error: `train.tsv` has no examples; blank lines: 2 skipped (line 2, line 3)";
    expect(Task::Sst2, "train.tsv", "sentence\tlabel\n\n\r\n", message);
}

#[test]
fn bytes_that_are_not_utf8() {
    let message = "error: `train.tsv` line 3: not UTF-8 at byte 4\n\
                   hint: convert the file, for instance with `iconv -f LATIN1 -t UTF-8`";
    expect(Task::Sst2, "train.tsv", b"sentence\tlabel\na\t1\ncaf\xe9\t1\n", message);
    let utf16: Vec<u8> = "\u{feff}sentence\tlabel\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    expect(
        Task::Sst2,
        "train.tsv",
        utf16,
        &message.replace("line 3: not UTF-8 at byte 4", "line 1: not UTF-8 at byte 1"),
    );
    let message = "error: `train.tsv` line 2: expected at most 1048576 bytes, got more\n\
                   hint: is it a text file with line ends?";
    let mut long = b"sentence\tlabel\n".to_vec();
    long.resize(2 << 20, b'x');
    expect(Task::Sst2, "train.tsv", long, message);
}

#[test]
fn files_that_are_not_there() {
    let message = "error: no `dev` set of `sst2` in `DIR`: looked for `dev.tsv`, `validation.parquet` and \
                   `validation-00000-of-….parquet`, also in `data`, `sst2`, `SST-2`\n\
                   hint: data-prep/recipes/README.md says how to get GLUE";
    let train: (&str, &[u8]) = ("train.tsv", b"sentence\tlabel\na\t1\n");
    assert_eq!(report(Task::Sst2, Split::Dev, &[train]), message);
    let text = report(Task::Ax, Split::Test, &[]);
    assert!(text.contains("looked for `diagnostic-full.tsv`, `AX.tsv`, `diagnostic.tsv`, `test.parquet`"), "{text}");
    // One of MNLI's two.
    let rows = b"index\tsentence1\tsentence2\tgold_label\n0\ta\tb\tneutral\n";
    let text = report(Task::Mnli, Split::Dev, &[("dev_matched.tsv", rows)]);
    assert!(text.starts_with("error: no `dev_mismatched` set of `mnli`"), "{text}");

    let error = read(Task::Sst2, Path::new("no/such/folder"), Split::Dev).unwrap_err();
    assert_eq!((error.to_string(), error.exit_code()), ("`no/such/folder` is not a folder".to_owned(), 3));
    let error = read(Task::Squad1, Path::new("."), Split::Dev).unwrap_err();
    assert_eq!((error.to_string(), error.exit_code()), ("task `squad1` is not one of GLUE".to_owned(), 2));
}

fn rows(task: Task, split: Split, files: &[(&str, &[u8])]) -> Rows {
    read(task, super::folder(files).path(), split).unwrap().remove(0).rows
}

fn ids(rows: &Rows) -> Vec<&str> {
    rows.examples.iter().map(|example| example.id.as_str()).collect()
}

/// The tear is that of line 97,931 of the old train.tsv (github.com/nyu-mll/GLUE-baselines/issues/5).
#[test]
fn torn_rows_of_qqp_are_skipped_and_counted() {
    let train = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n\
                 7\t1\t2\ta?\tb?\t0\n\
                 8\t3\t4\t\"What is true?\n\
                 \"\tWas Muhammad a real historical figure? What is the evidence for his existence?\t0\n\
                 9\t5\t6\ta?\tb?\tc?\t1\n\
                 10\t7\t8\t\t?\t1\n";
    let rows = rows(Task::Qqp, Split::Train, &[("train.tsv", train.as_bytes())]);
    let text = "rows with another number of fields than the header: 3 skipped (line 3, line 4, line 5)";
    assert_eq!(rows.skipped.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
    assert_eq!((ids(&rows), rows.num_skipped()), (vec!["0", "4"], 3));
    assert_eq!((rows.examples[1].first.as_str(), rows.labels().unwrap()), ("", vec![Label::Class(0), Label::Class(1)]));
}

#[test]
fn mnli_without_consensus_is_skipped_and_counted() {
    let header = "index\tsentence1\tsentence2\tlabel1\tgold_label\n";
    let dev: String =
        (0..9).map(|row| format!("{row}\ta\tb\tneutral\t{}\n", if row == 1 { "neutral" } else { "-" })).collect();
    let dev = format!("{header}{dev}\n");
    let files = [("dev_matched.tsv", dev.as_bytes()), ("dev_mismatched.tsv", dev.as_bytes())];
    let rows = rows(Task::Mnli, Split::Dev, &files);
    let texts: Vec<String> = rows.skipped.iter().map(ToString::to_string).collect();
    let first = "rows without a gold label: 8 skipped (line 2, line 4, line 5, line 6, line 7, …)";
    assert_eq!(texts, [first, "blank lines: 1 skipped (line 11)"]);
    assert_eq!((ids(&rows), rows.num_skipped()), (vec!["1"], 9));
}

/// Parquet files of the fixture, renamed, mixed up and damaged.
#[test]
fn parquet_that_is_wrong() {
    let bytes = |name: &str| fs::read(super::fixture("glue").join(name)).unwrap();
    let (sst2, stsb, test) = (
        bytes("sst2/hub/validation-00000-of-00001.parquet"),
        bytes("stsb/hub/validation-00000-of-00001.parquet"),
        bytes("rte/hub/test-00000-of-00001.parquet"),
    );
    let parquet = |task, bytes: &[u8]| report(task, Split::Dev, &[("validation.parquet", bytes)]);
    let message = "error: `validation.parquet` has no column `sentence1`: found `sentence`, `label`, `idx`";
    assert_eq!(parquet(Task::Rte, &sst2), format!("{message}{OTHER_TASK}"));
    // Scores where there should be classes, and the secret labels of a test set.
    assert_eq!(parquet(Task::Rte, &stsb), "error: `validation.parquet` row 1: label 5: expected an integer");
    assert_eq!(parquet(Task::Rte, &test), "error: `validation.parquet` row 1: no label");
    let text = parquet(Task::Sst2, &sst2[..sst2.len() / 2]);
    assert!(text.starts_with("error: cannot read `validation.parquet`: invalid Parquet: "), "{text}");
    assert!(text.ends_with("\nhint: the file was cut short or damaged, or is no Parquet: fetch it again"), "{text}");

    let shards: [(&str, &[u8]); 2] =
        [("validation-00000-of-00003.parquet", &sst2), ("validation-00002-of-00003.parquet", &sst2)];
    let message = "error: `validation-00001-of-00003.parquet` is missing, one of 3 shards of the set `validation`\n\
                   hint: fetch the whole set again";
    assert_eq!(report(Task::Sst2, Split::Dev, &shards), message);
    let shards: [(&str, &[u8]); 3] = [
        ("validation-00000-of-00001.parquet", &sst2),
        ("validation-00000-of-00002.parquet", &sst2),
        ("validation-00001-of-00002.parquet", &sst2),
    ];
    let text = report(Task::Sst2, Split::Dev, &shards);
    assert!(text.contains("is of another set of shards than `validation-0000"), "{text}");
}

/// Labels of MNLI's Parquet where there is no consensus: -1, as in Hugging Face's own release of the data.
#[test]
fn secret_labels_of_mnli_are_no_consensus_in_train() {
    let test = fs::read(super::fixture("glue/mnli/hub/test_matched-00000-of-00001.parquet")).unwrap();
    let text = report(Task::Mnli, Split::Train, &[("train.parquet", &test)]);
    assert_eq!(
        text,
        "error: `train.parquet` has no examples; rows without a gold label: 6 skipped (row 1, row 2, row 3, row 4, row 5, …)"
    );
}
