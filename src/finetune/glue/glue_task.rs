//! What is said about a task of GLUE: a row of the table ([`GlueTask`]) that names the files of each set in both layouts, the
//! columns, the label words in the order of the classes, the scores, and the file of predictions that the GLUE site takes.

use std::fmt;

use crate::finetune::scores::Metric;
use crate::finetune::task::Task;

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
