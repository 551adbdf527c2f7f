//! The tasks by their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{quoted, Error, Result};

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
    /// One's own texts, or pairs of texts, of two or more classes.
    #[serde(rename = "text-classification")]
    TextClassification,
    /// One's own texts, or pairs of texts, with a number each.
    Regression,
    /// One's own sentences, with a tag for each word.
    #[serde(rename = "token-classification")]
    TokenClassification,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 15] = [
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
        Self::TextClassification,
        Self::Regression,
        Self::TokenClassification,
    ];

    /// Whether its files are a person's own.
    pub fn is_custom(self) -> bool {
        matches!(self, Self::TextClassification | Self::Regression | Self::TokenClassification)
    }

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
            Self::TextClassification => "text-classification",
            Self::Regression => "regression",
            Self::TokenClassification => "token-classification",
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde_and_of_the_command_line() {
        for task in Task::ALL {
            assert_eq!(serde_json::to_string(&task).unwrap(), format!("\"{task}\""));
            assert_eq!(task.name().parse::<Task>().unwrap(), task);
        }
        let error = "mnli-mm".parse::<Task>().unwrap_err();
        assert!(error.to_string().starts_with("`mnli-mm` is not a task: expected one of `cola`, `sst2`"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
