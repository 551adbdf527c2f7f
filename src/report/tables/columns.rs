//! The columns: which score of which task each one shows.

/// A column of scores, all in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its head.
    pub name: &'static str,
    /// The task whose sweep it shows; none: the pre-training's MLM accuracy.
    pub task: Option<&'static str>,
    /// The score, by its name in results.jsonl.
    pub score: &'static str,
    /// The score by which the learning rate is chosen, where it is another: MNLI-mm and AX come from the runs of MNLI-m.
    pub chosen_by: &'static str,
    /// Digits behind the point, as many as the paper gives.
    pub decimals: usize,
}

const fn own(name: &'static str, task: &'static str, score: &'static str, decimals: usize) -> Column {
    Column { name, task: Some(task), score, chosen_by: score, decimals }
}

const fn of_mnli(name: &'static str, score: &'static str) -> Column {
    Column { name, task: Some("mnli"), score, chosen_by: "dev/accuracy", decimals: 1 }
}

/// The paper's columns.
pub const PAPER_COLUMNS: [Column; 9] = [
    Column { name: "MLM acc", task: None, score: "", chosen_by: "", decimals: 2 },
    own("SQuAD1.1 F1", "squad1", "dev/f1", 2),
    own("SQuAD2.0 F1", "squad2", "dev/f1", 2),
    of_mnli("AX corr", "ax/matthews"),
    of_mnli("MNLI-m acc", "dev/accuracy"),
    of_mnli("MNLI-mm acc", "dev_mismatched/accuracy"),
    own("QNLI acc", "qnli", "dev/accuracy", 1),
    own("QQP F1", "qqp", "dev/f1", 1),
    own("SST-2 acc", "sst2", "dev/accuracy", 1),
];

/// GLUE's other tasks, shown when there are results: with the scores that Devlin et al. 2018 give.
pub const EXTRA_COLUMNS: [Column; 5] = [
    own("RTE acc", "rte", "dev/accuracy", 1),
    own("CoLA corr", "cola", "dev/matthews", 1),
    own("MRPC F1", "mrpc", "dev/f1", 1),
    own("STS-B Spearman", "stsb", "dev/spearman", 1),
    own("WNLI acc", "wnli", "dev/accuracy", 1),
];
