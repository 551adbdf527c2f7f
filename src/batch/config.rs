//! The `[data]` table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where tokens come from and how they become samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of shards, as `untie prepare` or Megatron-LM write them. Default: `data/sample`.
    pub dir: PathBuf,
    /// The tokenizer.json or vocab.txt that made the shards. Default: the one in `dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens of a sample, `[CLS]` and `[SEP]` included. Default: 128.
    pub sequence_length: usize,
    /// Fraction of each sequence's tokens to predict. Default: 0.15.
    pub mask_rate: f64,
    /// Checks the hash of every file before training. Default: false.
    pub verify: bool,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { dir: "data/sample".into(), tokenizer: None, sequence_length: 128, mask_rate: 0.15, verify: false }
    }
}

impl DataConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn validate(&self) -> Result<()> {
        if self.sequence_length < 3 {
            return Err(Error::config(format!(
                "`data.sequence_length` must be at least 3 ([CLS], a token, [SEP]), got {}",
                self.sequence_length
            )));
        }
        if !(self.mask_rate > 0.0 && self.mask_rate < 1.0) {
            return Err(Error::config(format!("`data.mask_rate` must be between 0 and 1, got {}", self.mask_rate)));
        }
        Ok(())
    }
}
