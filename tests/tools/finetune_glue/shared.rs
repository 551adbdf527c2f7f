//! The real files of GLUE, whole, and predictions for them. They are not in the repository; without them the tests are skipped.

use std::path::{Path, PathBuf};

use untie::finetune::glue::{read, row, Label, Rows, Split};
use untie::finetune::task::Task;

/// The folder of a task, in `UNTIE_GLUE` or where the recipe puts it; nothing, with a message, if it is not there.
pub fn real(folder: &str) -> Option<PathBuf> {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("data/raw/glue");
    let path = std::env::var_os("UNTIE_GLUE").map_or_else(fetched, PathBuf::from).join(folder);
    if !path.is_dir() {
        eprintln!(
            "skipped: no `{}`; `python3 data-prep/recipes/get.py glue` fetches it, or set UNTIE_GLUE to a folder with {folder}",
            path.display()
        );
        return None;
    }
    Some(path)
}

fn rows(task: Task, dir: &Path, split: Split) -> Rows {
    let sets = read(task, dir, split).unwrap();
    assert_eq!(sets.len(), 1);
    sets.into_iter().next().unwrap().rows
}

/// Numbers of rows: data-prep/recipes/README.md. Some copies of MRPC's train.tsv have one row less than the official one.
#[test]
fn real_files_are_whole() {
    for (task, folder, counts) in [
        (Task::Cola, "CoLA", [8551, 1043, 1063]),
        (Task::Sst2, "SST-2", [67349, 872, 1821]),
        (Task::Mrpc, "MRPC", [3668, 408, 1725]),
        (Task::Stsb, "STS-B", [5749, 1500, 1379]),
        (Task::Rte, "RTE", [2490, 277, 3000]),
    ] {
        let Some(dir) = real(folder) else { continue };
        for (split, official) in [Split::Train, Split::Dev, Split::Test].into_iter().zip(counts) {
            let rows = rows(task, &dir, split);
            let count = rows.examples.len();
            let is_short = task == Task::Mrpc && split == Split::Train && count + 1 == official;
            assert!(count == official || is_short, "{task} {split}: {count}");
            assert_eq!(rows.num_skipped(), 0, "{task} {split}");
            assert_eq!(rows.labels().is_some(), split != Split::Test, "{task} {split}");
            let is_pair = row(task).unwrap().hub_columns.1.is_some();
            assert!(rows.examples.iter().all(|example| example.second.is_some() == is_pair), "{task} {split}");
            let mut numbers = rows.examples.iter().map(|example| example.id.parse::<usize>().unwrap());
            assert!((0..count).all(|number| numbers.next() == Some(number)), "{task} {split}");
        }
    }
}

/// Copied from the files: MRPC, dev, the first two rows; CoLA, train, the first of class 0; the range of STS-B.
#[test]
fn real_texts_and_labels_are_in_their_places() {
    if let Some(dir) = real("MRPC") {
        let rows = rows(Task::Mrpc, &dir, Split::Dev);
        let second = "\" The foodservice pie business does not fit our long-term growth strategy .";
        assert_eq!(rows.examples[0].second.as_deref(), Some(second));
        assert_eq!(rows.labels().unwrap()[..2], [Label::Class(1), Label::Class(0)]);
    }
    if let Some(dir) = real("CoLA") {
        let rows = rows(Task::Cola, &dir, Split::Train);
        assert_eq!(rows.examples[0].first, "Our friends won't buy this analysis, let alone the next one we propose.");
        // 6023 of 8551 sentences are acceptable (cut -f2 | sort | uniq -c).
        let num_good = rows.labels().unwrap().iter().filter(|label| **label == Label::Class(1)).count();
        assert_eq!(num_good, 6023);
    }
    if let Some(dir) = real("RTE") {
        let rows = rows(Task::Rte, &dir, Split::Dev);
        assert_eq!(rows.labels().unwrap()[0], Label::Class(1), "not_entailment");
    }
    if let Some(dir) = real("STS-B") {
        let rows = rows(Task::Stsb, &dir, Split::Dev);
        assert_eq!(rows.labels().unwrap()[..2], [Label::Score(5.0), Label::Score(4.75)]);
    }
}
