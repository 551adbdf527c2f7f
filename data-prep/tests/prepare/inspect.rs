//! `untie-data inspect`: counts derived by hand from the corpus, and damage through the command.

use assert_cmd::Command;
use std::fs;
use std::path::Path;

fn run(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_untie-data")).args(arguments).current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_there_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "a b c\n\na b c\n\nc b\n\nb b b b\n\n".repeat(2)).unwrap();
    let arguments = ["prepare", "--input", "a.txt", "--out", "o", "--format", "blocks", "--vocab-size", "50"];
    let (code, _, stderr) = run(dir.path(), &[&arguments[..], &["--valid-fraction", "0"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let (code, stdout, stderr) = run(dir.path(), &["inspect", "o", "--verify"]);
    assert_eq!(code, Some(0), "{stderr}");
    // 3 + 3 + 2 + 4 tokens, twice; three different documents of eight.
    assert!(stdout.contains("8 documents, 8 sequences, 24 tokens"), "{stdout}");
    assert!(stdout.contains("duplicate documents 62.50%"), "{stdout}");
    let json: serde_json::Value = serde_json::from_str(&run(dir.path(), &["inspect", "o", "--json"]).1).unwrap();
    assert_eq!((&json["splits"][0]["documents"], &json["splits"][0]["tokens"]), (&8.into(), &24.into()));
    assert_eq!(json["beginnings"].as_array().unwrap().len(), 8);
}

#[test]
fn every_kind_of_damage_has_its_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..40).map(|number| format!("document {number} has its words\n\n")).collect();
    fs::write(dir.path().join("a.txt"), text).unwrap();
    let arguments = ["prepare", "--input", "a.txt", "--out", "o", "--format", "blocks", "--vocab-size", "80"];
    assert_eq!(run(dir.path(), &arguments).0, Some(0));
    assert_eq!(run(dir.path(), &[&arguments[..4], &["other"], &arguments[5..], &["--cased"]].concat()).0, Some(0));
    let damaged = |file: &str, damage: &dyn Fn(&mut Vec<u8>), more: &[&str]| {
        let path = dir.path().join("o").join(file);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let (code, stdout, stderr) = run(dir.path(), &[&["inspect", "o"], more].concat());
        fs::write(&path, before).unwrap();
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{file}: {stderr}");
        stderr
    };
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(&str, Damage<'_>, &[&str], &str); 7] = [
        ("train-00000.bin", &|bytes| bytes.truncate(46), &[], "bytes, got 46"),
        ("train-00000.idx", &|bytes| bytes.truncate(20), &[], "bytes, got 20"),
        ("train-00000.idx", &|bytes| bytes[9] = 2, &[], "version: expected 1, got 2"),
        ("train-00000.idx", &|bytes| bytes[17] = 5, &[], "token type"),
        ("manifest.json", &|bytes| bytes.truncate(30), &[], "manifest"),
        ("train-00000.bin", &|bytes| bytes.swap(0, 2), &["--verify"], "expected xxh3"),
        ("train-00000.bin", &|bytes| bytes[1] = 200, &[], "vocabulary"),
    ];
    for (file, damage, more, words) in cases {
        let stderr = damaged(file, damage, more);
        assert!(stderr.contains(words), "{file}: {stderr}");
    }
    let (code, _, stderr) = run(dir.path(), &["inspect", "o", "--tokenizer", "other/vocab.txt"]);
    // The same text with and without capital letters has the same tokens or others; the text here has none.
    assert_eq!(code, Some(0), "{stderr}");
    fs::write(dir.path().join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n").unwrap();
    let (code, _, stderr) = run(dir.path(), &["inspect", "o", "--tokenizer", "vocab.txt"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("is not the tokenizer that made the shards"), "{stderr}");

    // Foreign data: no manifest, so no tokenizer and no hashes.
    fs::remove_file(dir.path().join("o/manifest.json")).unwrap();
    for (more, words) in [(&[][..], "give the tokenizer.json"), (&["--verify"], "leave out `--verify`")] {
        let (code, _, stderr) = run(dir.path(), &[&["inspect", "o"], more].concat());
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(words) || stderr.contains("give the tokenizer.json"), "{stderr}");
    }
    let (code, stdout, stderr) = run(dir.path(), &["inspect", "o", "--tokenizer", "o/vocab.txt"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("documents"), "{stdout}");
}
