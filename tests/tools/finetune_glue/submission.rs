//! What is written for the GLUE site passes scripts/check_glue_submission.py, and broken copies do not.

use std::fs;
use std::path::Path;
use std::process::Command;

use untie::finetune::glue::{read, row, submission, Label, Labels, RawExample, Rows, Set, Split};
use untie::finetune::task::Task;

use super::shared::real;

/// The names and numbers of rows of the test sets, from data-prep/recipes/sources.py.
const TEST_SETS: [(Task, &str, usize, &str); 11] = [
    (Task::Cola, "test", 1063, "CoLA.tsv"),
    (Task::Sst2, "test", 1821, "SST-2.tsv"),
    (Task::Mrpc, "test", 1725, "MRPC.tsv"),
    (Task::Stsb, "test", 1379, "STS-B.tsv"),
    (Task::Qqp, "test", 390965, "QQP.tsv"),
    (Task::Mnli, "test", 9796, "MNLI-m.tsv"),
    (Task::Mnli, "test_mismatched", 9847, "MNLI-mm.tsv"),
    (Task::Qnli, "test", 5463, "QNLI.tsv"),
    (Task::Rte, "test", 3000, "RTE.tsv"),
    (Task::Wnli, "test", 146, "WNLI.tsv"),
    (Task::Ax, "ax", 1104, "AX.tsv"),
];

fn set(name: &'static str, num: usize) -> Set {
    let example = |id: usize| RawExample { id: id.to_string(), first: String::new(), second: None, label: None };
    Set { name, files: Vec::new(), rows: Rows { examples: (0..num).map(example).collect(), skipped: Vec::new() } }
}

/// All classes in turn, or scores below and above the range too.
fn predictions(task: Task, num: usize) -> Vec<Label> {
    let one = |at: usize| match row(task).unwrap().labels {
        Labels::Classes(words) => Label::Class(at % words.len()),
        Labels::Score => Label::Score(at as f64 * 0.0137 - 1.0),
    };
    (0..num).map(one).collect()
}

/// The checker's exit code and what it printed; nothing, with a message, without Python.
fn check(path: &Path, only: Option<&str>) -> Option<(i32, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check_glue_submission.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(path);
    if let Some(tasks) = only {
        command.args(["--only", tasks]);
    }
    match command.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
            Some((output.status.code().unwrap(), text))
        }
        Err(error) => {
            eprintln!("skipped: no python3: {error}");
            None
        }
    }
}

/// Zips the files of a folder with Python, under this name in front of theirs.
fn zip(folder: &Path, target: &Path, prefix: &str) {
    let code = "import pathlib, sys, zipfile\n\
                with zipfile.ZipFile(sys.argv[2], 'w', zipfile.ZIP_DEFLATED) as archive:\n\
                \x20   for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n\
                \x20       archive.write(file, sys.argv[3] + file.name)\n";
    let status = Command::new("python3").args(["-c", code]).arg(folder).arg(target).arg(prefix).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_whole_submission_passes_and_a_broken_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    for (task, name, num, file) in TEST_SETS {
        let path = submission::write(&files, task, &set(name, num), &predictions(task, num)).unwrap();
        assert_eq!(path, files.join(file));
    }
    assert_eq!(fs::read_dir(&files).unwrap().count(), 11, "nothing is left aside");
    let Some((code, text)) = check(&files, None) else { return };
    assert_eq!((code, text.lines().last()), (0, Some("files right: 11, faults: 0")), "{text}");
    let archive = dir.path().join("submission.zip");
    zip(&files, &archive, "");
    assert_eq!(check(&archive, None).unwrap().0, 0);

    zip(&files, &archive, "submission/");
    let (code, text) = check(&archive, None).unwrap();
    assert!(code == 1 && text.contains("error: submission/CoLA.tsv: expected none of this name"), "{text}");
    let (code, text) = check(Path::new("no/such.zip"), None).unwrap();
    assert!(code == 1 && text.contains("expected a folder or a zip, cannot read it"), "{text}");
    let (code, text) = check(&files, Some("mnli-m")).unwrap();
    assert!(code == 2 && text.contains("unknown task 'mnli-m'"), "{text}");

    fs::rename(files.join("MNLI-mm.tsv"), files.join("MNLI-MM.tsv")).unwrap();
    let (code, text) = check(&files, Some("mnli,wnli")).unwrap();
    assert_eq!(code, 1);
    assert!(text.contains("error: MNLI-MM.tsv: expected none of this name"), "{text}");
    assert!(text.contains("error: MNLI-mm.tsv: missing"), "{text}");
    assert!(text.contains("files right: 2, faults: 2"), "{text}");
}

