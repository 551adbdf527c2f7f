//! The official layout and Hugging Face's: tests/fixtures/finetune/make_tables.py has the same rows in both.

use std::fs;
use std::path::Path;

use untie::finetune::glue::{read, row, Label, Labels, RawExample, Rows, Set, Split};
use untie::finetune::task::Task;

const SPLITS: [Split; 3] = [Split::Train, Split::Dev, Split::Test];

fn glue_tasks() -> impl Iterator<Item = Task> {
    Task::ALL.into_iter().filter(|&task| row(task).is_some())
}

/// Names and rows, without where they came from.
fn rows(sets: &[Set]) -> Vec<(&str, &Rows)> {
    sets.iter().map(|set| (set.name, &set.rows)).collect()
}

/// The task's sets of this split from the fixture; none for `ax` but its one.
fn sets(task: Task, layout: &str, split: Split) -> Vec<Set> {
    match task {
        Task::Ax if split != Split::Test => Vec::new(),
        _ => read(task, &super::fixture(&format!("glue/{task}/{layout}")), split).unwrap(),
    }
}

#[test]
fn both_layouts_give_the_same_examples() {
    let mut num_sets = 0;
    for task in glue_tasks() {
        for split in SPLITS {
            let (tsv, hub) = (sets(task, "tsv", split), sets(task, "hub", split));
            assert_eq!(rows(&tsv), rows(&hub), "{task} {split}");
            for set in tsv.iter().chain(&hub) {
                num_sets += 1;
                assert_eq!((set.rows.examples.len(), set.rows.num_skipped()), (6, 0), "{task} {}", set.name);
                // QQP numbers its training pairs otherwise in the TSV; what counts is the row.
                let ids = set.rows.examples.iter().map(|example| example.id.as_str());
                assert!(ids.eq(["0", "1", "2", "3", "4", "5"]), "{task} {}", set.name);
                assert_eq!(set.rows.labels().is_some(), split != Split::Test, "{task} {}", set.name);
            }
            assert!(tsv.iter().all(|set| set.files[0].extension().unwrap() == "tsv"));
            assert!(hub.iter().all(|set| set.files[0].extension().unwrap() == "parquet"));
        }
    }
    assert_eq!(num_sets, 2 * (8 * 3 + 5 + 1));
    assert_eq!(sets(Task::Sst2, "hub", Split::Train)[0].files.len(), 2, "two shards");
}

/// What the script says of the first rows, written out.
#[test]
fn quotes_and_spaces_are_text_and_words_are_classes() {
    let example = |id: &str, first: &str, second: Option<&str>, label| RawExample {
        id: id.into(),
        first: first.into(),
        second: second.map(Into::into),
        label: Some(label),
    };
    let cola = &sets(Task::Cola, "tsv", Split::Train)[0].rows.examples;
    assert_eq!(cola[0], example("0", "the \"last\" one", None, Label::Class(1)));
    assert_eq!(cola[3], example("3", "She said \" no \" twice .", None, Label::Class(0)));
    let sst2 = &sets(Task::Sst2, "tsv", Split::Dev)[0].rows.examples;
    assert_eq!(sst2[0], example("0", "it ends with a space ", None, Label::Class(1)));
    assert_eq!(sst2[1].first, " it begins with one");
    let stsb = &sets(Task::Stsb, "hub", Split::Dev)[0].rows.examples;
    assert_eq!(stsb[3], example("3", "crème brûlée für 10 €", Some(" it begins with one"), Label::Score(2.6)));
    let scores: Vec<_> = stsb.iter().map(|example| example.label.unwrap()).collect();
    assert_eq!(scores, [5.0, 0.0, 3.8, 2.6, 4.75, 1.154].map(Label::Score));
    let mnli = &sets(Task::Mnli, "hub", Split::Train)[0].rows;
    assert_eq!(mnli.labels().unwrap(), [2, 0, 1, 2, 0, 1].map(Label::Class), "(row + 5) % 3");
    let rte = &sets(Task::Rte, "tsv", Split::Dev)[0].rows;
    assert_eq!(rte.labels().unwrap(), [1, 0, 1, 0, 1, 0].map(Label::Class), "(row + 3) % 2, entailment is 0");
}

