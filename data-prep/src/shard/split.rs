//! The parts of the documents.

use std::fmt;

/// Which part of the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What it is measured on.
    Valid,
}

impl Split {
    /// Both, in the order in which they are reported.
    pub const ALL: [Split; 2] = [Split::Train, Split::Valid];

    /// The name, as in `train-00000.idx`.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
        }
    }

    /// The name of a shard of this split: `train-00000`.
    pub(crate) fn shard_name(self, number: usize) -> String {
        format!("{self}-{number:05}")
    }

    /// Whether `name` is a shard of this split: `train-` and digits.
    pub(crate) fn names(self, name: &str) -> bool {
        let digits = name.strip_prefix(self.as_str()).and_then(|rest| rest.strip_prefix('-'));
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
