//! SQuAD: files, windows, answers and scores, held against transformers. What is expected was written by
//! tests/fixtures/finetune/make_squad.py, which runs transformers' tokenizer, `run_qa.py`, `utils_qa.py` and `squad_metrics`.

mod answers;
mod read;
mod score;
mod windows;

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tokenizers::Tokenizer;
use untie::finetune::squad::{self, Question, Split, Version};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/finetune").join(name)
}

fn expected<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

fn tiny_tokenizer() -> Tokenizer {
    Tokenizer::from_file(fixture("squad-tiny-tokenizer.json")).unwrap()
}

/// The version in which a file's name ends.
fn version(name: &str) -> Version {
    if name.ends_with("v1.1") {
        Version::V1
    } else {
        Version::V2
    }
}

fn questions(path: &Path, version: Version, split: Split) -> Vec<Question> {
    let dataset = squad::read(path, version, split).unwrap();
    assert_eq!(dataset.skipped.count(), 0, "{}", dataset.skipped);
    dataset.questions
}

fn tiny(version: Version) -> Vec<Question> {
    let name = match version {
        Version::V1 => "squad-tiny-v1.1.json",
        Version::V2 => "squad-tiny-v2.0.json",
    };
    questions(&fixture(name), version, Split::Train)
}
