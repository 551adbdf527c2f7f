//! The table of GLUE, one row a task.
//!
//! Names and orders are those of the official download and of Hugging Face's `datasets` (glue.py). To add a task of single
//! sentences or pairs, add a row.

use super::glue_task::{GlueSet, GlueTask, Labels, Split, TsvFile};
use crate::finetune::scores::Metric;
use crate::finetune::task::Task;

const NO_OR_YES: Labels = Labels::Classes(&["0", "1"]);
const ENTAILMENT: Labels = Labels::Classes(&["entailment", "not_entailment"]);
const INFERENCE: Labels = Labels::Classes(&["entailment", "neutral", "contradiction"]);

/// A file whose first line names its columns, for two texts.
const fn pairs(name: &'static str, first: &'static str, second: &'static str, label: &'static str) -> TsvFile {
    TsvFile { name, columns: None, index: "index", first, second: Some(second), label }
}

const fn set(
    split: Split,
    name: &'static str,
    tsv: &'static [TsvFile],
    hub: &'static str,
    submission: Option<&'static str>,
) -> GlueSet {
    GlueSet { split, name, tsv, hub, submission }
}

/// The sets of most tasks.
const fn three(
    train: &'static [TsvFile],
    dev: &'static [TsvFile],
    test: &'static [TsvFile],
    submission: &'static str,
) -> [GlueSet; 3] {
    [
        set(Split::Train, "train", train, "train", None),
        set(Split::Dev, "dev", dev, "validation", None),
        set(Split::Test, "test", test, "test", Some(submission)),
    ]
}

/// train.tsv and dev.tsv of CoLA: the source, the label, the mark of the source's author, the sentence.
const fn cola(name: &'static str) -> TsvFile {
    const COLUMNS: &[&str] = &["source", "label", "mark", "sentence"];
    TsvFile { columns: Some(COLUMNS), ..sentences(name) }
}

/// A file whose first line names its columns, for one text.
const fn sentences(name: &'static str) -> TsvFile {
    TsvFile { name, columns: None, index: "index", first: "sentence", second: None, label: "label" }
}

const fn mrpc(name: &'static str) -> TsvFile {
    pairs(name, "#1 String", "#2 String", "Quality")
}

/// Of QQP, train.tsv and dev.tsv have Quora's numbers of pairs in `id`, test.tsv that of the submission.
const fn qqp(name: &'static str, index: &'static str) -> TsvFile {
    TsvFile { index, ..pairs(name, "question1", "question2", "is_duplicate") }
}

const fn mnli(name: &'static str) -> TsvFile {
    pairs(name, "sentence1", "sentence2", "gold_label")
}

/// RTE and WNLI.
const fn entailment(name: &'static str) -> TsvFile {
    pairs(name, "sentence1", "sentence2", "label")
}

const fn plain(
    task: Task,
    folder: &'static str,
    sets: &'static [GlueSet],
    hub_columns: (&'static str, Option<&'static str>),
    labels: Labels,
    metrics: &'static [Metric],
) -> GlueTask {
    let selection = if metrics.len() > 1 { Metric::Mean } else { metrics[0] };
    GlueTask {
        task,
        folder,
        sets,
        hub_columns,
        labels,
        names: &[],
        metrics,
        selection,
        has_torn_rows: false,
        no_consensus: None,
    }
}

/// The row of a task; nothing for SQuAD.
pub fn row(task: Task) -> Option<&'static GlueTask> {
    GLUE.iter().find(|row| row.task == task)
}

