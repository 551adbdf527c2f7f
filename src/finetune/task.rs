//! The tasks, and what is said about each of GLUE: one row of a table ([`GlueTask`]) that names the files of each set in
//! both layouts, the columns, the label words in the order of the classes, the scores, and the file of predictions that
//! the GLUE site takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{quoted, Error, Result};
use crate::finetune::glue::table::GLUE;
use crate::finetune::scores::Metric;

/// What a model can be fine-tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The Corpus of Linguistic Acceptability: is this sentence English?
    Cola,
    /// The Stanford Sentiment Treebank: is this review favourable?
    Sst2,
    /// The Microsoft Research Paraphrase Corpus: do two sentences say the same?
    Mrpc,
    /// The Semantic Textual Similarity Benchmark: how alike are two sentences, from 0 to 5?
    Stsb,
    /// Quora Question Pairs: do two questions ask the same?
    Qqp,
    /// Multi-Genre Natural Language Inference: does the first sentence entail or contradict the second?
    Mnli,
    /// SQuAD as inference: does the sentence answer the question?
    Qnli,
    /// Recognising Textual Entailment.
    Rte,
    /// The Winograd Schema Challenge as inference.
    Wnli,
    /// GLUE's diagnostic sentences, for a model that was fine-tuned for MNLI.
    Ax,
    /// The Stanford Question Answering Dataset, version 1.1.
    Squad1,
    /// The same, version 2.0: some questions have no answer.
    Squad2,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 12] = [
        Self::Cola,
        Self::Sst2,
        Self::Mrpc,
        Self::Stsb,
        Self::Qqp,
        Self::Mnli,
        Self::Qnli,
        Self::Rte,
        Self::Wnli,
        Self::Ax,
        Self::Squad1,
        Self::Squad2,
    ];

    /// The name on the command line and in files; Hugging Face's name of the data, for GLUE.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cola => "cola",
            Self::Sst2 => "sst2",
            Self::Mrpc => "mrpc",
            Self::Stsb => "stsb",
            Self::Qqp => "qqp",
            Self::Mnli => "mnli",
            Self::Qnli => "qnli",
            Self::Rte => "rte",
            Self::Wnli => "wnli",
            Self::Ax => "ax",
            Self::Squad1 => "squad1",
            Self::Squad2 => "squad2",
        }
    }

    /// The row of the table of GLUE; nothing for SQuAD.
    pub fn glue(self) -> Option<&'static GlueTask> {
        GLUE.iter().find(|row| row.task == self)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|task| task.name() == name)
            .ok_or_else(|| Error::config(format!("`{name}` is not a task: expected one of {}", quoted(Self::ALL))))
    }
}

/// What a set of examples is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To train on.
    Train,
    /// To choose the best run by.
    Dev,
    /// To predict for; GLUE keeps the labels.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        })
    }
}

/// A row of the table of GLUE.
#[derive(Debug)]
pub struct GlueTask {
    /// Which task it is.
    pub task: Task,
    /// Its folder in the official download.
    pub folder: &'static str,
    /// Its sets: one or two for each split it has.
    pub sets: &'static [GlueSet],
    /// The columns of one text or two in the layout of Hugging Face.
    pub hub_columns: (&'static str, Option<&'static str>),
    /// What is predicted.
    pub labels: Labels,
    /// The names of the classes in `datasets`, by which run_glue.py goes, where they are not the words of the files.
    pub names: &'static [&'static str],
    /// The scores that GLUE reports, the one first that a table of one column shows (as in the paper and in BERT's).
    pub metrics: &'static [Metric],
    /// The score by which the best run on dev is chosen: that of the GLUE site, the mean where it has two.
    pub selection: Metric,
    /// The official train.tsv and dev.tsv may have rows that were torn at a line break within a text: they are skipped
    /// and counted.
    pub has_torn_rows: bool,
    /// The label word of an example on which its annotators did not agree, which is skipped and counted.
    pub no_consensus: Option<&'static str>,
}

impl GlueTask {
    /// The sets of a split.
    pub fn sets(&self, split: Split) -> impl Iterator<Item = &'static GlueSet> {
        self.sets.iter().filter(move |set| set.split == split)
    }
}

/// A set of examples of a task.
#[derive(Debug)]
pub struct GlueSet {
    /// What it is for.
    pub split: Split,
    /// Its name: `train`, `dev`, `dev_mismatched`, `test`, `test_mismatched` or `ax`.
    pub name: &'static str,
    /// The files in the official layout of which the first that is there is read.
    pub tsv: &'static [TsvFile],
    /// Hugging Face's name of the set, with which its Parquet files begin.
    pub hub: &'static str,
    /// The file of predictions that the GLUE site takes, for a test set.
    pub submission: Option<&'static str>,
}

/// A file in the official layout: fields separated by tabs, without quoting.
#[derive(Debug)]
pub struct TsvFile {
    /// Its name.
    pub name: &'static str,
    /// The columns of a file whose first line is not their names.
    pub columns: Option<&'static [&'static str]>,
    /// The column that numbers the examples; where it is not there, rows are numbered from 0.
    pub index: &'static str,
    /// The column of the first text.
    pub first: &'static str,
    /// The column of the second text, if there is one.
    pub second: Option<&'static str>,
    /// The column of the label, which a test set may lack.
    pub label: &'static str,
}

/// What a task predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// One of these classes. The words are those of the files and of submissions, in the order of the class numbers.
    Classes(&'static [&'static str]),
    /// A number from 0 to [`Labels::MOST`].
    Score,
}

impl Labels {
    /// The highest score.
    pub const MOST: f64 = 5.0;

    /// How many numbers the head of a model puts out.
    pub fn num_outputs(self) -> usize {
        match self {
            Self::Classes(words) => words.len(),
            Self::Score => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde_and_of_the_command_line() {
        for task in Task::ALL {
            assert_eq!(serde_json::to_string(&task).unwrap(), format!("\"{task}\""));
            assert_eq!(task.name().parse::<Task>().unwrap(), task);
            assert_eq!(task.glue().is_none(), matches!(task, Task::Squad1 | Task::Squad2), "{task}");
        }
        let error = "mnli-mm".parse::<Task>().unwrap_err();
        assert!(error.to_string().starts_with("`mnli-mm` is not a task: expected one of `cola`, `sst2`"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
