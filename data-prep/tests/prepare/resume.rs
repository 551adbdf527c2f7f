//! A preparation that is killed anywhere goes on and ends with the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use untie_data::manifest::Manifest;
use untie_data::pipeline::{prepare, PrepareConfig, PrepareError, Progress, Summary};
use untie_data::stages::dedup::Dedup;

/// Tells the child, which is this very test program, where to work.
const CHILD: &str = "UNTIE_DATA_TEST_DIR";

/// 12 MB of text with repeated documents and paragraphs, and with documents that are nearly the same, in two files.
fn write_corpus(dir: &Path) {
    let words = ["the", "river", "runs", "north", "of", "a", "village", "that", "nobody", "left", "before", "winter"];
    let mut state = 1_u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (state >> 33) as usize;
        if number.is_multiple_of(5) {
            format!("{}{}", words[number / 5 % 12], number % 977)
        } else {
            words[number % 12].to_owned()
        }
    };
    for name in ["a.jsonl", "b.jsonl"] {
        let mut lines = String::new();
        for number in 0..3000 {
            let paragraph = |word: &mut dyn FnMut() -> String| -> String {
                let words: Vec<String> = (0..60).map(|_| word()).collect();
                words.join(" ") + "."
            };
            let mut text: Vec<String> = (0..5).map(|_| paragraph(&mut word)).collect();
            if number % 7 == 0 {
                text[2] = "A paragraph that stands in every seventh document, word for word.".to_owned();
            }
            let text = match number {
                _ if number % 11 == 0 => "The same document,\nof short paragraphs.".to_owned(),
                _ if number % 13 == 5 => {
                    let phrases: Vec<String> = (0..100).map(|at| format!("fixed{at}")).collect();
                    format!("{} but for {number}", phrases.join(" "))
                }
                _ => text.join("\n"),
            };
            lines += &(serde_json::json!({ "text": text }).to_string() + "\n");
        }
        fs::write(dir.join(name), lines).unwrap();
    }
}

fn config(dir: &Path) -> PrepareConfig {
    let mut config = PrepareConfig::new(vec![dir.join("a.jsonl"), dir.join("b.jsonl")], dir.join("out"));
    (config.vocab_size, config.valid_fraction, config.shard_tokens) = (2000, 0.05, 300_000);
    (config.segment_bytes, config.workers) = (1 << 20, 2);
    config.stages.dedup = vec![Dedup::Documents, Dedup::Paragraphs, Dedup::Near];
    config.sentences = Some("en".to_owned());
    config
}

fn run(dir: &Path) -> Result<Summary, PrepareError> {
    prepare(&config(dir), Arc::new(()))
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir.join("out")).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap())).collect()
}

/// What the child does; without the variable, nothing.
#[test]
fn child() {
    if let Some(dir) = std::env::var_os(CHILD) {
        run(Path::new(&dir)).unwrap();
    }
}

fn start(dir: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program).args(["--exact", "resume::child", "--nocapture"]).env(CHILD, dir).spawn().unwrap()
}

/// What the journal says, if there is one.
fn journal(dir: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&fs::read(dir.join("out/.partial/journal.json")).ok()?).ok()
}

/// Whether the child was killed once its journal was as `wanted`, before it ended.
fn kill_when(dir: &Path, wanted: impl Fn(&serde_json::Value) -> bool) -> bool {
    let mut child = start(dir);
    while !journal(dir).is_some_and(|journal| wanted(&journal)) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    !dir.join("out/manifest.json").exists()
}

#[test]
fn killed_anywhere_it_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    write_corpus(dir.path());
    assert!(start(dir.path()).wait().unwrap().success());
    let expected = files(dir.path());
    let manifest = Manifest::verify(&dir.path().join("out")).unwrap();
    // Of those that are the same and of those that are nearly the same, one each is left.
    let others = (0..3000).filter(|number| number % 11 != 0 && number % 13 != 5).count() as u64;
    assert_eq!(manifest.train.documents + manifest.valid.documents, 2 * others + 2);
    assert!(manifest.shards.len() > 4 && manifest.train.sequences > manifest.train.documents);

    type Wanted = fn(&serde_json::Value) -> bool;
    let moments: [(&str, Wanted); 6] = [
        ("the first segment", |journal| journal["segments"].as_u64() >= Some(1)),
        ("half of the text", |journal| journal["segments"].as_u64() >= Some(5)),
        ("all of the text", |journal| journal["is_read"] == true),
        ("the tokenizer", |journal| journal["has_tokenizer"] == true),
        ("the first tokens", |journal| journal["tokenised"].as_u64() >= Some(1)),
        ("half of the tokens", |journal| journal["tokenised"].as_u64() >= Some(5)),
    ];
    let mut killed = 0;
    for (moment, wanted) in moments {
        fs::remove_dir_all(dir.path().join("out")).unwrap();
        if kill_when(dir.path(), wanted) {
            killed += 1;
            // And again a step further on, so that it is taken up twice.
            let before = journal(dir.path());
            kill_when(dir.path(), |journal| Some(journal) != before.as_ref());
        }
        assert!(start(dir.path()).wait().unwrap().success());
        assert!(files(dir.path()) == expected, "it differs after a kill behind {moment}");
    }
    // A machine so busy that the child is always done before it is looked at proves nothing.
    assert!(killed >= 3, "{killed} kills came in time");
}