/// The table.
static GLUE: [GlueTask; 10] = [
    GlueTask {
        names: &["unacceptable", "acceptable"],
        ..plain(
            Task::Cola,
            "CoLA",
            &three(&[cola("train.tsv")], &[cola("dev.tsv")], &[sentences("test.tsv")], "CoLA.tsv"),
            ("sentence", None),
            NO_OR_YES,
            &[Metric::Matthews],
        )
    },
    GlueTask {
        names: &["negative", "positive"],
        ..plain(
            Task::Sst2,
            "SST-2",
            &three(&[sentences("train.tsv")], &[sentences("dev.tsv")], &[sentences("test.tsv")], "SST-2.tsv"),
            ("sentence", None),
            NO_OR_YES,
            &[Metric::Accuracy],
        )
    },
    GlueTask {
        names: &["not_equivalent", "equivalent"],
        ..plain(
            Task::Mrpc,
            "MRPC",
            &three(&[mrpc("train.tsv")], &[mrpc("dev.tsv")], &[mrpc("test.tsv")], "MRPC.tsv"),
            ("sentence1", Some("sentence2")),
            NO_OR_YES,
            &[Metric::F1, Metric::Accuracy],
        )
    },
    plain(
        Task::Stsb,
        "STS-B",
        &three(
            &[pairs("train.tsv", "sentence1", "sentence2", "score")],
            &[pairs("dev.tsv", "sentence1", "sentence2", "score")],
            &[pairs("test.tsv", "sentence1", "sentence2", "score")],
            "STS-B.tsv",
        ),
        ("sentence1", Some("sentence2")),
        Labels::Score,
        &[Metric::Spearman, Metric::Pearson],
    ),
    GlueTask {
        has_torn_rows: true,
        names: &["not_duplicate", "duplicate"],
        ..plain(
            Task::Qqp,
            "QQP",
            &three(&[qqp("train.tsv", "index")], &[qqp("dev.tsv", "index")], &[qqp("test.tsv", "id")], "QQP.tsv"),
            ("question1", Some("question2")),
            NO_OR_YES,
            &[Metric::F1, Metric::Accuracy],
        )
    },
    GlueTask {
        no_consensus: Some("-"),
        ..plain(
            Task::Mnli,
            "MNLI",
            &[
                set(Split::Train, "train", &[mnli("train.tsv")], "train", None),
                set(Split::Dev, "dev", &[mnli("dev_matched.tsv")], "validation_matched", None),
                set(Split::Dev, "dev_mismatched", &[mnli("dev_mismatched.tsv")], "validation_mismatched", None),
                set(Split::Test, "test", &[mnli("test_matched.tsv")], "test_matched", Some("MNLI-m.tsv")),
                set(
                    Split::Test,
                    "test_mismatched",
                    &[mnli("test_mismatched.tsv")],
                    "test_mismatched",
                    Some("MNLI-mm.tsv"),
                ),
            ],
            ("premise", Some("hypothesis")),
            INFERENCE,
            &[Metric::Accuracy],
        )
    },
    plain(
        Task::Qnli,
        "QNLI",
        &three(
            &[pairs("train.tsv", "question", "sentence", "label")],
            &[pairs("dev.tsv", "question", "sentence", "label")],
            &[pairs("test.tsv", "question", "sentence", "label")],
            "QNLI.tsv",
        ),
        ("question", Some("sentence")),
        ENTAILMENT,
        &[Metric::Accuracy],
    ),
    plain(
        Task::Rte,
        "RTE",
        &three(&[entailment("train.tsv")], &[entailment("dev.tsv")], &[entailment("test.tsv")], "RTE.tsv"),
        ("sentence1", Some("sentence2")),
        ENTAILMENT,
        &[Metric::Accuracy],
    ),
    GlueTask {
        names: &["not_entailment", "entailment"],
        ..plain(
            Task::Wnli,
            "WNLI",
            &three(&[entailment("train.tsv")], &[entailment("dev.tsv")], &[entailment("test.tsv")], "WNLI.tsv"),
            ("sentence1", Some("sentence2")),
            NO_OR_YES,
            &[Metric::Accuracy],
        )
    },
    plain(
        Task::Ax,
        "AX",
        &[set(
            Split::Test,
            "ax",
            // The labelled file comes first: its rows are those of AX.tsv, and jiant, by the makers of GLUE, writes the
            // submission from it.
            &[
                pairs("diagnostic-full.tsv", "Premise", "Hypothesis", "Label"),
                entailment("AX.tsv"),
                entailment("diagnostic.tsv"),
            ],
            "test",
            Some("AX.tsv"),
        )],
        ("premise", Some("hypothesis")),
        INFERENCE,
        &[Metric::Matthews],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The scores of the GLUE paper, Table 1, and the class orders of glue.py in Hugging Face's `datasets`.
    #[test]
    fn the_table_says_what_glue_says() {
        let words = |task: Task| match row(task).unwrap().labels {
            Labels::Classes(words) => words,
            Labels::Score => &[],
        };
        assert_eq!(words(Task::Mnli), ["entailment", "neutral", "contradiction"]);
        assert_eq!(words(Task::Ax), words(Task::Mnli));
        assert_eq!(words(Task::Rte), ["entailment", "not_entailment"]);
        assert_eq!(words(Task::Qnli), words(Task::Rte));
        assert_eq!(words(Task::Wnli), ["0", "1"]);
        for row in &GLUE {
            let expected: &[Metric] = match row.task {
                Task::Cola | Task::Ax => &[Metric::Matthews],
                Task::Mrpc | Task::Qqp => &[Metric::F1, Metric::Accuracy],
                Task::Stsb => &[Metric::Spearman, Metric::Pearson],
                _ => &[Metric::Accuracy],
            };
            assert_eq!(row.metrics, expected, "{}", row.task);
            assert_eq!(row.selection == Metric::Mean, expected.len() == 2, "{}", row.task);
            assert!(row.sets.iter().all(|set| set.submission.is_some() == (set.split == Split::Test)), "{}", row.task);
        }
        let names: Vec<&str> = row(Task::Mnli).unwrap().sets(Split::Test).map(|set| set.name).collect();
        assert_eq!(names, ["test", "test_mismatched"]);
        for task in Task::ALL {
            let is_other = matches!(task, Task::Squad1 | Task::Squad2) || task.is_custom();
            assert_eq!(row(task).is_none(), is_other, "{task}");
        }
    }
}
