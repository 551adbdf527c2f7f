//! The command line: exit codes, what goes to stdout and what to stderr.

use assert_cmd::Command;
use std::fs;
use std::path::Path;

fn prepare(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_untie-data"))
        .arg("prepare")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_corpus_is_prepared_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..50).map(|number| format!("document {number} has words\n\n")).collect();
    fs::write(dir.path().join("a.txt"), text).unwrap();
    let arguments = [
        "--input",
        "a.txt",
        "--out",
        "data/out",
        "--format",
        "blocks",
        "--vocab-size",
        "100",
        "--valid-fraction",
        "0.1",
    ];
    let (code, stdout, stderr) = prepare(dir.path(), &arguments);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("split "), "{stdout}");
    assert!(stderr.contains("tokenising") && stderr.contains("warning: the vocabulary has"), "{stderr}");
    assert!(dir.path().join("data/out/manifest.json").exists());

    let (code, stdout, _) = prepare(dir.path(), &arguments);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("up to date"), "{stdout}");
}

#[test]
fn errors_are_one_chain_and_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.jsonl"), "{\"text\": \"fine\"}\n{\"text\": ").unwrap();
    let (code, stdout, stderr) = prepare(dir.path(), &["--input", "a.jsonl", "--out", "out", "--strict"]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    let last: Vec<&str> = stderr.lines().rev().take(2).collect();
    assert_eq!(
        last[1],
        "error: cannot read the corpus `a.jsonl`: line 2 is not a JSON object: EOF while parsing a value at line 1 column 9"
    );
    assert_eq!(last[0], "hint: expected one JSON object a line");

    let (code, _, stderr) = prepare(dir.path(), &["--input", "none.txt", "--out", "out"]);
    assert_eq!(code, Some(2));
    assert!(stderr.starts_with("error: cannot open the input `none.txt`: No such file"), "{stderr}");
}

#[test]
fn clashing_and_unknown_arguments_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["--out", "out"][..],
        &["--input", "a.txt", "--out", "out", "--tokenizer", "t.json", "--vocab-size", "9"],
        &["--input", "a.txt", "--out", "out", "--format", "pdf"],
    ] {
        assert_eq!(prepare(dir.path(), arguments).0, Some(2), "{arguments:?}");
    }
}
