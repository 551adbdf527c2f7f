//! `untie new`: the file that it writes is a configuration, and its two commands train a model.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A text of 400 documents of a few made-up words.
fn write_text(path: &Path) {
    let words = ["river", "stone", "light", "carries", "under", "the", "old", "bridge", "and", "sleeps", "."];
    let document = |number: usize| {
        let text: Vec<&str> = (0..60).map(|at| words[(number * 7 + at * at) % words.len()]).collect();
        format!("{}\n", serde_json::json!({ "text": text.join(" ") }))
    };
    fs::write(path, (0..400).map(document).collect::<String>()).unwrap();
}

fn untie(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_untie")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn two_printed_commands_make_a_model_of_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("my text")).unwrap();
    write_text(&path.join("my text/words.jsonl"));
    let made = untie(path, &["new", "own", "--text", "my text", "--hours", "1000", "--device", "cpu"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let commands = text(&made.stdout);
    let [prepare, train] = commands.lines().collect::<Vec<_>>()[..] else { panic!("{commands}") };
    assert!(
        prepare.ends_with(" prepare --input 'my text' --vocab-size 2048 --valid-fraction 0.1 --out data/own"),
        "{prepare}"
    );
    assert!(train.ends_with(" train --config own.toml --run-dir runs/own --resume"), "{train}");
    // 24,000 words are far too few for more than the smallest model, and 40 passes take no thousand hours.
    let file = fs::read_to_string(path.join("own.toml")).unwrap();
    assert!(file.contains("hidden_size = 128") && file.contains("epochs = 40"), "{file}");
    assert!(text(&made.stderr).contains("<- chosen"), "{}", text(&made.stderr));

    fs::write(path.join("own.toml"), file.replace("epochs = 40", "steps = 3")).unwrap();
    let script = format!("set -e\n{prepare}\n{train} --set train.threads=1\n");
    let run = Command::new("sh").arg("-c").arg(script).current_dir(path).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(path.join("runs/own/export/model.safetensors").exists());

    // A model is continued with its own tokenizer and sizes.
    let continued = ["new", "more", "--text", "my text", "--from", "runs/own", "--hours", "0.1", "--device", "cpu"];
    let made = untie(path, &continued);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("--tokenizer runs/own/export"), "{}", text(&made.stdout));
    let dry = untie(path, &["prepare", "--input", "my text", "--tokenizer", "runs/own/export", "--out", "data/more"]);
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    let dry = untie(
        path,
        &["train", "--config", "more.toml", "--dry-run", "--set", "train.epochs=1", "--set", "train.threads=1"],
    );
    assert!(dry.status.success(), "{}", text(&dry.stderr));
}

#[test]
fn what_cannot_be_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_text(&path.join("words.jsonl"));
    fs::write(path.join("own.toml"), "").unwrap();
    for (arguments, words) in [
        (&["new", "own", "--text", "words.jsonl"][..], "`own.toml` exists"),
        (&["new", "a/b", "--text", "words.jsonl"], "expected letters, digits"),
        (&["new", "other", "--text", "words.jsonl", "--hours", "0"], "`--hours` must be above 0"),
        (&["new", "other", "--text", "nothing.jsonl"], "nothing.jsonl"),
        (&["new", "other", "--text", "words.jsonl", "--from", "nothing"], "`nothing` holds no model"),
    ] {
        let output = untie(path, arguments);
        let message = text(&output.stderr);
        assert!(!output.status.success() && message.contains(words), "{message}");
        assert!(!path.join("other.toml").exists());
    }
}
