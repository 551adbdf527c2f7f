//! The `[data]` table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a sample is, and what is learnt from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Objective {
    /// Full sequences, masked tokens only.
    #[serde(rename = "mlm")]
    Mlm,
    /// Pairs of segments, of which every second one's second segment is from another document (Devlin et al. 2018).
    #[serde(rename = "mlm+nsp")]
    MlmNsp,
    /// Pairs of segments, of which every second one is swapped (Lan et al. 2019).
    #[serde(rename = "mlm+sop")]
    MlmSop,
}

/// How documents fill a sequence of the objective `mlm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// One after the other with `[SEP]` between; every token sees all others.
    Concat,
    /// One after the other, each with `[CLS]` and `[SEP]` and places of its own; tokens see their own document only.
    Isolated,
}

/// One of several corpora.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// Folder of shards.
    pub dir: PathBuf,
    /// Its share of the samples, relative to the other weights.
    pub weight: f64,
}

/// Where tokens come from and how they become samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of shards, as `untie prepare` or Megatron-LM write them; passed over where `[[data.corpus]]` lists several.
    /// Default: `data/sample`.
    pub dir: PathBuf,
    /// The tokenizer.json or vocab.txt that made the shards. Default: the one in `dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens of a sample, special ones included. Default: 128.
    pub sequence_length: usize,
    /// `mlm`, `mlm+nsp` or `mlm+sop`. Default: `mlm`.
    pub objective: Objective,
    /// For `mlm`: `concat` or `isolated`. Default: `concat`.
    pub packing: Packing,
    /// For pairs: fraction of the samples that are shorter than they could be. Default: 0.1 (BERT).
    pub short_sequence_rate: f64,
    /// Fraction of each sequence's tokens to predict. Default: 0.15.
    pub mask_rate: f64,
    /// Fraction of those that become `[MASK]`. Default: 0.8.
    pub mask_token_rate: f64,
    /// Fraction of those that become a random token; the rest stays. Default: 0.1.
    pub random_token_rate: f64,
    /// Whether all tokens of a word (its first and those with `##`) are predicted together. Default: false.
    pub whole_word: bool,
    /// Mean length of the spans that are predicted together, in tokens, or in words with `whole_word`; 1: no spans.
    /// Lengths are geometric, at most 10 (SpanBERT: 3.8 words). Default: 1.
    pub span_length: f64,
    /// Threads that make batches. Default: 1.
    pub workers: usize,
    /// Checks the hash of every file before training. Default: false.
    pub verify: bool,
    /// Several corpora, mixed by weight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub corpus: Vec<CorpusConfig>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dir: "data/sample".into(),
            tokenizer: None,
            sequence_length: 128,
            objective: Objective::Mlm,
            packing: Packing::Concat,
            short_sequence_rate: 0.1,
            mask_rate: 0.15,
            mask_token_rate: 0.8,
            random_token_rate: 0.1,
            whole_word: false,
            span_length: 1.0,
            workers: 1,
            verify: false,
            corpus: Vec::new(),
        }
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
