//! `train.micro_batch`: how many sequences go through the model at once, a number or as many as memory allows.

use serde::{Deserialize, Serialize};

/// `train.micro_batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of sequences (an integer of 1 or more) or \"auto\"")]
pub enum MicroBatch {
    /// So many sequences.
    Sequences(usize),
    /// As many as memory allows.
    Named(Automatic),
}

/// The word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Automatic {
    /// As many as memory allows.
    Auto,
}

impl MicroBatch {
    /// As many as memory allows.
    pub const AUTO: Self = Self::Named(Automatic::Auto);

    /// The number of sequences, if there is one.
    pub fn sequences(self) -> Option<usize> {
        match self {
            Self::Sequences(sequences) => Some(sequences),
            Self::Named(Automatic::Auto) => None,
        }
    }
}

impl From<usize> for MicroBatch {
    fn from(sequences: usize) -> Self {
        Self::Sequences(sequences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_auto() {
        let read = |text: &str| serde_json::from_str::<MicroBatch>(text);
        assert_eq!(read("32").unwrap().sequences(), Some(32));
        assert_eq!(read("\"auto\"").unwrap(), MicroBatch::AUTO);
        assert!(read("\"many\"").unwrap_err().to_string().contains("or \"auto\""));
    }
}
