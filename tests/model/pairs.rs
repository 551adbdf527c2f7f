//! Minimal pairs: scores of sentences as transformers computes them, and the two formats of files.

use std::fs;

use serde::Deserialize;
use tch::Device;
use untie::cli::pairs::{limited, read, Pair, Scorer};

use crate::fixtures::{fixture, NORMS};

#[derive(Deserialize)]
struct Expected {
    sentence: String,
    score: f64,
}

/// tests/fixtures/hub/make_pseudo_likelihoods.py made the numbers, in fp64; ours are in fp32, with sentences of other lengths beside.
#[test]
fn scores_are_those_of_transformers() {
    for norm in NORMS {
        let json = fs::read(fixture(&format!("{norm}-pseudo-likelihoods.json"))).unwrap();
        let expected: Vec<Expected> = serde_json::from_slice(&json).unwrap();
        let sentences: Vec<&str> = expected.iter().map(|expected| expected.sentence.as_str()).collect();
        let scorer = Scorer::open(&fixture(norm), Device::Cpu).unwrap();
        for batch in [1, 3, 100] {
            for (score, expected) in scorer.scores(&sentences, batch).unwrap().iter().zip(&expected) {
                assert!((score / expected.score - 1.0).abs() < 1e-6, "{norm}, {}: {score}", expected.sentence);
            }
        }
        let pair = |good: usize, bad: usize| Pair { good: sentences[good].into(), bad: sentences[bad].into() };
        // The shortest sentence has the highest score here.
        let accuracy = |pairs: &[Pair]| scorer.accuracy(pairs, 8).unwrap();
        assert_eq!(accuracy(&[pair(3, 0), pair(0, 3), pair(1, 1)]), 0.5);
        assert_eq!(accuracy(&[pair(3, 4)]), 1.0);
        let long = scorer.scores(&[&"cat ".repeat(30)], 8).unwrap_err().to_string();
        assert!(long.contains("more than the model's 24 positions"), "{long}");
    }
}

#[test]
fn a_limit_takes_pairs_at_even_distances() {
    let pairs: Vec<Pair> = (0..10).map(|at| Pair { good: at.to_string(), bad: String::new() }).collect();
    for (limit, expected) in
        [(Some(1), "0"), (Some(3), "036"), (Some(7), "0124578"), (Some(20), "0123456789"), (None, "0123456789")]
    {
        let chosen: String = limited(&pairs, limit).into_iter().map(|pair| pair.good).collect();
        assert_eq!(chosen, expected);
    }
}

#[test]
fn files_of_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let expected = [Pair { good: "she runs .".into(), bad: "she run .".into() }];
    assert_eq!(read(&file("zorro.txt", "she run .\nshe runs .\n\n")).unwrap(), expected);
    let line = r#"{"sentence_good": "she runs .", "sentence_bad": "she run .", "UID": "agreement"}"#;
    assert_eq!(read(&file("blimp.jsonl", line)).unwrap(), expected);
    for (name, text, words) in [
        ("odd.txt", "one\n", "expected two lines a pair, got 1 lines"),
        ("empty.txt", "\n", "got an empty file"),
        ("other.jsonl", "{\"text\": \"a\"}\n", "line 1: expected `sentence_good` and `sentence_bad`"),
    ] {
        let error = read(&file(name, text)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