#[test]
fn broken_files_are_named_by_line() {
    let good = |predictions: &[&str]| {
        let rows: String = predictions.iter().enumerate().map(|(at, word)| format!("{at}\t{word}\n")).collect();
        format!("index\tprediction\n{rows}")
    };
    let wnli = good(&["1"; 146]);
    for (file, task, text, message) in [
        ("WNLI.tsv", "wnli", wnli.clone(), ""),
        ("WNLI.tsv", "wnli", wnli.replace('\n', "\r\n"), ""),
        ("WNLI.tsv", "wnli", good(&["1"; 145]), "WNLI.tsv: expected 146 predictions, got 145"),
        ("WNLI.tsv", "wnli", good(&["1"; 147]), "WNLI.tsv: expected 146 predictions, got 147"),
        ("WNLI.tsv", "wnli", String::new(), "line 1: expected the header 'index\\tprediction', got an empty file"),
        ("WNLI.tsv", "wnli", wnli.replace("index\tprediction\n", ""), "line 1: expected the header"),
        ("WNLI.tsv", "wnli", wnli.replace("prediction", "label"), "line 1: expected the header"),
        ("WNLI.tsv", "wnli", wnli.replace("\n5\t", "\n6\t"), "line 7: expected index 5, got '6'"),
        ("WNLI.tsv", "wnli", wnli.replace("\n5\t1", "\n5\t1\t0.9"), "line 7: expected 2 fields, got 3"),
        ("WNLI.tsv", "wnli", wnli.replace("\n5\t1", "\n5\t2"), "line 7: expected 0 or 1, got '2'"),
        ("WNLI.tsv", "wnli", wnli.replace("\n5\t1", "\n5\tentailment"), "line 7: expected 0 or 1, got 'entailment'"),
        ("WNLI.tsv", "wnli", format!("{wnli}\n"), "line 148: expected 2 fields, got 1"),
        ("RTE.tsv", "rte", good(&["1"; 3000]), "line 2: expected entailment or not_entailment, got '1'"),
        ("AX.tsv", "ax", good(&["not_entailment"; 1104]), "expected entailment or neutral or contradiction"),
        ("STS-B.tsv", "stsb", good(&["2.5"; 1379]), ""),
        ("STS-B.tsv", "stsb", good(&["5.001"; 1379]), "line 2: expected a number from 0 to 5, got '5.001'"),
        ("STS-B.tsv", "stsb", good(&["-0.000"; 1379]), "line 2: expected a number from 0 to 5, got '-0.000'"),
        ("STS-B.tsv", "stsb", good(&["nan"; 1379]), "line 2: expected a number from 0 to 5, got 'nan'"),
    ] {
        let dir = super::folder(&[(file, text.as_bytes())]);
        let Some((code, output)) = check(dir.path(), Some(task)) else { return };
        assert_eq!(code, i32::from(!message.is_empty()), "{message}: {output}");
        assert!(output.contains(message), "{message}: {output}");
    }
}

#[test]
fn scores_have_three_decimals_within_the_range() {
    let dir = tempfile::tempdir().unwrap();
    let scores = [-0.2, -0.0, 2.34567, 4.9996, 5.2].map(Label::Score);
    let path = submission::write(dir.path(), Task::Stsb, &set("test", 5), &scores).unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text, "index\tprediction\n0\t0.000\n1\t0.000\n2\t2.346\n3\t5.000\n4\t5.000\n");
    let classes = [1, 0].map(Label::Class);
    let path = submission::write(dir.path(), Task::Qnli, &set("test", 2), &classes).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "index\tprediction\n0\tnot_entailment\n1\tentailment\n");
}

#[test]
fn predictions_that_cannot_be_sent_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = |task, set: &Set, predictions: &[Label]| {
        submission::write(dir.path(), task, set, predictions).unwrap_err().to_string()
    };
    let two = set("test", 2);
    let nan = [Label::Score(1.0), Label::Score(f64::NAN)];
    assert_eq!(error(Task::Stsb, &two, &nan), "`STS-B.tsv`: prediction 1 is NaN: expected a finite number");
    let infinite = [Label::Score(f64::NEG_INFINITY); 2];
    assert_eq!(error(Task::Stsb, &two, &infinite), "`STS-B.tsv`: prediction 0 is -inf: expected a finite number");
    assert_eq!(error(Task::Rte, &two, &nan), "`RTE.tsv`: prediction 0 is the score 1: expected a class");
    let classes = [Label::Class(0), Label::Class(2)];
    assert_eq!(error(Task::Stsb, &two, &classes), "`STS-B.tsv`: prediction 0 is the class 0: expected a score");
    assert_eq!(error(Task::Rte, &two, &classes), "`RTE.tsv`: prediction 1 is class 2: expected 0 to 1");
    assert_eq!(error(Task::Rte, &two, &classes[..1]), "`RTE.tsv`: expected 2 predictions, got 1");
    let dev = set("dev", 2);
    assert_eq!(error(Task::Rte, &dev, &classes), "the GLUE site takes no predictions for `dev` of `rte`");
    let mut gap = set("test", 2);
    gap.rows.examples[1].id = "2".into();
    assert_eq!(error(Task::Rte, &gap, &classes), "`RTE.tsv`: expected example 1, got `2`");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing half done");
    let missing = dir.path().join("none");
    let error = submission::write(&missing, Task::Rte, &two, &[Label::Class(0); 2]).unwrap_err();
    assert!(error.to_string().contains("none/RTE.tsv"), "{error}");
}

/// The real test sets: as many predictions as the site expects of each.
#[test]
fn predictions_for_real_test_sets_pass() {
    let dir = tempfile::tempdir().unwrap();
    let mut tasks = Vec::new();
    for task in [Task::Cola, Task::Sst2, Task::Mrpc, Task::Stsb, Task::Rte] {
        let Some(data) = real(row(task).unwrap().folder) else { continue };
        let [set] = &read(task, &data, Split::Test).unwrap()[..] else { panic!("one set") };
        submission::write(dir.path(), task, set, &predictions(task, set.rows.examples.len())).unwrap();
        tasks.push(task.name());
    }
    if tasks.is_empty() {
        return;
    }
    let Some((code, text)) = check(dir.path(), Some(&tasks.join(","))) else { return };
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("files right: {}, faults: 0", tasks.len())), "{text}");
}