#[test]
fn what_is_begun_otherwise_is_dropped_and_what_is_in_use_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_corpus(dir.path());
    fs::create_dir(dir.path().join("out")).unwrap();
    let lock = fs::File::create(dir.path().join("out/.lock")).unwrap();
    lock.lock().unwrap();
    let error = run(dir.path()).unwrap_err();
    assert!(matches!(error, PrepareError::InUse { .. }), "{error}");
    drop(lock);

    kill_when(dir.path(), |journal| journal["segments"].as_u64() >= Some(1));
    let mut other = config(dir.path());
    other.stages.dedup.clear();
    other.sentences = None;
    let summary = prepare(&other, Arc::new(())).unwrap();
    assert_eq!(summary.report.unwrap().num_texts, 6000);
}

#[test]
fn damaged_leftovers_are_an_error_not_a_result() {
    let dir = tempfile::tempdir().unwrap();
    write_corpus(dir.path());
    let mut child = start(dir.path());
    let partial = dir.path().join("out/.partial");
    while !partial.join("train-00001.bin.tmp").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let journal = fs::read_to_string(partial.join("journal.json")).unwrap();
    if !journal.contains("\"sequences\"") {
        eprintln!("skipped: the child was not killed while it wrote shards");
        return;
    }
    for entry in fs::read_dir(&partial).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::write(path, b"").unwrap();
        }
    }
    let error = run(dir.path()).unwrap_err();
    assert_eq!((error.exit_code(), error.hint().as_deref()), (1, Some("start anew with `--force`")), "{error}");
    let mut forced = config(dir.path());
    forced.force = true;
    prepare(&forced, Arc::new(())).unwrap();
}

/// Hears the warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn stage(&self, _name: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
    fn finish(&self) {}
}

/// The result, and the warnings joined.
fn run_and_hear(config: &PrepareConfig) -> (Result<Summary, PrepareError>, String) {
    let warnings = Arc::new(Warnings::default());
    let result = prepare(config, Arc::clone(&warnings) as Arc<dyn Progress>);
    let heard = warnings.0.lock().unwrap().join("\n");
    (result, heard)
}

#[test]
fn a_file_of_another_kind_is_named_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    write_corpus(dir.path());
    fs::write(dir.path().join("y.jsonl"), "\u{89}PNG").unwrap();
    fs::write(dir.path().join("z.jsonl"), b"\x89PNG\r\n\x1a\n").unwrap();
    let mut config = config(dir.path());
    config.inputs = vec![dir.path().join("*.jsonl")];
    let (result, heard) = run_and_hear(&config);
    let error = result.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().ends_with("/y.jsonl`"), "{error}");
    // the other bad file is named too, and there is nothing to clear away
    assert!(heard.contains("/z.jsonl`: the file is a PNG picture"), "{heard}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn what_was_read_before_a_bad_file_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    write_corpus(dir.path());
    let third = dir.path().join("c.jsonl.zst");
    let text = fs::read_to_string(dir.path().join("a.jsonl")).unwrap().replace("river", "brook");
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let mut config = config(dir.path());
    config.inputs.push(third.clone());
    fs::write(&third, &packed).unwrap();
    run_and_hear(&config).0.unwrap();
    let expected = files(dir.path());
    fs::remove_dir_all(dir.path().join("out")).unwrap();

    // damaged at its end, which the first look does not see
    fs::write(&third, &packed[..packed.len() - 50]).unwrap();
    let (result, heard) = run_and_hear(&config);
    assert!(matches!(result, Err(PrepareError::Corpus { .. })));
    assert!(heard.contains("is kept"), "{heard}");
    assert!(journal(dir.path()).unwrap()["segments"].as_u64() > Some(5));

    // repaired, it goes on behind the second file, to the same bytes
    fs::write(&third, &packed).unwrap();
    let (result, heard) = run_and_hear(&config);
    result.unwrap();
    assert!(heard.contains("of the first 2 files"), "{heard}");
    assert!(files(dir.path()) == expected);

    // left out, it goes on as well, and the result is that of the first two
    fs::remove_dir_all(dir.path().join("out")).unwrap();
    fs::write(&third, &packed[..packed.len() - 50]).unwrap();
    assert!(run_and_hear(&config).0.is_err());
    config.inputs.pop();
    let (result, heard) = run_and_hear(&config);
    result.unwrap();
    assert!(heard.contains("of the first 2 files"), "{heard}");
    let without = files(dir.path());
    fs::remove_dir_all(dir.path().join("out")).unwrap();
    run_and_hear(&config).0.unwrap();
    assert!(files(dir.path()) == without);

    // with other filters the text is another
    fs::remove_dir_all(dir.path().join("out")).unwrap();
    config.inputs.push(third);
    assert!(run_and_hear(&config).0.is_err());
    config.inputs.pop();
    config.stages.min_words = 20;
    let (result, heard) = run_and_hear(&config);
    result.unwrap();
    assert!(heard.contains("is dropped"), "{heard}");
}
