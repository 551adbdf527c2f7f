//! The corpus of the fuzz targets (`fuzz/corpus`), each input once: none may make a parser panic.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

#[test]
fn no_input_of_the_corpus_makes_a_parser_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut files: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 3, "`fuzz/corpus/{name}` has {} inputs", files.len());
        for file in files {
            let input = fs::read(&file).unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
            assert!(outcome.is_ok(), "{}", file.display());
        }
    }
}
