//! A made-up task in the form of SST-2, and a model that a test pre-trains for a moment.

use std::fs;
use std::path::Path;

use crate::common::{stderr, TestWorkspace};

/// A workspace with a finished run in `runs/tiny`, and files of reviews in `sst2/`: at most 60 to train on, at most 20 for dev, and a
/// test set.
pub fn workspace([num_train, num_dev, num_test]: [usize; 3]) -> TestWorkspace {
    let workspace = TestWorkspace::new();
    let trained =
        workspace.untie(&["train", "--config", "run.toml", "--run-dir", "runs/tiny", "--set", "train.steps=30"]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    fs::create_dir(workspace.path("sst2")).unwrap();
    write_reviews(&workspace.path("sst2/train.tsv"), 0, num_train, true);
    write_reviews(&workspace.path("sst2/dev.tsv"), 60, num_dev, true);
    write_reviews(&workspace.path("sst2/test.tsv"), 80, num_test, false);
    workspace
}

/// Writes `count` reviews to `path`, from number `first` on. They are good if they name the first two of four objects.
fn write_reviews(path: &Path, first: usize, count: usize, labelled: bool) {
    let mut text = String::from(if labelled { "sentence\tlabel\n" } else { "index\tsentence\n" });
    for index in 0..count {
        let at = first + index;
        let object = ["the red boat", "seven coins", "a letter", "the clock"][at % 4];
        let verb = ["carried", "painted", "sold"][at % 3];
        let sentence = format!("the miller {verb} {object}");
        let is_good = at % 4 < 2;
        text.push_str(&match labelled {
            true => format!("{sentence}\t{}\n", u8::from(is_good)),
            false => format!("{index}\t{sentence}\n"),
        });
    }
    fs::write(path, text).unwrap();
}