#[test]
fn the_diagnostic_set_has_labels_if_its_file_has() {
    let full =
        "Lexical Semantics\tPredicate-Argument Structure\tLogic\tKnowledge\tDomain\tPremise\tHypothesis\tLabel\n\
                \tPrepositional phrases\t\t\tArtificial\tThe \"cat\" sat .\tIt sat .\tentailment\n\
                \t\tNegation\t\tNews\tIt sat .\tNo cat sat .\tcontradiction\n\
                Redundancy\t\t\tWorld knowledge\tNews\tIt sat .\tIt sat there .\tneutral\n";
    let plain = "index\tsentence1\tsentence2\n0\tThe \"cat\" sat .\tIt sat .\n";
    let dir = super::folder(&[("AX/AX.tsv", plain.as_bytes())]);
    let [set] = &read(Task::Ax, dir.path(), Split::Test).unwrap()[..] else { panic!("one set") };
    assert_eq!((set.name, set.rows.labels(), set.rows.examples.len()), ("ax", None, 1));
    fs::write(dir.path().join("AX/diagnostic-full.tsv"), full).unwrap();
    let [set] = &read(Task::Ax, dir.path(), Split::Test).unwrap()[..] else { panic!("one set") };
    assert_eq!(set.rows.labels().unwrap(), [0, 2, 1].map(Label::Class));
    assert_eq!((set.rows.examples[0].first.as_str(), set.rows.examples[2].id.as_str()), ("The \"cat\" sat .", "2"));
    for split in [Split::Train, Split::Dev] {
        let error = read(Task::Ax, dir.path(), split).unwrap_err();
        assert_eq!(error.to_string(), format!("task `ax` has no `{split}` set"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn files_may_lie_in_folders_and_tsv_comes_first() {
    for inner in ["", "data", "sst2", "SST-2"] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(inner);
        copy(&super::fixture("glue/sst2/hub"), &place);
        let [set] = &read(Task::Sst2, dir.path(), Split::Dev).unwrap()[..] else { panic!("one set") };
        assert_eq!(set.files, [place.join("validation-00000-of-00001.parquet")]);
        copy(&super::fixture("glue/sst2/tsv"), &place);
        let [set] = &read(Task::Sst2, dir.path(), Split::Dev).unwrap()[..] else { panic!("one set") };
        assert_eq!(set.files, [place.join("dev.tsv")]);
    }
}

#[test]
fn windows_line_ends_and_byte_order_marks_are_not_text() {
    let plain = fs::read_to_string(super::fixture("glue/qnli/tsv/dev.tsv")).unwrap();
    let windows = format!("\u{feff}{}", plain.replace('\n', "\r\n"));
    let (plain, windows) = (folder_of(&plain), folder_of(&windows));
    let read = |dir: &tempfile::TempDir| read(Task::Qnli, dir.path(), Split::Dev).unwrap().remove(0).rows;
    assert_eq!(read(&plain), read(&windows));
}

fn folder_of(dev: &str) -> tempfile::TempDir {
    super::folder(&[("dev.tsv", dev.as_bytes())])
}

/// Class words in files are read as the class that submissions write.
#[test]
fn every_class_word_is_read() {
    for task in glue_tasks() {
        let Labels::Classes(words) = row(task).unwrap().labels else { continue };
        let mut seen: Vec<usize> = Vec::new();
        for set in [Split::Train, Split::Dev].into_iter().flat_map(|split| sets(task, "tsv", split)) {
            seen.extend(set.rows.labels().unwrap().iter().map(|label| match label {
                Label::Class(class) => *class,
                Label::Score(score) => panic!("{task}: {score}"),
            }));
        }
        let expected = if task == Task::Ax { 0 } else { words.len() };
        assert!((0..expected).all(|class| seen.contains(&class)), "{task}");
    }
}
